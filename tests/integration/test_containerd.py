# SPDX-License-Identifier: GPL-3.0-or-later
"""What the roles of runtimes write, read by a real containerd; and hosts that they leave alone. No pod runs here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab import binaries
from lab.standin import components

ROLES = Path(__file__).parents[2] / "roles"
PLUGIN = "io.containerd.cri.v1.runtime"
PLATFORM = {"runtime_classes": {"gvisor": {}, "kata": {}}}
BASE = '{{ template "base" . }}'
START_SECONDS = 30


class Node:
    """A host's directories below a folder, on which roles' tasks run as they are; nothing is restarted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.agent = folder / "agent"
        self.made = self.agent / "etc/containerd/config.toml"
        self.template = self.made.with_name("config-v3.toml.tmpl")
        self.drop_ins = self.made.with_name("config-v3.toml.d")
        self.shim_config = folder / "etc/runsc.toml"
        self.made.parent.mkdir(parents=True)
        self.write_base()

    def write_base(self, *, imports: bool = True, systemd: bool = False) -> None:
        """What K3s makes of its own template."""
        text = components.containerd(
            self.agent, "pause:1", "native", str(self.folder / "containerd.sock"), confined=True
        )
        lines = [line for line in text.splitlines() if imports or not line.startswith("imports")]
        text = "\n".join(lines).replace("/run/k3s/containerd", str(self.folder / "state")) + "\n"
        self.base = text.replace("SystemdCgroup = false", f"SystemdCgroup = {str(systemd).lower()}")
        own = self.template.read_text() if self.template.exists() else BASE
        self.made.write_text(own.replace(BASE, self.base))

    def configure(self, *runtimes: str) -> tuple[int, str]:
        """Everything of the roles' `configure` but the restart."""
        steps: list[dict[str, Any]] = []
        for runtime in runtimes:
            tasks = yaml.safe_load((ROLES / f"runtime_{runtime}/tasks/configure.yml").read_text())
            (described,) = (task for task in tasks if "vars" in task)
            steps += [_of_role("containerd_runtime", "preflight")]
            steps += [task for task in tasks if {"ansible.builtin.file", "ansible.builtin.template"} & task.keys()]
            steps += [{**_of_role("containerd_runtime", "configure"), "vars": described["vars"]}]
        files = [str(ROLES / f"runtime_{one}/{part}/main.yml") for one in runtimes for part in ("defaults", "vars")]
        for step in steps:
            if "ansible.builtin.template" in step:
                source = ROLES / "runtime_gvisor/templates" / step["ansible.builtin.template"]["src"]
                step["ansible.builtin.template"]["src"] = str(source)
        return play(
            self.folder,
            [{"hosts": "all", "gather_facts": False, "vars_files": files, "tasks": steps}],
            __containerd_runtime_dir=str(self.made.parent),
            __runtime_gvisor_shim_config=str(self.shim_config),
        )

    def dumped(self) -> dict[str, Any]:
        """What containerd makes of it. Raises CalledProcessError if that is nothing."""
        done = subprocess.run(
            [str(binary("containerd")), "--config", str(self.made), "config", "dump"],
            capture_output=True,
            check=True,
        )
        return tomllib.loads(done.stdout.decode())

    def runtimes(self) -> dict[str, Any]:
        found: dict[str, Any] = self.dumped()["plugins"][PLUGIN]["containerd"]["runtimes"]
        return found


def _of_role(name: str, tasks: str) -> dict[str, Any]:
    return {"ansible.builtin.include_role": {"name": str(ROLES / name), "tasks_from": tasks}}


def binary(name: str) -> Path:
    return binaries.ensure(binaries.target("containerd")) / name


def play(folder: Path, plays: list[dict[str, Any]], *options: str, hosts: str = "localhost,", **extra: Any) -> Any:
    """Run a playbook on this machine; exit code and output as one line."""
    folder.joinpath("play.yml").write_text(yaml.safe_dump(plays))
    given = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "supalove_platform": PLATFORM}
    variables = json.dumps({**given, **extra})
    done = subprocess.run(
        ["ansible-playbook", f"--inventory={hosts}", f"--extra-vars={variables}", *options, "play.yml"],
        cwd=folder,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_both_runtimes_are_known_beside_what_k3s_says(node: Node) -> None:
    before = node.dumped()["plugins"][PLUGIN]
    code, output = node.configure("gvisor", "kata")
    assert code == 0, output
    after = node.dumped()["plugins"][PLUGIN]
    runsc, kata = (after["containerd"]["runtimes"].pop(name) for name in ("runsc", "kata-qemu"))
    assert after == before
    assert runsc["runtime_type"] == "io.containerd.runsc.v1"
    assert runsc["runtime_path"] == "/opt/supalove/gvisor-20260921.0/containerd-shim-runsc-v1"
    assert runsc["options"] == {"TypeUrl": "io.containerd.runsc.v1.options", "ConfigPath": str(node.shim_config)}
    assert kata["runtime_type"] == "io.containerd.kata-qemu.v2"
    assert kata["runtime_path"] == "/opt/kata/bin/containerd-shim-kata-v2"
    # By these a tenant could give orders to the hypervisor.
    assert not kata["pod_annotations"]
    assert not node.template.exists()
    assert "changed=0" in node.configure("gvisor", "kata")[1]


@pytest.mark.skipif(os.geteuid() != 0, reason="containerd has to be root")
def test_containerd_starts_with_both(node: Node) -> None:
    assert node.configure("gvisor", "kata")[0] == 0
    log, address = node.folder / "log", str(node.folder / "containerd.sock")
    with log.open("w") as file:
        running = subprocess.Popen([str(binary("containerd")), "--config", str(node.made)], stderr=file)
    try:
        end = time.monotonic() + START_SECONDS
        while "containerd successfully booted" not in log.read_text():
            assert running.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        listed = subprocess.run(
            [str(binary("ctr")), "--address", address, "plugins", "list"], capture_output=True, text=True, check=True
        ).stdout
        states = {words[1]: words[-1] for line in listed.splitlines() if len(words := line.split()) > 2}
        assert states["cri"] == "ok"
        (told,) = (line for line in log.read_text().splitlines() if "starting cri plugin" in line)
        assert r"\"runsc\":{\"runtimeType\":\"io.containerd.runsc.v1\"" in told
        assert r"\"kata-qemu\":{\"runtimeType\":\"io.containerd.kata-qemu.v2\"" in told
    finally:
        running.terminate()
        running.wait(timeout=30)


def test_a_k3s_without_drop_ins_gets_a_template_and_gives_it_up_when_it_is_upgraded(node: Node) -> None:
    node.write_base(imports=False)
    code, output = node.configure("gvisor", "kata")
    assert code == 0, output
    assert node.template.read_text().splitlines()[0] == BASE
    assert not node.drop_ins.exists()
    node.write_base(imports=False)
    assert {"runc", "runsc", "kata-qemu"} == node.runtimes().keys()
    assert "changed=0" in node.configure("gvisor", "kata")[1]
    # A new K3s reads the template as well as drop-ins, before and after the roles have run.
    node.write_base()
    assert {"runc", "runsc", "kata-qemu"} == node.runtimes().keys()
    assert node.configure("gvisor", "kata")[0] == 0
    assert node.template.read_text().strip() == BASE
    node.write_base()
    assert {"runc", "runsc", "kata-qemu"} == node.runtimes().keys()


@pytest.mark.parametrize(("systemd", "flags"), [(False, {}), (True, {"systemd-cgroup": "true"})])
def test_gvisors_cgroup_driver_is_that_of_the_node(node: Node, *, systemd: bool, flags: dict[str, str]) -> None:
    node.write_base(systemd=systemd)
    assert node.configure("gvisor")[0] == 0
    said = tomllib.loads(node.shim_config.read_text())
    assert said["binary_name"] == "/opt/supalove/gvisor-20260921.0/runsc"
    assert said["runsc_config"] == {"platform": "systrap", **flags}


@pytest.mark.parametrize(
    ("template", "made", "told"),
    [
        ("version = 3\n", None, "does not contain {{ template"),
        (None, "version = 2\n", "is not of version 3"),
        (None, "", "is not there; run the playbook cluster.yml first"),
    ],
    ids=["template of somebody else's", "containerd 1", "no K3s"],
)
def test_a_node_whose_containerd_cannot_be_told_is_refused(
    node: Node, template: str | None, made: str | None, told: str
) -> None:
    if template is not None:
        node.template.write_text(template)
    if made:
        node.made.write_text(made)
    elif made is not None:
        node.made.unlink()
    code, output = node.configure("gvisor")
    assert code != 0
    assert told in output
    assert not node.drop_ins.exists()


def capability(folder: Path, *devices: str) -> tuple[int, str]:
    """See what hosts with these devices in place of /dev/kvm can, each on this machine."""
    names = [f"host-{number}" for number in range(len(devices))]
    choice = "{{ " + json.dumps(dict(zip(names, devices, strict=True))) + "[inventory_hostname] }}"
    tell = {
        "ansible.builtin.debug": {"msg": "{{ inventory_hostname }} goes on"},
        "when": "not __runtime_kata_is_left_out",
    }
    steps = [_of_role("runtime_kata", "capability"), tell]
    plays = [{"hosts": "all", "gather_facts": False, "any_errors_fatal": True, "tasks": steps}]
    return play(folder, plays, hosts=f"{','.join(names)},", __runtime_kata_device=choice)


def test_a_host_without_virtual_machines_is_left_out_of_kata_and_others_go_on(tmp_path: Path) -> None:
    code, output = capability(tmp_path, "/dev/null", "/nowhere/kvm")
    assert code == 0, output
    assert "host-0 goes on" in output
    assert "host-1 goes on" not in output
    assert "host-1 is left out of Kata: /nowhere/kvm is not there" in output


def proving(folder: Path, runtime: str, groups: dict[str, list[str]], *devices: str, **extra: Any) -> tuple[int, str]:
    """What the playbook's last play does for a runtime, but that it tells what it would say to the module."""
    names = [f"host-{number}" for number in range(len(devices))]
    pools = {"data_plane": names, **groups}
    inventory = {"all": {"hosts": dict.fromkeys(names)}, **{key: {"hosts": dict.fromkeys(pools[key])} for key in pools}}
    folder.joinpath("hosts.yml").write_text(yaml.safe_dump(inventory))
    last = yaml.safe_load((ROLES.parent / "playbooks/runtimes.yml").read_text())[-1]
    (included,) = (task for task in last["tasks"] if str(task.get("ansible.builtin.include_role")).count(runtime))
    told, *rest = yaml.safe_load((ROLES / f"runtime_{runtime}/tasks/prove.yml").read_text())
    given = told.pop("supalove.platform.runtime")
    told["ansible.builtin.debug"] = {"msg": {key: given[key] for key in ("nodes", "absent_nodes")}}
    seeing = [_of_role("runtime_kata", "capability")] if runtime == "kata" else []
    files = [str(ROLES / f"runtime_{runtime}/{part}/main.yml") for part in ("defaults", "vars")]
    block = {"name": "Prove", "block": [told, *rest], "when": included["when"]}
    plays = [
        {"hosts": f"runtime_{runtime}", "gather_facts": False, "any_errors_fatal": True, "tasks": seeing},
        {"hosts": "localhost", "gather_facts": False, "vars_files": files, "tasks": [block]},
    ]
    choice = "{{ " + json.dumps(dict(zip(names, devices, strict=True))) + "[inventory_hostname] }}"
    return play(folder, plays, hosts="hosts.yml", __runtime_kata_device=choice, **extra)


@pytest.mark.parametrize("groups", [{}, {"runtime_gvisor": []}], ids=["without the group", "group is empty"])
def test_the_last_host_that_leaves_the_group_loses_the_label(tmp_path: Path, groups: dict[str, list[str]]) -> None:
    code, output = proving(tmp_path, "gvisor", groups, "")
    assert code == 0, output
    assert '"absent_nodes": [ "host-0" ], "nodes": []' in output
    undeclared = proving(tmp_path, "gvisor", groups, "", supalove_platform={})
    assert (undeclared[0], "absent_nodes" in undeclared[1]) == (0, False)


def test_no_host_that_can_run_kata_is_an_error_after_they_lost_the_label(tmp_path: Path) -> None:
    names = ["host-0", "host-1"]
    code, output = proving(tmp_path, "kata", {"runtime_kata": names}, "/nowhere/a", "/nowhere/b")
    assert code != 0
    before, _, after = output.partition("None of host-0, host-1 can run Kata")
    assert '"absent_nodes": [ "host-0", "host-1" ], "nodes": []' in before
    assert after
    assert proving(tmp_path, "kata", {"runtime_kata": names}, "/dev/null", "/nowhere/b")[0] == 0
