# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._vault import Vault, VaultError


class Handler(BaseHTTPRequestHandler):
    """Answers below /v1/led what it was sent, and sends what else is asked to another place."""

    def log_message(self, *_arguments: Any) -> None:
        """Stay silent."""

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/led":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"sent": ' + sent + b', "token": "' + self.headers["X-Vault-Token"].encode() + b'"}')
            return
        self.send_response(307)
        places = {"/v1/standby": "http://%s/v1/led", "/v1/ring": "http://%s/v1/ring", "/v1/other": "file:///etc/passwd"}
        place = places[self.path]
        self.send_header("Location", place % self.headers["Host"] if "%" in place else place)
        self.end_headers()


@pytest.fixture
def vault() -> Iterator[Vault]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Vault(f"http://127.0.0.1:{server.server_port}", None, 5, "t")
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_server_that_cannot_pass_a_request_on_yet_names_the_one_that_leads(vault: Vault) -> None:
    assert vault.post("standby", {"a": "b"}) == {"sent": {"a": "b"}, "token": "t"}


@pytest.mark.parametrize("path", ["ring", "other"])
def test_a_request_is_sent_on_once_and_over_nothing_else_than_it_came_by(vault: Vault, path: str) -> None:
    with pytest.raises(VaultError, match="HTTP 307"):
        vault.post(path, {})
