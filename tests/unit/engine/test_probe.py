# SPDX-License-Identifier: GPL-3.0-or-later
"""The pod that tries, and its program, which runs here as it is."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.isolation import Part
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Platform
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.probe import PROGRAM, render_probe
from ansible_collections.supalove.platform.plugins.module_utils._engine.verify import dns_question
from fix_ports import free_port

from .builders import objects_of, one

HERE = "127.0.0.1"


@pytest.fixture
def probe() -> Iterator[tuple[int, int, int]]:
    """Its ports: for orders, UDP and TCP."""
    perl = shutil.which("perl")
    assert perl, "Perl is in every Debian and in the images"
    ports = (free_port(), free_port(), free_port())
    with subprocess.Popen([perl, "-e", PROGRAM, *map(str, ports)], stderr=subprocess.PIPE, text=True) as running:
        try:
            await_listening(ports[0])
            yield ports
        finally:
            running.terminate()
            _out, errors = running.communicate(timeout=5)
    assert (running.returncode, errors) == (0, "")


def await_listening(port: int) -> None:
    for _try in range(100):
        try:
            socket.create_connection((HERE, port), timeout=1).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(port)


def answers(port: int, *lines: str) -> list[str]:
    order = "\n".join([f"1 {dns_question('a.b').hex()}", *lines, "", ""])
    with socket.create_connection((HERE, port), timeout=10) as way:
        way.sendall(order.encode())
        said = b""
        while data := way.recv(4096):
            said += data
    return said.decode().splitlines()


def test_a_probe_says_of_each_target_in_order_whether_it_answered(probe: tuple[int, int, int]) -> None:
    orders, udp, tcp = probe
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent, socket.create_server((HERE, 0)) as server:
        silent.bind((HERE, 0))
        targets = [
            f"tcp {HERE} {tcp}",
            f"tcp {HERE} {free_port()}",
            f"udp {HERE} {udp}",
            f"udp {HERE} {silent.getsockname()[1]}",
            f"udp {HERE} {free_port()}",
            f"tcp {HERE} {server.getsockname()[1]}",
        ]
        assert answers(orders, *targets) == ["open", "closed", "open", "closed", "closed", "open"]


def test_a_probe_takes_orders_again_and_from_nowhere_but_its_own_pod(probe: tuple[int, int, int]) -> None:
    orders, _udp, tcp = probe
    for _time in range(2):
        assert answers(orders, f"tcp {HERE} {tcp}") == ["open"]
    assert answers(orders, f"tcp 127.0.0.2 {tcp}", f"tcp 127.0.0.2 {orders}") == ["open", "closed"]


def a_probe(part: Part) -> dict[str, object]:
    return render_probe(Platform(), namespace="p-acme", part=part, node="one", name="probe-1", seconds=60).body


@pytest.mark.parametrize("part", [Part.CLIENT, Part.POOLER, Part.DATABASE])
def test_no_service_and_no_workload_takes_a_probe_for_its_own(part: Part) -> None:
    labels = a_probe(part)["metadata"]["labels"]  # type: ignore[index]
    for kind, name in (("Service", "pooler"), ("Service", "postgresql")):
        assert not one(kind, name)["spec"]["selector"].items() <= labels.items()
    for kind, name in (("Deployment", "pooler"), ("StatefulSet", "postgresql")):
        assert not one(kind, name)["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_probes_of_a_project_fit_into_its_quota_beside_its_pods_and_a_poolers_successor() -> None:
    """A pod and a pooler on each of two nodes, and a database."""
    probes = 5
    limits = a_probe(Part.CLIENT)["spec"]["containers"][0]["resources"]["limits"]  # type: ignore[index]
    hard = one("ResourceQuota", "project", objects_of())["spec"]["hard"]
    assert probes + 3 <= int(hard["pods"])
    assert (limits["cpu"], limits["memory"]) == ("80m", "32Mi")
    assert probes * 80 <= 500
    assert probes * 32 <= 512


def test_a_probe_keeps_to_the_restricted_profile_and_ends_by_itself() -> None:
    spec: dict[str, object] = a_probe(Part.CLIENT)["spec"]  # type: ignore[assignment]
    assert spec["automountServiceAccountToken"] is False
    assert spec["activeDeadlineSeconds"] == 60
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}  # type: ignore[index]
    container = spec["containers"][0]  # type: ignore[index]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
