# SPDX-License-Identifier: GPL-3.0-or-later
"""What a virtual machine of the lab is given, and what is taken for one. None is started here."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab import inventory, layout, vm
from lab.standin import components

HOST = layout.host("gvisor-1")
IMAGES = layout.CHECKOUT / "tests/lab/images"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a machine's own files."""
    monkeypatch.setenv("SUPALOVE_CACHE", str(tmp_path))
    made = tmp_path / "lab/vm" / HOST.name
    made.mkdir(parents=True)
    return made


def test_a_process_that_has_got_the_number_of_a_machine_is_not_taken_for_it(folder: Path) -> None:
    (folder / "pid").write_text(f"{os.getpid()}\n")
    assert vm.state(HOST) == "absent"
    vm.stop(HOST)
    assert not folder.exists()


def test_the_seed_has_the_address_and_keys_that_the_lab_knows(folder: Path) -> None:
    (folder / "ssh_host_ed25519_key").write_text("private")
    (folder / "ssh_host_ed25519_key.pub").write_text("public")
    vm._write_seed(HOST, "ours")
    with tarfile.open(folder / "seed.tar") as seed:
        found = {one.name: (one.mode, (seed.extractfile(one) or pytest.fail(one.name)).read()) for one in seed}
    assert found["root/.ssh/authorized_keys"] == (0o600, b"ours")
    assert found["etc/ssh/ssh_host_ed25519_key"] == (0o600, b"private")
    # Without it no pod gets a sandbox: "open /etc/resolv.conf: no such file or directory".
    assert "etc/resolv.conf" in found
    network = found["etc/systemd/network/10-lab.network"][1].decode()
    assert f"Address={HOST.address}/24" in network
    assert f"Destination={layout.METADATA_ADDRESS}/32\nGateway={layout.OUTSIDE_GATEWAY}" in network
    # A disk is of whole sectors.
    assert (folder / "seed.tar").stat().st_size % 512 == 0


def test_a_machine_is_emulated_and_its_disk_is_left_as_it_is(folder: Path) -> None:
    told = vm._command(HOST, folder)
    assert told[told.index("-accel") + 1].startswith("tcg,")
    assert not any("kvm" in word for word in told)
    disks = [told[place + 1] for place, word in enumerate(told) if word == "-drive"]
    assert [disk.split(",")[0] for disk in disks] == ["snapshot=on", "readonly=on", "readonly=on"]


def test_a_machine_has_every_package_of_the_other_hosts() -> None:
    host, machine = (
        set(yaml.safe_load((IMAGES / name / "recipe.yml").read_text())["debian"]["packages"]) for name in ("host", "vm")
    )
    assert host - machine == set()


def test_an_emulated_host_gets_few_images_and_every_other_one_all() -> None:
    archives: dict[str, Any] = {name: {} for name in ("pgbouncer", "gotrue", "postgrest", "postgresql", "traefik")}
    assert inventory._variables(HOST, archives)["k3s_image_archives"].keys() == {"pgbouncer", "gotrue", "postgrest"}
    assert "k3s_image_archives" not in inventory._variables(layout.host("data-1"), archives)


@pytest.mark.parametrize("confined", [True, False])
def test_only_a_node_in_a_container_does_without_rights_over_its_processes(*, confined: bool) -> None:
    told = components.containerd(Path("/agent"), "pause:1", "overlayfs", "/socket", confined=confined)
    assert f"restrict_oom_score_adj = {str(confined).lower()}" in told
