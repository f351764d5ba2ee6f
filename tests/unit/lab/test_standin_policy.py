# SPDX-License-Identifier: GPL-3.0-or-later
"""NetworkPolicy as nftables lines, and that nft accepts them."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from lab.standin import policy

NAMESPACES = [{"metadata": {"name": n, "labels": {"kubernetes.io/metadata.name": n}}} for n in ("a", "b")]


def a_pod(namespace: str, name: str, ip: str, node: str = "here", **labels: str) -> dict[str, Any]:
    ports = [{"name": "sql", "containerPort": 5432}]
    return {
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "spec": {"nodeName": node, "containers": [{"ports": ports}]},
        "status": {"podIP": ip, "phase": "Running"},
    }


PODS = [
    a_pod("a", "db", "10.42.1.2", app="db"),
    a_pod("a", "web", "10.42.2.2", "there"),
    a_pod("b", "web", "10.42.1.3"),
]


def a_policy(**spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "a", "name": "p"},
        "spec": {"podSelector": {"matchLabels": {"app": "db"}}, **spec},
    }


def chain(text: str, name: str) -> list[str]:
    body = text.split(f"chain {name} {{")[1].split("}\n", maxsplit=1)[0]
    return [line.strip() for line in body.splitlines() if line.strip()]


def lines(spec: dict[str, Any], direction: str) -> list[str]:
    text = policy.ruleset("here", PODS, NAMESPACES, [a_policy(**spec)])
    for name, members in ((m.split(" {")[0], m.split("elements = ")[1].split("\n")[0]) for m in text.split("set ")[1:]):
        text = text.replace(f"@{name}", members)
    return chain(text, f"{direction}_10_42_1_2")[:-1]


BLOCK = {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.3.0.0/16"]}}
SPACE = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "b"}}}


@pytest.mark.parametrize(
    ("spec", "direction", "expected"),
    [
        ({"policyTypes": ["Ingress"]}, "ingress", []),
        ({"ingress": [{}]}, "ingress", ["return"]),
        ({"ingress": [{"from": [{"podSelector": {}}]}]}, "ingress", ["ip saddr { 10.42.1.2, 10.42.2.2 } return"]),
        ({"ingress": [{"from": [SPACE]}]}, "ingress", ["ip saddr { 10.42.1.3 } return"]),
        ({"ingress": [{"from": [SPACE | {"podSelector": {"matchLabels": {"no": "one"}}}]}]}, "ingress", []),
        ({"ingress": [{"from": [BLOCK]}]}, "ingress", ["ip saddr 10.0.0.0/8 ip saddr != { 10.3.0.0/16 } return"]),
        ({"ingress": [{"ports": [{"port": 80, "endPort": 90}]}]}, "ingress", ["tcp dport 80-90 return"]),
        ({"ingress": [{"ports": [{"port": "sql"}]}]}, "ingress", ["tcp dport 5432 return"]),
        ({"ingress": [{"ports": [{"port": "nosuch"}]}]}, "ingress", []),
        (
            {"policyTypes": ["Egress"], "egress": [{"ports": [{"port": 53, "protocol": "UDP"}]}]},
            "egress",
            ["udp dport 53 return"],
        ),
        ({"policyTypes": ["Egress"], "egress": [{"to": [SPACE]}]}, "egress", ["ip daddr { 10.42.1.3 } return"]),
    ],
)
def test_lines_of_one_policy(spec: dict[str, Any], direction: str, expected: list[str]) -> None:
    assert lines(spec, direction) == expected


def test_a_pod_that_no_policy_selects_is_in_no_map() -> None:
    text = policy.ruleset("here", PODS, NAMESPACES, [a_policy(policyTypes=["Ingress"])])
    assert "10.42.1.3" not in text
    assert "10.42.1.2 : jump ingress_10_42_1_2" in text


def test_a_pod_of_another_node_is_left_to_that_node() -> None:
    assert "jump" not in policy.ruleset("there", PODS, NAMESPACES, [a_policy(policyTypes=["Ingress"])])


def test_a_finished_pod_whose_address_is_free_again_gets_no_rules() -> None:
    done = a_pod("a", "old", "10.42.1.2", app="db")
    done["status"]["phase"] = "Succeeded"
    assert "jump" not in policy.ruleset("here", [done], NAMESPACES, [a_policy(policyTypes=["Ingress"])])


def test_an_address_that_two_pods_claim_is_the_newer_ones() -> None:
    """nft loads no map that has a key twice, and all policy of the node stayed as it was."""
    old, new = (a_pod("a", name, "10.42.1.2", app=name) for name in ("old", "new"))
    old["status"]["startTime"], new["status"]["startTime"] = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"
    chosen = a_policy(policyTypes=["Ingress"], podSelector={"matchLabels": {"app": "new"}})
    for pods in ([old, new], [new, old]):
        text = policy.ruleset("here", pods, NAMESPACES, [chosen])
        assert text.count("10.42.1.2 : jump ingress_10_42_1_2") == 1


def test_nft_accepts_the_ruleset() -> None:
    spec = {
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": {}}, SPACE, BLOCK], "ports": [{"port": 5432}, {"port": "sql"}]}],
        "egress": [{"to": [SPACE], "ports": [{"protocol": "UDP"}]}],
    }
    text = policy.ruleset("here", PODS, NAMESPACES, [a_policy(**spec)])
    done = subprocess.run(["nft", "-c", "-f", "-"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
