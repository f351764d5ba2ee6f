# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's front door as a client meets it: HTTPS to a node of the gateway, by the names of projects."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from . import layout
from .beside import Beside
from .cluster import Cluster

NODES = tuple(one for one in layout.TOPOLOGIES["cluster"] if "data_plane" in one.pools)
SECONDS = 20
# Traefik takes changes over together, once in two seconds, and asks the API server for them one by one.
ROUTED_SECONDS = 15
PAUSE_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back; `body` is what the JSON says, if it is JSON."""

    status: int
    body: Any
    headers: dict[str, str]


class _Connection(http.client.HTTPSConnection):
    """To an address that no DNS tells; the certificate has to be for the name all the same."""

    def __init__(self, name: str, address: str) -> None:
        self._tls = ssl.create_default_context(cafile=str(layout.GATEWAY_CA))
        # As browsers and curl do; without it Traefik cuts off who asks for an unknown name (docs/gateway.md).
        self._tls.set_alpn_protocols(["http/1.1"])
        super().__init__(name, context=self._tls, timeout=SECONDS)
        self._address = address

    def connect(self) -> None:
        plain = socket.create_connection((self._address, 443), self.timeout)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a project is; `key` goes with each request unless another one, or none, is said."""

    url: str
    key: str
    address: str

    @property
    def name(self) -> str:
        return self.url.removeprefix("https://")

    def ask(self, path: str, body: Any = None, *, key: str | None = None, verb: str = "", **headers: str) -> Answer:
        """One request over one connection. Raises OSError or http.client.HTTPException."""
        shown = self.key if key is None else key
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if shown:
            sent["apikey"] = shown
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        link = _Connection(self.name, self.address)
        try:
            link.request(verb or ("GET" if data is None else "POST"), path, data, sent)
            answer = link.getresponse()
            text = answer.read().decode()
            return Answer(status=answer.status, body=_parsed(text), headers=dict(answer.getheaders()))
        finally:
            link.close()

    def curl(self, path: str, *more: str) -> str:
        """The line that asks the same."""
        ca = layout.GATEWAY_CA.relative_to(layout.CHECKOUT)
        where = f"--cacert {ca} --resolve {self.name}:443:{self.address}"
        return " ".join(("curl", where, *more, f"{self.url}{path}"))


def site(found: Cluster, ref: str, address: str = NODES[0].address) -> Site:
    """As its record tells, with its anonymous key."""
    key = found.secret(f"p-{ref}", "credentials")["anon.key"]
    return Site(url=found.record(ref)["status"]["endpoints"]["url"], key=key, address=address)


def tell_of_new_tables(found: Cluster, ref: str) -> None:
    """PostgREST looks at the schema when it starts (docs/services.md, "Sessions")."""
    found.kubectl("rollout", "restart", "-n", f"p-{ref}", "deployment/rest")
    await_rollout(found, f"p-{ref}", "rest")


def await_rollout(found: Cluster, namespace: str, deployment: str) -> None:
    """Until only new pods are left: an old one that drains is still asked by a gateway that has not heard of it."""
    found.kubectl("rollout", "status", "-n", namespace, f"deployment/{deployment}", "--timeout=180s")
    pods = found.objects("pods", "-n", namespace, "-l", f"supalove.cloud/component={deployment}")
    for one in pods:
        if "deletionTimestamp" in one["metadata"]:
            found.kubectl("wait", "--for=delete", "-n", namespace, f"pod/{one['metadata']['name']}", "--timeout=180s")


def when_routed(where: Site, path: str) -> Answer:
    """The first answer of the project itself, or the last of a gateway that has not heard of its pods in time."""
    until = time.monotonic() + ROUTED_SECONDS
    while (answer := where.ask(path)).status == 503 and time.monotonic() < until:
        time.sleep(PAUSE_SECONDS)
    return answer


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


class Visitor(Beside):
    """Asks again and again while this lasts, and counts what came back: statuses, and names of errors."""

    def __init__(self, where: Site, path: str) -> None:
        super().__init__(f"visitor of {where.url}{path}", PAUSE_SECONDS)
        self.seen: Counter[str] = Counter()
        self._where, self._path = where, path

    def look(self) -> None:
        """One request."""
        try:
            answer = self._where.ask(self._path)
            told = str(answer.status) if answer.status < 500 else f"{answer.status} {answer.body}"
        except (OSError, http.client.HTTPException) as error:
            told = repr(error)
        self.seen[told] += 1
