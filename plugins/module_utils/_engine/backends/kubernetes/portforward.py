# SPDX-License-Identifier: BSD-2-Clause
"""A port of a pod as a socket of this machine, through the API server.

One connection each: the subprotocol v4.channel.k8s.io carries a connection as frames that begin with the number of a
channel, 0 for data and 1 for the error that ended it. The first frame of each channel names the port.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...deadline import Deadline
from ...errors import BackendError, MissingLibrary, Unreachable
from ...objects import ObjectId
from .client import REQUEST_SECONDS, Client, error_of, short
from .kinds import object_path

try:
    import websocket
    from kubernetes.stream.ws_client import websocket_proxycare as _proxy_of
except ImportError as error:
    _MISSING: ImportError | None = error
else:
    _MISSING = None

PROTOCOL = "v4.channel.k8s.io"
DATA, ERROR = 0, 1
PORT_BYTES = 2
CHUNK = 65536
CONNECT_SECONDS = 10.0
# sockaddr_un holds 107 bytes on Linux.
LONGEST_PATH = 107


@contextmanager
def tunnel(client: Client, *, namespace: str, pod: str, port: int, deadline: Deadline) -> Iterator[Tunnel]:
    """A way for one connection to a pod's port, as long as the context lasts.

    Raises NotFound if there is no such pod, Denied if it is not for us, Unreachable if the API server or the pod's node
    do not answer. That nobody listens on the port shows only once somebody connects: then `trouble` says so.
    """
    id = ObjectId(kind="Pod", namespace=namespace, name=pod)
    name = socket_name(port)
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(_directory(name)))
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listener.bind(str(directory / name))
        listener.listen(1)
        stream = _open(client, f"{object_path(id)}/portforward?ports={port}", f"{id} port {port}", deadline)
        stack.callback(stream.close)
        way = Tunnel(stream, listener, directory, f"tunnel to {namespace}/{pod}")
        way.start()
        stack.callback(way.stop)
        yield way


def socket_name(port: int) -> str:
    """The name of the socket in the tunnel's directory: the one that libpq looks for."""
    return f".s.PGSQL.{port}"


def _directory(name: str) -> tempfile.TemporaryDirectory[str]:
    """A directory that only we may enter (mode 0700), short enough for the address of a socket."""
    made = tempfile.TemporaryDirectory(prefix="supalove-")
    if len(os.fsencode(os.path.join(made.name, name))) <= LONGEST_PATH:
        return made
    made.cleanup()
    return tempfile.TemporaryDirectory(prefix="supalove-", dir="/tmp")


class Tunnel(threading.Thread):
    """Takes one connection at the socket in `directory` and passes bytes on until either side ends it.

    `trouble` is what the pod's side said about the end, or why the way to it broke; empty as long as all is well.
    """

    def __init__(self, stream: _Stream, listener: socket.socket, directory: Path, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.directory = directory
        self.trouble = ""
        self._stream = stream
        self._listener = listener
        self._waker, self._woken = socket.socketpair()
        self._has_begun: set[int] = set()

    def stop(self) -> None:
        """End the thread, even while it waits."""
        self._waker.close()
        self.join()
        self._woken.close()

    def run(self) -> None:
        try:
            ready = select.select([self._listener, self._woken], [], [])[0]
            if self._woken not in ready:
                peer, _address = self._listener.accept()
                # Nobody else is served: a second connection would wait for ever.
                self._listener.close()
                with peer:
                    self._pass_on(peer)
        except (BackendError, OSError) as error:
            self.trouble = self.trouble or str(error)

    def _pass_on(self, peer: socket.socket) -> None:
        sources: list[socket.socket | _Stream] = [peer, self._stream, self._woken]
        while True:
            ready = select.select(sources, [], [])[0]
            if self._woken in ready:
                return
            if peer in ready:
                data = peer.recv(CHUNK)
                if not data:
                    return
                self._stream.send(bytes([DATA]) + data)
            # TLS may have read more than one frame from the network.
            while self._stream in ready or self._stream.has_more:
                ready = []
                if not self._take(peer, self._stream.receive()):
                    return

    def _take(self, peer: socket.socket, message: bytes | None) -> bool:
        """Hand one frame on; False when there will be no more."""
        if message is None:
            return False
        channel, data = message[0], message[1:]
        if channel not in self._has_begun:
            self._has_begun.add(channel)
            return len(data) == PORT_BYTES
        if channel == ERROR:
            self.trouble = " ".join(data.decode(errors="replace").split())
            return False
        peer.sendall(data)
        return True


class _Stream:
    """Messages to and from the API server. Can be waited for with `select`; one thread may use it."""

    def __init__(self, made: Any, subject: str) -> None:
        self._made = made
        self._subject = subject

    def fileno(self) -> int:
        return int(self._made.fileno())

    @property
    def has_more(self) -> bool:
        """True if a message may wait in TLS' buffer, of which `select` does not know."""
        return isinstance(self._made.sock, ssl.SSLSocket) and self._made.sock.pending() > 0

    def send(self, message: bytes) -> None:
        try:
            self._made.send_binary(message)
        except (websocket.WebSocketException, OSError) as error:
            raise Unreachable(subject=self._subject, verb="SEND", reason=short(str(error))) from error

    def receive(self) -> bytes | None:
        """The next message, None when the server has ended the stream."""
        try:
            while True:
                code, data = self._made.recv_data()
                if code == websocket.ABNF.OPCODE_CLOSE:
                    return None
                if data:
                    return bytes(data)
        except websocket.WebSocketConnectionClosedException:
            return None
        except (websocket.WebSocketException, OSError) as error:
            raise Unreachable(subject=self._subject, verb="RECEIVE", reason=short(str(error))) from error

    def close(self) -> None:
        """End it without waiting for the server's agreement."""
        with contextlib.suppress(websocket.WebSocketException, OSError):
            self._made.shutdown()


def _open(client: Client, path: str, subject: str, deadline: Deadline) -> _Stream:
    if _MISSING is not None:
        raise MissingLibrary("kubernetes") from _MISSING
    deadline.require(f"CONNECT {subject}")
    configuration, authorization = client.for_stream()
    url = f"{configuration.host}{path}".replace("http", "ws", 1)
    options: dict[str, Any] = {
        "header": [f"{name}: {value}" for name, value in authorization.items()],
        "subprotocols": [PROTOCOL],
        "timeout": max(0.1, min(CONNECT_SECONDS, deadline.remaining())),
    }
    if configuration.proxy or configuration.proxy_headers:
        options = _proxy_of(options, configuration, url, configuration.proxy_headers)
    made: Any = websocket.WebSocket(sslopt=_tls_of(configuration))
    try:
        made.connect(url, **options)
    except websocket.WebSocketBadStatusException as error:
        headers, body = error.resp_headers or {}, error.resp_body or b""
        raise error_of(error.status_code, headers, body, subject, "CONNECT") from error
    except (websocket.WebSocketException, OSError) as error:
        raise Unreachable(subject=subject, verb="CONNECT", reason=short(str(error))) from error
    made.settimeout(REQUEST_SECONDS)
    return _Stream(made, subject)


def _tls_of(configuration: Any) -> dict[str, Any]:
    """The same identity and authority as those of requests, in the words of the package websocket-client."""
    verify = configuration.verify_ssl
    given = {
        "cert_reqs": ssl.CERT_REQUIRED if verify else ssl.CERT_NONE,
        "ca_certs": configuration.ssl_ca_cert if verify else None,
        "check_hostname": configuration.assert_hostname if verify else False,
        "certfile": configuration.cert_file,
        "keyfile": configuration.key_file,
        "server_hostname": configuration.tls_server_name,
    }
    return {name: value for name, value in given.items() if value is not None}
