# SPDX-License-Identifier: GPL-3.0-or-later
"""The status and requests over HTTP, on the pod's own loopback: a port-forward reaches it, the network does not."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .config import ConfigError
from .state import State, as_json, as_metrics
from .work import Refused

PORT = int(os.environ.get("SUPALOVE_ARCHIVER_PORT", "8432"))

# Of a request, in bytes.
LARGEST = 64 * 1024

Ask = Callable[[bool], bool]
# What is done upon a POST with an object in JSON, none for an empty body: status and text. It may raise Refused.
Answer = Callable[[Mapping[str, Any]], tuple[int, str]]


def backup_answers(ask_backup: Ask) -> dict[str, Answer]:
    """POST /backup and POST /backup/full. `ask_backup` is told whether it has to be a full one; False if one runs."""

    def answer(*, full: bool) -> tuple[int, str]:
        return (202, "begun\n") if ask_backup(full) else (409, "a backup is running\n")

    return {"/backup": lambda _told: answer(full=False), "/backup/full": lambda _told: answer(full=True)}


def refusals(paths: tuple[str, ...], reason: str) -> dict[str, Answer]:
    """For what is known, and is not done here."""

    def refuse(_told: Mapping[str, Any]) -> tuple[int, str]:
        raise Refused(409, reason)

    return dict.fromkeys(paths, refuse)


def serve(state: State, answers: Mapping[str, Answer], *, port: int = PORT) -> ThreadingHTTPServer:
    """Answer until `shutdown` is called: GET /status, GET /metrics, and POST to the paths of `answers`."""

    class Handler(_Handler):
        def do_GET(self) -> None:
            if self.path == "/status":
                self.answer(200, "application/json", json.dumps(as_json(state.read())))
            elif self.path == "/metrics":
                self.answer(200, "text/plain; version=0.0.4", as_metrics(state.read()))
            else:
                self.answer(404, "text/plain", known)

        def do_POST(self) -> None:
            status, text = _done(answers.get(self.path, unknown), self.told)
            self.answer(status, "text/plain", text)

    known = ", ".join(["GET /status", "GET /metrics", *(f"POST {path}" for path in answers)]) + "\n"

    def unknown(_told: Mapping[str, Any]) -> tuple[int, str]:
        return 404, known

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="web", daemon=True).start()
    return server


def _done(answer: Answer, told: Callable[[], Mapping[str, Any]]) -> tuple[int, str]:
    try:
        return answer(told())
    except Refused as error:
        return error.status, f"{error}\n"
    except ConfigError as error:
        return 503, f"{error}\n"


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        """Say nothing: what happens is in the figures."""

    def told(self) -> Mapping[str, Any]:
        """The request's object. Raises Refused."""
        length = self.headers.get("Content-Length") or "0"
        if not length.isdigit() or int(length) > LARGEST:
            raise Refused(400, f"a request has {LARGEST} bytes at the most")
        try:
            told = json.loads(self.rfile.read(int(length)) or b"{}")
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict):
            raise Refused(400, "the request is not an object in JSON")
        return told

    def answer(self, status: int, kind: str, text: str) -> None:
        """Send it whole."""
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
