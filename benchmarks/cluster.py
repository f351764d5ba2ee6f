# SPDX-License-Identifier: GPL-3.0-or-later
"""A new API server with an empty datastore for every measurement, and the programs that are measured against it.

The measured identity is the ServiceAccount of tests/integration/fix_apiserver.py with its bounded RBAC, so that its
requests queue under API priority and fairness; the system's own programs are the administrator.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.kinds import (
    collection_path,
    object_path,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.readiness import (
    WAITED_KINDS,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.objects import ObjectId
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Platform
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import PROJECT_LABEL
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.context import DATA_PLANE
from fix_apiserver import ApiServer, grant, lab_kube, program, running
from fix_ports import free_port

from . import workload
from .processes import cpu_seconds, peak_memory

HERE = Path(__file__).parent
STANDINS = HERE.parent / "tests/integration"
NODES = 12
ROOM = {"cpu": "10k", "memory": "100Ti", "pods": "10k"}
FAKE = {"kwok.x-k8s.io/node": "fake"}
# The controllers' default of 20 requests per second would be what is measured.
QPS, BURST = 1000, 2000
LONGEST_SECONDS = 3600

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """One API server, prepared for projects. `root` is a folder for whatever a measurement writes.

    `platform`: the shared clusters, as an inventory has them. Unless they are real, their stand-in is in the folder
    `databases`.
    """

    server: ApiServer
    root: Path
    platform: dict[str, Any]
    is_real: bool = False

    @property
    def databases(self) -> Path:
        return self.root / "databases"

    def floor(self, verb: str, file: Path, in_flight: int) -> Figures:
        """Run the floor on a file of requests."""
        token = yaml.safe_load(self.server.kubeconfig.read_text())["users"][0]["user"]["token"]
        address = self.server.url.removeprefix("https://")
        where = {"FLOOR_SERVER": address, "FLOOR_CA": str(self.server.authority), "FLOOR_TOKEN": token}
        before = cpu_seconds(self.root)
        found = measured([sys.executable, str(HERE / "floor.py"), verb, str(file), str(in_flight)], env=where)
        return {**found, "server_cpu_seconds": cpu_seconds(self.root) - before}

    def engine(self, projects: dict[str, Any], **settings: Any) -> Figures:
        """One run of the engine; fails if a project does."""
        return self._engine({"projects": projects, "settings": {"timeout_seconds": LONGEST_SECONDS, **settings}})

    def prepare(self) -> None:
        """What all projects stand on, and the nodes whose room the engine counts."""
        self.databases.mkdir()
        for number in range(NODES):
            self.server.request("POST", "/api/v1/nodes", _node(number))
            status = {"status": {"allocatable": ROOM, "capacity": ROOM}}
            self.server.merge(f"/api/v1/nodes/{_node(number)['metadata']['name']}/status", status)
        self._engine({"prepare": True})

    def let_apply_secrets(self) -> None:
        """What the engine may not do and others have to: it only creates Secrets."""
        rules = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "patch"]}]
        grant(self.server, "others", rules)

    def make_ready(self, projects: dict[str, Any]) -> None:
        """Without controllers: say of every workload that it is ready, and let the engine note that."""
        for kind in WAITED_KINDS:
            items = self.server.request("GET", f"{collection_path(kind)}?labelSelector={PROJECT_LABEL}")["items"]
            with ThreadPoolExecutor(max_workers=8) as pool:
                list(pool.map(lambda item, kind=kind: self._make_one_ready(kind, item), items))
        self.engine(projects, wait=True)

    def _make_one_ready(self, kind: str, item: Figures) -> None:
        meta, replicas = item["metadata"], item["spec"]["replicas"]
        counts = ("replicas", "readyReplicas", "updatedReplicas", "availableReplicas")
        status = {"observedGeneration": meta["generation"], **dict.fromkeys(counts, replicas)}
        if kind == "StatefulSet":
            status |= {"currentRevision": "a", "updateRevision": "a"}
        id = ObjectId(kind=kind, namespace=meta["namespace"], name=meta["name"])
        self.server.merge(f"{object_path(id)}/status", {"status": status})

    def weight(self) -> Figures:
        """Bytes: the API server's peak of memory so far, and etcd's file."""
        database = self.root / "data/member/snap/db"
        return {
            "api_server_bytes": peak_memory(f"{self.root}/kube-apiserver"),
            "etcd_bytes": database.stat().st_size,
        }

    def _engine(self, order: Figures) -> Figures:
        where = {"kubeconfig": str(self.server.kubeconfig), "databases": None if self.is_real else str(self.databases)}
        before = cpu_seconds(self.root)
        found = engine({**where, "tiers": workload.TIERS, "platform": self.platform, **order}, self.root)
        return {**found, "server_cpu_seconds": cpu_seconds(self.root) - before}

    @contextlib.contextmanager
    def controllers(self, projects: dict[str, Any]) -> Iterator[None]:
        """All of Kubernetes' controllers, the scheduler and kwok for the nodes, and volumes for the projects."""
        admin = self._admin_kubeconfig()
        for volume in _volumes(projects):
            self.server.request("POST", "/api/v1/persistentvolumes", volume)
        with contextlib.ExitStack() as stack:
            for name, binary, args in self._control_plane(admin):
                stack.enter_context(program(self.root, binary, name, args))
            yield

    def _control_plane(self, admin: Path) -> Iterator[tuple[str, Path, list[str]]]:
        local = ["--bind-address=127.0.0.1", "--leader-elect=false"]
        access = [
            f"--{flag}={admin}" for flag in ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
        ]
        rate = [f"--kube-api-qps={QPS}", f"--kube-api-burst={BURST}"]
        keys = [
            f"--service-account-private-key-file={self.root / 'sa.key'}",
            f"--root-ca-file={self.server.authority}",
        ]
        # Starved of processor, kwok's heartbeats come late, and all pods would be declared lost.
        patience = f"--node-monitor-grace-period={LONGEST_SECONDS}s"
        manager = [*local, *access, *rate, *keys, patience, f"--secure-port={free_port()}"]
        yield "kube-controller-manager", lab_kube(), manager
        yield "kube-scheduler", lab_kube(), [*local, *access, *rate, f"--secure-port={free_port()}"]
        selector = ",".join(f"{key}={value}" for key, value in FAKE.items())
        yield "kwok", _kwok(), [
            f"--kubeconfig={admin}",
            f"--config={HERE / 'stages.yaml'}",
            "--manage-all-nodes=false",
            "--v=WARN",
            f"--manage-nodes-with-annotation-selector={selector}",
            f"--server-address=127.0.0.1:{free_port()}",
        ]  # fmt: skip

    def _admin_kubeconfig(self) -> Path:
        config = yaml.safe_load(self.server.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": self.server.admin_token}
        file = self.root / "admin.kubeconfig"
        file.write_text(yaml.safe_dump(config))
        file.chmod(0o600)
        return file


@contextlib.contextmanager
def fresh(platform: dict[str, Any], *, is_real: bool = False) -> Iterator[Cluster]:
    """A cluster that nobody has used, prepared for projects on this platform, gone with the context."""
    with tempfile.TemporaryDirectory(prefix="supalove-bench-") as folder, running(Path(folder), lab_kube()) as server:
        cluster = Cluster(server=server, root=Path(folder), platform=platform, is_real=is_real)
        cluster.prepare()
        yield cluster


def engine(order: Figures, folder: Path) -> Figures:
    """One run of the engine in a process of its own; raises RuntimeError if a project fails."""
    file = folder / "order.json"
    file.write_text(json.dumps(order))
    found = measured([sys.executable, "-m", "benchmarks.engine", str(file)])
    if found.get("failed"):
        raise RuntimeError(found["msg"])
    return found


def measured(argv: list[str], *, env: dict[str, str] | None = None) -> Figures:
    """Run a program that shows its progress and, as its last line, its figures."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(STANDINS)]), **(env or {})}
    last = ""
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment) as child:
        for line in child.stdout or ():
            if line.startswith(" "):
                print(line, end="", flush=True)
            last = line
    if child.returncode:
        raise RuntimeError(f"{argv} ended with {child.returncode}")
    found: Figures = json.loads(last) if last.startswith("{") else {}
    return found


def _node(number: int) -> Figures:
    labels = {DATA_PLANE: "true", "kubernetes.io/os": "linux"}
    return {"metadata": {"name": f"fake-{number}", "annotations": FAKE, "labels": labels}}


def _volumes(projects: dict[str, Any]) -> Iterator[Figures]:
    """One bound in advance for each claim: kwok has no provisioner."""
    for claim in workload.claims(projects):
        names = {key: claim["metadata"][key] for key in ("namespace", "name")}
        spec = {
            "accessModes": claim["spec"]["accessModes"],
            "capacity": claim["spec"]["resources"]["requests"],
            "storageClassName": Platform().storage_class,
            "hostPath": {"path": "/nowhere"},
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", **names},
        }
        yield {"metadata": {"name": names["namespace"]}, "spec": spec}


def _kwok() -> Path:
    asked = [str(HERE.parent / "tests/lab/lab"), "binaries", "path", "kwok"]
    return Path(subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip())
