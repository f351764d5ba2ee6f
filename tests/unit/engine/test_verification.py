# SPDX-License-Identifier: GPL-3.0-or-later
"""What is chosen to be verified, what is asked, and how the answer is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.records import _record
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import InvalidSpec
from ansible_collections.supalove.platform.plugins.module_utils._engine.isolation import (
    Expected,
    Home,
    Judged,
    Pair,
    Part,
    Source,
    Target,
    Verdict,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Platform
from ansible_collections.supalove.platform.plugins.module_utils._engine.verification import (
    Choice,
    Node,
    choose_nodes,
    homes_of,
    message,
    report,
    targets_elsewhere,
    targets_of_kube_system,
)


def records(**placements: str) -> dict[Any, Any]:
    """Records of projects with these placements; one that ends with a minus is stopped."""
    found = {}
    for ref, text in placements.items():
        item = {
            "metadata": {"name": ref, "namespace": "supalove-system", "uid": "u", "generation": 1},
            "spec": {"state": "absent" if text.endswith("-") else "present"},
            "status": {"uid": "abcdefgh2345", "placement": text.rstrip("-")},
        }
        found[ref] = _record(item)
    return found


def namespaces(known: dict[Any, Any], refs: list[str] | None = None) -> list[str]:
    return [home.namespace for home in homes_of(known, refs, Platform())]


def test_by_default_two_running_projects_of_each_placement_are_chosen_with_their_clusters() -> None:
    known = records(
        a="dedicated-", b="dedicated", c="dedicated", d="dedicated", e="shared/x", f="shared/y", g="shared/z"
    )
    assert namespaces(known) == ["p-b", "p-c", "p-e", "p-f", "s-x", "s-y", "supalove-system"]


def test_chosen_projects_are_taken_once_each_and_unknown_ones_refused() -> None:
    known = records(a="dedicated", e="shared/x")
    assert namespaces(known, ["e", "e"]) == ["p-e", "s-x", "supalove-system"]
    with pytest.raises(InvalidSpec, match=r"refs\[1\]: found 'z', allowed is refs .*: a, e"):
        homes_of(known, ["a", "z"], Platform())


def test_only_nodes_of_the_data_plane_can_be_chosen() -> None:
    nodes = [Node(name=name, address="", is_data_plane=name != "c") for name in "cba"]
    assert choose_nodes(nodes, None) == ("a", "b")
    assert choose_nodes(nodes, ["b"]) == ("b",)
    with pytest.raises(InvalidSpec, match=r"nodes\[0\]: found 'c', allowed is nodes of the data plane: a, b"):
        choose_nodes(nodes, ["c"])
    with pytest.raises(InvalidSpec, match="there are none"):
        choose_nodes([], None)


@pytest.mark.parametrize("text", ["example.com:80", "203.0.113.10", "203.0.113.10:0", "203.0.113.10:65536", "[::1]:80"])
def test_an_address_that_cannot_be_asked_is_refused_before_anything_is_made(text: str) -> None:
    with pytest.raises(InvalidSpec, match=r"outside\[0\]"):
        Choice(outside=(text,)).check()


def test_a_port_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidSpec, match=r"node_ports\[1\]: found 0"):
        Choice(node_ports=(22, 0)).check()


def a_pod(name: str, *ports: tuple[int, str], **labels: str) -> dict[str, Any]:
    declared = [{"containerPort": port, "protocol": protocol} for port, protocol in ports]
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"ports": declared}]},
        "status": {"phase": "Running", "podIP": "10.42.0.2"},
    }


def test_of_dns_port_53_is_open_to_tenants_and_its_metrics_are_asked_too() -> None:
    pod = a_pod("coredns-1", (53, "UDP"), (53, "TCP"), **{"k8s-app": "kube-dns"})
    found = {(one.port, one.protocol): one.part for one in targets_of_kube_system([pod], [])}
    assert found == {(53, "udp"): Part.DNS, (53, "tcp"): Part.DNS, (9153, "tcp"): Part.ELSEWHERE}


def test_of_kube_system_what_has_a_nodes_address_is_asked_as_a_node() -> None:
    pod = a_pod("proxy", (10249, "TCP"))
    pod["spec"]["hostNetwork"] = True
    assert list(targets_of_kube_system([pod], [])) == []


def test_every_node_every_api_server_and_every_address_is_asked() -> None:
    choice = Choice(node_ports=(22,), outside=("203.0.113.10:443",))
    service = {"spec": {"clusterIP": "10.43.0.1", "ports": [{"port": 443}]}}
    slices = [{"endpoints": [{"addresses": ["192.0.2.1"]}, {"addresses": ["192.0.2.2"]}], "ports": [{"port": 6443}]}]
    nodes = [Node(name="one", address="192.0.2.3", is_data_plane=False)]
    found = {f"{one.address}:{one.port}": one.is_optional for one in targets_elsewhere(choice, nodes, service, slices)}
    needed = ("192.0.2.3:22", "10.43.0.1:443", "192.0.2.1:6443", "192.0.2.2:6443", "203.0.113.10:443")
    assert found == {**dict.fromkeys(needed, False), "169.254.169.254:80": True}


def a_verdict(verdict: Verdict, *, node: str = "one", port: int = 22, is_open: bool = False) -> Judged:
    source = Source(home=Home(namespace="p-acme", parts=()), part=Part.CLIENT, node=node, address="10.42.0.9")
    target = Target(what="the node one", part=Part.ELSEWHERE, address="192.0.2.1", port=port)
    pair = Pair(source=source, target=target, expected=Expected.CLOSED, reason="so it is")
    return Judged(pair=pair, is_open=is_open, verdict=verdict, reason="so it is")


def test_a_report_without_a_fault_is_a_success_and_says_what_was_absent() -> None:
    judged = [a_verdict(Verdict.AS_EXPECTED), a_verdict(Verdict.ABSENT)]
    result = report(judged, nodes=["one"], homes=[])
    assert "failed" not in result
    assert result["changed"] is False
    assert (result["counts"]["pairs"], result["counts"]["as_expected"], result["counts"]["absent"]) == (2, 1, 1)
    assert result["absent"] == ["the node one, 192.0.2.1 tcp 22"]


def test_a_report_of_thousands_of_faults_is_small_and_names_the_worst_of_every_source_first() -> None:
    judged = [a_verdict(Verdict.UNPROVEN, port=port) for port in range(1, 5000)]
    judged += [a_verdict(Verdict.LEAK, port=port, is_open=True) for port in range(1, 200)]
    judged += [a_verdict(Verdict.LEAK, node="two", is_open=True)]
    result = report(judged, nodes=["one", "two"], homes=[])
    assert len(json.dumps(result)) < 20_000
    assert result["counts"]["leak"] == 200
    first = [(one["verdict"], one["source"].split()[-1]) for one in result["findings"][:3]]
    assert first == [("leak", "one"), ("leak", "two"), ("unproven", "one")]
    assert len(result["findings"]) == 50


def test_a_failure_says_who_reached_whom_what_was_expected_why_and_what_to_do() -> None:
    text = message([a_verdict(Verdict.LEAK, is_open=True)], {"pairs": 7})
    assert text.startswith(
        "1 of 7 pairs are not as they should be (1 leak):\n"
        "  - leak: a pod in p-acme on one to the node one, 192.0.2.1 tcp 22: "
        "expected closed (so it is), found open\n"
    )
    assert "run playbooks/projects.yml" in text
    assert "Unproven" not in text
