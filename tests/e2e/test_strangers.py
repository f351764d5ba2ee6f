# SPDX-License-Identifier: GPL-3.0-or-later
"""Who reaches whom: every pair of tenants' places and all else, with real packets, by the playbook that sites run.

Two projects of each placement on two nodes. A run that was killed comes first, so that the next finds what it left.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from lab import hosts, interrupt, layout, playbook
from lab.cluster import Cluster

PROJECTS = {"demo": {"tier": "pro"}, "notes": {"tier": "free"}, "shop": {"tier": "free"}}
OTHER = {"other": {"tier": "pro"}}
OUTSIDE = f"{layout.OUTSIDE_ADDRESS}:80"
PROBES = ("-A", "-l", "supalove.cloud/probe")
# Of each project: a pod and a pooler on both nodes, and a database of its own on one; then databases of the shared
# cluster, pods of the platform's namespace and of none, on both.
SOURCES = 2 * 5 + 2 * 4 + 2 + 2 + 2
QUESTIONS_OF_A_PROBE = 4
KINDS = ("", "Service of the ")


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What a run of the playbook said."""

    code: int
    result: dict[str, Any]
    output: str

    def verdicts(self) -> list[str]:
        return [f"{one['verdict']}: {one['source']} to {one['target']}" for one in self.result["findings"]]


def verify(lab: Path, *options: str, **more: object) -> Verified:
    chosen = {"supalove_verify_outside": [OUTSIDE], "supalove_verify_settle_seconds": 8, **more}
    done = playbook.run("verify_isolation", lab, "-v", "-e", json.dumps(chosen), *options)
    said = done.output.partition("TASK [Verify that tenants are kept apart]")[2]
    start = said.find("=> {")
    assert start >= 0, done.output[-3000:]
    result, _end = json.JSONDecoder().raw_decode(said[start + 3 :])
    assert not done.changes
    return Verified(code=done.code, result=result, output=done.output)


def left(found: Cluster) -> list[str]:
    """Probes, and namespaces made for them that are not about to go."""
    pods = found.objects("pods", *PROBES)
    spaces = [one for one in found.objects("namespaces", *PROBES[1:]) if one["status"]["phase"] == "Active"]
    return [one["metadata"]["name"] for one in (*pods, *spaces)]


@pytest.fixture(scope="module")
def strangers(platform: Cluster, lab: Path) -> Iterator[Cluster]:
    """Four projects, two of each placement."""
    done = playbook.run("projects", lab, "-e", json.dumps({"supalove_projects": {**PROJECTS, **OTHER}}))
    assert done.code == 0, done.output[-3000:]
    yield platform
    stopped = {**PROJECTS, "other": {"tier": "pro", "state": "absent"}}
    playbook.run("projects", lab, "-e", json.dumps({"supalove_projects": stopped}))
    record = ("supaloveproject", "other", "-n", "supalove-system")
    uid = platform.kubectl("get", *record, "-o", "jsonpath={.status.uid}")
    gone = {"supalove_purge": {"other": uid}, "supalove_purge_without_final_backup": ["other"]}
    done = playbook.run("projects", lab, "-e", json.dumps(gone))
    assert done.code == 0, done.output[-3000:]


@pytest.fixture(scope="module")
def killed(strangers: Cluster, lab: Path) -> list[str]:
    """What a run leaves that is killed while its probes start."""
    interrupt.at(lambda: len(left(strangers)) > 5, ("verify_isolation", lab), 60)
    found = left(strangers)
    # Its lease ends by itself, which the next run would wait for.
    lease = ("lease", "supalove-reconcile", "-n", "supalove-system")
    strangers.kubectl("patch", *lease, "--type=merge", "-p", '{"spec":{"holderIdentity":""}}')
    return found


@pytest.fixture(scope="module")
def verified(killed: list[str], lab: Path) -> Verified:
    assert killed
    return verify(lab)


def test_every_pair_of_four_projects_and_all_else_is_as_expected_on_the_same_node_and_across(
    verified: Verified,
) -> None:
    assert verified.code == 0, verified.output[-3000:]
    result = verified.result
    asked = len(result["targets"]) + SOURCES * QUESTIONS_OF_A_PROBE
    counts = {"pairs": SOURCES * asked, "as_expected": SOURCES * asked}
    assert result["counts"] == {**counts, "leak": 0, "broken": 0, "unproven": 0, "absent": 0}
    assert result["nodes"] == ["data-1", "data-2"]
    own = ["p-demo", "p-notes", "p-other", "p-shop", "s-free-1", "supalove-system"]
    assert (result["namespaces"], result["absent"]) == (own, [])


def test_all_is_asked_that_tenants_must_not_reach(verified: Verified) -> None:
    """Nodes, the API server, a metadata service, the outside, DNS' other ports, everybody's pooler and database."""
    text = "\n".join(verified.result["targets"])
    for host in layout.TOPOLOGIES["cluster"]:
        for port in (22, 10250):
            assert f"the node {host.name}, {host.address} tcp {port}" in text
    assert f"the API server, {layout.host('control-1').address} tcp 6443" in text
    assert f"the metadata address, {layout.METADATA_ADDRESS} tcp 80" in text
    assert f"the address outside, {layout.OUTSIDE_ADDRESS} tcp 80" in text
    patterns = [r"the Service of the API server, \S+ tcp 443", r"the pod coredns-\S+ in kube-system, \S+ tcp 9153"]
    patterns += [rf"the Service kube-dns in kube-system, \S+ {protocol} 53" for protocol in ("tcp", "udp")]
    patterns += [rf"the {kind}pooler in p-{ref}, " for ref in (*PROJECTS, *OTHER) for kind in KINDS]
    patterns += [rf"the {kind}database in {where}, " for where in ("p-demo", "p-other", "s-free-1") for kind in KINDS]
    assert [pattern for pattern in patterns if not re.search(pattern, text)] == []


def test_a_run_leaves_nothing_and_removes_what_a_killed_one_left(
    strangers: Cluster, killed: list[str], verified: Verified
) -> None:
    assert verified.code == 0
    assert len(killed) > 5
    assert left(strangers) == []


HOLES = {
    "notes": ("/spec/egress/-", {}),
    "shop": ("/spec/ingress/-", {"ports": [{"protocol": "TCP", "port": 8080}]}),
}


@pytest.mark.usefixtures("verified")
def test_a_hole_in_either_direction_and_a_closed_path_are_found_and_named(strangers: Cluster, lab: Path) -> None:
    """And what the platform itself has written is put back by projects.yml, so that the next run finds nothing."""
    for ref, (place, rule) in HOLES.items():
        patch = json.dumps([{"op": "add", "path": place, "value": rule}])
        strangers.kubectl("patch", "networkpolicy", "project", "-n", f"p-{ref}", "--type=json", "-p", patch)
    strangers.kubectl("delete", "networkpolicy", "database", "-n", "p-demo")
    try:
        found = verify(lab, supalove_verify_refs=[*HOLES, "demo"])
    finally:
        assert playbook.run("projects", lab).code == 0
    assert found.code == 2
    text = "\n".join(found.verdicts())
    assert re.search(r"leak: a pod in p-notes on data-\d to the \w+", text), text
    assert re.search(
        r"leak: a pod without policies in \S+ on data-\d to a pod in p-shop on data-\d, \S+ tcp 8080", text
    )
    assert re.search(r"broken: a pooler in p-demo on data-\d to \S+ (Service of the )?database in p-demo", text), text
    assert "p-other" not in text
    assert "run playbooks/projects.yml" in found.result["msg"]
    assert left(strangers) == []


def test_a_check_says_what_would_be_tried_and_makes_nothing(verified: Verified, lab: Path) -> None:
    check = verify(lab, "--check")
    assert check.code == 0
    assert sorted(check.result["targets"]) == sorted(verified.result["targets"])
    assert check.result["counts"]["pairs"] == 0


DIAL = """
import socket, sys
from concurrent.futures import ThreadPoolExecutor
def dial(name):
    address, port = name.split(':')
    try:
        socket.create_connection((address, int(port)), timeout=1.5).close()
    except OSError:
        return ''
    return name
with ThreadPoolExecutor(32) as pool:
    print(' '.join(filter(None, pool.map(dial, sys.argv[1:]))))
"""


def endpoints(found: Cluster) -> dict[str, str]:
    """Address and port of every pooler and database, with its node's name."""
    ports = {"pooler": 6432, "postgresql": 5432}
    pods = found.live_pods("-A", "-l", "supalove.cloud/component in (pooler,postgresql)")
    return {
        f"{pod['status']['podIP']}:{ports[pod['metadata']['labels']['supalove.cloud/component']]}": pod["spec"][
            "nodeName"
        ]
        for pod in pods
    }


def dns(found: Cluster) -> str:
    """A pod that no policy selects, on the control plane."""
    (pod,) = found.live_pods("-n", "kube-system", "-l", "k8s-app=kube-dns")
    return f"{pod['status']['podIP']}:53"


@pytest.mark.parametrize("host", layout.TOPOLOGIES["cluster"], ids=lambda host: host.name)
def test_a_node_reaches_its_own_tenants_only(strangers: Cluster, host: layout.Host) -> None:
    """Its kubelet has to; that is so with every enforcer."""
    known = endpoints(strangers)
    assert len(known) >= 7
    command = hosts.ssh_command(host, "python3", "-", *known, dns(strangers))
    done = subprocess.run(command, input=DIAL, capture_output=True, text=True, check=True)
    own = {name for name, node in known.items() if node == host.name}
    assert set(done.stdout.split()) == {*own, dns(strangers)}


def test_a_host_outside_reaches_no_tenant_even_with_a_route(strangers: Cluster) -> None:
    """A pod that no policy selects answers it on each node's way, so that it is not for want of a route."""
    known = endpoints(strangers)
    outside = ("podman", "exec", "-i", layout.OUTSIDE)
    nodes = {node["metadata"]["name"]: node["spec"]["podCIDR"] for node in strangers.objects("nodes")}
    ways = [(cidr, "via", layout.host(name).address) for name, cidr in nodes.items()]
    try:
        for way in ways:
            subprocess.run([*outside, "ip", "route", "replace", *way], check=True)
        asked = [*outside, "python3", "-", *known, dns(strangers)]
        done = subprocess.run(asked, input=DIAL, capture_output=True, text=True, check=True)
    finally:
        for way in ways:
            subprocess.run([*outside, "ip", "route", "del", *way], check=False)
    assert done.stdout.split() == [dns(strangers)]
