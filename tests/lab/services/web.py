# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP for both stand-ins: a request in, an answer out, a thread for each connection."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

LARGEST = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Names of headers are in lower case."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: bytes

    def parameter(self, name: str) -> str:
        return dict(self.query).get(name, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def as_json(status: int, content: object, **headers: str) -> Answer:
    kept = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(
        status=status,
        body=json.dumps(content).encode(),
        headers={"Content-Type": "application/json; charset=utf-8", **kept},
    )


def as_text(status: int, text: str = "") -> Answer:
    return Answer(status=status, body=text.encode(), headers={"Content-Type": "text/plain; charset=utf-8"})


def serve(host: str, port: int, answer: Callable[[Request], Answer]) -> ThreadingHTTPServer:
    """From now on, in a thread; on all addresses if no host is named."""

    class Handler(_Handler):
        def answer(self, request: Request) -> Answer:
            return answer(request)

    server = _Server((host, port), Handler)
    threading.Thread(target=server.serve_forever, name=f"port-{port}", daemon=True).start()
    return server


def bearer_of(request: Request) -> str | None:
    """The token of the header Authorization; None without one of the scheme Bearer."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def preflight(request: Request, line: Mapping[str, Any], more: Sequence[str] = ()) -> Answer | None:
    """What the contract says to a browser's preflight; None if the request is none."""
    origin = request.headers.get("origin")
    if request.method != "OPTIONS" or origin is None or "access-control-request-method" not in request.headers:
        return None
    asked = _listed(request.headers.get("access-control-request-headers", ""))
    allowed = [*line["headers"], *more, *(asked if line.get("allows_what_is_asked") else ())]
    if not {one.lower() for one in asked} <= {one.lower() for one in allowed}:
        return Answer(status=line["status"])
    found = {"Origin": origin, "Methods": ", ".join(line["methods"]), "Headers": ", ".join(allowed)}
    return Answer(
        status=line["status"], headers={f"Access-Control-Allow-{name}": value for name, value in found.items()}
    )


def _listed(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


def say(name: str, text: str) -> None:
    sys.stderr.write(f"{name}: {text}\n")
    sys.stderr.flush()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 120

    def answer(self, request: Request) -> Answer:
        raise NotImplementedError

    def log_message(self, *_arguments: Any) -> None:
        """Nothing: the gateway keeps the log."""

    def _handle(self) -> None:
        length = self.headers.get("Content-Length") or "0"
        if not length.isdigit() or int(length) > LARGEST or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            self._send(as_text(413))
            return
        parts = urlsplit(self.path)
        request = Request(
            method=self.command,
            path=unquote(parts.path),
            query=tuple(parse_qsl(parts.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(int(length)),
        )
        self._send(self.answer(request))

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _handle  # noqa: N815 (their names in Python)
