# SPDX-License-Identifier: GPL-3.0-or-later
"""The ports of the tests' own servers."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import fix_ports
from fix_ports import FIRST, HERE, free_port

OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")


def test_no_outgoing_connection_takes_a_servers_port_before_the_server_does():
    first, _last = map(int, OUTGOING.read_text().split())
    ports = [free_port() for _ in range(50)]
    assert min(ports) >= FIRST
    assert max(ports) < first
    assert len(set(ports)) == len(ports)


def test_a_port_that_somebody_listens_on_is_passed_over(monkeypatch):
    taken, other = free_port(), free_port()
    monkeypatch.setattr(fix_ports, "_numbers", iter([taken, other]))
    monkeypatch.setattr(fix_ports, "_claim", lambda _port: True)
    with socket.create_server((HERE, taken)):
        assert free_port() == other


def test_no_other_process_gets_a_port_while_the_one_lives_that_was_given_it():
    program = f"import fix_ports; print(fix_ports._claim({free_port()}))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
