# SPDX-License-Identifier: GPL-3.0-or-later
"""A bounded pool of connections."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

Connection = psycopg.Connection[Any]


class NoneFree(Exception):
    """All connections were in use for as long as the caller would wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Idle:
    connection: Connection
    made: float
    since: float


class Pool:
    """At most `size` connections to `uri`, made when they are needed; what has failed is not used again.

    With `is_preparing` statements are prepared under names from their first use on, else never. None is lent that was
    made, or last used, longer ago than is said.
    """

    def __init__(
        self,
        uri: str,
        size: int,
        *,
        name: str,
        wait_seconds: float,
        is_preparing: bool,
        lifetime_seconds: float = math.inf,
        idle_seconds: float = math.inf,
    ) -> None:
        self.size = size
        self.waiting = self.timeouts = 0
        self._uri, self._name, self._wait_seconds = uri, name, wait_seconds
        self._threshold = 0 if is_preparing else None
        self._places = threading.BoundedSemaphore(size)
        self._lock = threading.Lock()
        self._lifetime_seconds, self._idle_seconds = lifetime_seconds, idle_seconds
        self._idle: list[_Idle] = []

    @property
    def available(self) -> int:
        """Connections that are there and idle."""
        return len(self._idle)

    def connect(self) -> Connection:
        """One beside the pool."""
        made = psycopg.connect(self._uri, application_name=self._name, autocommit=True, connect_timeout=5)
        made.prepare_threshold = self._threshold
        return made

    @contextlib.contextmanager
    def connection(self) -> Iterator[Connection]:
        """Raises NoneFree, and what psycopg raises."""
        self._acquire()
        try:
            found = self._take()
            made = found.made if found else time.monotonic()
            lent = found.connection if found else self.connect()
            try:
                yield lent
            except BaseException:
                if lent.closed or lent.broken:
                    self.flush()
                raise
            finally:
                if not (lent.closed or lent.broken):
                    with self._lock:
                        self._idle.append(_Idle(connection=lent, made=made, since=time.monotonic()))
        finally:
            self._places.release()

    def flush(self) -> None:
        """Forget the idle ones: what ended one has mostly ended all."""
        with self._lock:
            idle, self._idle = self._idle, []
        for one in idle:
            one.connection.close()

    def _take(self) -> _Idle | None:
        with self._lock:
            while self._idle:
                found, now = self._idle.pop(), time.monotonic()
                if now < found.made + self._lifetime_seconds and now < found.since + self._idle_seconds:
                    return found
                found.connection.close()
        return None

    def _acquire(self) -> None:
        self.waiting += 1
        try:
            if not self._places.acquire(timeout=self._wait_seconds):
                self.timeouts += 1
                raise NoneFree
        finally:
            self.waiting -= 1
