# SPDX-License-Identifier: BSD-2-Clause
"""One pooler: have it read its files again (PgBouncer's manual, "Admin console"), and see whom it lets in and what
it shows.
"""

from __future__ import annotations

import math
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ...credentials import Secret
from ...deadline import Deadline
from ...errors import BackendError, Denied, MissingLibrary, Unreachable
from ..kubernetes.client import Client
from ..kubernetes.portforward import socket_name, tunnel

try:
    import psycopg
except ImportError as error:
    _MISSING: ImportError | None = error
else:
    _MISSING = None

CONNECT_SECONDS = 10.0
# What PgBouncer says to a client whose password is not the one it knows, and to one that it does not know at all.
_REFUSALS = ("password authentication failed", "SASL authentication failed", "no such user")

# PostgreSQL's manual, "Message Formats", SSLRequest.
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooler:
    """The pod of a pooler."""

    client: Client
    namespace: str
    pod: str
    port: int

    @property
    def subject(self) -> str:
        """As errors name it."""
        return f"Pod/{self.namespace}/{self.pod}"

    def reload(self, *, user: str, password: Secret, console: str, deadline: Deadline) -> None:
        """Have it read its files again; connections stay."""
        with self._session(user, password, console, deadline) as session:
            _run(session, "RELOAD", self.subject)

    def lets_in(self, *, user: str, password: Secret, database: str, deadline: Deadline) -> bool:
        """Whether a client with this login gets an answer from the database."""
        try:
            with self._session(user, password, database, deadline) as session:
                _run(session, "SELECT 1", self.subject)
        except Denied:
            return False
        return True

    def certificate(self, *, deadline: Deadline) -> str:
        """The certificate that it shows to a client, in PEM; empty if it has none."""
        deadline.require(f"CONNECT {self.subject}")
        seconds = min(CONNECT_SECONDS, deadline.remaining())
        with (
            tunnel(self.client, namespace=self.namespace, pod=self.pod, port=self.port, deadline=deadline) as way,
            socket.socket(socket.AF_UNIX) as made,
        ):
            try:
                made.settimeout(seconds)
                made.connect(str(way.directory / socket_name(self.port)))
                made.sendall(_SSL_REQUEST)
                return _shown(made) if made.recv(1) == b"S" else ""
            except OSError as error:
                reason = " ".join((way.trouble or str(error)).split())
                raise Unreachable(subject=self.subject, verb="TLS", reason=reason[:300]) from error

    @contextmanager
    def _session(self, user: str, password: Secret, database: str, deadline: Deadline) -> Iterator[Any]:
        if _MISSING is not None:
            raise MissingLibrary("psycopg") from _MISSING
        deadline.require(f"CONNECT {self.subject}")
        with tunnel(self.client, namespace=self.namespace, pod=self.pod, port=self.port, deadline=deadline) as way:
            try:
                session = psycopg.connect(
                    host=str(way.directory),
                    port=self.port,
                    user=user,
                    password=password.reveal(),
                    dbname=database,
                    application_name="supalove",
                    connect_timeout=max(2, math.ceil(min(CONNECT_SECONDS, deadline.remaining()))),
                    autocommit=True,
                    # What libpq would otherwise take from the environment or from files of the user.
                    passfile="/dev/null",
                    sslmode="disable",
                    gssencmode="disable",
                    target_session_attrs="any",
                    require_auth="scram-sha-256",
                    prepare_threshold=None,
                )
            except psycopg.Error as error:
                raise _translated(error, self.subject, way.trouble) from error
            with session:
                yield session


def _shown(made: socket.socket) -> str:
    """Whoever it may be of: who asks compares it with the one that he expects."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with context.wrap_socket(made) as encrypted:
        found = encrypted.getpeercert(binary_form=True)
    return ssl.DER_cert_to_PEM_cert(found) if found else ""


def _run(session: Any, statement: str, subject: str) -> None:
    try:
        session.execute(statement)
    except psycopg.Error as error:
        raise _translated(error, subject, "") from error


def _translated(error: Any, subject: str, trouble: str) -> BackendError:
    said = " ".join((trouble or str(error)).split())
    kind: type[BackendError] = Denied if any(words in said for words in _REFUSALS) else Unreachable
    return kind(subject=subject, verb="LOGIN", reason=said[:300], status=error.sqlstate)
