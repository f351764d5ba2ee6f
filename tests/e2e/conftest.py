# SPDX-License-Identifier: GPL-3.0-or-later
"""End-to-end tests on the lab's hosts. They share one cluster; each leaves it converged, or makes it anew."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab import artifacts, binaries, cluster, hosts, inventory, layout, playbook, report

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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failure on a machine that is gone tomorrow: what the lab looked like is kept beside the reports."""
    told = yield
    if told.failed and "platform" in getattr(item, "fixturenames", ()):
        with contextlib.suppress(SystemExit, OSError):
            told.sections.append(("the lab", f"as it was: {report.write(item.name, cluster.of_lab())}"))
    return told
