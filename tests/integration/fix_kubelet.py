# SPDX-License-Identifier: GPL-3.0-or-later
"""What the real API server of fix_apiserver needs to forward a port: a node whose kubelet does nothing else.

The kubelet is a stand-in. It speaks what kubelets speak to the API server: TLS, a WebSocket with the subprotocol
v4.channel.k8s.io, and on it two channels for a port.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import datetime
import hashlib
import re
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from fix_apiserver import ApiServer
from fix_postgresql import CLUSTER, Server
from websocket import ABNF
from websocket._abnf import frame_buffer

NODE = "kubelet"
PODS = f"/api/v1/namespaces/s-{CLUSTER.name}/pods"
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3


@dataclasses.dataclass
class Kubelet:
    """Forwards ports of every pod to the connections that `connect` makes."""

    listener: ssl.SSLSocket
    connect: Callable[[int], socket.socket]
    threads: list[threading.Thread] = dataclasses.field(default_factory=list)
    streams: list[ssl.SSLSocket] = dataclasses.field(default_factory=list)

    def cut(self) -> None:
        """End every stream, as when the node goes away."""
        for stream in self.streams:
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)

    def serve(self) -> None:
        while True:
            try:
                stream, _address = self.listener.accept()
            except OSError:
                return
            self.streams.append(stream)
            thread = threading.Thread(target=self._forward, args=(stream,), name="kubelet stream")
            self.threads.append(thread)
            thread.start()

    def _forward(self, stream: ssl.SSLSocket) -> None:
        with contextlib.suppress(OSError), stream:
            port = _shake_hands(stream)
            for channel in (0, 1):
                _send(stream, channel, port.to_bytes(2, "little"))
            try:
                target = self.connect(port)
            except OSError as error:
                _send(stream, 1, f"error forwarding port {port}: {error}".encode())
                return
            with target:
                _pass_on(stream, target)


@pytest.fixture(scope="session")
def kubelet(api_server: ApiServer, postgresql: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubelet]:
    """A node, and on it the pod of the shared cluster with its Secret."""
    with running_kubelet(api_server, postgresql.connect_inside, tmp_path_factory.mktemp("kubelet")) as made:
        _add_cluster(api_server, postgresql.secret)
        yield made


@contextlib.contextmanager
def running_kubelet(server: ApiServer, connect: Callable[[int], socket.socket], directory: Path) -> Iterator[Kubelet]:
    """A node that the API server knows, on which any pod may be put; its certificate is written into `directory`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_certificate(directory))
    listener = context.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True)
    made = Kubelet(listener=listener, connect=connect)
    _add_node(server, listener.getsockname()[1])
    thread = threading.Thread(target=made.serve, name="kubelet")
    thread.start()
    try:
        yield made
    finally:
        with contextlib.suppress(OSError):
            socket.socket.shutdown(listener, socket.SHUT_RDWR)
        listener.close()
        made.cut()
        for one in (thread, *made.threads):
            one.join()


def _add_node(server: ApiServer, port: int) -> None:
    server.request("POST", "/api/v1/nodes", {"metadata": {"name": NODE}})
    status = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }
    server.merge(f"/api/v1/nodes/{NODE}/status", {"status": status})


def _add_cluster(server: ApiServer, secret: dict[str, str]) -> None:
    namespace = f"s-{CLUSTER.name}"
    server.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    spec = {"nodeName": NODE, "containers": [{"name": "postgresql", "image": "none"}]}
    server.request("POST", PODS, {"metadata": {"name": "postgresql-0"}, "spec": spec})
    data = {"admin.password": base64.b64encode(secret["admin.password"].encode()).decode()}
    secrets = f"/api/v1/namespaces/{namespace}/secrets"
    server.request("POST", secrets, {"metadata": {"name": "credentials"}, "data": data})


def _shake_hands(stream: ssl.SSLSocket) -> int:
    """Agree to the WebSocket that the request asks for; the port that is to be forwarded."""
    asked = b""
    while not asked.endswith(b"\r\n\r\n"):
        asked += stream.recv(1)
    text = asked.decode()
    key = re.search(r"(?i)sec-websocket-key: *(\S+)", text)
    port = re.search(r"[?&]port=(\d+)", text)
    assert key, text
    assert port, text
    assert "v4.channel.k8s.io" in text
    accept = base64.b64encode(hashlib.sha1((key[1] + GUID).encode(), usedforsecurity=False).digest()).decode()
    head = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    head += [f"Sec-WebSocket-Accept: {accept}", "Sec-WebSocket-Protocol: v4.channel.k8s.io", "", ""]
    stream.sendall("\r\n".join(head).encode())
    return int(port[1])


def _pass_on(stream: ssl.SSLSocket, target: socket.socket) -> None:
    def receive(size: int) -> bytes:
        data = stream.recv(size)
        if not data:
            raise ConnectionResetError
        return data

    frames = frame_buffer(receive, skip_utf8_validation=True)
    while True:
        ready: list[Any] = [stream] if stream.pending() else select.select([stream, target], [], [])[0]
        if stream in ready:
            frame = frames.recv_frame()
            if frame.opcode == ABNF.OPCODE_CLOSE:
                return
            if frame.opcode == ABNF.OPCODE_BINARY:
                assert isinstance(frame.data, bytes)
                target.sendall(frame.data[1:])
        if target in ready:
            data = target.recv(65536)
            if not data:
                return
            _send(stream, 0, data)


def _send(stream: ssl.SSLSocket, channel: int, data: bytes) -> None:
    """A server's frames are not masked."""
    stream.sendall(ABNF(1, 0, 0, 0, ABNF.OPCODE_BINARY, 0, bytes([channel]) + data).format())


def _certificate(directory: Path) -> str:
    """Key and certificate in one file. The API server does not check a kubelet's unless told to."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NODE)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = directory / "kubelet.pem"
    plain = serialization.NoEncryption()
    text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, plain)
    path.write_bytes(text + made.public_bytes(serialization.Encoding.PEM))
    return str(path)
