# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.supalove.platform.plugins.modules.host_info import parse_addresses, parse_sockets, unit_of

MODULE = Path(__file__).parents[3] / "plugins/modules/host_info.py"
TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   1: 0100007F:192B 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0
"""


def test_only_sockets_in_the_asked_state_count() -> None:
    assert parse_sockets(TCP, state="0A") == {6443: {"4711"}}


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("0::/system.slice/k3s.service\n", "k3s.service"),
        ("3:pids:/\n1:name=systemd:/system.slice/k3s-agent.service/init\n", "k3s-agent.service"),
        ("0::/user.slice/session-1.scope\n", ""),
    ],
)
def test_the_unit_of_a_process_is_read_from_either_cgroup_version(text: str, unit: str) -> None:
    assert unit_of(text) == unit


def test_interfaces_of_kubernetes_and_loopback_are_left_out() -> None:
    addresses = [
        {"ifname": name, "addr_info": [{"scope": "global", "local": "10.42.0.1", "prefixlen": 24}]}
        for name in ("lo", "cni0", "flannel.1", "kube-ipvs0", "veth12", "eth0")
    ]
    assert parse_addresses(addresses) == [{"interface": "eth0", "cidr": "10.42.0.1/24"}]


def run(**arguments: Any) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-P", str(MODULE)],  # its folder has a platform.py
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        capture_output=True,
        text=True,
        check=False,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_the_process_that_holds_a_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = f"{server.getsockname()[1]}/tcp"
        host = run(ports=[port], paths=[str(tmp_path / "not/there/yet")])["host"]
    [holder] = host["listeners"]
    assert (holder["port"], holder["process"]) == (port, Path("/proc/self/comm").read_text().strip())
    assert host["filesystems"][str(tmp_path / "not/there/yet")]["total_bytes"] > 0
    assert host["cpus"] == len(os.sched_getaffinity(0))


def test_a_port_without_protocol_is_refused() -> None:
    assert run(ports=["6443"])["msg"] == "ports: found 6443, allowed is number/tcp or number/udp"
