# SPDX-License-Identifier: GPL-3.0-or-later
"""Three more moments at which a run may end. `make test-long` runs them; docs/development.md has the last result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lab import cluster, hosts, interrupt, layout, playbook

pytestmark = pytest.mark.long

SECONDS = 240
SERVER, AGENT = layout.host("control-1"), layout.host("data-1")
BINARY, UNIT = "/usr/local/bin/k3s", "/etc/systemd/system/k3s.service"


def converged(inventory: Path, *options: str) -> None:
    """One run finishes, the next changes nothing."""
    done = playbook.run("site", inventory, *options)
    assert done.code == 0, done.output[-3000:]
    assert playbook.run("site", inventory, *options).changes == frozenset()


def test_a_kill_between_the_binary_and_the_unit(lab: Path) -> None:
    hosts.renew(layout.TOPOLOGIES["cluster"])
    interrupt.at(lambda: hosts.has_path(SERVER, BINARY), ("site", lab), SECONDS)
    assert not hosts.has_path(SERVER, UNIT)
    converged(lab)


def test_a_kill_between_a_new_setting_and_the_restart_that_it_needs(lab: Path) -> None:
    setting = json.dumps({"k3s_kubelet_args": {"streaming-connection-idle-timeout": "7m"}})
    seen = "grep -c idle-timeout=7m /etc/rancher/k3s/config.yaml"
    interrupt.at(lambda: hosts.run_on(AGENT, seen).strip() == "1", ("site", lab, "-e", setting), SECONDS)
    running = "pgrep -af '^kubelet' | grep -c idle-timeout=7m"
    assert hosts.run_on(AGENT, running).strip() == "0"
    converged(lab, "-e", setting)
    assert hosts.run_on(AGENT, running).strip() == "1"
    converged(lab)


def test_a_power_cut_of_the_server_while_the_engine_applies(lab: Path) -> None:
    projects = json.dumps({"supalove_projects": {"demo": {"tier": "pro"}, "second": {"tier": "pro"}}})
    command = cluster.of_lab().command("get", "namespace", "p-second", "-o", "name", "--request-timeout=2s")

    def begun() -> bool:
        return playbook.succeeds(command)

    def reboot() -> None:
        hosts.power_cut(SERVER)
        hosts.power_on(SERVER)

    interrupt.at(begun, ("site", lab, "-e", projects), SECONDS, reboot)
    converged(lab, "-e", projects)
    phases = {r["metadata"]["name"]: r["status"]["phase"] for r in cluster.of_lab().objects("supaloveprojects", "-A")}
    assert phases == {"demo": "Ready", "second": "Ready"}
