# SPDX-License-Identifier: GPL-3.0-or-later
"""The status over HTTP, on the pod's own loopback: a port-forward reaches it, the network does not."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .state import State, as_json, as_metrics

PORT = int(os.environ.get("SUPALOVE_ARCHIVER_PORT", "8432"))

Ask = Callable[[bool], bool]


def serve(state: State, ask_backup: Ask, *, port: int = PORT) -> ThreadingHTTPServer:
    """Answer until `shutdown` is called: GET /status, GET /metrics, POST /backup and POST /backup/full."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/status":
                self._answer(200, "application/json", json.dumps(as_json(state.read())))
            elif self.path == "/metrics":
                self._answer(200, "text/plain; version=0.0.4", as_metrics(state.read()))
            else:
                self._answer(404, "text/plain", "GET /status, GET /metrics, POST /backup, POST /backup/full\n")

        def do_POST(self) -> None:
            if self.path not in ("/backup", "/backup/full"):
                self._answer(404, "text/plain", "POST /backup, POST /backup/full\n")
            elif ask_backup(self.path.endswith("/full")):
                self._answer(202, "text/plain", "begun\n")
            else:
                self._answer(409, "text/plain", "a backup is running\n")

        def log_message(self, *_arguments: object) -> None:
            """Say nothing: what happens is in the figures."""

        def _answer(self, status: int, kind: str, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="web", daemon=True).start()
    return server
