# SPDX-License-Identifier: BSD-2-Clause
"""The one place that asks the gateway what clients ask it: one request for each connection, verified as they do."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
from dataclasses import dataclass

from ...credentials import Secret
from ...errors import EngineError
from ...service_health import Fault, Probe, code_in
from ...service_keys import KEY_HEADER

AGENT = "supalove"
CONNECT_SECONDS = 5.0
# What a service says of an error is shorter.
BODY_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where the gateway is. `address`: None for that which the DNS has for each host.

    `ca_file`: the certificates it is verified by; None for those of the system.
    """

    address: str | None = None
    port: int = 443
    ca_file: str | None = None
    answer_seconds: float = 10.0


class Gateway:
    """May be used by threads."""

    def __init__(self, target: Target) -> None:
        """Raises EngineError if `target.ca_file` cannot be used."""
        self._target = target
        try:
            self._context = ssl.create_default_context(cafile=target.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise EngineError(f"{target.ca_file} is no readable file of certificates in PEM") from error
        # Else Traefik cuts who asks for a name without a route, as it does if it is away (docs/gateway.md).
        self._context.set_alpn_protocols(["http/1.1"])

    def place_of(self, host: str) -> str:
        """Where requests for a host go, for people."""
        return f"{self._target.address or host}:{self._target.port}"

    def ask(self, host: str, path: str, key: Secret | None) -> Probe:
        """One request. After silence a second one, without a key: it is refused by the gateway alone."""
        probe = self._ask(host, path, key)
        if probe.fault is not Fault.SILENT or key is None:
            return probe
        answers = self._ask(host, path, None).status is not None
        return Probe(fault=probe.fault, reason=probe.reason, gateway_answers=answers)

    def _ask(self, host: str, path: str, key: Secret | None) -> Probe:
        try:
            opened = self._open(host)
        except ssl.SSLCertVerificationError as error:
            return Probe(fault=Fault.TLS, reason=f"its certificate is not accepted: {error.verify_message}")
        except TimeoutError:
            return Probe(fault=Fault.CONNECT, reason=f"no connection in {CONNECT_SECONDS:g} s")
        except ssl.SSLError as error:
            return Probe(fault=Fault.TLS, reason=f"no TLS: {error.reason or type(error).__name__}")
        except OSError as error:
            return Probe(fault=Fault.CONNECT, reason=(error.strerror or type(error).__name__).lower())
        connection = http.client.HTTPConnection(host)
        connection.sock = opened
        with contextlib.closing(opened), contextlib.closing(connection):
            return self._exchange(connection, path, key)

    def _open(self, host: str) -> ssl.SSLSocket:
        address = (self._target.address or host, self._target.port)
        plain = socket.create_connection(address, timeout=CONNECT_SECONDS)
        try:
            return self._context.wrap_socket(plain, server_hostname=host)
        except BaseException:
            plain.close()
            raise

    def _exchange(self, connection: http.client.HTTPConnection, path: str, key: Secret | None) -> Probe:
        connection.sock.settimeout(self._target.answer_seconds)
        headers = {"Accept": "application/json", "User-Agent": AGENT, "Connection": "close"}
        try:
            connection.request("GET", path, headers={**headers, **({KEY_HEADER: key.reveal()} if key else {})})
            with connection.getresponse() as answer:
                code = "" if answer.status == 200 else _code_of(answer)
                return Probe(status=answer.status, code=code)
        except TimeoutError:
            return Probe(fault=Fault.SILENT, reason=f"gives no answer in {self._target.answer_seconds:g} s")
        except (http.client.HTTPException, OSError) as error:
            return Probe(fault=Fault.CUT, reason=f"it ended the connection ({type(error).__name__})")


def _code_of(answer: http.client.HTTPResponse) -> str:
    """A body that does not come, or is no JSON, has none."""
    try:
        return code_in(json.loads(answer.read1(BODY_BYTES)))
    except (http.client.HTTPException, OSError, ValueError):
        return ""
