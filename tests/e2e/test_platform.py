# SPDX-License-Identifier: GPL-3.0-or-later
"""What site.yml promises of a running platform: drift is named and nothing else, tenants get to their data."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import hosts, layout, playbook
from lab.cluster import CLIENT, Cluster

pytestmark = pytest.mark.usefixtures("platform")

DEMO = "p-demo"
POOL_LABELS = {
    "control_plane": {"node.supalove.cloud/control-plane"},
    "data_plane": {"node.supalove.cloud/data-plane"},
}
TAINTS = {"control_plane": "node-role.kubernetes.io/control-plane", "data_plane": "node.supalove.cloud/data-plane"}


NOTES = """
DROP TABLE IF EXISTS notes;
CREATE TABLE notes (id int, text text);
INSERT INTO notes VALUES (1, 'kept');
SELECT text FROM notes;
"""


def test_a_label_edited_by_hand_is_the_one_change_that_a_check_names(platform: Cluster, lab: Path) -> None:
    label = "node.supalove.cloud/data-plane"
    platform.kubectl("label", "node", "data-1", f"{label}=maybe", "--overwrite")
    check = playbook.run("site", lab, "--check", "--diff")
    assert len(check.changes) == 1, check.changes
    differing = [line for line in check.output.splitlines() if re.match(r"[+-](?![+-])", line)]
    assert {line[0] for line in differing} == {"+", "-"}
    assert all(label in line for line in differing), differing
    assert playbook.run("cluster", lab).code == 0
    node = next(n for n in platform.objects("nodes") if n["metadata"]["name"] == "data-1")
    assert node["metadata"]["labels"][label] == "true"


def test_nodes_are_ready_in_two_pools_with_their_labels_and_taints(platform: Cluster) -> None:
    nodes = {node["metadata"]["name"]: node for node in platform.objects("nodes")}
    assert nodes.keys() == {host.name for host in layout.TOPOLOGIES["cluster"]}
    for host in layout.TOPOLOGIES["cluster"]:
        node = nodes[host.name]
        conditions = {c["type"]: c["status"] for c in node["status"]["conditions"]}
        assert conditions["Ready"] == "True"
        assert POOL_LABELS[host.pools[0]] <= node["metadata"]["labels"].keys()
        assert {t["key"] for t in node["spec"]["taints"]} == {TAINTS[host.pools[0]]}


def test_k3s_understood_every_key_of_its_configuration() -> None:
    journal = hosts.run_on(layout.host("control-1"), "journalctl -u k3s --no-pager")
    assert "Running kube-apiserver" in journal
    assert "Unknown flag" not in journal


@pytest.fixture(scope="module")
def clients(platform: Cluster) -> Iterator[Cluster]:
    """Client pods of the project on both data-plane nodes."""
    for node in ("data-1", "data-2"):
        platform.start_client(DEMO, f"{CLIENT}-{node}", node)
    yield platform
    platform.kubectl("delete", "pod", "-n", DEMO, f"{CLIENT}-data-1", f"{CLIENT}-data-2")


@pytest.mark.parametrize("node", ["data-1", "data-2"])
def test_a_pod_of_the_project_makes_a_table_and_rows_through_the_pooler(clients: Cluster, node: str) -> None:
    asked = clients.psql(DEMO, NOTES, f"{CLIENT}-{node}")
    assert asked.stdout.strip() == "kept", asked.stderr


def pod_address(found: Cluster, component: str) -> str:
    (pod,) = found.live_pods("-n", DEMO, "-l", f"supalove.cloud/component={component}")
    return str(pod["status"]["podIP"])


@pytest.fixture(scope="module")
def tenants(platform: Cluster) -> Iterator[Cluster]:
    """A client pod in each of the two projects that share a PostgreSQL."""
    for project in SHARED:
        platform.start_client(f"p-{project}")
    yield platform
    for project in SHARED:
        platform.kubectl("delete", "pod", "-n", f"p-{project}", CLIENT, "--wait=false")


SHARED = ("notes", "shop")


def test_a_pooler_reaches_its_database_again_while_nobody_answers_dns(clients: Cluster) -> None:
    """A lookup whose answer is lost hangs in PgBouncer for good (pgbouncer/pgbouncer#1583), so it must make none."""
    address = clients.kubectl("get", "service", "pooler", "-n", DEMO, "-o", "jsonpath={.spec.clusterIP}").strip()
    coredns = ("deployment/coredns", "-n", "kube-system")

    def ask(sql: str) -> subprocess.CompletedProcess[str]:
        return clients.execute(DEMO, f"{CLIENT}-data-1", "psql", "-qAtX", "-h", address, "-c", sql)

    clients.kubectl("scale", *coredns, "--replicas=0")
    try:
        clients.kubectl("wait", "pod", "-n", "kube-system", "-l", "k8s-app=kube-dns", "--for=delete", "--timeout=60s")
        before = ask("SELECT pg_backend_pid()").stdout
        ask("SELECT pg_terminate_backend(pg_backend_pid())")
        after = ask("SELECT pg_backend_pid()")
        assert after.returncode == 0, after.stderr
        assert after.stdout != before
    finally:
        clients.kubectl("scale", *coredns, "--replicas=1")
        clients.kubectl("rollout", "status", *coredns, "--timeout=60s")


@pytest.mark.parametrize("project", SHARED)
def test_a_shared_project_makes_a_table_and_rows_through_its_own_pooler(tenants: Cluster, project: str) -> None:
    asked = tenants.psql(f"p-{project}", NOTES)
    assert asked.stdout.strip() == "kept", asked.stderr


def test_a_tenant_logs_in_to_no_other_database_through_its_pooler(tenants: Cluster) -> None:
    for name in ("supalove_template", "template1", "pgbouncer"):
        asked = tenants.execute("p-notes", CLIENT, "psql", "-qAtX", "-d", name, "-c", "SELECT 1")
        assert asked.returncode != 0, (name, asked.stdout)


COUNT = """
CREATE TABLE IF NOT EXISTS counted (id serial PRIMARY KEY);
TRUNCATE counted;
"""
# One transaction after the other, for as long as the file is there; a failure ends it.
LOOP = """
touch /tmp/go; n=0
while [ -e /tmp/go ]; do
  psql -qAtX -v ON_ERROR_STOP=1 -c 'INSERT INTO counted DEFAULT VALUES' || exit 1
  n=$((n + 1))
done
echo $n
"""


def test_a_database_that_gets_another_size_restarts_behind_its_pooler_and_loses_no_transaction(
    platform: Cluster, lab: Path
) -> None:
    """Not from a running session's point of view: its transactions wait, none fails, and all are there afterwards."""
    platform.start_client(DEMO)
    platform.psql(DEMO, COUNT)
    before = pod_address(platform, "postgresql")
    loop = platform.command("exec", "-i", "-n", DEMO, CLIENT, "--", "sh", "-c", LOOP)
    with subprocess.Popen(loop, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
        sizes = {"demo": {"tier": "pro", "memory": "320Mi"}, "notes": {"tier": "free"}, "shop": {"tier": "free"}}
        done = playbook.run("projects", lab, "-e", json.dumps({"supalove_projects": sizes}))
        platform.execute(DEMO, CLIENT, "rm", "/tmp/go")
        said, errors = client.communicate(timeout=120)
    assert done.code == 0, done.output[-3000:]
    assert client.returncode == 0, errors
    assert "demo: its clients are held" in done.output
    assert pod_address(platform, "postgresql") != before
    assert platform.psql(DEMO, "SELECT count(*) FROM counted;").stdout.strip() == said.strip()
    assert playbook.run("projects", lab).code == 0
