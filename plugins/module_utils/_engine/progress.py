# SPDX-License-Identifier: BSD-2-Clause
"""How a run tells what it is doing. Decisions never live here alone: they are in the Plan or the Report."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol


class Progress(Protocol):
    """Receives the events of a run; must be callable from several threads."""

    def note(self, text: str) -> None:
        """One line for people."""

    def count(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` things of a stage are finished."""


class Silent:
    """Progress for callers that do not show any."""

    def note(self, text: str) -> None:
        """Nothing."""

    def count(self, stage: str, done: int, total: int) -> None:
        """Nothing."""


class Lines:
    """Progress as lines of text: every note, and of the counts at most one per `interval_seconds` and the last one."""

    def __init__(
        self,
        write: Callable[[str], None],
        *,
        interval_seconds: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self._interval = interval_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._last = clock()

    def note(self, text: str) -> None:
        """Write `text`."""
        with self._lock:
            self._write(text)
            self._last = self._clock()

    def count(self, stage: str, done: int, total: int) -> None:
        """Write the state of a stage, unless a line was written just now."""
        with self._lock:
            now = self._clock()
            if done < total and now - self._last < self._interval:
                return
            self._write(f"{stage}: {done} of {total}")
            self._last = now


class Counter:
    """Counts what several threads have finished."""

    def __init__(self, progress: Progress, stage: str, total: int) -> None:
        self._progress = progress
        self._stage = stage
        self._total = total
        self._done = 0
        self._lock = threading.Lock()

    def add(self) -> None:
        """One more."""
        with self._lock:
            self._done += 1
            self._progress.count(self._stage, self._done, self._total)
