# SPDX-License-Identifier: GPL-3.0-or-later
"""When a base backup is due, and whether it is a full one. Pure: the time is an argument."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

HOUR = 3600.0
DAY = 24 * HOUR
# After a backup that failed; each further failure waits twice as long, up to an hour.
FIRST_RETRY = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What has been. Times in seconds since the epoch; `fulls` and `backups` are those that finished, oldest first."""

    backups: Sequence[float] = ()
    fulls: Sequence[float] = ()
    failures: int = 0
    failed_at: float = 0.0


def next_backup(archive: str, *, hours: int, past: Past, now: float) -> float:
    """When the next one is due.

    1. Without any, at once.
    2. Otherwise at the archive's own time of each period, so that thousands of archives are spread over it.
    3. A period whose backup is lacking, as the archiver was not there, is made up for at once.
    4. After failures not before a pause that grows.
    """
    if not past.backups:
        due = now
    else:
        period = hours * HOUR
        slot = _slot(archive, period, now)
        due = slot if past.backups[-1] < slot else slot + period
    if past.failures:
        due = max(due, past.failed_at + min(HOUR, FIRST_RETRY * 2 ** (past.failures - 1)))
    return due


def is_full_due(*, days: int, past: Past, now: float) -> bool:
    """Whether the next backup begins a new chain."""
    return not past.fulls or now - past.fulls[-1] >= days * DAY


def _slot(archive: str, period: float, now: float) -> float:
    """The last time at or before `now` that is the archive's own."""
    digest = hashlib.blake2b(archive.encode(), digest_size=8).digest()
    offset = int.from_bytes(digest, "big") / 2**64 * period
    return (now - offset) // period * period + offset
