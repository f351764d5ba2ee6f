# SPDX-License-Identifier: GPL-3.0-or-later
"""How it goes: what the archiver's threads note, as others read it."""

from __future__ import annotations

import copy
import threading
import time
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class Work:
    """One kind of work. Times in seconds since the epoch, 0 for never; `failures` are those since the last success."""

    done: int = 0
    last: str = ""
    last_at: float = 0.0
    failures: int = 0
    failures_ever: int = 0
    error: str = ""
    error_at: float = 0.0


@dataclass(slots=True)
class Figures:
    """Everything that is told. `now`: when. `refused`: why nothing is archived at all.

    `rpo_seconds`, `backup_hours`: what it goes by, so that whoever reads this can tell late from early.
    `writes_stopped`: WAL that waits has nearly filled the volume, so tenants and the heartbeat commit nothing.
    `newest_backup_at`, `newest_full_at`: of those in the archive; `backup` counts what this process has made.
    `busy`: which dump, load, check or point is being worked on, "load p_x"; empty if none is. `dump_bytes`: of the last
    dump. `points`: the newest restore points of all incarnations in the archive, newest first.
    `kept`: databases that a swap has left, with name, bytes and when they were live last.
    `copy`: of a scratch copy what is in it and up to when; None beside a live PostgreSQL.
    """

    archive: str = ""
    incarnation: str = ""
    engine: str = ""
    refused: str = ""
    began: float = field(default_factory=time.time)
    now: float = 0.0
    rpo_seconds: int = 0
    backup_hours: int = 0
    wal: Work = field(default_factory=Work)
    fetched: Work = field(default_factory=Work)
    ahead: Work = field(default_factory=Work)
    backup: Work = field(default_factory=Work)
    heartbeat: Work = field(default_factory=Work)
    backup_running: bool = False
    backup_next_at: float = 0.0
    newest_backup_at: float = 0.0
    newest_full_at: float = 0.0
    ready_files: int = 0
    oldest_ready_seconds: float = 0.0
    wal_bytes: int = 0
    volume_bytes: int = 0
    volume_free_bytes: int = 0
    dump: Work = field(default_factory=Work)
    load: Work = field(default_factory=Work)
    check: Work = field(default_factory=Work)
    point: Work = field(default_factory=Work)
    points: list[dict[str, Any]] = field(default_factory=list)
    busy: str = ""
    dump_bytes: int = 0
    kept: list[dict[str, Any]] = field(default_factory=list)
    copy: dict[str, Any] | None = None
    writes_stopped: bool = False


class State:
    """The figures, for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._figures = Figures()
        self._busy: list[str] = []

    def note(self, **figures: Any) -> None:
        """Set figures by name."""
        with self._lock:
            for name, value in figures.items():
                setattr(self._figures, name, value)

    def begin(self, name: str) -> None:
        """Something is being worked on, maybe beside something else."""
        with self._lock:
            self._busy.append(name)
            self._figures.busy = ", ".join(self._busy)

    def end(self, name: str) -> None:
        """It no longer is."""
        with self._lock:
            self._busy.remove(name)
            self._figures.busy = ", ".join(self._busy)

    def succeeded(self, what: str, last: str) -> None:
        """One piece of work is done."""
        with self._lock:
            work: Work = getattr(self._figures, what)
            work.done, work.last, work.last_at = work.done + 1, last, time.time()
            work.failures, work.error = 0, ""

    def failed(self, what: str, error: str) -> None:
        """One piece of work went wrong."""
        with self._lock:
            work: Work = getattr(self._figures, what)
            work.failures, work.failures_ever = work.failures + 1, work.failures_ever + 1
            work.error, work.error_at = error, time.time()

    def read(self) -> Figures:
        """The figures as they are now."""
        with self._lock:
            self._figures.now = time.time()
            return copy.deepcopy(self._figures)


def as_json(figures: Figures) -> dict[str, Any]:
    """For the status."""
    return asdict(figures)


def as_metrics(figures: Figures) -> str:
    """For Prometheus, in its text format."""
    found: dict[str, float] = {}
    for name, value in asdict(figures).items():
        if isinstance(value, dict):
            found |= {f"{name}_{key}": number for key, number in value.items() if isinstance(number, int | float)}
        elif isinstance(value, int | float):
            found[name] = value
    found["refused"] = bool(figures.refused)
    return "".join(f"supalove_archiver_{name} {float(value)!r}\n" for name, value in sorted(found.items()))
