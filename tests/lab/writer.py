# SPDX-License-Identifier: GPL-3.0-or-later
"""A client that writes a row after the other, and notes what was confirmed and what was not."""

from __future__ import annotations

from .beside import Beside
from .cluster import Cluster

PAUSE_SECONDS = 0.2


class Writer(Beside):
    """Numbers from 1 into a table's column `id`, from the client pod of a namespace, while this lasts."""

    def __init__(self, found: Cluster, namespace: str, table: str) -> None:
        super().__init__(f"writer of {namespace}", PAUSE_SECONDS)
        self.written = 0
        self.errors: list[str] = []
        self._found, self._namespace, self._table = found, namespace, table

    def look(self) -> None:
        """One row."""
        done = self._found.psql(self._namespace, f"INSERT INTO {self._table} VALUES ({self.written + 1});")
        if done.returncode:
            self.errors.append(done.stderr.strip())
        else:
            self.written += 1
