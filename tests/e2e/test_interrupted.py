# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that are killed, and a host whose power fails: the next run finishes what they began.

Each test begins where the one before was stopped, from clean hosts to a converged platform.
"""

from __future__ import annotations

import json
import re
import ssl
import urllib.request
from pathlib import Path

import pytest
from lab import cluster, hosts, interrupt, layout, playbook

SECONDS = 240
SERVER = layout.host("control-1")
JOINER = layout.host("data-1")
AGENT_TOKEN = "/etc/rancher/k3s/agent-token"  # a path, no secret


@pytest.fixture(scope="module")
def clean(lab: Path) -> Path:
    """The same hosts, new."""
    hosts.renew(layout.TOPOLOGIES["cluster"])
    return lab


def server_answers() -> bool:
    """Whether K3s' supervisor is up; it says so without asking who wants to know."""
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    try:
        with urllib.request.urlopen(f"https://{SERVER.address}:6443/ping", context=trusting, timeout=1) as answer:
            return bool(answer.read() == b"pong")
    except OSError:
        return False


def phases() -> dict[str, str]:
    """The projects that have a record, and how far they are."""
    records = cluster.of_lab().objects("supaloveprojects", "-A")
    return {record["metadata"]["name"]: record.get("status", {}).get("phase", "") for record in records}


def record_exists() -> bool:
    """A project's record is the first thing that the engine writes of it."""
    command = ("get", "supaloveprojects", "demo", "-n", "supalove-system", "--request-timeout=2s")
    return playbook.succeeds(cluster.of_lab().command(*command))


def test_a_kill_while_the_server_is_up_but_its_token_unread(clean: Path) -> None:
    interrupt.at(server_answers, ("site", clean), SECONDS)
    assert not any(hosts.has_path(host, AGENT_TOKEN) for host in layout.TOPOLOGIES["cluster"][1:])


def test_a_power_cut_of_a_host_during_its_join_is_named_by_the_run(lab: Path) -> None:
    """The host is lost while a task is on it, or found missing among the nodes."""
    run = ("site", lab, "-e", json.dumps({"k3s_ready_timeout_seconds": 20}))
    code, output = interrupt.at(
        lambda: hosts.has_path(JOINER, AGENT_TOKEN), run, SECONDS, lambda: hosts.power_cut(JOINER)
    )
    hosts.power_on(JOINER)
    assert code != 0
    assert re.search(r"fatal: \[data-1\]: UNREACHABLE|last seen: data-1", output), output[-2000:]


def test_a_kill_while_the_engine_applies(lab: Path) -> None:
    interrupt.at(record_exists, ("site", lab), SECONDS)
    assert phases()["demo"] != "Ready"


def test_the_next_run_converges(lab: Path) -> None:
    done = playbook.run("site", lab)
    assert done.code == 0, done.output[-3000:]
    assert phases() == dict.fromkeys(("demo", "notes", "shop"), "Ready")
    assert len(cluster.of_lab().objects("nodes")) == len(layout.TOPOLOGIES["cluster"])
