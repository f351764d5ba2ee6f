# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab looked like when a test failed: objects, the pods' last words, and what each host's kernel was told."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from . import hosts, layout
from .cluster import Cluster

SECONDS = 30
OBJECTS = ("nodes", "pods", "endpointslices", "networkpolicies", "jobs")
# As one command each, so that one that hangs does not take the others with it.
OF_A_HOST = (
    "nft list table inet k3s_network_policy",
    "ip route",
    "journalctl --no-pager -n 60 -u 'k3s*'",
    "df -h /var/lib/rancher; free -m; uptime",
)


def write(name: str, found: Cluster) -> Path:
    """Write it beside the test reports; the file's path. What cannot be had is said in its place."""
    folder = Path(os.environ.get("SUPALOVE_CHECKOUT_CACHE") or layout.state()) / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name[:120]}.lab"
    with path.open("w", encoding="utf-8") as file:
        for command in _commands(found):
            file.write(f"$ {' '.join(command)[-200:]}\n{_output(command)}\n\n")
    return path


def _commands(found: Cluster) -> Iterator[list[str]]:
    for kind in OBJECTS:
        yield found.command("get", kind, "-A", "-o", "wide")
    yield found.command("get", "events", "-A", "--sort-by=.metadata.creationTimestamp")
    for pod in _output(found.command("get", "pods", "-A", "-o", PLACES)).splitlines():
        namespace, _, name = pod.partition("/")
        yield found.command("logs", "-n", namespace, name, "--all-containers", "--prefix", "--tail=40")
    for host in layout.TOPOLOGIES["cluster"]:
        yield from (hosts.ssh_command(host, command) for command in OF_A_HOST)


PLACES = r"jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name}{'\n'}{end}"


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return f"nothing within {SECONDS} s"
    return done.stdout + done.stderr
