# SPDX-License-Identifier: BSD-2-Clause
"""The one place that speaks to a PostgreSQL server. A session has its path, limits and name from its very start."""

from __future__ import annotations

import math
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ...credentials import Secret
from ...databases import ADMIN
from ...deadline import Deadline
from ...errors import (
    BackendError,
    Conflict,
    Denied,
    MissingLibrary,
    NotFound,
    Rejected,
    ServerFailed,
    Throttled,
    Unreachable,
)

try:
    import psycopg
except ImportError as error:
    _MISSING: ImportError | None = error
else:
    _MISSING = None

APPLICATION = "supalove"
DATABASE = "postgres"
CONNECT_SECONDS = 10.0
STATEMENT_SECONDS = 60
LOCK_SECONDS = 30
IDLE_SECONDS = 600
REASON_LENGTH = 300
Row = tuple[Any, ...]

# By class of SQLSTATE, or the whole code where one of a class means something else (appendix A of the manual).
_BY_SQLSTATE: dict[str, type[BackendError]] = {
    "08": Unreachable,
    "28": Denied,
    "3D": NotFound,
    "40": Conflict,
    "53": ServerFailed,
    "55": Conflict,
    "57": ServerFailed,
    "58": ServerFailed,
    "XX": ServerFailed,
    "25006": ServerFailed,
    "42501": Denied,
    "42704": NotFound,
    "42710": Conflict,
    "42P04": Conflict,
    "57P01": Unreachable,
    "57P02": Unreachable,
    "57P03": Unreachable,
    "57P05": Unreachable,
}
_TOO_MANY = "53300"
# libpq tells no SQLSTATE of a connection that was refused, only the server's words, which are English in our clusters.
_BY_WORDS = {
    "password authentication failed": "28P01",
    "pg_hba.conf": "28000",
    "is not permitted to log in": "28000",
    "permission denied for database": "42501",
    "too many connections": _TOO_MANY,
    "too many clients": _TOO_MANY,
    "connection slots are reserved": _TOO_MANY,
    "the database system is": "57P03",
}
_VERIFIER = re.compile(r"SCRAM-SHA-256\$\S+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where the admin logs in to a cluster. `host` is an address, or the directory of a socket."""

    cluster: str
    host: str
    port: int
    password: Secret


class Session:
    """One connection of the admin to one cluster, each statement its own transaction. Not to be shared by threads."""

    def __init__(self, connection: Any, cluster: str) -> None:
        self._connection = connection
        self.cluster = cluster
        self.reads = 0
        self.writes = 0

    def query(
        self, statement: Any, values: dict[str, Any] | None = None, *, subject: str, deadline: Deadline
    ) -> list[Row]:
        """The rows of a statement that changes nothing."""
        self.reads += 1
        return self._run(statement, values, subject=subject, verb="SELECT", deadline=deadline, tell=True)

    def change(
        self,
        statement: Any,
        values: dict[str, Any] | None = None,
        *,
        subject: str,
        verb: str,
        deadline: Deadline,
        is_secret: bool = False,
    ) -> None:
        """Run a statement that changes something. With `is_secret` nothing of what the server says of it is shown."""
        self.writes += 1
        self._run(statement, values, subject=subject, verb=verb, deadline=deadline, tell=not is_secret)

    def _run(
        self, statement: Any, values: dict[str, Any] | None, *, subject: str, verb: str, deadline: Deadline, tell: bool
    ) -> list[Row]:
        deadline.require(f"{verb} {subject}")
        with self._cut_off(deadline) as late:
            try:
                cursor = self._connection.execute(statement, values)
                return cursor.fetchall() if cursor.description else []
            except psycopg.Error as error:
                if late.is_set():
                    deadline.require(f"{verb} {subject}")
                raise _translated(error, subject=subject, verb=verb, tell=tell) from error

    @contextmanager
    def _cut_off(self, deadline: Deadline) -> Iterator[threading.Event]:
        """End the connection at the deadline: psycopg waits for an answer for as long as the connection lives."""
        late = threading.Event()

        def cut() -> None:
            late.set()
            _shut(self._connection)

        seconds = min(deadline.remaining(), STATEMENT_SECONDS + CONNECT_SECONDS)
        timer = threading.Timer(seconds, cut)
        timer.name = f"deadline of {self.cluster}"
        timer.start()
        try:
            yield late
        finally:
            timer.cancel()
            timer.join()


@contextmanager
def connect(target: Target, *, deadline: Deadline) -> Iterator[Session]:
    """A session in the cluster's own database, which no tenant can enter.

    Raises MissingLibrary without the package psycopg, and a BackendError if there is no way in.
    """
    if _MISSING is not None:
        raise MissingLibrary("psycopg") from _MISSING
    subject = f"PostgreSQL/{target.cluster}"
    deadline.require(f"CONNECT {subject}")
    limits = {
        "search_path": "pg_catalog",
        "statement_timeout": f"{STATEMENT_SECONDS}s",
        "lock_timeout": f"{LOCK_SECONDS}s",
        "transaction_timeout": "0",
        "idle_in_transaction_session_timeout": f"{STATEMENT_SECONDS}s",
        "idle_session_timeout": f"{IDLE_SECONDS}s",
        "standard_conforming_strings": "on",
    }
    try:
        connection = psycopg.connect(
            host=target.host,
            port=target.port,
            user=ADMIN,
            password=target.password.reveal(),
            dbname=DATABASE,
            application_name=APPLICATION,
            options=" ".join(f"-c {name}={value}" for name, value in limits.items()),
            connect_timeout=max(2, math.ceil(min(CONNECT_SECONDS, deadline.remaining()))),
            autocommit=True,
            client_encoding="UTF8",
            # What libpq would otherwise take from the environment or from files of the user.
            passfile="/dev/null",
            sslmode="disable",
            gssencmode="disable",
            target_session_attrs="any",
            # A server that asked for the password itself would learn it.
            require_auth="scram-sha-256",
            # No statement is prepared: each is run once.
            prepare_threshold=None,
        )
    except psycopg.Error as error:
        raise _translated(error, subject=subject, verb="CONNECT", tell=True) from error
    try:
        yield Session(connection, target.cluster)
    finally:
        connection.close()


def _shut(connection: Any) -> None:
    """End the connection under a thread that waits for it, which closing alone would not."""
    try:
        with socket.socket(fileno=connection.fileno()) as same:
            try:
                same.shutdown(socket.SHUT_RDWR)
            finally:
                same.detach()
    except (OSError, psycopg.Error):
        return


def _translated(error: Any, *, subject: str, verb: str, tell: bool) -> BackendError:
    """The error for an SQLSTATE; without one the connection broke or was not made."""
    said = (error.diag.message_primary or str(error)) if tell else type(error).__name__
    sqlstate = error.sqlstate or next((code for words, code in _BY_WORDS.items() if words in said), None)
    reason = _short(_VERIFIER.sub("***", said))
    if sqlstate == _TOO_MANY:
        return Throttled(subject=subject, verb=verb, reason=reason, status=sqlstate)
    if sqlstate is None:
        kind: type[BackendError] = Unreachable if isinstance(error, psycopg.OperationalError) else Rejected
    else:
        kind = _BY_SQLSTATE.get(sqlstate) or _BY_SQLSTATE.get(sqlstate[:2], Rejected)
    return kind(subject=subject, verb=verb, reason=reason, status=sqlstate)


def _short(text: str) -> str:
    """One line: what the server says comes in several."""
    line = " ".join(text.split())
    return line if len(line) <= REASON_LENGTH else line[: REASON_LENGTH - 1] + "…"
