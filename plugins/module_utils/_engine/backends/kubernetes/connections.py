# SPDX-License-Identifier: BSD-2-Clause
"""Connections that stay open, with http.client's answers on them, one exchange at a time on each.

A run sends tens of thousands of small requests, and what a general client adds to each of them was more than all the
rest of the engine. Who opens a connection, and with it addresses, TLS and proxies, is the caller's business.
"""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Open = Callable[[float], socket.socket]

# Of a head, in bytes and lines; as http.client has them.
LONGEST_LINE = 65536
MOST_LINES = 100
_VERSIONS = {"HTTP/1.0": 10, "HTTP/1.1": 11}


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

    def ask(self, verb: str, target: str, headers: Mapping[str, str], body: bytes, *, timeout: float) -> Response:
        """Send a request and read the answer. `timeout` in seconds is for each wait. Raises Broken."""
        connection = self._take(timeout)
        try:
            response, is_open = connection.ask(verb, target, headers, body, timeout)
        except (OSError, ValueError, http.client.HTTPException) as error:
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
        self._poll = select.poll()
        self._poll.register(opened, select.POLLIN)

    def is_quiet(self) -> bool:
        """False once there is something to read that nobody asked for: the end."""
        return not self._poll.poll(0)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()

    def ask(
        self, verb: str, target: str, headers: Mapping[str, str], body: bytes, timeout: float
    ) -> tuple[Response, bool]:
        """The answer, and whether the connection can be used again."""
        self._socket.settimeout(timeout)
        # In one write, so that a small request is one packet.
        self._socket.sendall(_head_of(verb, target, headers) + body)
        answer = _Answer(self._socket, method=verb)
        with contextlib.closing(answer):
            answer.begin()
            response = Response(status=answer.status, headers=answer.fields, data=answer.read())
        return response, not answer.will_close


def _head_of(verb: str, target: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"{verb} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    head = "\r\n".join(lines)
    if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1:
        raise ValueError("a header has a line end in it")
    return f"{head}\r\n\r\n".encode("latin-1")


class _Answer(http.client.HTTPResponse):
    """Reads its head as the few lines it is. To read it as an e-mail's took a tenth of a run's processor time."""

    fields: Mapping[str, str]

    def begin(self) -> None:
        """Read the head. Raises HTTPException if it is none."""
        status, fields = self._head()
        while status == http.client.CONTINUE:
            status, fields = self._head()
        self.status, self.fields = status, fields
        self.chunked = fields.get("transfer-encoding", "").lower() == "chunked"
        self.chunk_left = None
        self.length = None if self.chunked else _length_of(status, fields)
        is_endless = not self.chunked and self.length is None
        self.will_close = self.version < 11 or is_endless or "close" in fields.get("connection", "").lower()

    def _head(self) -> tuple[int, dict[str, str]]:
        """Status and header fields, whose names are in lower case."""
        first, *lines = self._lines()
        version, _space, rest = first.partition(" ")
        if version not in _VERSIONS or not rest[:3].isdecimal():
            raise http.client.BadStatusLine(first)
        self.version = _VERSIONS[version]
        pairs = (line.partition(":") for line in lines)
        return int(rest[:3]), {name.strip().lower(): value.strip() for name, _colon, value in pairs}

    def _lines(self) -> list[str]:
        lines: list[str] = []
        while line := self.fp.readline(LONGEST_LINE):
            text = line.decode("latin-1").rstrip("\r\n")
            if lines and not text:
                return lines
            lines.append(text)
            if not line.endswith(b"\n") or len(lines) > MOST_LINES:
                raise http.client.LineTooLong("head")
        raise http.client.RemoteDisconnected("the server ended the connection without an answer")


def _length_of(status: int, fields: Mapping[str, str]) -> int | None:
    """How long the body is, in bytes; None if it ends with the connection."""
    if status in (http.client.NO_CONTENT, http.client.NOT_MODIFIED):
        return 0
    told = fields.get("content-length", "")
    return int(told) if told.isdecimal() else None
