# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP/1.1 for the gateway: every request is answered as soon as it is read, and nothing of it is kept or logged."""

from __future__ import annotations

import asyncio
import http
import json
import sys
import time
from dataclasses import dataclass, field
from typing import cast

import httptools

from . import decision
from .decision import Answer, Malformed

HEALTH = "/healthz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one client may take. Sizes in bytes.

    `read_seconds`: from a request's first byte to its last, and how long an answer may wait to be taken.
    `idle_seconds`: longer than the gateway keeps a connection (90 s in Go's client), so that it is who closes it.
    """

    line: int = 4096
    header: int = 32 * 1024
    connections: int = 4096
    read_seconds: float = 10
    idle_seconds: float = 120


@dataclass(slots=True)
class Server:
    """What the connections share. Once `is_draining`, each is closed behind its next answer."""

    limits: Limits
    connections: set[Connection] = field(default_factory=set)
    is_draining: bool = False
    complained: float = 0

    def connection(self) -> Connection:
        """For a new client."""
        return Connection(self)

    def cut_slow(self, now: float) -> None:
        """Close what has waited longer than it may."""
        for one in [one for one in self.connections if now >= one.deadline]:
            one.abort()

    def close_idle(self) -> None:
        """Close those that wait for no answer."""
        for one in [one for one in self.connections if one.is_idle]:
            one.close()

    def complain(self, text: str) -> None:
        """Say what is wrong with the gateway's question, once a minute: it comes with every request."""
        now = time.monotonic()
        if not self.complained or now - self.complained >= 60:
            self.complained = now
            say(text)


class Refused(Exception):
    """The request is not read to its end."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Connection(asyncio.Protocol):
    """One client. httptools calls the methods on_*, in the order of the bytes."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._limits = server.limits
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._answers: list[bytes] = []
        self._refusal = 0
        # Of the request that is being read; `_fed`: bytes that came while it was not whole.
        self._fed = 0
        self._completed = 0
        self._url = b""
        self._headers = 0
        self._apikeys: list[bytes] = []
        self._authorizations: list[bytes] = []
        self._methods: list[bytes] = []
        self._is_paused = False
        self.is_idle = True
        self.deadline = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Or turn the client away, if there are too many."""
        # uvloop's has all of its methods, and is none.
        self._transport = cast("asyncio.Transport", transport)
        self._server.connections.add(self)
        self.deadline = time.monotonic() + self._limits.read_seconds
        if len(self._server.connections) > self._limits.connections:
            self._refuse(503)

    def connection_lost(self, _error: Exception | None) -> None:
        """Whoever ended it."""
        self._server.connections.discard(self)
        self._transport = None

    def pause_writing(self) -> None:
        """The client does not take its answers, so it is not listened to."""
        self._is_paused = True
        self._wait()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It took them."""
        self._is_paused = False
        self._wait()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _wait(self) -> None:
        """From now on, for what is next."""
        is_idle = self.is_idle and not self._is_paused
        self.deadline = time.monotonic() + (self._limits.idle_seconds if is_idle else self._limits.read_seconds)

    def data_received(self, data: bytes) -> None:
        """Read on, and send what can be answered."""
        if self._transport is None or self._transport.is_closing():
            return
        was_idle, completed, is_last = self.is_idle, self._completed, self._server.is_draining
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Answered as any other, and what follows would be another protocol.
            is_last = True
        except httptools.HttpParserError:
            self._refusal = self._refusal or 400
        self._fed = 0 if self._completed > completed else self._fed + len(data)
        if not self.is_idle and self._fed > self._limits.line + self._limits.header:
            self._refusal = self._refusal or 431
        if self._refusal:
            self._refuse(self._refusal)
            return
        if self._answers:
            self._transport.write(b"".join(self._answers))
            self._answers.clear()
            if is_last or not self._parser.should_keep_alive():
                self.close()
                return
        if self._completed > completed or was_idle != self.is_idle:
            self._wait()

    def close(self) -> None:
        """Behind what is being sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """At once."""
        if self._transport is not None:
            self._transport.abort()

    def on_message_begin(self) -> None:
        """A request's first byte."""
        self.is_idle = False
        self._url, self._headers = b"", 0
        self._apikeys, self._authorizations, self._methods = [], [], []

    def on_url(self, url: bytes) -> None:
        """A part of it."""
        self._url += url
        if len(self._url) > self._limits.line:
            self._fail(414)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A whole one."""
        self._headers += len(name) + len(value) + 4
        if self._headers > self._limits.header:
            self._fail(431)
        name = name.lower()
        if name == b"apikey":
            self._apikeys.append(value.strip())
        elif name == b"authorization":
            self._authorizations.append(value.strip())
        elif name == b"x-forwarded-method":
            self._methods.append(value.strip())

    def on_body(self, _body: bytes) -> None:
        """The gateway sends none."""
        self._fail(413)

    def on_message_complete(self) -> None:
        """Decide."""
        if self._parser.get_method() != b"GET":
            self._fail(405)
        self._completed += 1
        self.is_idle = True
        is_last = self._server.is_draining or not self._parser.should_keep_alive()
        self._answers.append(render(self._decide(), is_last=is_last))

    def _decide(self) -> Answer:
        path, _mark, query = self._url.partition(b"?")
        if path == HEALTH.encode():
            return Answer(status=200)
        if path != b"/":
            return _of(404)
        try:
            keys = decision.parse_query(query)
        except Malformed as error:
            self._server.complain(f"the gateway's question is malformed: {error}")
            return _of(400)
        method = self._methods[0] if len(self._methods) == 1 else b""
        return decision.judge(keys, self._apikeys, self._authorizations, time.time(), method)

    def _fail(self, status: int) -> None:
        """Out of the parser, which reports it as an error of its own."""
        self._refusal = status
        raise Refused(status)

    def _refuse(self, status: int) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join([*self._answers, render(_of(status), is_last=True)]))
            self._answers.clear()
            self._transport.close()


def _of(status: int) -> Answer:
    return Answer(status=status, message=http.HTTPStatus(status).phrase)


def render(answer: Answer, *, is_last: bool) -> bytes:
    """The bytes of an answer; with `is_last` the connection ends behind it."""
    body = json.dumps({"message": answer.message}).encode() if answer.message else b""
    lines = [
        f"HTTP/1.1 {answer.status} {http.HTTPStatus(answer.status).phrase}".encode(),
        b"Cache-Control: no-store",
        b"Content-Length: %d" % len(body),
    ]
    if body:
        # Scripts in browsers may read why.
        lines += [b"Content-Type: application/json", b"Access-Control-Allow-Origin: *"]
    if answer.authorization:
        lines.append(b"Authorization: " + answer.authorization)
    if is_last:
        lines.append(b"Connection: close")
    return b"\r\n".join([*lines, b"", body])


def say(text: str) -> None:
    """One line for the operator."""
    sys.stderr.write(f"supalove-verifier: {text}\n")
    sys.stderr.flush()
