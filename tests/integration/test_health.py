# SPDX-License-Identifier: GPL-3.0-or-later
"""Projects asked through a gateway that gives the answers of a test, with their records on a real API server."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.gateway.client import Gateway, Target
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.client import connect
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.lease import Lease
from ansible_collections.supalove.platform.plugins.module_utils._engine.deadline import Backoff
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import InvalidSpec, Unreachable
from ansible_collections.supalove.platform.plugins.module_utils._engine.health import (
    SAMPLE,
    Checked,
    HealthReport,
    Patience,
    check_health,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.progress import Silent
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Platform
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import (
    GATEWAY_API,
    RESTARTED_ANNOTATION,
    RESTARTS_ANNOTATION,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.restarts import Restarts, Rules
from ansible_collections.supalove.platform.plugins.module_utils._engine.service_health import State
from ansible_collections.supalove.platform.plugins.module_utils._engine.settings import Settings
from fix_certificates import Authority
from fix_engine import Engine
from fix_postgresql import deadline
from test_identities import kubeconfig_with, token_of
from test_modules import play  # noqa: F401

PLAYBOOKS = Path(__file__).parents[2] / "playbooks"
DOMAIN = "example.com"
PLATFORM = {"domain": DOMAIN, "gateway_kind": "gateway"}
ONCE = Patience(tries=1, pause_seconds=0.0, recovery_seconds=0.0)
PARTS = {"/rest/v1/": "rest", "/auth/v1/health": "auth"}
WAIT_SECONDS = 3.0
CUT = -1


class Front(http.server.ThreadingHTTPServer):
    """Refuses a key that is not the project's, as the verifier does, and then says what a test wants it to.

    `says`: by ref and part the status, None for silence, CUT for the end of the connection, or what gives one of them.
    All else is 200.
    """

    daemon_threads = True

    def __init__(self, certificate: tuple[str, str], directory: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        for name, text in zip(("key", "crt"), certificate, strict=True):
            (directory / name).write_text(text)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(directory / "crt", directory / "key")
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.keys: dict[str, str] = {}
        self.says: dict[tuple[str, str], int | Callable[[], int] | None] = {}
        self.asked: list[tuple[str, str]] = []
        self.is_silent = False
        self.ended = threading.Event()

    def handle_error(self, *_arguments: Any) -> None:
        """A client that does not like the certificate is one of the tests."""


class Answering(http.server.BaseHTTPRequestHandler):
    server: Front

    def do_GET(self) -> None:
        ref, part = self.headers["Host"].partition(".")[0], PARTS[self.path]
        self.server.asked.append((ref, part))
        if self.server.is_silent:
            self.server.ended.wait(WAIT_SECONDS)
            return
        said = self.server.says.get((ref, part), 200) if self.headers["apikey"] == self.server.keys[ref] else 401
        status = said() if callable(said) else said
        if status == CUT:
            self.close_connection = True
            return
        if status is None:
            self.server.ended.wait(WAIT_SECONDS)
            return
        body = json.dumps({"code": "PGRST002", "message": "a text of the database"} if status == 503 else {}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        """Nothing."""


@dataclasses.dataclass
class Site:
    """A platform with projects, and the front that stands for its gateway."""

    engine: Engine
    front: Front
    directory: Path
    writes: int = 0

    @property
    def ca_file(self) -> str:
        return str(self.directory / "ca.pem")

    @property
    def port(self) -> int:
        return int(self.front.server_address[1])

    def add(self, *refs: str) -> None:
        projects = {ref: {"tier": "free"} for ref in refs}
        report = self.engine.settle(projects, platform=PLATFORM)
        assert report.succeeded, report.outcomes[0].failure
        self.front.keys |= {ref: self.engine.secret(ref)["anon.key"] for ref in refs}

    def look(
        self,
        *refs: str,
        rules: Rules | None = None,
        patience: Patience = ONCE,
        ca_file: str = "",
        token: str = "",
        **settings: Any,
    ) -> HealthReport:
        target = Target(
            address="127.0.0.1", port=self.port, ca_file=ca_file or self.ca_file, answer_seconds=WAIT_SECONDS / 3
        )
        with self._client(token) as client:
            try:
                return check_health(
                    client,
                    Platform(namespace=self.engine.namespace),
                    Gateway(target),
                    refs=refs or None,
                    rules=rules or Rules(),
                    patience=patience,
                    settings=Settings(**{"timeout_seconds": 60.0, **settings}),
                    progress=Silent(),
                )
            finally:
                self.writes = client.writes

    def one(self, ref: str, **rest: Any) -> Checked:
        (found,) = self.look(ref, **rest).checked
        return found

    def deployment(self, ref: str, name: str = "rest") -> Any:
        return self.engine.server.request("GET", f"/apis/apps/v1/namespaces/p-{ref}/deployments/{name}")

    def restarts(self, ref: str, name: str = "rest") -> Restarts:
        annotations = self.deployment(ref, name)["metadata"]["annotations"]
        return Restarts.from_text(annotations.get(RESTARTS_ANNOTATION, ""))

    def is_restarted(self, ref: str, name: str = "rest") -> bool:
        template = self.deployment(ref, name)["spec"]["template"]
        return RESTARTED_ANNOTATION in template["metadata"]["annotations"]

    def condition(self, ref: str) -> dict[str, str]:
        conditions = self.engine.record(ref)["status"]["conditions"]
        assert "Ready" in [one["type"] for one in conditions]
        return next((one for one in conditions if one["type"] == "Healthy"), {})

    def age(self, ref: str, by: timedelta) -> None:
        """Let the restarts be so much older."""
        found = self.restarts(ref)
        older = dataclasses.replace(found, times=tuple(one - by for one in found.times))
        path = f"/apis/apps/v1/namespaces/p-{ref}/deployments/rest"
        self.engine.server.merge(path, {"metadata": {"annotations": {RESTARTS_ANNOTATION: str(older)}}})

    @contextlib.contextmanager
    def _client(self, token: str) -> Iterator[Any]:
        if not token:
            with self.engine.client() as client:
                yield client
            return
        path = kubeconfig_with(self.engine.server, token, self.directory / "kubeconfig")
        client = connect(kubeconfig=str(path), context=None, workers=4, backoff=Backoff(tries=1))
        with client:
            yield client


@pytest.fixture
def site(own_engine: Engine, gateway_kinds: None, tmp_path: Path) -> Iterator[Site]:  # noqa: ARG001 (what it is made on)
    with _site(own_engine, tmp_path) as made:
        yield made


@contextlib.contextmanager
def _site(engine: Engine, directory: Path) -> Iterator[Site]:
    authority = Authority()
    (directory / "ca.pem").write_text(authority.pem)
    front = Front(authority.issue(f"*.{DOMAIN}"), directory)
    thread = threading.Thread(target=front.serve_forever, name="front", kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield Site(engine=engine, front=front, directory=directory)
    finally:
        front.ended.set()
        front.shutdown()
        thread.join()
        front.server_close()


def test_what_is_up_is_noted_once(site: Site, ref: str) -> None:
    site.add(ref)
    first = site.look()
    assert (first.checked[0].state, first.changed) == (State.UP, True)
    assert site.condition(ref)["status"] == "True"
    assert not site.look().changed
    assert site.writes == 0


def test_what_is_down_is_restarted_once_and_not_again_within_the_wait(site: Site, ref: str) -> None:
    site.add(ref)
    site.front.says[ref, "rest"] = 503
    found = site.one(ref)
    assert (found.state, found.restarted) == (State.DOWN, ("rest",))
    assert found.why == "rest answers 503 (PGRST002)"
    assert site.is_restarted(ref)
    assert not site.is_restarted(ref, "auth")
    noted = site.restarts(ref)
    assert (noted.row, len(noted.times), noted.why) == (1, 1, "rest answers 503 (PGRST002)")
    assert {**site.condition(ref), "lastTransitionTime": ""} == {
        "type": "Healthy",
        "status": "False",
        "reason": "Down",
        "message": "rest answers 503 (PGRST002)",
        "lastTransitionTime": "",
    }
    with site.engine.ready_workloads(ref):
        found = _until_settled(site, ref)
    assert (found.state, found.restarted) == (State.DOWN, ())
    assert "rest: it was restarted at" in found.why
    assert site.restarts(ref) == noted


def _until_settled(site: Site, ref: str, **rest: Any) -> Checked:
    """The first answer after the controllers have seen the Deployment as it is."""
    end = datetime.now(UTC) + timedelta(seconds=20)
    while datetime.now(UTC) < end:
        found = site.one(ref, **rest)
        if "it is being restarted already" not in found.why:
            return found
    pytest.fail(found.why)


def test_after_the_wait_it_is_restarted_again_and_the_next_wait_is_longer(site: Site, ref: str) -> None:
    site.add(ref)
    site.front.says[ref, "rest"] = 502
    site.one(ref)
    with site.engine.ready_workloads(ref):
        _until_settled(site, ref)
        site.age(ref, timedelta(seconds=61))
        assert site.one(ref).restarted == ("rest",)
        _until_settled(site, ref)
        site.age(ref, timedelta(seconds=61))
        assert site.one(ref).restarted == ()
    assert site.restarts(ref).row == 2


def test_a_restart_that_helps_is_waited_for_and_both_turns_are_noted(site: Site, ref: str) -> None:
    site.add(ref)
    site.look()
    since = site.condition(ref)["lastTransitionTime"]
    site.front.says[ref, "rest"] = lambda: 200 if site.is_restarted(ref) else 503
    found = site.one(ref, patience=dataclasses.replace(ONCE, recovery_seconds=30.0))
    assert (found.state, found.restarted, found.why) == (State.UP, ("rest",), "")
    condition = site.condition(ref)
    assert (condition["status"], condition["message"]) == ("True", "all answer")
    assert condition["lastTransitionTime"] > since


def test_the_wait_begins_anew_for_what_was_up_for_long(site: Site, ref: str) -> None:
    site.add(ref)
    site.look()
    now = datetime.now(UTC)
    note = Restarts(row=6, times=(now - timedelta(minutes=20),), why="rest answers 503")
    path = f"/apis/apps/v1/namespaces/p-{ref}/deployments/rest"
    site.engine.server.merge(path, {"metadata": {"annotations": {RESTARTS_ANNOTATION: str(note)}}})
    site.front.says[ref, "rest"] = 503
    with site.engine.ready_workloads(ref):
        assert "and is not again before" in _until_settled(site, ref, check=True).why
    since = (now - timedelta(minutes=16)).isoformat(timespec="seconds")
    told = site.engine.record(ref)["status"]["conditions"]
    told = [{**one, "lastTransitionTime": since} if one["type"] == "Healthy" else one for one in told]
    records = f"/apis/supalove.cloud/v1alpha1/namespaces/{site.engine.namespace}/supaloveprojects"
    site.engine.server.merge(f"{records}/{ref}/status", {"status": {"conditions": told}})
    found = site.one(ref)
    assert (found.restarted, found.why) == (("rest",), "rest answers 503 (PGRST002)")
    assert site.restarts(ref).row == 1


def test_one_good_answer_is_enough(site: Site, ref: str) -> None:
    site.add(ref)
    answers = iter([503, 503, 200])
    site.front.says[ref, "rest"] = lambda: next(answers)
    assert site.one(ref, patience=dataclasses.replace(ONCE, tries=3)).state is State.UP
    assert site.front.asked.count((ref, "auth")) == 1


def test_a_service_that_is_silent_is_down_and_a_gateway_that_is_silent_is_not(site: Site, ref: str) -> None:
    site.add(ref)
    site.front.says[ref, "auth"] = None
    found = site.one(ref, check=True)
    assert (found.state, found.restarted) == (State.DOWN, ("auth",))
    site.front.is_silent = True
    with pytest.raises(Unreachable, match="the gateway does not answer"):
        site.look()
    assert not site.is_restarted(ref, "auth")


def test_a_gateway_that_is_away_is_one_error_and_restarts_nothing(site: Site, ref: str) -> None:
    site.add(ref, f"{ref}b")
    site.front.shutdown()
    site.front.server_close()
    with pytest.raises(Unreachable, match="connection refused; nothing is known of any project") as caught:
        site.look()
    assert f"127.0.0.1:{site.port}" in str(caught.value)
    assert site.writes == 0


def test_a_gateway_that_ends_connections_is_the_gateways_matter(site: Site, ref: str) -> None:
    site.add(ref)
    site.front.says[ref, "rest"] = CUT
    with pytest.raises(Unreachable, match="it ended the connection"):
        site.look()
    assert not site.is_restarted(ref)


def test_a_project_that_nobody_gets_through_to_is_told_beside_one_that_is_up(site: Site, ref: str) -> None:
    site.add(ref, f"{ref}b")
    site.front.says[ref, "rest"] = CUT
    away, well = site.look().checked
    assert (away.state, away.is_well, well.state) == (State.UNREACHABLE, False, State.UP)
    assert site.condition(ref) == {}


def test_the_first_ones_do_not_decide_for_all_whether_the_gateway_is_there(site: Site, ref: str) -> None:
    refs = [f"{ref}{letter}" for letter in "abcdefgh"]
    site.add(*refs)
    site.front.says |= {(one, "rest"): CUT for one in refs[:-1]}
    report = site.look()
    assert [one.state for one in report.checked] == [State.UNREACHABLE] * 7 + [State.UP]
    site.front.says[refs[-1], "rest"] = CUT
    site.front.asked.clear()
    with pytest.raises(Unreachable, match="it ended the connection"):
        site.look()
    assert len({one for one, _part in site.front.asked}) == 2 * SAMPLE


def test_a_certificate_of_another_authority_is_not_accepted(site: Site, ref: str) -> None:
    site.add(ref)
    other = site.directory / "other.pem"
    other.write_text(Authority("other").pem)
    with pytest.raises(Unreachable, match="its certificate is not accepted"):
        site.look(ca_file=str(other))
    assert site.front.asked == []


@pytest.mark.parametrize(("status", "state"), [(404, State.DEGRADED), (500, State.DEGRADED), (429, State.LIMITED)])
def test_what_a_restart_would_not_mend_is_told_and_not_restarted(
    site: Site, ref: str, status: int, state: State
) -> None:
    site.add(ref)
    site.front.says[ref, "rest"] = status
    found = site.one(ref)
    assert (found.state, found.restarted) == (state, ())
    assert f"rest answers {status}" in found.why
    assert not site.is_restarted(ref)


def test_a_key_that_is_refused_is_told_and_never_shown(site: Site, ref: str) -> None:
    site.add(ref)
    key, site.front.keys[ref] = site.front.keys[ref], "another"
    found = site.one(ref)
    assert (found.state, found.restarted) == (State.DEGRADED, ())
    assert "rest answers 401: the project's own key is refused" in found.why
    assert key not in repr(found)
    assert site.condition(ref)["reason"] == "Degraded"


def test_check_mode_says_what_it_would_restart_and_writes_nothing(site: Site, ref: str) -> None:
    site.add(ref)
    site.front.says[ref, "rest"] = 504
    report = site.look(check=True)
    assert (report.checked[0].restarted, report.changed, site.writes) == (("rest",), True, 0)
    assert not site.is_restarted(ref)


def test_a_database_that_is_not_ready_is_the_cause_and_its_services_are_left_alone(site: Site, ref: str) -> None:
    site.add(ref)
    path = f"/apis/apps/v1/namespaces/p-{ref}/statefulsets/postgresql/status"
    site.engine.server.merge(path, {"status": {"readyReplicas": 0, "availableReplicas": 0}})
    site.front.says |= {(ref, "rest"): 503, (ref, "auth"): 503}
    found = site.one(ref)
    assert (found.state, found.restarted) == (State.DOWN, ())
    cause = f"the database is the cause: StatefulSet/p-{ref}/postgresql: 0 of 1 pods are ready"
    assert cause in found.why
    assert cause in site.condition(ref)["message"]
    site.look()
    assert site.writes == 2, "the lease was taken and given back, and nothing else written"


def test_a_pooler_without_a_ready_pod_is_restarted_in_the_place_of_services(site: Site, ref: str) -> None:
    site.add(ref)
    path = f"/apis/apps/v1/namespaces/p-{ref}/deployments/pooler/status"
    site.engine.server.merge(path, {"status": {"readyReplicas": 0, "availableReplicas": 0}})
    site.front.says[ref, "rest"] = 503
    assert site.one(ref).restarted == ("pooler",)
    assert (site.is_restarted(ref, "pooler"), site.is_restarted(ref)) == (True, False)


def test_nothing_is_restarted_while_another_run_is_at_work(site: Site, ref: str) -> None:
    site.add(ref)
    site.front.says[ref, "rest"] = 503
    with (
        site.engine.client() as client,
        Lease(client, site.engine.namespace, seconds=6.0, progress=Silent(), deadline=deadline()),
    ):
        found = site.one(ref)
    assert (found.state, found.restarted) == (State.DOWN, ())
    assert "Another run is at work on this platform" in found.why
    assert not site.is_restarted(ref)


def test_a_project_whose_run_did_not_end_is_told_and_one_that_is_stopped_is_not_asked(site: Site, ref: str) -> None:
    other = f"{ref}b"
    site.add(ref, other)
    records = f"/apis/supalove.cloud/v1alpha1/namespaces/{site.engine.namespace}/supaloveprojects"
    for name, phase in ((ref, "Applying"), (other, "Stopped")):
        site.engine.server.merge(f"{records}/{name}/status", {"status": {"phase": phase}})
    site.front.says |= {(ref, "rest"): 503, (other, "rest"): 503}
    told, stopped = site.look().checked
    assert "it is Applying; run projects.yml" in told.why
    assert (stopped.state, stopped.skipped, told.restarted) == (None, "it is stopped", ())
    assert {asked for asked, _part in site.front.asked} == {ref}


def test_more_than_the_limit_is_not_restarted_and_a_switch_turns_all_off(site: Site, ref: str) -> None:
    site.add(ref)
    site.front.says |= {(ref, "rest"): 503, (ref, "auth"): 503}
    assert "2 parts of 1 projects went down at once" in site.one(ref, rules=Rules(at_once=1)).why
    found = site.one(ref, rules=Rules(enabled=False))
    assert (found.restarted, site.is_restarted(ref)) == ((), False)
    assert "restart is false" in found.why


def test_what_went_down_together_has_its_turn_in_the_next_runs_and_holds_up_nobody_else(site: Site, ref: str) -> None:
    refs = [f"{ref}{letter}" for letter in "abcd"]
    site.add(*refs)
    site.look()
    rules = Rules(at_once=2)
    site.front.says |= {(one, "rest"): 503 for one in refs[:3]}
    looks = [{one.ref for one in site.look(rules=rules).checked if one.restarted}]
    site.front.says[refs[3], "rest"] = 503
    looks += [{one.ref for one in site.look(rules=rules).checked if one.restarted} for _run in range(2)]
    assert [len(one) for one in looks] == [0, 2, 2]
    assert refs[3] in looks[1]
    assert looks[1] | looks[2] == {*refs}


def test_one_projects_missing_key_is_its_own(site: Site, ref: str) -> None:
    other = f"{ref}b"
    site.add(ref, other)
    site.engine.server.request("DELETE", f"/api/v1/namespaces/p-{ref}/secrets/credentials")
    lost, well = site.look().checked
    assert f"Secret/p-{ref}/credentials: there is none" in lost.error
    assert (lost.is_well, well.state) == (False, State.UP)


def test_a_run_on_projects_leaves_what_was_found_and_sees_no_drift(site: Site, ref: str) -> None:
    site.add(ref)
    site.front.says[ref, "rest"] = 503
    site.one(ref)
    before = site.condition(ref)
    report = site.engine.settle({ref: {"tier": "free"}}, platform=PLATFORM)
    assert (report.changed, site.condition(ref)) == (False, before)
    assert site.restarts(ref).row == 1
    assert site.engine.reconcile({ref: {"tier": "free"}}, platform=PLATFORM, wait=True).writes == 0


def test_a_ref_without_services_is_refused_by_its_option(site: Site, ref: str) -> None:
    site.engine.settle({ref: {"tier": "free"}})
    with pytest.raises(InvalidSpec, match="refs of projects that have services"):
        site.look(ref)
    assert site.look().checked == ()


@pytest.mark.usefixtures("gateway_kinds")
def test_the_worker_may_do_all_of_it(engine: Engine, ref: str, tmp_path: Path) -> None:
    with _site(engine, tmp_path) as site:
        site.add(ref)
        site.front.says[ref, "rest"] = 503
        found = site.one(ref, token=token_of(engine.server, "supalove-worker"))
        assert (found.error, found.restarted) == ("", ("rest",))
        assert site.condition(ref)["reason"] == "Down"


@pytest.mark.usefixtures("gateway_kinds")
def test_the_module_fails_with_what_is_down_and_project_info_tells_it(
    engine: Engine,
    ref: str,
    tmp_path: Path,
    play: Any,  # noqa: F811 (the fixture)
) -> None:
    with _site(engine, tmp_path) as site:
        site.add(ref)
        site.front.says[ref, "rest"] = 503
        options = {"gateway_address": "127.0.0.1", "gateway_port": site.port, "ca_file": site.ca_file, "refs": [ref]}
        quick = {"tries": 1, "recovery_seconds": 0}
        result, printed = play("health", "-vvv", ok=False, platform=PLATFORM, **options, **quick)
        assert (result["counts"]["down"], result["counts"]["restarted"]) == (1, 1)
        assert f"{ref}: rest answers 503 (PGRST002)" in result["msg"]
        assert site.front.keys[ref] not in printed + json.dumps(result)
        (told,) = play("project_info", refs=[ref], platform=PLATFORM)[0]["projects"]
        assert (told["health"]["state"], told["health"]["message"]) == ("down", "rest answers 503 (PGRST002)")
        assert told["drift"] == [f"Deployment/p-{ref}/rest: somebody has written to it"]
        assert not site.engine.settle({ref: {"tier": "free"}}, platform=PLATFORM).changed
        assert _drift(play, ref) == []
        route = f"/apis/{GATEWAY_API}/namespaces/p-{ref}/httproutes/project"
        site.engine.server.merge(route, {"spec": {"hostnames": ["elsewhere.example.com"]}})
        assert _drift(play, ref) == [f"HTTPRoute/p-{ref}/project: somebody has written to it"]


def _drift(run: Any, ref: str) -> list[str]:
    (told,) = run("project_info", refs=[ref], platform=PLATFORM)[0]["projects"]
    return list(told["drift"])


@pytest.mark.usefixtures("gateway_kinds")
def test_the_playbook_shows_what_is_down_and_what_was_restarted(engine: Engine, ref: str, tmp_path: Path) -> None:
    with _site(engine, tmp_path) as site:
        site.add(ref)
        said = _playbook(site, ref, fails=False)
        assert (said["counts"]["up"], said["not_up"], said["restarted"]) == (1, [], {})
        site.front.says[ref, "rest"] = 503
        said = _playbook(site, ref, fails=True)
        assert [(one["ref"], one["state"]) for one in said["not_up"]] == [(ref, "down")]
        assert said["restarted"] == {ref: ["rest"]}
        site.front.says[ref, "auth"] = lambda: 200 if site.is_restarted(ref, "auth") else 503
        site.front.says[ref, "rest"] = 200
        said = _playbook(site, ref, fails=False, supalove_health_recovery_seconds=60)
        assert (said["not_up"], said["restarted"]) == ([], {ref: ["auth"]})


def _playbook(site: Site, ref: str, *, fails: bool, **variables: Any) -> dict[str, Any]:
    """What health.yml shows, with the role left out that looks for the way into the cluster."""
    (asked,) = yaml.safe_load((PLAYBOOKS / "health.yml").read_text())
    asked["tasks"] = [one for one in asked["tasks"] if "ansible.builtin.import_role" not in one]
    (site.directory / "health.yml").write_text(yaml.safe_dump([asked]))
    kubeconfig = site.engine.server.kubeconfig
    given = {
        "k3s_kubeconfig_path": str(kubeconfig),
        "k3s_cluster_name": yaml.safe_load(kubeconfig.read_text())["current-context"],
        "supalove_platform": PLATFORM,
        "supalove_health_refs": [ref],
        "supalove_health_gateway_address": "127.0.0.1",
        "supalove_health_gateway_port": site.port,
        "supalove_health_ca_file": site.ca_file,
        "supalove_health_recovery_seconds": 0,
        **variables,
    }
    command = ["playbook", str(site.directory / "health.yml"), "-i", "localhost,", "-e", json.dumps(given)]
    collections = {"ANSIBLE_COLLECTIONS_PATH": os.environ["SUPALOVE_COLLECTIONS"]}
    done = subprocess.run(
        [sys.executable, "-m", "ansible", *command],
        capture_output=True,
        text=True,
        env={**os.environ, **collections, "ANSIBLE_NOCOLOR": "1"},
        check=False,
        timeout=120,
    )
    assert (done.returncode != 0) is fails, done.stdout + done.stderr
    shown = done.stdout.partition("TASK [Show which")[2]
    found, _end = json.JSONDecoder().raw_decode(shown[shown.index("{") :])
    return dict(found["msg"])
