# SPDX-License-Identifier: GPL-3.0-or-later
"""End-to-end tests on the lab's hosts. They share one cluster; each leaves it converged, or makes it anew."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab import artifacts, binaries, cluster, hosts, inventory, layout, playbook

INVENTORY = layout.INVENTORIES["cluster"]


@pytest.fixture(scope="session")
def lab() -> Path:
    """Three hosts that run, in whatever state they are; the inventory's path."""
    members = layout.TOPOLOGIES["cluster"]
    binaries.build_all()
    artifacts.build()
    hosts.up(members)
    inventory.write(members, INVENTORY)
    return INVENTORY


@pytest.fixture(scope="session")
def platform(lab: Path) -> cluster.Cluster:
    """The cluster with its demo project, converged by site.yml."""
    done = playbook.run("site", lab)
    assert done.code == 0, done.output[-3000:]
    return cluster.of_lab()
