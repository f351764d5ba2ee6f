# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking into the lab's cluster with kubectl and the kubeconfig that the k3s role wrote."""

from __future__ import annotations

import base64
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import binaries, layout
from .shell import run

CLIENT = "lab-client"
# Enough for psql to start and log in within its timeout; two fit into what a quota leaves beside a pause.
CLIENT_CPU = "150m"
CLIENT_IMAGE = "registry.supalove.cloud/lab/client:17-3"
POD_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster by its kubeconfig."""

    kubeconfig: Path

    def command(self, *arguments: str) -> list[str]:
        program = binaries.ensure(binaries.target("kube")) / "kubectl"
        return [str(program), "--kubeconfig", str(self.kubeconfig), *arguments]

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return run(self.command(*arguments), stdin=stdin)

    def objects(self, kind: str, *arguments: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", kind, "-o", "json", *arguments))["items"]
        return found

    def live_pods(self, *arguments: str) -> list[dict[str, Any]]:
        """Those that run and are not about to go, as one is that another test has made superfluous."""
        found = self.objects("pods", *arguments)
        return [
            pod
            for pod in found
            if pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]
        ]

    def secret(self, namespace: str, name: str) -> dict[str, str]:
        data = json.loads(self.kubectl("get", "secret", "-n", namespace, name, "-o", "json"))["data"]
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def record(self, ref: str) -> dict[str, Any]:
        """The record of a project."""
        told = self.kubectl("get", "supaloveproject", ref, "-n", "supalove-system", "-o", "json")
        found: dict[str, Any] = json.loads(told)
        return found

    def start_client(
        self, namespace: str, name: str = CLIENT, node: str = "", project: str = "", cpu: str = CLIENT_CPU
    ) -> None:
        """A pod that sleeps, as an application would run: restricted, small; ready on return.

        psql finds the database of `project`, or of the project that the namespace belongs to, whose login is mounted.
        """
        environment = self._connection(namespace, project)
        pod = client_pod(namespace, name, node, environment, cpu)
        self.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(pod))
        self.kubectl("wait", "-n", namespace, f"pod/{name}", "--for=condition=Ready", f"--timeout={POD_SECONDS}s")

    @staticmethod
    def _connection(namespace: str, project: str) -> dict[str, str]:
        """Where, and not as whom: what is in a container's environment is also in its node's files."""
        host = f"pooler.p-{project}" if project else f"pooler.{namespace}"
        return {"PGHOST": host, "PGPORT": "6432", "PGDATABASE": "postgres", "PGCONNECT_TIMEOUT": "3"}

    def psql(self, namespace: str, sql: str, pod: str = CLIENT) -> subprocess.CompletedProcess[str]:
        """Run SQL from a client pod; the answer is unaligned, without heads."""
        return self.execute(namespace, pod, "psql", "-qAtX", "-v", "ON_ERROR_STOP=1", stdin=sql)

    def execute(
        self, namespace: str, pod: str, *argv: str, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        command = self.command("exec", "-i", "-n", namespace, pod, "--", *argv)
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)


def of_lab() -> Cluster:
    return Cluster(kubeconfig=layout.KUBECONFIG)


def client_pod(
    namespace: str, name: str, node: str, environment: dict[str, str], cpu: str = CLIENT_CPU
) -> dict[str, Any]:
    """The Pod object; `node` pins it, else any node of the data plane will do."""
    container = {
        "name": "client",
        "image": CLIENT_IMAGE,
        "imagePullPolicy": "Never",
        "command": ["sleep", "infinity"],
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "resources": {"limits": {"cpu": cpu, "memory": "32Mi"}, "requests": {"cpu": "10m", "memory": "32Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "credentials", "mountPath": "/credentials", "readOnly": True}],
    }
    spec: dict[str, Any] = {
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"}},
        "nodeSelector": {"node.supalove.cloud/data-plane": "true"},
        "tolerations": [{"key": "node.supalove.cloud/data-plane", "operator": "Exists"}],
        "containers": [container],
        "volumes": [{"name": "credentials", "secret": {"secretName": "credentials", "optional": True}}],
    }
    if node:
        spec["nodeSelector"]["kubernetes.io/hostname"] = node
    meta = {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/name": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
