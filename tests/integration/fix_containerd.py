# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's containerd in a folder, and roles' tasks on it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from lab import binaries
from lab.standin import components

ROLES = Path(__file__).parents[2] / "roles"
PLUGIN = "io.containerd.cri.v1.runtime"
PLATFORM = {"runtime_classes": {"gvisor": {}, "kata": {}}}
START_SECONDS = 30
RESTARTED = "K3s is restarted now"
BASE = '{{ template "base" . }}'


class Node:
    """A host's directories below a folder, on which roles' tasks run as they are; nothing is restarted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.agent = folder / "agent"
        self.made = self.agent / "etc/containerd/config.toml"
        self.template = self.made.with_name("config-v3.toml.tmpl")
        self.drop_ins = self.made.with_name("config-v3.toml.d")
        self.classes = folder / "etc/blockio.yaml"
        self.controllers = folder / "controllers"
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
        """Everything of the roles' `configure`, but that a restart is only told."""
        steps: list[dict[str, Any]] = []
        for runtime in runtimes:
            tasks = yaml.safe_load((ROLES / f"runtime_{runtime}/tasks/configure.yml").read_text())
            (described,) = (task for task in tasks if "vars" in task)
            steps += [of_role("containerd_runtime", "preflight")]
            steps += [task for task in tasks if {"ansible.builtin.file", "ansible.builtin.template"} & task.keys()]
            told = {"ansible.builtin.include_role": {"name": str(telling(self.folder))}}
            steps += [{**told, "vars": described["vars"]}]
        files = [str(ROLES / f"runtime_{one}/{part}/main.yml") for one in runtimes for part in ("defaults", "vars")]
        for step in steps:
            if "ansible.builtin.template" in step:
                source = ROLES / "runtime_gvisor/templates" / step["ansible.builtin.template"]["src"]
                step["ansible.builtin.template"]["src"] = str(source)
        return play(
            self.folder,
            [{"hosts": "all", "gather_facts": False, "vars_files": files, "tasks": steps}],
            restart_fails=False,
            __containerd_runtime_dir=str(self.made.parent),
            __containerd_runtime_stamp_path=f"{self.folder}/{{{{ containerd_runtime_name }}}}.started-with",
            __runtime_gvisor_shim_config=str(self.shim_config),
        )

    def limit(self, *options: str, **given: Any) -> tuple[int, str]:
        """The playbook blockio.yml on this host alone; see `limit`."""
        return limit([self], *options, **given)

    @contextlib.contextmanager
    def running(self) -> Iterator[Path]:
        """containerd with what it was told, until the end; its log."""
        log = self.folder / "log"
        with log.open("w") as file:
            path = f"{binary('containerd').parent}:{os.environ['PATH']}"
            command = [str(binary("containerd")), "--config", str(self.made)]
            process = subprocess.Popen(command, stderr=file, env={**os.environ, "PATH": path})
        try:
            end = time.monotonic() + START_SECONDS
            while "containerd successfully booted" not in log.read_text():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.2)
            yield log
        finally:
            process.terminate()
            process.wait(timeout=30)

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


def limit(nodes: Sequence[Node], *options: str, **given: Any) -> tuple[int, str]:
    """The playbook blockio.yml, but that a restart is only told, or fails if `given`, which are variables, say so."""
    folder = nodes[0].folder
    steps = {"preflight": [of_role("blockio", "preflight")], "configure": []}
    for task in yaml.safe_load((ROLES / "blockio/tasks/configure.yml").read_text()):
        told = {"ansible.builtin.include_role": {"name": str(telling(folder))}}
        steps["configure"].append({**task, **(told if "ansible.builtin.include_role" in task else {})})
    files = [str(ROLES / f"blockio/{part}/main.yml") for part in ("defaults", "vars")]
    plays = yaml.safe_load((ROLES.parent / "playbooks/blockio.yml").read_text())
    for each in plays:
        (task,) = each["tasks"]
        entry = task["ansible.builtin.include_role"]["tasks_from"]
        each.update({"become": False, "vars_files": files, "tasks": steps[entry]})
    hosts = {f"host-{number}": {"folder": str(node.folder)} for number, node in enumerate(nodes)}
    folder.joinpath("hosts.yml").write_text(yaml.safe_dump({"data_plane": {"hosts": hosts}}))
    for node in nodes:
        node.controllers.write_text("cpuset cpu io memory pids\n")
    settings = {
        "__containerd_runtime_dir": "{{ folder }}/agent/etc/containerd",
        "__containerd_runtime_stamp_path": "{{ folder }}/started-with",
        "__blockio_file": "{{ folder }}/etc/blockio.yaml",
        "__blockio_controllers_file": "{{ folder }}/controllers",
        "supalove_platform": {},
        "restart_fails": False,
    }
    return play(folder, plays, *options, hosts="hosts.yml", **{**settings, **given})


def telling(folder: Path) -> Path:
    """The role containerd_runtime, but that it tells of a restart in place of one, or fails if `restart_fails`."""
    role = folder / "roles/containerd_runtime"
    shutil.copytree(ROLES / role.name, role, dirs_exist_ok=True)
    tasks = yaml.safe_load((ROLES / role.name / "tasks/restart.yml").read_text())
    for task in tasks:
        if task.pop("ansible.builtin.include_role", None):
            task["ansible.builtin.assert"] = {"that": "not restart_fails", "success_msg": RESTARTED}
    role.joinpath("tasks/restart.yml").write_text(yaml.safe_dump(tasks))
    return role


def of_role(name: str, tasks: str) -> dict[str, Any]:
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
