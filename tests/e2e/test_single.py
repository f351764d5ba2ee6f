# SPDX-License-Identifier: GPL-3.0-or-later
"""inventories/single converges on one host, and its tenant answers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import hosts, inventory, layout, playbook
from lab.cluster import Cluster
from lab.leaks import VAULT_TOKEN, Needles, generated, tokens_of

MEMBERS = layout.TOPOLOGIES["single"]
LAB_TRAITS = f"@{layout.CHECKOUT / 'inventories/lab/group_vars/all/lab.yml'}"


@pytest.fixture(scope="module")
def single(lab: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:  # noqa: ARG001  (the mirror runs)
    """A copy of the inventory, as a user makes one, with a lab host's address in it."""
    copy = tmp_path_factory.mktemp("site") / "single"
    shutil.copytree(layout.CHECKOUT / "inventories/single", copy)
    hosts.renew(MEMBERS)
    inventory.write(MEMBERS, copy / "hosts.yml")
    yield copy
    hosts.down(MEMBERS)


def test_one_machine_in_both_pools_runs_the_platform_and_its_tenant(single: Path) -> None:
    done = playbook.run("site", single, "-e", LAB_TRAITS, "-vvvv")
    assert done.code == 0, done.output[-3000:]
    found = Cluster(kubeconfig=single / ".kube/supalove.yaml")
    (node,) = found.objects("nodes")
    assert {"node.supalove.cloud/control-plane", "node.supalove.cloud/data-plane"} <= node["metadata"]["labels"].keys()
    assert "taints" not in node["spec"]
    found.start_client("p-demo")
    assert found.psql("p-demo", "SELECT 6 * 7;").stdout.strip() == "42"
    assert_shows_none(done.output, found, single)


def assert_shows_none(output: str, found: Cluster, single: Path) -> None:
    """The first run of all makes every secret there is: the keys of Vault and its root token among them."""
    made = {**generated(found.objects("secrets", "-A")), **tokens_of(single / ".kube", MEMBERS[0])}
    assert any("vault-keys.json" in name for name in made)
    assert Needles(made).found_in(output) == []
    assert not VAULT_TOKEN.search(output)


def test_a_second_run_changes_nothing(single: Path) -> None:
    again = playbook.run("site", single, "-e", LAB_TRAITS)
    assert again.code == 0, again.output[-3000:]
    assert again.changes == frozenset()
