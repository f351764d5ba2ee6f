# SPDX-License-Identifier: GPL-3.0-or-later
"""An object store as it is behind a bad network: slow, cut off, or failing some requests, chosen by a test."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from fix_object_store import ObjectStore

FINE, CUT, UNAVAILABLE = "fine", "cut", "unavailable"
SECONDS = 60
# Of one connection only.
HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "content-length", "expect")
SLOW_DOWN = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>later</Message></Error>"

# What becomes of a request: its method and path in, one of the words above out.
Judge = Callable[[str, str], str]


class Flaky:
    """Stands before a store, with the store's own certificate; `address` is where clients find it.

    Who changes `judge` or `delay_seconds` changes what happens to requests that come after it.
    """

    def __init__(self, store: ObjectStore) -> None:
        self.judge: Judge = lambda _method, _path: FINE
        self.delay_seconds: Callable[[str], float] = lambda _path: 0.0
        self.passed: list[str] = []
        self.failed: list[str] = []
        trust = ssl.create_default_context(cafile=str(store.ca_file))
        handler = type("_Handler", (_Handler,), {"flaky": self, "port": store.port(), "trust": trust})
        self._server = _Server(("127.0.0.1", 0), handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(store.ca_file.parent / "server.crt", store.ca_file.parent / "server.key")
        self._server.context = context
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="flaky")
        self._thread.start()

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self._server.server_port}"

    def cut(self) -> None:
        """From now on as if the store were gone."""
        self.judge = lambda _method, _path: CUT

    def mend(self) -> None:
        self.judge = lambda _method, _path: FINE
        self.delay_seconds = lambda _path: 0.0

    def fail_some(self, share: float, seed: int) -> None:
        """So many of all requests fail, one way or the other."""
        choice = random.Random(seed)  # noqa: S311 (no secret)
        lock = threading.Lock()

        def judge(_method: str, _path: str) -> str:
            with lock:
                return choice.choice((CUT, UNAVAILABLE)) if choice.random() < share else FINE

        self.judge = judge

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextlib.contextmanager
def flaky(store: ObjectStore) -> Iterator[Flaky]:
    made = Flaky(store)
    try:
        yield made
    finally:
        made.close()


class _Server(ThreadingHTTPServer):
    context: ssl.SSLContext
    daemon_threads = True
    # Those that wait for a client that keeps its connection end with the test's process.
    block_on_close = False

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        connection.settimeout(SECONDS)
        # The handshake is made where the connection is read, so that nobody waits for it.
        return self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    flaky: Flaky
    port: int
    trust: ssl.SSLContext

    def do_any(self) -> None:
        body = self._body()
        verdict = self.flaky.judge(self.command, self.path)
        time.sleep(self.flaky.delay_seconds(self.path))
        if verdict == FINE:
            self.flaky.passed.append(f"{self.command} {self.path}")
            self._pass_on(body)
            return
        self.flaky.failed.append(f"{self.command} {self.path}")
        self.close_connection = True
        if verdict == UNAVAILABLE:
            self._answer(503, [("Connection", "close")], SLOW_DOWN)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_any  # noqa: N815 (names of http.server)

    def _pass_on(self, body: bytes) -> None:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        if body or "Content-Length" in self.headers:
            headers["Content-Length"] = str(len(body))
        if "Transfer-Encoding" in self.headers:
            headers = {name: value for name, value in headers.items() if name != "Content-Length"}
            headers["Transfer-Encoding"] = "chunked"
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=self.trust, timeout=SECONDS)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            found = answer.read()
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in HOP_BY_HOP]
            length = answer.getheader("Content-Length") if self.command == "HEAD" else None
            self._answer(answer.status, kept, found, length)
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, length: str | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        found = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return found

    def log_message(self, *_arguments: object) -> None:
        """What happened is in the lists."""


def is_wal(path: str) -> bool:
    return "/wal_005/" in path or "/wals/" in path


def is_base(path: str) -> bool:
    return "/basebackups_005/" in path or "/pg/base/" in path
