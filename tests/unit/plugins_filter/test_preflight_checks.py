# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.supalove.platform.plugins.filter.preflight_checks import preflight_checks

GIB = 2**30
PATH = "/var/lib/rancher/k3s"
LIMITS: dict[str, Any] = {
    "systems": {"debian": "12"},
    "kernel": "5.10",
    "floors": {
        "control_plane": {"cpus": 2, "memory": "4Gi", "disk": "40Gi"},
        "data_plane": {"cpus": 2, "memory": "8Gi", "disk": "100Gi"},
    },
    "free_space": "2Gi",
    "data_path": PATH,
    "cgroup_v1_allowed": False,
    "swap_allowed": False,
    "clock_check_enabled": True,
    "k3s_cluster_cidr": "10.42.0.0/16",
    "k3s_service_cidr": "10.43.0.0/16",
}
POOLS = {"control_plane": ["a"], "data_plane": ["b"]}


def a_host(**changes: Any) -> dict[str, Any]:
    host = {
        "hostname": "unset",
        "system": {"id": "debian", "version": "12", "name": "Debian GNU/Linux 12"},
        "kernel": "6.1.0-18-amd64",
        "cpus": 4,
        "memory_bytes": 16 * GIB,
        "swap_bytes": 0,
        "cgroup": "v2",
        "clock_synchronized": True,
        "filesystems": {PATH: {"total_bytes": 200 * GIB, "free_bytes": 100 * GIB}},
        "listeners": [],
        "networks": [{"interface": "eth0", "cidr": "192.0.2.10/24"}],
    }
    return {"host": {**host, **changes}}


def problems(
    a: dict[str, Any] | None = None,
    *,
    pools: dict[str, list[str]] | None = None,
    limits: dict[str, Any] | None = None,
    nodes: dict[str, str] | None = None,
) -> list[str]:
    results = {"a": a or a_host(hostname="a"), "b": a_host(hostname="b")}
    hostvars: dict[str, dict[str, Any]] = {"a": {}, "b": {}}
    hostvars |= {host: {"k3s_node_name": name} for host, name in (nodes or {}).items()}
    checks = preflight_checks(results, pools=pools or POOLS, limits={**LIMITS, **(limits or {})}, hostvars=hostvars)
    return [check["text"] for check in checks if not check["ok"]]


def test_good_hosts_have_no_problem() -> None:
    assert problems() == []


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"system": {"id": "debian", "version": "11", "name": "Debian 11"}}, "operating system: found Debian 11"),
        ({"system": {"id": "arch", "version": "", "name": "Arch"}}, "at least one of debian 12"),
        ({"kernel": "5.4.0"}, "kernel: found 5.4.0, wanted 5.10 or newer"),
        ({"cgroup": "hybrid"}, "cgroups: found hybrid, wanted v2"),
        ({"swap_bytes": GIB}, "swap: found 1.0Gi in use, wanted none"),
        ({"clock_synchronized": False}, "clock: found not synchronised"),
        ({"cpus": 1}, "cpus for control_plane: found 1, wanted at least 2"),
        ({"memory_bytes": 3 * GIB}, "memory for control_plane: found 3.0Gi, wanted at least 4Gi"),
        (
            {"filesystems": {PATH: {"total_bytes": 9 * GIB, "free_bytes": 9 * GIB}}},
            "disk for control_plane: found 9.0Gi",
        ),
        ({"filesystems": {PATH: {"total_bytes": 99 * GIB, "free_bytes": GIB}}}, f"free space at {PATH}: found 1.0Gi"),
        (
            {"listeners": [{"port": "6443/tcp", "process": "nginx", "unit": "nginx.service"}]},
            "port 6443/tcp: found held by nginx (nginx.service)",
        ),
        ({"networks": [{"interface": "eth1", "cidr": "10.42.7.1/24"}]}, "k3s_cluster_cidr: found 10.42.7.1/24 on eth1"),
        ({"networks": [{"interface": "eth1", "cidr": "10.0.0.1/8"}]}, "k3s_service_cidr: found 10.0.0.1/8 on eth1"),
    ],
)
def test_a_host_that_lacks_something_is_named_with_what_was_found(changes: dict[str, Any], text: str) -> None:
    found = problems(a_host(hostname="a", **changes))
    assert any(problem.startswith("a: ") and text in problem for problem in found), found


def test_a_port_that_k3s_holds_is_no_problem() -> None:
    listeners = [{"port": "6443/tcp", "process": "k3s-server", "unit": "k3s.service"}]
    assert problems(a_host(hostname="a", listeners=listeners)) == []


def test_memory_may_be_a_tenth_less_than_it_is_sold_as() -> None:
    assert problems(a_host(hostname="a", memory_bytes=int(3.7 * GIB))) == []


@pytest.mark.parametrize(
    ("limit", "changes"),
    [
        ({"cgroup_v1_allowed": True}, {"cgroup": "v1"}),
        ({"swap_allowed": True}, {"swap_bytes": GIB}),
        ({"clock_check_enabled": False}, {"clock_synchronized": False}),
    ],
)
def test_a_limit_can_be_lifted_by_its_variable(limit: dict[str, Any], changes: dict[str, Any]) -> None:
    assert problems(a_host(hostname="a", **changes), limits=limit) == []


@pytest.mark.parametrize("count", [0, 2, 4])
def test_a_number_of_servers_without_quorum_is_refused(count: int) -> None:
    pools = {"control_plane": ["a", "c", "d", "e"][:count], "data_plane": ["b"]}
    assert any(f"found {count} host(s) in the group control_plane" in problem for problem in problems(pools=pools))


@pytest.mark.parametrize("count", [1, 3, 5])
def test_one_or_an_odd_number_of_servers_is_right(count: int) -> None:
    pools = {"control_plane": ["a", "c", "d", "e", "f"][:count], "data_plane": ["b"]}
    assert problems(pools=pools) == []


def test_an_empty_data_plane_is_refused() -> None:
    assert any("group data_plane" in problem for problem in problems(pools={"control_plane": ["a"], "data_plane": []}))


def test_the_networks_of_pods_and_services_must_not_overlap() -> None:
    found = problems(limits={"k3s_service_cidr": "10.42.128.0/17"})
    assert len(found) == 1
    assert "found k3s_cluster_cidr 10.42.0.0/16 and k3s_service_cidr 10.42.128.0/17" in found[0]


def test_a_network_that_is_none_is_named_with_its_variable() -> None:
    assert any(
        "Correct k3s_cluster_cidr" in problem for problem in problems(limits={"k3s_cluster_cidr": "10.42.0.1/16"})
    )


def test_two_hosts_of_one_name_are_both_reported() -> None:
    found = problems(a_host(hostname="b"))
    assert [problem.split(",")[0] for problem in found] == ["a: host name: found b", "b: host name: found b"]


def test_an_unreachable_host_is_reported_beside_the_problems_of_others() -> None:
    results = {"a": {"unreachable": True, "msg": "Connection refused"}, "b": a_host(hostname="b", cpus=1)}
    checks = preflight_checks(results, pools=POOLS, limits=LIMITS, hostvars={"a": {}, "b": {}})
    failed = [(check["host"], check["name"]) for check in checks if not check["ok"]]
    assert failed == [("a", "connection"), ("b", "cpus for data_plane")]


def test_a_host_name_that_cannot_be_a_node_name_is_refused() -> None:
    results = {"Node_1": a_host(hostname="x")}
    checks = preflight_checks(results, pools=POOLS, limits=LIMITS, hostvars={"Node_1": {}})
    assert [check["name"] for check in checks if not check["ok"]] == ["node name"]


@pytest.mark.parametrize("name", ["Node", "a_b", "a..b", "a.-b", "a-", "", "x" * 64, "a\n"])
def test_a_node_name_that_is_no_dns_name_is_refused(name: str) -> None:
    [problem] = problems(nodes={"a": name})
    assert problem.startswith(f"a: node name: found {name}, wanted lower-case letters")


@pytest.mark.parametrize("name", ["a", "a.b-c.d", "7", "x" * 63])
def test_a_node_name_is_judged_instead_of_the_hosts_name_in_the_inventory(name: str) -> None:
    assert problems(nodes={"a": name}) == []


def test_two_nodes_of_one_name_are_both_reported() -> None:
    found = problems(nodes={"a": "one", "b": "one"})
    assert [text.split(",")[0] for text in found] == ["a: node name: found one", "b: node name: found one"]


def test_every_problem_of_a_host_is_reported_at_once() -> None:
    assert len(problems(a_host(hostname="a", cpus=1, kernel="4.19", swap_bytes=GIB))) == 3
