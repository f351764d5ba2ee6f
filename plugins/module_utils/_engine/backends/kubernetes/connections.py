# SPDX-License-Identifier: BSD-2-Clause
"""Requests and answers in HTTP/1.1 (RFC 9112) on connections that stay open, one exchange at a time on each.

A run sends tens of thousands of small requests; a general client spends five times as much on each of them, which is
more than all the rest of the engine. Who opens a connection, and with it addresses, TLS and proxies, is the caller's
business.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO

LINE_BYTES = 65536
HEADERS = 200

Open = Callable[[float], socket.socket]


class Broken(Exception):
    """The exchange did not end: nothing came, the connection broke, or what came is not HTTP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer whole. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    data: bytes


class Connections:
    """Connections to one server, shared by threads; as many as there are exchanges at once. `open` gets seconds."""

    def __init__(self, open: Open) -> None:  # noqa: A002 - what it does
        self._open = open
        self._idle: deque[_Connection] = deque()

    def ask(self, head: str, body: bytes, *, timeout: float) -> Response:
        """Send a request line with its headers, and a body; read the answer. `timeout` in seconds is for each wait.

        Raises Broken.
        """
        connection = self._take(timeout)
        try:
            response, is_open = connection.ask(head.encode("latin-1") + b"\r\n\r\n" + body, timeout)
        except (OSError, ValueError) as error:
            connection.close()
            raise Broken(str(error) or type(error).__name__) from error
        except BaseException:
            connection.close()
            raise
        if is_open:
            self._idle.append(connection)
        else:
            connection.close()
        return response

    def close(self) -> None:
        """Close all that are idle."""
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _take(self, timeout: float) -> _Connection:
        """The one used last, as servers close those that are idle for long; a new one if none is left open."""
        with contextlib.suppress(IndexError):
            while True:
                connection = self._idle.pop()
                if connection.is_quiet():
                    return connection
                connection.close()
        try:
            return _Connection(self._open(timeout))
        except OSError as error:
            raise Broken(str(error) or type(error).__name__) from error


class _Connection:
    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened
        self._file: IO[bytes] = opened.makefile("rb")
        self._poll = select.poll()
        self._poll.register(opened, select.POLLIN)

    def is_quiet(self) -> bool:
        """False once there is something to read that nobody asked for: the end."""
        return not self._poll.poll(0)

    def close(self) -> None:
        for part in (self._file, self._socket):
            with contextlib.suppress(OSError):
                part.close()

    def ask(self, request: bytes, timeout: float) -> tuple[Response, bool]:
        """The answer, and whether the connection can be used again. In one write, so that it is one packet."""
        self._socket.settimeout(timeout)
        self._socket.sendall(request)
        version, status, headers = self._head()
        while 100 <= status < 200:
            version, status, headers = self._head()
        data, is_open = self._body(status, headers)
        is_open = is_open and version == b"HTTP/1.1" and headers.get("connection", "").lower() != "close"
        return Response(status=status, headers=headers, data=data), is_open

    def _head(self) -> tuple[bytes, int, dict[str, str]]:
        version, status, *_reason = self._line().split(None, 2)
        headers: dict[str, str] = {}
        for _number in range(HEADERS):
            if not (line := self._line()):
                return version, int(status), headers
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        raise ValueError(f"{HEADERS} headers and no end")

    def _body(self, status: int, headers: Mapping[str, str]) -> tuple[bytes, bool]:
        """By RFC 9112, 6.3; a body without a length ends with its connection."""
        if status in (204, 304):
            return b"", True
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return b"".join(self._chunks()), True
        if "content-length" in headers:
            return self._exactly(int(headers["content-length"])), True
        return self._file.read(), False

    def _chunks(self) -> list[bytes]:
        chunks: list[bytes] = []
        while size := int(self._line().partition(b";")[0], 16):
            chunks.append(self._exactly(size))
            self._line()
        while self._line():
            pass
        return chunks

    def _line(self) -> bytes:
        line = self._file.readline(LINE_BYTES)
        if not line.endswith(b"\n"):
            raise ValueError("the connection was closed" if len(line) < LINE_BYTES else "a line has no end")
        return line.rstrip(b"\r\n")

    def _exactly(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            raise ValueError("the connection was closed")
        return data
