# SPDX-License-Identifier: GPL-3.0-or-later
"""gVisor by the project's own playbooks, on a node that is a virtual machine, down to what the kernel in a tenant's
pods says of itself. `make test-long` runs it; docs/runtimes.md has the result.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab import artifacts, hosts, inventory, layout, playbook, vm
from lab.cluster import Cluster

pytestmark = pytest.mark.long

MEMBERS = layout.TOPOLOGIES["gvisor"]
NODE = layout.host("gvisor-1")
LABEL = "node.supalove.cloud/runtime-gvisor"
NOTE = "node.supalove.cloud/proven-gvisor"
REF = "sandbox"
NAMESPACE = f"p-{REF}"
COMPONENT = "supalove.cloud/component"
# What the machine below is shared by, so that a pod's limit is not what it waits for; three pods fit.
OVERHEAD = {"cpu": "400m", "memory": "128Mi"}
PATIENCE = 1800
ANSWER_SECONDS = 180


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The demo's projects, and one of a tier that wants gVisor."""
    told = yaml.safe_load((layout.INVENTORIES["cluster"].parent / "group_vars/all/projects.yml").read_text())
    told["supalove_platform"]["runtime_classes"] = {"gvisor": OVERHEAD}
    told["supalove_tiers"]["sandboxed"] = {"placement": "shared", "storage": "128Mi", "runtime_class": "gvisor"}
    told["supalove_projects"][REF] = {"tier": "sandboxed"}
    told["supalove_projects_timeout"] = PATIENCE
    path = tmp_path_factory.mktemp("gvisor") / "site.json"
    path.write_text(json.dumps(told))
    return "-e", f"@{path}"


@pytest.fixture(scope="module")
def sandbox(platform: Cluster, lab: Path, options: tuple[str, str]) -> Iterator[Cluster]:
    """The lab's cluster with one more node, and a project that may only run there."""
    vm.require()
    artifacts.gvisor()
    try:
        hosts.up(MEMBERS)
        inventory.write(MEMBERS, lab)
        for name in ("cluster", "runtimes", "projects"):
            done = playbook.run(name, lab, *options)
            assert done.code == 0, done.output[-3000:]
        yield platform
    finally:
        inventory.write(layout.CLUSTER, lab)
        hosts.down(MEMBERS)
    hosts.up(layout.CLUSTER)
    assert playbook.run("site", lab).code == 0


def pods(found: Cluster) -> dict[str, dict[str, Any]]:
    """Those of the project, by their component."""
    return {
        pod["metadata"]["labels"][COMPONENT]: pod for pod in found.objects("pods", "-n", NAMESPACE, "-l", COMPONENT)
    }


def test_the_node_and_no_other_has_the_label_and_the_version_that_it_has_proven(sandbox: Cluster) -> None:
    nodes = {node["metadata"]["name"]: node["metadata"] for node in sandbox.objects("nodes")}
    assert nodes.keys() == {host.name for host in MEMBERS}
    assert [name for name, meta in nodes.items() if meta["labels"].get(LABEL) == "true"] == [NODE.name]
    assert nodes[NODE.name]["annotations"][NOTE] == artifacts.GVISOR_VERSION
    assert [one["metadata"]["name"] for one in sandbox.objects("runtimeclasses")] == ["gvisor"]


def test_the_kernel_in_every_pod_of_the_project_is_gvisors(sandbox: Cluster) -> None:
    found = pods(sandbox)
    assert found.keys() == {"pooler", "auth", "rest"}
    (kernel,) = sandbox.objects("nodes", "-l", f"{LABEL}=true")
    for pod in found.values():
        assert (pod["spec"]["nodeName"], pod["spec"]["runtimeClassName"]) == (NODE.name, "gvisor")
        name = pod["metadata"]["name"]
        assert "Starting gVisor" in sandbox.execute(NAMESPACE, name, "dmesg").stdout, name
        release = sandbox.execute(NAMESPACE, name, "uname", "-r").stdout.strip()
        assert release not in ("", kernel["status"]["nodeInfo"]["kernelVersion"]), name


def test_pods_of_other_tiers_run_as_before(sandbox: Cluster) -> None:
    others = [
        pod for pod in sandbox.objects("pods", "-A", "-l", COMPONENT) if pod["metadata"]["namespace"] != NAMESPACE
    ]
    assert others
    assert {pod["spec"].get("runtimeClassName") for pod in others} == {None}


def test_a_client_reaches_its_database_through_the_sandboxed_pooler(sandbox: Cluster) -> None:
    sandbox.start_client(NAMESPACE, node="data-1")
    asked = sandbox.psql(NAMESPACE, "SELECT 6 * 7;")
    assert asked.stdout.strip() == "42", asked.stderr


def test_a_second_run_changes_nothing(sandbox: Cluster, lab: Path, options: tuple[str, str]) -> None:  # noqa: ARG001
    again = playbook.run("runtimes", lab, *options)
    assert again.code == 0, again.output[-3000:]
    assert again.changes == frozenset()


def sandboxes() -> set[str]:
    """The processes on the node that are kernels of pods."""
    return set(hosts.run_on(NODE, "pgrep -f '^runsc-sandbox'").split())


def test_sandboxed_pods_go_on_while_k3s_restarts(sandbox: Cluster) -> None:
    before, pooler = sandboxes(), pods(sandbox)["pooler"]["metadata"]["name"]
    assert len(before) == len(pods(sandbox))
    hosts.run_on(NODE, "systemctl restart k3s-agent")
    deadline = time.monotonic() + ANSWER_SECONDS
    while sandbox.execute(NAMESPACE, pooler, "true").returncode:
        assert time.monotonic() < deadline, "the kubelet does not answer"
    assert sandboxes() == before


def test_a_pod_of_the_tier_waits_rather_than_start_elsewhere(sandbox: Cluster) -> None:
    sandbox.kubectl("cordon", NODE.name)
    try:
        sandbox.kubectl("delete", "pod", "-n", NAMESPACE, pods(sandbox)["rest"]["metadata"]["name"])
        unscheduled = '--for=jsonpath={.status.conditions[?(@.type=="PodScheduled")].reason}=Unschedulable'
        waiting = (unscheduled, "-l", f"{COMPONENT}=rest", "--timeout=120s")
        sandbox.kubectl("wait", "pod", "-n", NAMESPACE, *waiting)
        pod = pods(sandbox)["rest"]
        reasons = {one["type"]: one.get("reason") for one in pod["status"]["conditions"]}
        assert reasons["PodScheduled"] == "Unschedulable"
        assert "nodeName" not in pod["spec"]
    finally:
        sandbox.kubectl("uncordon", NODE.name)
    sandbox.kubectl("rollout", "status", "-n", NAMESPACE, "deployment/rest", "--timeout=600s")
    assert pods(sandbox)["rest"]["spec"]["nodeName"] == NODE.name
