# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of disks: what the role blockio writes, read by a real containerd, and what its containers' cgroups have."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.database import DISK_CLASS_ANNOTATION
from fix_containerd import PLUGIN, RESTARTED, Node, limit
from lab import binaries

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "images"))

from builder import archive
from builder.recipe import Config

TIER = {"cpu": 1, "memory": "1Gi", "storage": "10Gi"}
TIERS = {"pro": {**TIER, "read_iops": 500, "write_iops": 200}, "free": TIER}
CLASS = "supalove-r500-w200"
TASKS = "io.containerd.service.v1.tasks-service"
CGROUPS = Path("/sys/fs/cgroup")
PAUSE = "docker.io/library/pause:1"
DISKS = [str(path) for path in sorted(Path("/dev").iterdir()) if path.is_block_device() and path.name[:2] != "md"]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@pytest.fixture
def disk(tmp_path: Path) -> str:
    """The disk that the test's own files are on."""
    number = os.stat(tmp_path).st_dev
    name = f"{os.major(number)}:{os.minor(number)}"
    found = Path("/sys/dev/block", name)
    if not found.exists() or found.joinpath("partition").exists() or not Path("/dev", found.resolve().name).exists():
        pytest.skip(f"the test's files are on no whole disk that is seen here ({name})")
    return f"/dev/{found.resolve().name}"


def limited(node: Node, *devices: str, **given: Any) -> str:
    """What the role does on a host that can be limited."""
    code, output = node.limit(**{"blockio_devices": list(devices), "supalove_tiers": TIERS, **given})
    assert code == 0, output
    return output


@pytest.mark.skipif(not DISKS, reason="there is no block device here")
def test_containerd_is_told_of_the_classes_beside_what_k3s_says_and_a_second_run_changes_nothing(node: Node) -> None:
    before = node.dumped()["plugins"]
    limited(node, DISKS[0])
    after = node.dumped()["plugins"]
    assert after[TASKS].pop("blockio_config_file") == str(node.classes)
    before[TASKS].pop("blockio_config_file")
    assert after == before
    assert yaml.safe_load(node.classes.read_text()) == {
        "Classes": {CLASS: [{"Devices": [DISKS[0]], "ThrottleReadIOPS": "500", "ThrottleWriteIOPS": "200"}]}
    }
    second = limited(node, DISKS[0])
    assert ("changed=0" in second, RESTARTED in second) == (True, False)


@pytest.mark.skipif(not DISKS, reason="there is no block device here")
def test_other_figures_are_another_configuration_and_the_old_class_stays_for_pods_that_name_it(node: Node) -> None:
    limited(node, DISKS[0])
    (drop_in,) = node.drop_ins.iterdir()
    before = drop_in.read_text()
    output = limited(node, DISKS[0], supalove_tiers={"pro": {**TIER, "write_iops": 300}})
    assert RESTARTED in output
    assert drop_in.read_text() != before
    assert set(yaml.safe_load(node.classes.read_text())["Classes"]) == {CLASS, "supalove-w300"}


@pytest.mark.skipif(not DISKS, reason="there is no block device here")
def test_a_check_writes_nothing(node: Node) -> None:
    code, output = node.limit("--check", blockio_devices=[DISKS[0]], supalove_tiers=TIERS)
    assert code == 0, output
    assert not node.classes.exists()
    assert not node.drop_ins.exists()


def test_disks_that_nothing_can_limit_are_refused_together_and_nothing_is_written(node: Node) -> None:
    devices = ["/dev/null", "/nowhere/disk", *DISKS[:1]]
    if DISKS:
        node.folder.joinpath("sysfs", Path(DISKS[0]).resolve().name).mkdir(parents=True)
        node.folder.joinpath("sysfs", Path(DISKS[0]).resolve().name, "partition").write_text("1\n")
    code, output = node.limit(
        blockio_devices=devices,
        supalove_tiers=TIERS,
        __blockio_sysfs=str(node.folder / "sysfs"),
        __blockio_controllers_file="/nowhere/cgroup.controllers",
    )
    assert code != 0
    assert "/dev/null, /nowhere/disk in blockio_devices is no block device here" in output
    assert "/nowhere/cgroup.controllers does not name io" in output
    assert not DISKS or f"{DISKS[0]} in blockio_devices is a partition; name its whole disk" in output
    assert not node.classes.exists()


def test_a_host_whose_disks_nobody_named_is_refused(node: Node) -> None:
    code, output = node.limit(supalove_tiers=TIERS)
    assert code != 0
    assert "blockio_devices names no disk" in output


def ignoring(node: Node, said: str, *, file: str = "config-v3.toml.d/10-own.toml") -> str:
    """Have a file of the configuration say this in the table of the CRI; its path."""
    path = node.made.parent / file
    path.parent.mkdir(exist_ok=True)
    table = f"[plugins.'{PLUGIN}']\n"
    before = path.read_text() if path.exists() else "version = 3\n"
    before = before if table in before else before + table
    path.write_text(before.replace(table, f"{table}{said}\n"))
    return str(path)


@pytest.mark.parametrize("file", ["config.toml", "config-v3.toml.tmpl", "config-v3.toml.d/10-own.toml"])
def test_a_drop_in_that_has_pods_start_without_their_limits_was_not_read_and_is_refused(node: Node, file: str) -> None:
    node.template.write_text('{{ template "base" . }}\n')
    path = ignoring(node, "  ignore_blockio_not_enabled_errors = true", file=file)
    code, output = node.limit(blockio_devices=["/nowhere/disk"], supalove_tiers=TIERS)
    assert code != 0
    assert f"{path} has ignore_blockio_not_enabled_errors = true, with which pods run without the limits" in output
    assert "/nowhere/disk in blockio_devices is no block device here" in output
    assert not node.classes.exists()


@pytest.mark.skipif(not DISKS, reason="there is no block device here")
@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ("\tignore_blockio_not_enabled_errors=true # ours", True),
        ("'ignore_blockio_not_enabled_errors' = true", True),
        ("x = 1\n[plugins]\n'io.containerd.cri.v1.runtime'.ignore_blockio_not_enabled_errors = true", True),
        ("  # ignore_blockio_not_enabled_errors = true", False),
        ("  ignore_blockio_not_enabled_errors = false", False),
    ],
    ids=["indented by a tab", "quoted", "behind its table", "in a comment", "off"],
)
def test_pods_start_without_their_limits_however_it_is_written(node: Node, said: str, *, refused: bool) -> None:
    path = ignoring(node, said)
    code, output = node.limit(blockio_devices=DISKS[:1], supalove_tiers=TIERS)
    assert ((code != 0), f"{path} has ignore_blockio_not_enabled_errors" in output) == (refused, refused), output


@pytest.mark.skipif(not DISKS, reason="there is no block device here")
def test_a_drop_in_that_is_a_link_is_read_as_containerd_reads_it(node: Node) -> None:
    path = Path(ignoring(node, "ignore_blockio_not_enabled_errors = true"))
    path.rename(node.folder / "own")
    path.symlink_to(node.folder / "own")
    code, output = node.limit(blockio_devices=DISKS[:1], supalove_tiers=TIERS)
    assert code != 0
    assert f"{path} has ignore_blockio_not_enabled_errors" in output


@pytest.mark.skipif(not DISKS, reason="there is no block device here")
def test_a_second_host_that_is_refused_after_the_first_was_written_and_restarted(tmp_path: Path) -> None:
    nodes = [Node(tmp_path / name) for name in ("first", "second")]
    ignoring(nodes[1], "ignore_blockio_not_enabled_errors = true")
    code, output = limit(nodes, blockio_devices=DISKS[:1], supalove_tiers=TIERS)
    assert (code != 0, RESTARTED in output) == (True, False)
    assert "Nothing was changed. host-1 cannot keep to read_iops" in output
    assert not nodes[0].classes.exists()


@pytest.mark.skipif(not DISKS, reason="there is no block device here")
@pytest.mark.parametrize("edited", [None, "Classes: {}\n"], ids=["lost", "edited"])
def test_a_class_file_that_was_written_back_while_containerd_kept_another(node: Node, edited: str | None) -> None:
    assert RESTARTED in limited(node, DISKS[0])
    before = node.classes.read_text()
    if edited is None:
        node.classes.unlink()
    else:
        node.classes.write_text(edited)
    # The run that writes it back is killed before K3s is restarted, so the next one finds the file as it should be.
    code, _ = node.limit(blockio_devices=DISKS[:1], supalove_tiers=TIERS, restart_fails=True)
    assert (code != 0, node.classes.read_text()) == (True, before)
    assert RESTARTED in limited(node, DISKS[0])
    third = limited(node, DISKS[0])
    assert ("changed=0" in third, RESTARTED in third) == (True, False)


@pytest.mark.skipif(not DISKS, reason="there is no block device here")
def test_a_check_says_that_a_lost_class_file_restarts_k3s(node: Node) -> None:
    limited(node, DISKS[0])
    node.classes.unlink()
    assert RESTARTED in node.limit("--check", blockio_devices=DISKS[:1], supalove_tiers=TIERS)[1]
    assert not node.classes.exists()


class Pods:
    """Pods of one container each, by the real CRI of a containerd that runs."""

    def __init__(self, node: Node) -> None:
        self.folder = node.folder
        self.parent = f"supalove-test-{uuid.uuid4().hex[:8]}"
        address = f"unix://{node.folder / 'containerd.sock'}"
        program = binaries.ensure(binaries.target("crictl")) / "crictl"
        self._crictl = [str(program), "--runtime-endpoint", address, "--image-endpoint", address]
        self._ctr = [str(binaries.ensure(binaries.target("containerd")) / "ctr"), "--address", address[7:]]
        self._made: list[str] = []

    def load(self) -> None:
        """Give it the image of the sandbox, of which the container is made, too."""
        root, layer, image = (self.folder / name for name in ("root", "layer.tar", "image.tar"))
        root.mkdir()
        program = binaries.ensure(binaries.target("pause")) / "pause"
        root.joinpath("pause").write_bytes(program.read_bytes())
        root.joinpath("pause").chmod(0o755)
        archive.pack(root, layer)
        archive.write_docker_archive(layer, Path(f"{image}.zst"), Config(entrypoint=("/pause",)), PAUSE, "amd64")
        subprocess.run(["zstd", "-qd", f"{image}.zst", "-o", str(image)], check=True)
        subprocess.run([*self._ctr, "-n", "k8s.io", "images", "import", str(image)], check=True, capture_output=True)

    def make(self, name: str) -> subprocess.CompletedProcess[str]:
        """A pod whose class is `name`, and its container, which is started if it could be made."""
        pod = {
            "metadata": {"name": name, "namespace": "test", "uid": name, "attempt": 1},
            "annotations": {DISK_CLASS_ANNOTATION: name},
            "linux": {"cgroup_parent": f"/{self.parent}", "security_context": {"namespace_options": {"network": 2}}},
        }
        container = {"metadata": {"name": "postgresql", "attempt": 1}, "image": {"image": PAUSE}, "linux": {}}
        files = {"pod.json": pod, "container.json": container}
        for file, content in files.items():
            self.folder.joinpath(file).write_text(json.dumps(content))
        sandbox = self._call("runp", "pod.json")
        assert sandbox.returncode == 0, sandbox.stderr
        self._made.append(sandbox.stdout.strip())
        made = self._call("create", self._made[-1], *reversed(files))
        if made.returncode == 0:
            assert self._call("start", made.stdout.strip()).returncode == 0
        return made

    def remove(self) -> None:
        for sandbox in self._made:
            self._call("rmp", "--force", sandbox)
        for folder in (CGROUPS / self.parent, *CGROUPS.glob(f"*/{self.parent}")):
            with contextlib.suppress(OSError):
                folder.rmdir()

    def limits(self, container: str) -> dict[str, str]:
        """What the kernel has for a container, by disk: reads and writes a second, of either version of cgroups."""
        first = CGROUPS / self.parent / container / "io.max"
        if first.exists():
            return dict(line.split(" ", 1) for line in first.read_text().splitlines())
        folder = CGROUPS / "blkio" / self.parent / container
        if not folder.exists():
            pytest.skip("the kernel's controller of disks is not there")
        read, write = (
            dict(line.split() for line in (folder / f"blkio.throttle.{what}_iops_device").read_text().splitlines())
            for what in ("read", "write")
        )
        return {disk: f"rbps=max wbps=max riops={read[disk]} wiops={write[disk]}" for disk in read}

    def _call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*self._crictl, *arguments]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)


@pytest.fixture
def pods(node: Node, disk: str) -> Iterator[Pods]:
    """A containerd that knows the class for the disk of the test."""
    limited(node, disk)
    found = Pods(node)
    with node.running():
        try:
            found.load()
            yield found
        finally:
            found.remove()


@pytest.mark.skipif(os.geteuid() != 0, reason="containerd has to be root")
def test_a_container_has_the_limits_of_its_class_and_one_of_an_unknown_class_is_not_made(pods: Pods, disk: str) -> None:
    number = os.stat(disk).st_rdev
    made = pods.make(CLASS)
    assert made.returncode == 0, made.stderr
    found = pods.limits(made.stdout.strip())
    assert found == {f"{os.major(number)}:{os.minor(number)}": "rbps=max wbps=max riops=500 wiops=200"}
    refused = pods.make("supalove-r900")
    assert refused.returncode != 0
    assert "no OCI BlockIO parameters for class" in refused.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="containerd has to be root")
def test_a_containerd_that_knows_no_classes_makes_no_container_that_names_one(node: Node) -> None:
    pods = Pods(node)
    with node.running():
        try:
            pods.load()
            refused = pods.make(CLASS)
            assert refused.returncode != 0
            assert "blockio disabled, refusing to set blockio class" in refused.stderr
        finally:
            pods.remove()
