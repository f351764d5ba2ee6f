# SPDX-License-Identifier: GPL-3.0-or-later
"""What cannot work ends in one clear error that names variable, host and remedy, and the next run finishes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from lab import artifacts, hosts, layout, playbook
from lab.cluster import Cluster

HOST = layout.host("data-2")
NOBODY = f"http://{layout.UNUSED_ADDRESS}"
BINARY = "/usr/local/bin/k3s"
IMAGES = "/var/lib/rancher/k3s/agent/images"


@contextmanager
def disturbed(begin: str, end: str) -> Iterator[None]:
    """A host with something wrong, mended afterwards."""
    hosts.run_on(HOST, begin)
    try:
        yield
    finally:
        hosts.run_on(HOST, end)


def failing(name: str, inventory: Path, *options: str) -> str:
    """The output of a run that must fail, with line breaks and escapes of Ansible's printing undone."""
    done = playbook.run(name, inventory, *options)
    assert done.code != 0, done.output[-2000:]
    return " ".join(done.output.replace('\\"', '"').split())


def test_an_inventory_without_servers_is_named(tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(json.dumps({"all": {"children": {"data_plane": {"hosts": {"data-1": {}}}}}}))
    output = failing("site", inventory)
    assert "control_plane" in output
    assert "found 0" in output


def test_all_errors_of_all_projects_are_reported_together_and_nothing_is_changed(platform: Cluster, lab: Path) -> None:
    projects = {
        "one": {"tier": "gold"},
        "Two": {"tier": "pro"},
        "x" * 41: {"tier": "pro"},
        "www": {"tier": "pro"},
        "five": {"tier": "pro", "cpu": "2 cores", "memory": "4GB"},
    }
    output = failing("projects", lab, "-e", json.dumps({"supalove_projects": projects}))
    for found in ("gold", "Two", "x" * 41, "www", "2 cores", "4GB"):
        assert found in output
    assert [record["metadata"]["name"] for record in platform.objects("supaloveprojects", "-A")] == [
        "demo",
        "notes",
        "shop",
    ]


@pytest.mark.usefixtures("platform")
def test_a_host_that_does_not_answer_is_named_before_anything_is_changed(lab: Path) -> None:
    hosts.power_cut(HOST)
    try:
        done = playbook.run("site", lab)
    finally:
        hosts.power_on(HOST)
    assert done.code != 0
    assert done.changes == frozenset()
    assert "data-2: connection: found" in " ".join(done.output.split())


@pytest.mark.usefixtures("platform")
def test_a_mirror_that_is_down_is_named_with_host_and_variable(lab: Path) -> None:
    with disturbed(f"mv {BINARY} {BINARY}.kept", f"mv {BINARY}.kept {BINARY}"):
        output = failing("cluster", lab, "-e", f"k3s_release_url={NOBODY}")
    assert "data-2" in output
    assert f"{NOBODY}/{quote(layout.K3S_VERSION)}/" in output
    assert "k3s_release_url" in output


@pytest.mark.usefixtures("platform")
def test_a_corrupt_download_is_refused_with_both_checksums(lab: Path) -> None:
    good = artifacts.tree() / layout.K3S_VERSION
    bad = artifacts.tree() / "corrupt" / layout.K3S_VERSION
    bad.mkdir(parents=True, exist_ok=True)
    for each in good.iterdir():
        (bad / each.name).write_bytes(each.read_bytes() + (b"\n" if each.name == "k3s" else b""))
    with disturbed(f"mv {BINARY} {BINARY}.kept", f"test -e {BINARY} && echo bad; mv {BINARY}.kept {BINARY}"):
        output = failing("cluster", lab, "-e", f"k3s_release_url=http://{layout.MIRROR_ADDRESS}/corrupt")
        assert "No such file" in hosts.run_on(HOST, f"ls {BINARY} 2>&1")
    assert "data-2" in output
    assert artifacts.sha256(good / "k3s") in output
    assert artifacts.sha256(bad / "k3s") in output


@pytest.mark.usefixtures("platform")
def test_a_full_disk_on_one_host_is_named_with_its_path(lab: Path) -> None:
    with disturbed(f"mount -t tmpfs -o size=64k tmpfs {IMAGES}", f"umount {IMAGES}"):
        output = failing("cluster", lab)
    assert "data-2" in output
    assert IMAGES in output
    assert "free" in output.lower()


def started(host: layout.Host) -> str:
    """When the host's K3s was last started, as systemd remembers it."""
    return hosts.run_on(host, "systemctl show k3s k3s-agent --property=Id,ActiveEnterTimestampMonotonic,NRestarts")


@pytest.mark.usefixtures("platform")
def test_after_all_that_a_run_changes_nothing_and_restarts_nothing(lab: Path) -> None:
    before = [started(host) for host in layout.TOPOLOGIES["cluster"]]
    done = playbook.run("site", lab)
    assert done.code == 0, done.output[-3000:]
    assert done.changes == frozenset()
    assert [started(host) for host in layout.TOPOLOGIES["cluster"]] == before
    print(f"site.yml with nothing to do: {done.seconds():.0f}s")
