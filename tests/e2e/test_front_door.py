# SPDX-License-Identifier: GPL-3.0-or-later
"""What a tenant's developer touches, through both nodes of the gateway: keys, rows, moves of pods, a pause."""

from __future__ import annotations

import http.client
import json
import re
import socket
import uuid
from pathlib import Path

import psycopg
import pytest
from lab import front, hosts, layout, playbook
from lab.cluster import Cluster
from lab.front import NODES, Site, Visitor, site

PROJECTS = ("demo", "notes")
LISTED = {"demo": {"tier": "pro"}, "notes": {"tier": "free"}, "shop": {"tier": "free"}}
TABLE = """
CREATE TABLE IF NOT EXISTS visits (id uuid PRIMARY KEY, owner uuid DEFAULT auth.uid(), text text);
ALTER TABLE visits ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS own ON visits;
CREATE POLICY own ON visits TO authenticated USING (owner = auth.uid());
"""


@pytest.fixture(scope="module", autouse=True)
def _tables(platform: Cluster) -> None:
    """As a developer makes one, and PostgREST is told of it."""
    for ref in PROJECTS:
        platform.start_client(f"p-{ref}")
        done = platform.psql(f"p-{ref}", TABLE)
        assert done.returncode == 0, done.stderr
        front.tell_of_new_tables(platform, ref)


@pytest.mark.parametrize("ref", PROJECTS)
def test_a_user_signs_up_and_writes_a_row_that_sql_reads(platform: Cluster, ref: str) -> None:
    for node in NODES:
        where = site(platform, ref, node.address)
        login = {"email": f"{uuid.uuid4()}@example.com", "password": "a password of some length"}
        token = where.ask("/auth/v1/signup", login).body["access_token"]
        bearer, id = f"Bearer {token}", str(uuid.uuid4())
        row = {"id": id, "text": f"through {node.name}"}
        assert where.ask("/rest/v1/visits", row, authorization=bearer).status == 201
        assert platform.psql(f"p-{ref}", f"SELECT text FROM visits WHERE id = '{id}';").stdout.strip() == row["text"]
        mine = where.ask("/rest/v1/visits?select=id", authorization=bearer)
        assert (mine.status, mine.body) == (200, [{"id": id}])
        everyones = where.ask("/rest/v1/visits")
        assert (everyones.status, everyones.body) == (200, []), "row-level security"


@pytest.mark.parametrize("path", ["/rest/v1/visits", "/auth/v1/health", "/graphql/v1"])
def test_without_a_key_or_with_that_of_a_neighbour_nothing_answers(platform: Cluster, path: str) -> None:
    demo, notes = (site(platform, ref) for ref in PROJECTS)
    for key in ("", "guessed", notes.key):
        refused = demo.ask(path, key=key)
        assert (refused.status, list(refused.body)) == (401, ["message"])


@pytest.mark.parametrize("path", ["/rest/v1/visits", "/auth/v1/token", "/graphql/v1"])
def test_a_browser_learns_without_a_key_that_it_may_send_one(platform: Cluster, path: str) -> None:
    headers = ["apikey", "authorization", "content-type"]
    asked = {"access_control_request_method": "POST", "access_control_request_headers": ",".join(headers)}
    told = site(platform, "demo").ask(path, key="", verb="OPTIONS", origin="https://app.example.com", **asked)
    assert told.status in (200, 204)
    assert told.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
    assert {*headers} <= {one.strip().lower() for one in told.headers["Access-Control-Allow-Headers"].split(",")}


def test_plain_http_is_sent_to_https_and_unknown_names_get_nothing(platform: Cluster) -> None:
    where = site(platform, "demo")
    plain = http.client.HTTPConnection(where.address, 80, timeout=20)
    plain.request("GET", "/rest/v1/visits", headers={"Host": where.name, "apikey": where.key})
    answer = plain.getresponse()
    assert (answer.status, answer.headers["Location"]) == (301, f"{where.url}/rest/v1/visits")
    plain.close()
    unknown = Site(url=where.url.replace("demo", "nobody"), key=where.key, address=where.address)
    assert unknown.ask("/rest/v1/visits").status == 404


def test_the_log_has_the_address_that_connected_and_no_key(platform: Cluster) -> None:
    """Whatever the client says of itself, and although a port of the node leads to the pod."""
    where, path = site(platform, "demo"), f"/rest/v1/{uuid.uuid4()}"
    where.ask(f"{path}?secret=value", x_forwarded_for="192.0.2.66", x_real_ip="192.0.2.66", forwarded="for=192.0.2.66")
    with socket.create_connection((where.address, 443)) as direct:
        own, _port = direct.getsockname()
    pods = ("logs", "-n", "supalove-system-gateway", "-l", "supalove.cloud/component=traefik", "--tail=-1")
    (line,) = (one for one in platform.kubectl(*pods).splitlines() if path in one)
    assert json.loads(line)["ClientHost"] == own
    assert not re.search(rf"192\.0\.2\.66|value|{where.key}", line)


def test_a_pod_of_a_neighbour_reaches_no_service_but_through_the_gateway(platform: Cluster) -> None:
    for service, port in (("rest", 3000), ("auth", 9999)):
        ask = f"exec 3<>/dev/tcp/{service}.p-demo/{port}"
        done = platform.execute("p-notes", "lab-client", "timeout", "3", "bash", "-c", ask)
        assert done.returncode == 124, f"{service}: {done.stdout}{done.stderr}"


def node_of(found: Cluster, deployment: str) -> str:
    pods = found.live_pods("-n", "p-demo", "-l", f"supalove.cloud/component={deployment}")
    (node,) = {one["spec"]["nodeName"] for one in pods}
    return str(node)


def test_services_move_to_another_node_and_no_request_fails(platform: Cluster) -> None:
    """As docs/services.md says: no new pods for the node, then new ones elsewhere before the old ones go."""
    where = site(platform, "demo")
    for deployment, path in (("rest", "/rest/v1/visits"), ("auth", "/auth/v1/health"), ("pooler", "/rest/v1/visits")):
        before = node_of(platform, deployment)
        platform.kubectl("cordon", before)
        try:
            with Visitor(where, path) as visitor:
                platform.kubectl("rollout", "restart", "-n", "p-demo", f"deployment/{deployment}")
                front.await_rollout(platform, "p-demo", deployment)
        finally:
            platform.kubectl("uncordon", before)
        assert node_of(platform, deployment) != before
        assert set(visitor.seen) == {"200"}, f"{deployment}: {visitor.seen}"
        assert visitor.seen["200"] > 20


def test_a_project_that_pauses_is_away_and_its_neighbour_is_not(platform: Cluster, lab: Path) -> None:
    demo, notes = (site(platform, ref) for ref in PROJECTS)
    for ref, where, other in (("demo", demo, notes), ("notes", notes, demo)):
        paused = {**LISTED, ref: {**LISTED[ref], "state": "absent"}}
        done = playbook.run("projects", lab, "-e", json.dumps({"supalove_projects": paused}))
        assert done.code == 0, done.output[-3000:]
        assert where.ask("/auth/v1/health").status in (404, 503)
        # Which may itself have just returned.
        assert front.when_routed(other, "/rest/v1/visits").status == 200
    done = playbook.run("projects", lab)
    assert done.code == 0, done.output[-3000:]
    for where in (demo, notes):
        assert front.when_routed(where, "/rest/v1/visits").status == 200, "with the same key"
    assert not playbook.run("projects", lab).changes


def test_auth_waits_for_the_password_of_its_mail_server_and_goes_on_as_before_meanwhile(
    platform: Cluster, lab: Path
) -> None:
    where, pods = site(platform, "notes"), ("pod", "-n", "p-notes", "-l", "supalove.cloud/component=auth")
    mail = {"host": "smtp.example.com", "sender": "no-reply@example.com", "user": "notes"}
    own = {"notes": {"tier": "free", "auth": {"mail": mail, "signup": True, "secret": "auth-own"}}}
    chosen = {"supalove_projects": {**LISTED, **own}, "supalove_projects_only": ["notes"]}
    failed = playbook.run("projects", lab, "-e", json.dumps({**chosen, "supalove_projects_timeout": 45}))
    assert failed.code != 0
    assert "the Secret auth-own has no smtp.password" in " ".join(failed.output.split()), failed.output[-3000:]
    assert where.ask("/auth/v1/settings").body["mailer_autoconfirm"] is True

    platform.kubectl("create", "secret", "generic", "auth-own", "-n", "p-notes", "--from-literal=smtp.password=a b")
    # A kubelet mounts what was not there at its next look, which may be minutes away.
    platform.kubectl("delete", *pods, "--field-selector=status.phase=Pending")
    done = playbook.run("projects", lab, "-e", json.dumps(chosen))
    assert done.code == 0, done.output[-3000:]
    front.await_rollout(platform, "p-notes", "auth")
    assert front.when_routed(where, "/auth/v1/settings").body["mailer_autoconfirm"] is False
    login = {"email": f"{uuid.uuid4()}@example.com", "password": "a password of some length"}
    assert "access_token" not in where.ask("/auth/v1/signup", login).body, "it has to be confirmed first"

    again = playbook.run("projects", lab)
    assert again.code == 0, again.output[-3000:]
    platform.kubectl("delete", "secret", "-n", "p-notes", "auth-own")
    front.await_rollout(platform, "p-notes", "auth")
    assert not playbook.run("projects", lab).changes


@pytest.mark.parametrize("ref", PROJECTS)
def test_sql_from_outside_reaches_the_own_pooler_over_tls_and_nothing_else(
    platform: Cluster, tmp_path: Path, ref: str
) -> None:
    record = platform.record(ref)
    authority = tmp_path / "authority.pem"
    authority.write_text(record["status"]["authority"])
    texts = platform.secret(f"p-{ref}", "credentials")
    login = {"user": texts["owner.user"], "password": texts["owner.password"], "sslrootcert": str(authority)}
    for node in NODES:
        where = {**login, "hostaddr": node.address, "connect_timeout": 10}
        with psycopg.connect(record["status"]["endpoints"]["sql"], **where) as session:
            assert session.execute("SELECT current_user").fetchone() == (f"p_{record['status']['uid']}_owner",)
    other = record["status"]["endpoints"]["sql"].replace(ref, PROJECTS[ref == PROJECTS[0]])
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        psycopg.connect(other, **where)
    plain = record["status"]["endpoints"]["sql"].replace("verify-full", "disable")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(plain, **{**where, "connect_timeout": 3})


def test_a_service_that_hangs_is_found_by_a_health_run_and_begins_anew(platform: Cluster, lab: Path) -> None:
    for _once_noted in range(2):
        well = playbook.run("health", lab)
        assert well.code == 0, well.output[-3000:]
    assert not well.changes
    where, selector = site(platform, "demo"), ("-n", "p-demo", "-l", "supalove.cloud/component=rest")
    (pod,) = platform.live_pods(*selector)
    node = next(one for one in NODES if one.name == pod["spec"]["nodeName"])
    uid = pod["metadata"]["uid"].replace("-", "[-_]")
    hosts.run_on(node, f"grep -lE {uid} /proc/[0-9]*/cgroup | cut -d/ -f3 | xargs kill -STOP")
    done = playbook.run("health", lab)
    assert done.code == 0, done.output[-3000:]
    assert done.changes == {("localhost", "Ask projects, and restart what is down")}
    assert where.ask("/rest/v1/visits").status == 200
    states = {one["type"]: one["status"] for one in platform.record("demo")["status"]["conditions"]}
    assert states["Healthy"] == "True"


@pytest.mark.usefixtures("platform")
def test_the_files_of_the_gateway_are_for_the_controllers_user_alone() -> None:
    folder = layout.GATEWAY_CA.parents[1]
    keys = [folder / "authority/ca.key", folder / "tls/private.key"]
    assert {oct(path.stat().st_mode & 0o777) for path in keys} == {"0o600"}
