# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.supalove.platform.plugins.filter.k3s_nodes import k3s_nodes

LABELS = {"control_plane": {"pool/control": "true"}, "data_plane": {"pool/data": True}}
TAINTS = {"control_plane": ["control=true:NoSchedule"], "data_plane": ["data=true:NoSchedule"]}
POOLS = {"control_plane": ["server", "both"], "data_plane": ["both", "agent"]}


def nodes(**hostvars: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return k3s_nodes(POOLS, hostvars={"server": {}, "both": {}, "agent": {}, **hostvars}, labels=LABELS, taints=TAINTS)


def test_a_host_in_one_pool_has_its_label_and_taint() -> None:
    assert (nodes()["agent"]["labels"], nodes()["agent"]["taints"]) == ({"pool/data": "true"}, ["data=true:NoSchedule"])


def test_a_host_in_both_pools_has_both_labels_and_no_taint() -> None:
    assert nodes()["both"]["labels"] == {"pool/control": "true", "pool/data": "true"}
    assert nodes()["both"]["taints"] == []


def test_a_host_of_the_gateway_has_its_label_too_and_keeps_its_taint() -> None:
    pools, labels = {**POOLS, "gateway": ["agent"]}, {**LABELS, "gateway": {"pool/gateway": "true"}}
    found = k3s_nodes(pools, hostvars={"server": {}, "both": {}, "agent": {}}, labels=labels, taints=TAINTS)
    assert found["agent"]["labels"] == {"pool/data": "true", "pool/gateway": "true"}
    assert found["agent"]["taints"] == ["data=true:NoSchedule"]


def test_a_hosts_own_label_wins_over_that_of_its_pool() -> None:
    own = {"k3s_node_labels": {"pool/data": "special", "rack": 7}}
    assert nodes(agent=own)["agent"]["labels"] == {"pool/data": "special", "rack": "7"}


def test_a_hosts_own_taint_is_added_and_wins_by_key_and_effect() -> None:
    own = {"k3s_node_taints": ["gpu=yes:NoExecute", "data=other:NoSchedule"]}
    assert nodes(agent=own)["agent"]["taints"] == ["data=other:NoSchedule", "gpu=yes:NoExecute"]


def test_a_reserved_label_is_left_to_the_api() -> None:
    own = {"k3s_node_labels": {"node-role.kubernetes.io/db": "true"}}
    assert "node-role.kubernetes.io/db" in nodes(agent=own)["agent"]["labels"]
    assert "node-role.kubernetes.io/db" not in nodes(agent=own)["agent"]["registration"]


def test_a_taint_without_effect_is_refused_with_its_host() -> None:
    with pytest.raises(
        AnsibleFilterError, match=r"agent: k3s_node_taints .* found gpu=yes, allowed is key=value:Effect"
    ):
        nodes(agent={"k3s_node_taints": ["gpu=yes"]})


@pytest.mark.parametrize(
    ("own", "address"),
    [
        ({}, "agent"),
        ({"ansible_host": "192.0.2.7"}, "192.0.2.7"),
        ({"ansible_host": "192.0.2.7", "k3s_node_ip": "10.0.0.7,2001:db8::7"}, "10.0.0.7"),
    ],
)
def test_a_node_is_reached_at_its_own_address_before_that_of_ssh(own: dict[str, Any], address: str) -> None:
    assert nodes(agent=own)["agent"]["address"] == address
