# SPDX-License-Identifier: GPL-3.0-or-later
"""A client that writes a row after the other, and notes what was confirmed and what was not."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from .cluster import Cluster

PAUSE_SECONDS = 0.2


class Writer:
    """Numbers from 1 into a table's column `id`, from the client pod of a namespace, while this lasts."""

    def __init__(self, found: Cluster, namespace: str, table: str) -> None:
        self.written = 0
        self.errors: list[str] = []
        self._found, self._namespace, self._table = found, namespace, table
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, name=f"writer of {namespace}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _write(self) -> None:
        while not self._stop.wait(PAUSE_SECONDS):
            done = self._found.psql(self._namespace, f"INSERT INTO {self._table} VALUES ({self.written + 1});")
            if done.returncode:
                self.errors.append(done.stderr.strip())
            else:
                self.written += 1
