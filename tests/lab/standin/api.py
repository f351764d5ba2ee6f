# SPDX-License-Identifier: GPL-3.0-or-later
"""A very small client of the API server: JSON over TLS with a client certificate."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# A watch says nothing itself and would not notice that its server lost its power (socket options of tcp(7)).
ALIVE = ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))


class ApiError(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"HTTP {status}: {text[:300]}")
        self.status = status


class Api:
    """Requests as one identity; a connection each, which is enough for a node's few questions."""

    def __init__(self, server: str, ca: Path, crt: Path) -> None:
        parts = urlsplit(server)
        self._host, self._port = parts.hostname or "", parts.port or 443
        self._tls = ssl.create_default_context(cafile=str(ca))
        self._tls.load_cert_chain(crt, crt.with_suffix(".key"))

    def _connect(self, timeout: float) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self._host, self._port, context=self._tls, timeout=timeout)

    def request(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Any:
        """The decoded answer; raise ApiError for 4xx and 5xx, OSError when nobody answers."""
        connection = self._connect(10)
        try:
            data = json.dumps(body) if body is not None else None
            connection.request(method, path, data, {"Content-Type": kind, "Accept": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status >= 400:
            raise ApiError(answer.status, text)
        return json.loads(text) if text.startswith(("{", "[")) else text

    def watch(self, path: str) -> Iterator[dict[str, Any]]:
        """Events of a collection from now on, until the server ends the stream."""
        connection = self._connect(330)
        try:
            connection.connect()
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in ALIVE:
                connection.sock.setsockopt(socket.IPPROTO_TCP, option, value)
            connection.request("GET", path + ("&" if "?" in path else "?") + "watch=1&timeoutSeconds=300")
            answer = connection.getresponse()
            if answer.status >= 400:
                raise ApiError(answer.status, answer.read().decode())
            while line := answer.readline():
                yield json.loads(line)
        finally:
            connection.close()

    def follow(self, path: str, on_change: Callable[[dict[str, dict[str, Any]]], None]) -> None:
        """List and watch for ever; call `on_change` with all objects by uid after each event."""
        while True:
            try:
                listed = self.request("GET", path)
                objects = {item["metadata"]["uid"]: item for item in listed["items"]}
                on_change(objects)
                for event in self.watch(f"{path}?resourceVersion={listed['metadata']['resourceVersion']}"):
                    if event["type"] == "ERROR":
                        break
                    uid = event["object"]["metadata"]["uid"]
                    if event["type"] == "DELETED":
                        objects.pop(uid, None)
                    else:
                        objects[uid] = event["object"]
                    on_change(objects)
            except (OSError, ApiError, http.client.HTTPException, json.JSONDecodeError):
                time.sleep(1)
