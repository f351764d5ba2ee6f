# SPDX-License-Identifier: GPL-3.0-or-later
"""A project with services against the real API: what is made, what is filled in, and what begins anew."""

from __future__ import annotations

import base64
import json
import secrets
import time
from typing import Any

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.authority import (
    AUTHORITY,
    CERTIFICATE_KEYS,
    DAY_SECONDS,
    LEAF,
    LEAF_KEY,
    certified,
    term_of,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.kinds import SERVED_KINDS
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.observe import observe
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.restart import restart
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import (
    PROJECT_LABEL,
    RESTARTED_ANNOTATION,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.settings import Drift
from fix_engine import Engine, Killed
from fix_postgresql import deadline
from fix_vault import Vault

PLATFORM = {"domain": "example.com", "gateway_kind": "gateway"}


@pytest.fixture
def served(own_engine: Engine, request: pytest.FixtureRequest) -> Engine:
    """A platform whose API server knows the kinds of the gateway."""
    request.getfixturevalue("gateway_kinds")
    return own_engine


def test_keys_are_filled_in_as_digests_and_a_second_run_changes_nothing(served: Engine, ref: str) -> None:
    projects = {ref: {"tier": "free"}}
    report = served.settle(projects, platform=PLATFORM)
    assert report.succeeded, report.outcomes[0].failure
    texts = served.secret(ref)
    path = f"/apis/traefik.io/v1alpha1/namespaces/p-{ref}/middlewares/api-key"
    address = served.server.request("GET", path)["spec"]["forwardAuth"]["address"]
    digests = "&".join(f"key={texts[f'{role}.digest']}.{texts[f'{role}.end']}" for role in ("anon", "service_role"))
    assert address == f"http://verifier.{served.namespace}-gateway.svc.cluster.local:8080/?{digests}"
    assert texts["anon.key"] not in json.dumps(served.server.request("GET", path))
    assert served.reconcile(projects, platform=PLATFORM, wait=True).writes == 0
    assert served.reconcile(projects, platform=PLATFORM, wait=True, drift=Drift.FULL).writes == 0


def test_a_middleware_that_asks_somebody_else_for_keys_is_put_back(served: Engine, ref: str) -> None:
    """What is filled in was not compared at all: whoever answered there let everybody in, and no run said so."""
    projects = {ref: {"tier": "free"}}
    assert served.settle(projects, platform=PLATFORM).succeeded
    path = f"/apis/traefik.io/v1alpha1/namespaces/p-{ref}/middlewares/api-key"
    before = served.server.request("GET", path)["spec"]
    served.server.merge(path, {"spec": {"forwardAuth": {"address": "http://somebody.else:8080/"}}})
    report = served.settle(projects, platform=PLATFORM)
    (step,) = [one for one in report.outcomes[0].steps if one.id.kind == "Middleware"]
    assert "changed by others" in step.reason
    assert served.server.request("GET", path)["spec"] == before
    assert served.reconcile(projects, platform=PLATFORM, wait=True).writes == 0


def test_a_middleware_that_is_gone_comes_back_with_the_same_keys(served: Engine, ref: str) -> None:
    projects = {ref: {"tier": "free"}}
    report = served.settle(projects, platform=PLATFORM)
    assert report.succeeded, report.outcomes[0].failure
    path = f"/apis/traefik.io/v1alpha1/namespaces/p-{ref}/middlewares/api-key"
    before = served.server.request("GET", path)["spec"]
    served.server.request("DELETE", path)
    report = served.settle(projects, platform=PLATFORM)
    assert report.succeeded, report.outcomes[0].failure
    assert served.server.request("GET", path)["spec"] == before


def test_settings_of_auth_are_kept_and_the_way_out_is_closed_when_nobody_needs_it(served: Engine, ref: str) -> None:
    auth = {
        "redirect_urls": ["https://*.acme.example/**"],
        "mail": {"host": "smtp.acme.example", "port": 587, "sender": "no-reply@acme.example", "user": "acme"},
        "providers": {"github": {"client_id": "Iv1.abc"}},
        "secret": "auth-own",
    }
    path = f"/apis/networking.k8s.io/v1/namespaces/p-{ref}/networkpolicies/auth"
    for own, has_way in ((auth, True), ({"signup": False}, False), ({}, False), (auth, True)):
        projects = {ref: {"tier": "free", "auth": own}}
        report = served.settle(projects, platform=PLATFORM)
        assert report.succeeded, report.outcomes[0].failure
        assert served.record(ref)["spec"].get("auth", {}) == own
        assert ("egress" in served.server.request("GET", path)["spec"]) is has_way
        for drift in Drift:
            assert served.reconcile(projects, platform=PLATFORM, wait=True, drift=drift).writes == 0


def test_a_secret_of_auth_that_is_missing_is_named_and_what_ran_goes_on(served: Engine, ref: str) -> None:
    report = served.settle({ref: {"tier": "free"}}, platform=PLATFORM)
    assert report.succeeded, report.outcomes[0].failure
    path = f"/apis/apps/v1/namespaces/p-{ref}/deployments/auth"
    said = "the Secret auth-own has no github.secret"
    ended = {"exitCode": 1, "message": f"{said}\n"}
    own = {"name": "own", "image": "a", "imageID": "", "ready": False, "restartCount": 1}
    own |= {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": ended}}
    status = {"initContainerStatuses": [own]}
    a_pod(served, ref, served.server.request("GET", path)["spec"]["template"], status)
    auth = {"providers": {"github": {"client_id": "Iv1.abc"}}, "secret": "auth-own"}
    projects = {ref: {"tier": "free", "auth": auth}}
    report = served.reconcile(projects, platform=PLATFORM, wait=True, timeout_seconds=8.0)
    (waits,) = report.outcomes[0].waiting_for
    assert not report.succeeded
    assert (waits.startswith(f"Deployment/p-{ref}/auth: "), f"own ended with 1: {said}" in waits) == (
        True,
        True,
    )
    assert said in served.record(ref)["status"]["conditions"][0]["message"]
    update = served.server.request("GET", path)["spec"]["strategy"]["rollingUpdate"]
    assert update == {"maxSurge": 1, "maxUnavailable": 0}


def a_pod(served: Engine, ref: str, template: dict[str, Any], status: dict[str, Any]) -> None:
    """A pod as controllers and a kubelet make one; the quota is counted by a controller, too."""
    quota = f"/api/v1/namespaces/p-{ref}/resourcequotas/project"
    hard = served.server.request("GET", quota)["spec"]["hard"]
    served.server.merge(f"{quota}/status", {"status": {"hard": hard, "used": dict.fromkeys(hard, "0")}})
    path = f"/api/v1/namespaces/p-{ref}/pods"
    served.server.request("POST", path, {**template, "metadata": {**template["metadata"], "name": "auth-new"}})
    served.server.merge(f"{path}/auth-new/status", {"status": status})


def test_a_way_out_that_somebody_opens_again_is_found(served: Engine, ref: str) -> None:
    mail = {"host": "smtp.acme.example", "sender": "no-reply@acme.example"}
    for auth in ({"mail": mail}, {}):
        report = served.settle({ref: {"tier": "free", "auth": auth}}, platform=PLATFORM)
        assert report.succeeded, report.outcomes[0].failure
    path = f"/apis/networking.k8s.io/v1/namespaces/p-{ref}/networkpolicies/auth"
    opened = served.server.request("GET", path)
    opened["spec"]["egress"] = [{}]
    served.server.request("PUT", path, opened)
    report = served.settle({ref: {"tier": "free"}}, platform=PLATFORM)
    assert [str(step.id) for step in report.outcomes[0].steps] == [f"NetworkPolicy/p-{ref}/auth"]
    assert "egress" not in served.server.request("GET", path)["spec"]


def test_services_that_begin_anew_are_no_drift(served: Engine, ref: str) -> None:
    projects = {ref: {"tier": "free"}}
    report = served.settle(projects, platform=PLATFORM)
    assert report.succeeded, report.outcomes[0].failure
    with served.client() as client:
        done = restart(client, f"p-{ref}", ("auth", "rest", "missing"), mark="now", deadline=deadline())
    assert done == ("auth", "rest")
    report = served.settle(projects, platform=PLATFORM)
    assert not report.changed
    path = f"/apis/apps/v1/namespaces/p-{ref}/deployments/rest"
    template = served.server.request("GET", path)["spec"]["template"]
    assert template["metadata"]["annotations"][RESTARTED_ANNOTATION] == "now"


def test_a_route_that_nobody_changed_is_certified_by_its_metadata(served: Engine, ref: str) -> None:
    """The order of its keys was taken for a change, and each run read four objects of each project whole."""
    assert served.settle({ref: {"tier": "free"}}, platform=PLATFORM).succeeded
    stamps = json.loads(status_of(served, ref)["stamps"])
    with served.client() as client:
        more = {"selector": f"{PROJECT_LABEL}={ref}", "workers": 1, "deadline": deadline()}
        found = observe(client, SERVED_KINDS, full=False, **more).objects
    assert {str(id): [live.uid, live.version] for id, live in found.items()} == {
        name: stamp for name, stamp in stamps.items() if name.startswith(SERVED_KINDS)
    }
    assert {id.kind for id in found} == set(SERVED_KINDS)


def status_of(served: Engine, ref: str) -> dict[str, Any]:
    return dict(served.record(ref)["status"])


def age(served: Engine, ref: str, *, days: int, vault: Vault | None = None) -> dict[str, str]:
    """As if the certificate had been made so long ago; what is in the Secret then."""
    texts = served.secret(ref)
    bare = {name: text for name, text in texts.items() if name != LEAF}
    made = time.time() - days * DAY_SECONDS
    old = certified(bare, host=f"{ref}.example.com", now=made, random_bytes=secrets.token_bytes)
    data = {key: base64.b64encode(text.encode()).decode() for key, text in old.items()}
    served.server.merge(f"/api/v1/namespaces/p-{ref}/secrets/credentials", {"data": data})
    if vault is not None:
        vault.write(f"database/{status_of(served, ref)['uid']}", old)
    stamps = json.loads(status_of(served, ref)["stamps"])
    stamps[f"Certificate/p-{ref}/pooler"][1] = term_of(old)
    path = f"/apis/supalove.cloud/v1alpha1/namespaces/{served.namespace}/supaloveprojects/{ref}/status"
    served.server.merge(path, {"status": {"stamps": json.dumps(stamps)}})
    return old


def test_the_record_says_by_which_authority_a_project_is_verified(served: Engine, ref: str) -> None:
    report = served.settle({ref: {"tier": "free"}}, platform=PLATFORM)
    assert report.succeeded, report.outcomes[0].failure
    status, texts = status_of(served, ref), served.secret(ref)
    assert status["authority"] == texts[AUTHORITY]
    assert status["endpoints"]["sql"] == f"postgresql://{ref}.example.com:5432/postgres?sslmode=verify-full"
    assert term_of(texts).endswith(f" {ref}.example.com")
    assert texts[LEAF_KEY] not in json.dumps(served.record(ref))


@pytest.mark.parametrize(("days", "is_renewed"), [(240, False), (250, True)])
def test_a_certificate_is_renewed_when_less_than_a_third_is_left(
    served: Engine, ref: str, days: int, *, is_renewed: bool
) -> None:
    projects = {ref: {"tier": "free"}}
    served.settle(projects, platform=PLATFORM)
    old = age(served, ref, days=days)
    checked = served.reconcile(projects, platform=PLATFORM, check=True)
    wanted = [f"update Certificate/p-{ref}/pooler"] * is_renewed
    assert [f"{one.action} {one.id}" for one in checked.outcomes[0].steps] == wanted
    report = served.settle(projects, platform=PLATFORM)
    assert report.succeeded, report.outcomes[0].failure
    assert report.changed == is_renewed
    texts = served.secret(ref)
    assert (texts[LEAF] != old[LEAF]) == is_renewed
    assert texts[AUTHORITY] == old[AUTHORITY]
    assert served.reconcile(projects, platform=PLATFORM, wait=True).writes == 0
    assert served.reconcile(projects, platform=PLATFORM, wait=True, drift=Drift.FULL).writes == 0


def lose(served: Engine, ref: str, name: str, text: str | None = None) -> None:
    """Take one value out of the project's Secret, or put something else in its place."""
    served.server.merge(f"/api/v1/namespaces/p-{ref}/secrets/credentials", {"data": {name: text}})


@pytest.mark.parametrize("name", CERTIFICATE_KEYS)
def test_a_certificate_of_which_something_is_gone_is_made_again_with_drift_full(
    served: Engine, ref: str, name: str
) -> None:
    projects = {ref: {"tier": "free"}}
    served.settle(projects, platform=PLATFORM)
    lose(served, ref, name)
    report = served.settle(projects, platform=PLATFORM, drift=Drift.FULL)
    assert report.succeeded, report.outcomes[0].failure
    assert served.secret(ref).keys() >= {*CERTIFICATE_KEYS}
    assert status_of(served, ref)["authority"] == served.secret(ref)[AUTHORITY]
    assert served.reconcile(projects, platform=PLATFORM, wait=True, drift=Drift.FULL).writes == 0


def test_with_drift_full_a_secret_that_cannot_be_read_is_the_matter_of_its_own_project(
    served: Engine, ref: str
) -> None:
    other = f"{ref}b"
    projects = {ref: {"tier": "free"}, other: {"tier": "free"}}
    served.settle(projects, platform=PLATFORM)
    lose(served, ref, LEAF, base64.b64encode(b"\xff\xfe").decode())
    lose(served, other, LEAF_KEY)
    report = served.settle(projects, platform=PLATFORM, drift=Drift.FULL)
    broken, well = report.outcomes
    assert "its key sql.crt is no text" in str(broken.failure)
    assert (well.failure, LEAF_KEY in served.secret(other)) == (None, True)


def test_with_a_vault_a_certificate_is_renewed_there_and_in_its_copy(served: Engine, ref: str, vault: Vault) -> None:
    projects, platform = {ref: {"tier": "free"}}, {**PLATFORM, **vault.platform()}
    with vault.store() as store:
        assert served.settle(projects, platform=platform, vault=store).succeeded
        old = age(served, ref, days=300, vault=vault)
        report = served.settle(projects, platform=platform, vault=store)
        assert report.succeeded, report.outcomes[0].failure
    with vault.store() as store:
        assert served.reconcile(projects, platform=platform, vault=store, wait=True).writes == 0
    kept = vault.texts(f"database/{status_of(served, ref)['uid']}")
    assert kept == served.secret(ref)
    assert kept[LEAF] != old[LEAF]


@pytest.mark.parametrize(("name", "goes_on"), [(LEAF, True), ("owner.password", False)])
def test_a_renewal_ends_what_a_renewal_began_and_leaves_a_rotation_alone(
    served: Engine, ref: str, vault: Vault, name: str, *, goes_on: bool
) -> None:
    projects, platform = {ref: {"tier": "free"}}, {**PLATFORM, **vault.platform()}
    with vault.store() as store:
        assert served.settle(projects, platform=platform, vault=store).succeeded
        old = age(served, ref, days=300, vault=vault)
        vault.write(f"database/{status_of(served, ref)['uid']}", {**old, name: served.secret(ref)[name] + "\n"})
        report = served.settle(projects, platform=platform, vault=store)
        assert report.succeeded == goes_on
    if not goes_on:
        assert "run the module rotate" in report.outcomes[0].failure.reason
        assert served.secret(ref) == old


def test_a_project_from_before_the_gateway_gets_a_certificate_before_its_pooler_wants_it(
    served: Engine, ref: str
) -> None:
    projects = {ref: {"tier": "free"}}
    assert served.settle(projects).succeeded
    before = served.secret(ref)
    assert LEAF not in before
    report = served.settle(projects, platform=PLATFORM)
    assert report.succeeded, report.outcomes[0].failure
    steps = [str(one.id) for one in report.outcomes[0].steps]
    assert steps.index(f"Certificate/p-{ref}/pooler") < steps.index(f"Deployment/p-{ref}/pooler")
    texts = served.secret(ref)
    assert {key: texts[key] for key in before} == before
    assert status_of(served, ref)["authority"] == texts[AUTHORITY]


def test_another_domain_gets_a_certificate_of_the_same_authority(served: Engine, ref: str) -> None:
    projects = {ref: {"tier": "free"}}
    served.settle(projects, platform=PLATFORM)
    before = served.secret(ref)
    report = served.settle(projects, platform={**PLATFORM, "domain": "example.org"})
    assert report.succeeded, report.outcomes[0].failure
    texts = served.secret(ref)
    assert term_of(texts).endswith(f" {ref}.example.org")
    assert texts[AUTHORITY] == before[AUTHORITY]


def test_a_run_killed_after_a_certificate_was_renewed_is_ended_by_the_next(served: Engine, ref: str) -> None:
    projects = {ref: {"tier": "free"}}
    served.settle(projects, platform=PLATFORM)
    age(served, ref, days=300)
    writes = served.settle(projects, platform=PLATFORM).writes
    for count in range(writes):
        old = age(served, ref, days=300)
        with pytest.raises(Killed):
            served.reconcile(projects, platform=PLATFORM, dies_after=count)
        served.free_lease()
        report = served.settle(projects, platform=PLATFORM)
        assert report.succeeded, report.outcomes[0].failure
        assert served.secret(ref)[LEAF] != old[LEAF]
        assert served.reconcile(projects, platform=PLATFORM, wait=True).writes == 0
