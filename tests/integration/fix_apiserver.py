# SPDX-License-Identifier: GPL-3.0-or-later
"""A real etcd and kube-apiserver on loopback, without controllers: what is not written by a test stays as it is."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import signal
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
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.identities import (
    WORKER_OWN_RULES,
    WORKER_ROUTE_RULES,
    WORKER_RULES,
)
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from fix_ports import free_port

BINARY_VARIABLE = "SUPALOVE_LAB_KUBE"
START_SECONDS = 90
# What the platform's worker may do, and beyond that what making a platform takes. Not cluster-admin, so that a request
# nobody thought of fails a test.
PLATFORM_RULES = [
    {"apiGroups": ["storage.k8s.io"], "resources": ["storageclasses"]},
    {"apiGroups": ["scheduling.k8s.io"], "resources": ["priorityclasses"]},
    {"apiGroups": ["node.k8s.io"], "resources": ["runtimeclasses"]},
    {"apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"]},
    {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"]},
    {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles", "clusterrolebindings"]},
    {"apiGroups": ["admissionregistration.k8s.io"], "resources": ["validatingadmissionpolicies"]},
    {"apiGroups": ["admissionregistration.k8s.io"], "resources": ["validatingadmissionpolicybindings"]},
]
VERBS = ["get", "list", "watch", "create", "update", "patch"]
GRANTING = [
    {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "clusterroles"], "verbs": ["escalate", "bind"]}
]


ENGINE = "system:serviceaccount:kube-system:engine"
# Who asked for what and was answered how, by the server itself; no bodies.
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [{"level": "Metadata", "users": [ENGINE]}, {"level": "None"}],
}


@dataclasses.dataclass
class Program:
    """A server that can be stopped and started again on what it has kept."""

    arguments: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.arguments, stdout=log, stderr=log, cwd=self.log.parent)

    def stop(self, how: int = signal.SIGKILL) -> None:
        assert self.process is not None
        self.process.send_signal(how)
        self.process.wait(timeout=60)

    def is_up(self) -> bool:
        return self.process is not None and self.process.poll() is None


@dataclasses.dataclass(frozen=True)
class ApiServer:
    """The server as its administrator sees it, and the kubeconfig of the engine's identity."""

    url: str
    admin_token: str
    authority: Path
    kubeconfig: Path
    program: Program
    audit_log: Path

    def start(self) -> None:
        """Start the server and wait until it serves."""
        self.program.start()
        last = "no answer yet"
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.program.is_up():
            try:
                self.request("GET", "/api/v1/namespaces/kube-system")
            except (OSError, ValueError) as error:
                last = str(error)
                time.sleep(0.2)
            else:
                return
        pytest.fail(f"kube-apiserver did not get ready: {last}\n{self.program.log.read_text()[-3000:]}")

    @contextlib.contextmanager
    def audited(self) -> Iterator[list[dict[str, Any]]]:
        """Every request of the engine's identity that the server was sent meanwhile, filled in at the end."""
        found: list[dict[str, Any]] = []
        with self.audit_log.open() as log:
            log.seek(0, os.SEEK_END)
            yield found
            # The last line is that of a request of ours: what came before it has been written.
            mark = secrets.token_hex(8)
            self.status_of(f"/version?{mark}")
            text, end = "", time.monotonic() + 20
            while mark not in text or not text.endswith("\n"):
                assert time.monotonic() < end, "the audit log is not written"
                text += log.read()
        found += [event for event in map(json.loads, text.splitlines()) if mark not in event["requestURI"]]

    def request(self, verb: str, path: str, body: Any = None, content: str = "application/json") -> Any:
        return json.loads(self.answer(verb, path, body, content))

    def answer(self, verb: str, path: str, body: Any = None, content: str = "application/json") -> bytes:
        data = None if body is None else json.dumps(body).encode()
        with self._open(verb, path, self.admin_token, data, content) as answer:
            found: bytes = answer.read()
            return found

    def status_of(self, path: str) -> tuple[int, str]:
        """How the engine's identity is answered, and by which priority level it was let in or not."""
        token = yaml.safe_load(self.kubeconfig.read_text())["users"][0]["user"]["token"]
        try:
            with self._open("GET", path, token) as answer:
                return answer.status, answer.headers["X-Kubernetes-PF-PriorityLevel-UID"]
        except urllib.error.HTTPError as error:
            return error.code, error.headers["X-Kubernetes-PF-PriorityLevel-UID"]

    def _open(self, verb: str, path: str, token: str, data: bytes | None = None, content: str = "") -> Any:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": content}
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=verb)
        context = ssl.create_default_context(cafile=str(self.authority))
        return urllib.request.urlopen(request, context=context, timeout=20)

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
    (root / "audit-policy.yml").write_text(yaml.safe_dump(AUDIT_POLICY))
    with contextlib.ExitStack() as stack:
        etcd_args = ["--data-dir", str(root / "data"), "--listen-client-urls", etcd, "--advertise-client-urls", etcd]
        peer = ["--listen-peer-urls", f"http://127.0.0.1:{peer_port}", "--unsafe-no-fsync"]
        _program(stack, root, binary, "etcd", [*etcd_args, *peer]).start()
        server = ApiServer(
            url=f"https://127.0.0.1:{port}",
            admin_token=token,
            # The server signs for itself and writes the certificate here.
            authority=root / "certs" / "apiserver.crt",
            kubeconfig=root / "kubeconfig",
            program=_program(stack, root, binary, "kube-apiserver", _api_server_args(root, etcd, port)),
            audit_log=root / "audit.log",
        )
        server.start()
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
        f"--audit-policy-file={root / 'audit-policy.yml'}",
        f"--audit-log-path={root / 'audit.log'}",
        # Whoever watches (a Traefik of another module) would hold up a stop for a minute.
        "--shutdown-watch-termination-grace-period=1s",
        # Each test reads only what is new; nothing is rotated away under it.
        "--audit-log-maxsize=1000",
    ]


@contextlib.contextmanager
def program(root: Path, binary: Path, name: str, args: list[str]) -> Iterator[Program]:
    """One program in the background, known as `name` to itself, its output in `root`; killed with the context."""
    with contextlib.ExitStack() as stack:
        one = _program(stack, root, binary, name, args)
        one.start()
        yield one


def _program(stack: contextlib.ExitStack, root: Path, binary: Path, name: str, args: list[str]) -> Program:
    """Not started yet; it is killed at the end."""
    link = root / name
    link.symlink_to(binary)
    program = Program(arguments=[str(link), *args], log=root / f"{name}.log")
    stack.callback(lambda: program.stop() if program.is_up() else None)
    return program


@contextlib.contextmanager
def unless_outdated() -> Iterator[None]:
    """Nothing is done to an object that has changed or gone since it was read: who looks again and again does it then,
    if it is still to be done.
    """
    try:
        yield
    except urllib.error.HTTPError as error:
        if error.code not in (404, 409):
            raise


def grant(server: ApiServer, name: str, rules: list[dict[str, Any]]) -> None:
    """Give the engine's account a cluster role of this name."""
    group = "rbac.authorization.k8s.io"
    path, meta = f"/apis/{group}/v1", {"metadata": {"name": name}}
    server.request("POST", f"{path}/clusterroles", {**meta, "rules": rules})
    reference = {"apiGroup": group, "kind": "ClusterRole", "name": name}
    account = {"kind": "ServiceAccount", "name": "engine", "namespace": "kube-system"}
    server.request("POST", f"{path}/clusterrolebindings", {**meta, "roleRef": reference, "subjects": [account]})


def _give_identity(server: ApiServer) -> None:
    """A ServiceAccount with the engine's rights and a token of its own, so that its requests queue as a user's do."""
    platform = [{**rule, "verbs": VERBS} for rule in PLATFORM_RULES]
    worker = (*WORKER_RULES, *WORKER_ROUTE_RULES, *WORKER_OWN_RULES)
    rules: list[dict[str, Any]] = [*map(dict, worker), *platform, *GRANTING]
    grant(server, "engine", rules)
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


def _write_service_account_key(path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    plain = serialization.NoEncryption()
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, plain)
    )
