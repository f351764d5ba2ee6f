# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP/1.1 as servers may speak it, byte by byte, over real sockets."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.connections import (
    Broken,
    Connections,
)

HEADERS = {"Host": "x"}
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"


class Server:
    """Gives the next answer to each request, on whichever connection it comes; None closes without one."""

    def __init__(self, answers: list[bytes | None]) -> None:
        self._answers = answers
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.accepted = 0
        self.asked = b""
        self.ended = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _address = self._listener.accept()
                self.accepted += 1
                self.ended.clear()
                with connection:
                    self._answer(connection)
                self.ended.set()

    def _answer(self, connection: socket.socket) -> None:
        while self._answers and (data := connection.recv(65536)):
            self.asked += data
            answer = self._answers.pop(0)
            if answer is None:
                return
            connection.sendall(answer)
            if b"ends with the connection" in answer:
                return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@pytest.fixture
def serve():
    with contextlib.ExitStack() as stack:

        def start(*answers):
            server = Server(list(answers))
            stack.callback(server.close)
            connections = Connections(lambda seconds: socket.create_connection(("127.0.0.1", server.port), seconds))
            stack.callback(connections.close)
            return server, connections

        yield start


@pytest.mark.parametrize(
    ("answer", "status", "data"),
    [
        (OK + b"Content-Length: 2\r\n\r\n{}", 200, b"{}"),
        (OK + b"content-length:2\r\n\r\n{}", 200, b"{}"),
        (OK + CHUNKED + b'3\r\n{"a\r\nB;x=y\r\n": "\r\n0\r\n"}\r\n0\r\n\r\n', 200, b'{"a": "\r\n0\r\n"}'),
        (OK + CHUNKED + b"2\r\n{}\r\n0\r\nTrailer: x\r\n\r\n", 200, b"{}"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n", 200, b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 429\r\nContent-Length: 4\r\n\r\nslow", 429, b"slow"),
        (OK + b"\r\nends with the connection", 200, b"ends with the connection"),
    ],
)  # fmt: skip
def test_every_way_to_end_a_body_is_understood(serve, answer, status, data):
    _server, connections = serve(answer)
    response = connections.ask("GET", "/", HEADERS, b"", timeout=5)
    assert (response.status, response.data) == (status, data)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 2",
        OK + b"Content-Length: 99\r\n\r\nends with the connection",
        OK + CHUNKED + b"99\r\nends with the connection",
        OK + CHUNKED + b"no number, ends with the connection\r\n",
        OK + b"A: b\r\n" * 300 + b"\r\n",
    ],
)
def test_an_answer_that_is_not_whole_or_no_http_is_broken(serve, answer):
    server, connections = serve(answer)
    with pytest.raises(Broken):
        connections.ask("GET", "/", HEADERS, b"", timeout=0.5)
    assert server.asked == b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def test_a_connection_is_used_again_and_its_requests_arrive_whole(serve):
    answer = OK + b"Content-Length: 0\r\n\r\n"
    server, connections = serve(answer, answer)
    for body in (b"one", b"two"):
        connections.ask("PUT", "/", {**HEADERS, "Content-Length": "3"}, body, timeout=5)
    assert server.accepted == 1
    assert server.asked.count(b"Content-Length: 3\r\n\r\n") == 2


@pytest.mark.parametrize(
    "first",
    [
        OK + b"Content-Length: 0\r\nConnection: close\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_a_connection_that_the_server_will_close_is_not_used_again(serve, first):
    server, connections = serve(first, OK + b"Content-Length: 0\r\n\r\n")
    for _ in range(2):
        connections.ask("GET", "/", HEADERS, b"", timeout=5)
    assert server.accepted == 2


def test_a_connection_that_was_closed_while_idle_is_replaced_unnoticed(serve):
    server, connections = serve(
        OK + b"X: ends with the connection\r\nContent-Length: 0\r\n\r\n", OK + b"Content-Length: 0\r\n\r\n"
    )
    connections.ask("GET", "/", HEADERS, b"", timeout=5)
    assert server.ended.wait(5)
    assert connections.ask("GET", "/", HEADERS, b"", timeout=5).status == 200
    assert server.accepted == 2


def test_nobody_there_is_broken():
    # Bound and listened on by nobody: it refuses, and no other gets it.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        connections = Connections(lambda seconds: socket.create_connection(taken.getsockname(), seconds))
        with pytest.raises(Broken, match="refused"):
            connections.ask("GET", "/", HEADERS, b"", timeout=5)
