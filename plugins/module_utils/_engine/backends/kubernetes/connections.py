# SPDX-License-Identifier: BSD-2-Clause
"""Connections that stay open, with http.client's requests and answers on them, one exchange at a time on each.

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


class Broken(Exception):
    """The exchange did not end: nothing came, the connection broke, or what came is not HTTP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer whole."""

    status: int
    headers: http.client.HTTPMessage
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


class _Joined(http.client.HTTPConnection):
    """Head and body of a request go out in one write, so that they are one packet."""

    def __init__(self, host: str) -> None:
        super().__init__(host)
        self._parts: list[bytes] = []

    def send(self, data: bytes) -> None:  # type: ignore[override]  # it gets no files here
        self._parts.append(data)

    def flush(self) -> None:
        parts, self._parts = self._parts, []
        super().send(b"".join(parts))


class _Connection:
    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened
        self._http = _Joined("unused")
        self._http.sock = opened
        self._poll = select.poll()
        self._poll.register(opened, select.POLLIN)

    def is_quiet(self) -> bool:
        """False once there is something to read that nobody asked for: the end."""
        return not self._poll.poll(0)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._http.close()

    def ask(
        self, verb: str, target: str, headers: Mapping[str, str], body: bytes, timeout: float
    ) -> tuple[Response, bool]:
        """The answer, and whether the connection can be used again."""
        self._socket.settimeout(timeout)
        self._http.putrequest(verb, target, skip_host=True, skip_accept_encoding=True)
        for key, text in headers.items():
            self._http.putheader(key, text)
        self._http.endheaders(body or None)
        self._http.flush()
        answer = self._http.getresponse()
        data = answer.read()
        return Response(status=answer.status, headers=answer.headers, data=data), not answer.will_close
