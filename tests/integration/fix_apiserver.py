# SPDX-License-Identifier: GPL-3.0-or-later
"""A real etcd and kube-apiserver on loopback, without controllers: what is not written by a test stays as it is."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

BINARY_VARIABLE = "SUPALOVE_LAB_KUBE"
START_SECONDS = 90
# What the engine may do. Not cluster-admin, so that a request nobody thought of fails a test.
RULES = [
    {"apiGroups": [""], "resources": ["namespaces", "resourcequotas", "limitranges", "serviceaccounts", "secrets"]},
    {"apiGroups": [""], "resources": ["configmaps", "services", "pods", "persistentvolumeclaims", "pods/portforward"]},
    {"apiGroups": ["apps"], "resources": ["statefulsets", "deployments"]},
    {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"]},
    {"apiGroups": ["storage.k8s.io"], "resources": ["storageclasses"]},
    {"apiGroups": ["scheduling.k8s.io"], "resources": ["priorityclasses"]},
    {"apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"]},
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"]},
    {"apiGroups": ["supalove.cloud"], "resources": ["supaloveprojects", "supaloveprojects/status"]},
]
RARE = [
    {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["delete"]},
    {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]},
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "create", "delete"]},
    {"apiGroups": ["supalove.cloud"], "resources": ["supaloveprojects"], "verbs": ["delete"]},
]
VERBS = ["get", "list", "watch", "create", "update", "patch"]


@dataclasses.dataclass(frozen=True)
class ApiServer:
    """The server as its administrator sees it, and the kubeconfig of the engine's identity."""

    url: str
    admin_token: str
    authority: Path
    kubeconfig: Path

    def request(self, verb: str, path: str, body: Any = None, content: str = "application/json") -> Any:
        return json.loads(self.answer(verb, path, body, content))

    def answer(self, verb: str, path: str, body: Any = None, content: str = "application/json") -> bytes:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.admin_token}", "Content-Type": content}
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=verb)
        context = ssl.create_default_context(cafile=str(self.authority))
        with urllib.request.urlopen(request, context=context, timeout=20) as answer:
            found: bytes = answer.read()
            return found

    def merge(self, path: str, body: Any, *, strategic: bool = False) -> Any:
        """Change an object as somebody would who does not know of the engine; `strategic` adds to lists by key."""
        content = f"application/{'strategic-' if strategic else ''}merge-patch+json"
        return self.request("PATCH", path + "?fieldManager=somebody", body, content)

    def exists(self, path: str) -> bool:
        try:
            self.request("GET", path)
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return False
        return True


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with running(tmp_path_factory.mktemp("apiserver"), lab_kube()) as server:
        yield server


@contextlib.contextmanager
def running(root: Path, binary: Path) -> Iterator[ApiServer]:
    """Server and datastore, new and empty, with everything they write in `root`; they end with the context."""
    etcd_port, peer_port, port = (free_port() for _ in range(3))
    _write_service_account_key(root / "sa.key")
    token = secrets.token_hex(16)
    (root / "tokens.csv").write_text(f"{token},admin,admin,system:masters\n")
    etcd = f"http://127.0.0.1:{etcd_port}"
    with contextlib.ExitStack() as stack:
        etcd_args = ["--data-dir", str(root / "data"), "--listen-client-urls", etcd, "--advertise-client-urls", etcd]
        peer = ["--listen-peer-urls", f"http://127.0.0.1:{peer_port}", "--unsafe-no-fsync"]
        stack.enter_context(program(root, binary, "etcd", [*etcd_args, *peer]))
        api = stack.enter_context(program(root, binary, "kube-apiserver", _api_server_args(root, etcd, port)))
        # The server signs for itself and writes the certificate here.
        authority = root / "certs" / "apiserver.crt"
        url = f"https://127.0.0.1:{port}"
        server = ApiServer(url=url, admin_token=token, authority=authority, kubeconfig=root / "kubeconfig")
        _await_ready(server, api, root / "kube-apiserver.log")
        _give_identity(server)
        yield server


def lab_kube() -> Path:
    """The lab's Kubernetes, all programs in one."""
    found = os.environ.get(BINARY_VARIABLE)
    if not found or not Path(found).is_file():
        pytest.fail(
            f"{BINARY_VARIABLE} must name the lab's Kubernetes binary, found {found!r}; make test-integration sets it."
        )
    return Path(found).resolve()


def _api_server_args(root: Path, etcd: str, port: int) -> list[str]:
    key = str(root / "sa.key")
    return [
        f"--etcd-servers={etcd}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={root / 'certs'}",
        f"--token-auth-file={root / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        "--service-cluster-ip-range=10.43.0.0/16",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        # Without controllers nobody makes default service accounts; nothing here runs a pod.
        "--disable-admission-plugins=ServiceAccount",
    ]


@contextlib.contextmanager
def program(root: Path, binary: Path, name: str, args: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """One program in the background, known as `name` to itself, its output in `root`; killed with the context."""
    link = root / name
    link.symlink_to(binary)
    with (root / f"{name}.log").open("wb") as log:
        process = subprocess.Popen([str(link), *args], stdout=log, stderr=log, cwd=root)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=20)


def _await_ready(server: ApiServer, process: subprocess.Popen[bytes], log: Path) -> None:
    last = "no answer yet"
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            server.request("GET", "/api/v1/namespaces/kube-system")
        except (OSError, ValueError) as error:
            last = str(error)
            time.sleep(0.2)
        else:
            return
    pytest.fail(f"kube-apiserver did not get ready: {last}\n{log.read_text()[-3000:]}")


def _give_identity(server: ApiServer) -> None:
    """A ServiceAccount with the engine's rights and a token of its own, so that its requests queue as a user's do."""
    rules = [*({**rule, "verbs": VERBS} for rule in RULES), *RARE]
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "engine"}}
    server.request("POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", {**role, "rules": rules})
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "engine"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "engine"},
        "subjects": [{"kind": "ServiceAccount", "name": "engine", "namespace": "kube-system"}],
    }
    server.request("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
    accounts = "/api/v1/namespaces/kube-system/serviceaccounts"
    server.request("POST", accounts, {"metadata": {"name": "engine"}})
    answer = server.request("POST", f"{accounts}/engine/token", {"spec": {"expirationSeconds": 7200}})
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "test", "cluster": {"server": server.url, "certificate-authority": str(server.authority)}}
        ],
        "users": [{"name": "engine", "user": {"token": answer["status"]["token"]}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "engine"}}],
        "current-context": "test",
    }
    server.kubeconfig.write_text(yaml.safe_dump(config))
    server.kubeconfig.chmod(0o600)


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _write_service_account_key(path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    plain = serialization.NoEncryption()
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, plain)
    )
