# SPDX-License-Identifier: GPL-3.0-or-later
"""How nodes join: K3s' supervisor, behind the API server's port.

Paths are K3s' (k3s:pkg/server/handlers/router.go). A node shows its token by
HTTP Basic and a password of its own by header; it gets certificates and the
cluster's settings.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socketserver
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from . import contract
from .api import Api, ApiError
from .pki import Authority

CERTIFICATES = {
    "client-kubelet.crt": ("client", "system:node:{node}", ("system:nodes",)),
    "serving-kubelet.crt": ("server", "{node}", ()),
    "client-kube-proxy.crt": ("client", "system:kube-proxy", ()),
    "client-k3s-controller.crt": ("client", "system:k3s-controller", ()),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What the supervisor hands out and checks against."""

    server_ca: Authority
    client_ca: Authority
    passwords: dict[str, str]  # user (`server`, `node`) to password
    config: dict[str, Any]
    admin: Api


class NodePasswordRejected(Exception):
    pass


def check_node_password(api: Api, node: str, password: str) -> None:
    """First come, first kept: the hash lives in a Secret (docs/advanced.md, node registration).

    It goes with the Node (docs/architecture.md, how agent node registration works). K3s removes it when the Node is
    removed; here that is looked for when somebody comes with another password.
    """
    path = "/api/v1/namespaces/kube-system/secrets"
    name = f"{node}.node-password.k3s"
    found = _found(api, f"{path}/{name}")
    if found and not _is_of(found, password) and not _found(api, f"/api/v1/nodes/{node}"):
        api.request("DELETE", f"{path}/{name}")
        found = {}
    if not found:
        salt = base64.b16encode(hashlib.sha256(node.encode()).digest()[:8]).decode()
        hashed = base64.b64encode(f"{salt}:{_hash(salt, password)}".encode()).decode()
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name},
            "immutable": True,
            "data": {"hash": hashed},
        }
        api.request("POST", path, body)
        return
    if not _is_of(found, password):
        raise NodePasswordRejected(contract.message("node_password"))


def _found(api: Api, path: str) -> dict[str, Any]:
    """An object, empty if there is none."""
    try:
        return dict(api.request("GET", path))
    except ApiError as error:
        if error.status != 404:
            raise
        return {}


def _is_of(secret: dict[str, Any], password: str) -> bool:
    salt, _, expected = base64.b64decode(secret["data"]["hash"]).decode().partition(":")
    return hmac.compare_digest(expected, _hash(salt, password))


def _hash(salt: str, password: str) -> str:
    return hashlib.scrypt(password.encode(), salt=salt.encode(), n=2**12, r=8, p=1).hex()


def serve(cluster: Cluster, socket: Path) -> None:
    """Answer on a unix socket from a thread of its own."""
    socket.parent.mkdir(parents=True, exist_ok=True)
    socket.unlink(missing_ok=True)
    handler = type("Handler", (_Handler,), {"cluster": cluster})
    server = _UnixServer(str(socket), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    cluster: Cluster
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        try:
            status, body = self._answer()
        except NodePasswordRejected as error:
            status, body = 403, str(error).encode()
        except (OSError, ApiError) as error:
            status, body = 503, f"server is not ready: {error}".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _answer(self) -> tuple[int, bytes]:
        if self.path == "/ping":
            return 200, b"pong"
        if self.path == "/cacerts":
            return 200, self.cluster.server_ca.crt.read_bytes()
        if not self._is_authenticated():
            return 401, b"Unauthorized"
        return self._answer_member(self.path.removeprefix("/v1-k3s/"))

    def _answer_member(self, asked: str) -> tuple[int, bytes]:
        if asked == "config":
            return 200, json.dumps(self.cluster.config).encode()
        if asked == "client-ca.crt":
            return 200, self.cluster.client_ca.crt.read_bytes()
        if asked in CERTIFICATES:
            return 200, self._certificate(asked)
        return 404, b"Not Found"

    def _is_authenticated(self) -> bool:
        scheme, _, encoded = self.headers.get("Authorization", "").partition(" ")
        if scheme != "Basic":
            return False
        user, _, password = base64.b64decode(encoded).decode().partition(":")
        expected = self.cluster.passwords.get(user, "")
        return bool(expected) and hmac.compare_digest(expected, password)

    def _certificate(self, asked: str) -> bytes:
        node = self.headers["k3s-Node-Name"]
        check_node_password(self.cluster.admin, node, self.headers["k3s-Node-Password"])
        which, name, groups = CERTIFICATES[asked]
        authority = self.cluster.client_ca if which == "client" else self.cluster.server_ca
        sans = [node, "localhost", "127.0.0.1", self.headers["k3s-Node-IP"]] if which == "server" else []
        crt, key = authority.issue(name.format(node=node), groups, sans)
        return crt + key

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Requests are not logged: a joining node asks every second."""
