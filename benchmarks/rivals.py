# SPDX-License-Identifier: GPL-3.0-or-later
"""What people use instead, each the way it is fastest, on objects that are there and unchanged.

They get the objects ready, as the floor does, and own the same fields, so that no server-side apply changes anything.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import FIELD_MANAGER
from fix_apiserver import lab_kube

from . import workload
from .cluster import HERE, STANDINS, Cluster, Figures
from .processes import peak_memory

VENV_VARIABLE = "SUPALOVE_BENCH_VENV"
APPLY = {"apply": True, "server_side_apply": {"field_manager": FIELD_MANAGER, "force_conflicts": True}}
LOOK_SECONDS = 0.02


def playbook(cluster: Cluster, task: dict[str, Any], *, python: str = sys.executable, watch: str = "") -> Figures:
    """Seconds of a whole `ansible-playbook` with one task, and the peak memory of processes named like `watch`."""
    variables = {"ansible_python_interpreter": python}
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": variables, "tasks": [task]}
    file = cluster.root / "play.yml"
    file.write_text(json.dumps([play]))
    argv = [python, "-m", "ansible", "playbook", str(file), "-i", "localhost,"]
    log = cluster.root / "play.log"
    started = time.perf_counter()
    peak = 0
    ours = {"ANSIBLE_LIBRARY": str(HERE / "library"), "ANSIBLE_ACTION_PLUGINS": str(HERE / "action")}
    env = {**os.environ, **ours}
    with log.open("w") as out, subprocess.Popen(argv, stdout=out, stderr=out, env=env) as child:
        while child.poll() is None:
            peak = max(peak, peak_memory(watch)) if watch else 0
            time.sleep(LOOK_SECONDS)
    seconds = time.perf_counter() - started
    if child.returncode:
        raise RuntimeError(f"ansible-playbook ended with {child.returncode}\n{log.read_text()[-3000:]}")
    return {"seconds": seconds, "memory_bytes": peak, "changed": "changed=0" not in log.read_text()}


def our_playbook(cluster: Cluster, projects: dict[str, Any], **arguments: Any) -> Figures:
    """Our module through its action plugin, as a user runs it, but for the stand-in for shared clusters."""
    arguments |= {"kubeconfig": str(cluster.server.kubeconfig), "tiers": workload.TIERS, "projects": projects}
    arguments |= {"platform": cluster.platform, "databases": str(cluster.databases), "standins": str(STANDINS)}
    return _unchanged(playbook(cluster, {"projects_standin": arguments}, watch="AnsiballZ_projects_standin"))


class Core:
    """`kubernetes.core.k8s` in its own environment: one task, over one or several lists of objects."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._python = str(Path(os.environ[VENV_VARIABLE]) / "bin/python")

    def startup(self) -> float:
        """Seconds of a playbook that has nothing to loop over."""
        return self._loop([])

    def one_list(self, bodies: list[dict[str, Any]]) -> float:
        """Seconds with all objects in one call."""
        return self._loop([bodies])

    def extrapolated(self, lists: list[list[dict[str, Any]]], *, of: int, startup: float) -> float:
        """Seconds that a loop over `of` such lists takes, from a loop over some of them."""
        return startup + (self._loop(lists) - startup) / len(lists) * of

    def _loop(self, lists: list[list[dict[str, Any]]]) -> float:
        files = [self._write(number, bodies) for number, bodies in enumerate(lists)]
        arguments = {
            "kubeconfig": str(self._cluster.server.kubeconfig),
            "definition": "{{ lookup('ansible.builtin.file', item) | from_json }}",
            **APPLY,
        }
        # The label of an item is its file, so that no object goes to the terminal.
        task = {"kubernetes.core.k8s": arguments, "loop": files, "no_log": True}
        seconds: float = _unchanged(playbook(self._cluster, task, python=self._python))["seconds"]
        return seconds

    def _write(self, number: int, bodies: list[dict[str, Any]]) -> str:
        file = self._cluster.root / f"list-{number}.json"
        file.write_text(json.dumps(bodies))
        return str(file)


def kubectl_apply(cluster: Cluster, bodies: Iterable[dict[str, Any]]) -> float:
    """Seconds of `kubectl apply --server-side` with all objects in one file."""
    file = cluster.root / "all.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(bodies)}))
    argv = [
        str(lab_kube().with_name("kubectl")), f"--kubeconfig={cluster.server.kubeconfig}", "apply", "--server-side",
        "--force-conflicts", f"--field-manager={FIELD_MANAGER}", f"--filename={file}",
        f"--cache-dir={cluster.root / 'kubectl'}",
    ]  # fmt: skip
    started = time.perf_counter()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def have_core() -> bool:
    """True if there is an environment with kubernetes.core."""
    return bool(os.environ.get(VENV_VARIABLE))


def versions() -> dict[str, str]:
    """Of what is compared."""
    kubectl = subprocess.run(
        [str(lab_kube().with_name("kubectl")), "version", "--client"], capture_output=True, text=True, check=True
    )
    found = {"kubectl": kubectl.stdout.splitlines()[0].rpartition(" ")[2]}
    if have_core():
        (manifest,) = Path(os.environ[VENV_VARIABLE]).glob(
            "lib/*/site-packages/ansible_collections/kubernetes/core/MANIFEST.json"
        )
        found["kubernetes.core"] = json.loads(manifest.read_text())["collection_info"]["version"]
    return found


def _unchanged(found: Figures) -> Figures:
    if found["changed"]:
        raise RuntimeError("a playbook changed what it should have found as it is")
    return found
