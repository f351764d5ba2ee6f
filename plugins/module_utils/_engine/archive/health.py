# SPDX-License-Identifier: BSD-2-Clause
"""Whether a PostgreSQL is archived as it should be. Pure: all that it goes by is in what the archiver tells."""

from __future__ import annotations

from datetime import datetime, timedelta

from ..project.quantities import MIB
from .status import ArchiverStatus, Work

# One failure is what a store that starts anew looks like; the archiver tries again within seconds.
FAILURES_IN_A_ROW = 3
# Of a commit that waits: the segment is ended at the RPO, and then takes some time to be sent.
RPO_TIMES = 3
BACKUP_TIMES = 2
LEAST_FREE_PERCENT = 10
GIB = 1024 * MIB
STOPPED = (
    "tenants are stopped: the volume is nearly full of WAL that waits to be sent. They are let in again when it is sent"
)


def problems_of(status: ArchiverStatus) -> tuple[str, ...]:
    """What is wrong, each in a sentence; nothing if all is well.

    1. Where nothing is archived at all, or not yet, that alone is said; but before it, if so, that tenants are stopped.
    2. WAL, base backups and the heartbeat may fail now and then, not time after time.
    3. No WAL file waits for more than three times the RPO.
    4. The heart has beaten within three times the RPO: without it, the timeline has gaps that nobody can restore to.
       It must not while tenants are stopped: each beat would cost a segment, and nobody commits.
    5. The newest base backup is not older than two periods. A new archive has as long for its first one, and a backup
       that is being made does not count before it has ended.
    6. A tenth of the volume is free: a full volume stops the server.
    """
    stopped = (STOPPED,) if status.writes_stopped else ()
    if status.refused:
        return (*stopped, f"nothing is archived: {status.refused}")
    if not status.rpo_seconds:
        return (*stopped, "nothing is archived yet: the archiver has just begun")
    found = (
        *stopped,
        _failing(status.wal, "WAL could not be sent"),
        _failing(status.backup, "the base backup failed"),
        _failing(status.heartbeat, "the heartbeat failed"),
        _waiting(status),
        _without_heartbeat(status),
        _without_backup(status),
        _filling(status),
    )
    return tuple(problem for problem in found if problem)


def _failing(work: Work, what: str) -> str:
    if work.failures < FAILURES_IN_A_ROW:
        return ""
    return f"{what} {work.failures} times in a row: {work.error or 'no reason was given'}"


def _waiting(status: ArchiverStatus) -> str:
    longest = RPO_TIMES * status.rpo_seconds
    if not status.ready_files or status.oldest_ready_seconds <= longest:
        return ""
    waited = _age(timedelta(seconds=status.oldest_ready_seconds))
    return f"{status.ready_files} WAL files wait to be sent, the oldest for {waited}; {longest} s are to be expected"


def _without_heartbeat(status: ArchiverStatus) -> str:
    longest = timedelta(seconds=RPO_TIMES * status.rpo_seconds)
    silent = _since(status, status.heartbeat.last_at)
    if status.writes_stopped or silent <= longest:
        return ""
    return f"the last heartbeat was {_age(silent)} ago; it beats every {status.rpo_seconds} s"


def _without_backup(status: ArchiverStatus) -> str:
    longest = timedelta(hours=BACKUP_TIMES * status.backup_hours)
    age = _since(status, status.newest_backup_at)
    if age <= longest:
        return ""
    every = f"there should be one every {status.backup_hours} h"
    if status.newest_backup_at is None:
        return f"there is no base backup at all since {_age(age)}, so nothing can be restored; {every}"
    return f"the last base backup is {_age(age)} old; {every}"


def _filling(status: ArchiverStatus) -> str:
    """Not before the archiver has looked."""
    free, size = status.volume_free_bytes, status.volume_bytes
    if free * 100 >= size * LEAST_FREE_PERCENT:
        return ""
    return (
        f"{free * 100 // size} % of the volume is free, {free / GIB:.1f} of {size / GIB:.1f} GiB; "
        f"pg_wal takes {status.wal_bytes / GIB:.1f} GiB"
    )


def _since(status: ArchiverStatus, last: datetime | None) -> timedelta:
    """How long ago; of what was never there, since the archiver began."""
    return status.now - (last or status.began)


def _age(age: timedelta) -> str:
    """As a person says it.

    >>> _age(timedelta(days=2, hours=3)), _age(timedelta(seconds=95)), _age(timedelta(hours=5, minutes=59))
    ('2 d 3 h', '95 s', '5 h 59 min')
    """
    seconds = max(0, round(age.total_seconds()))
    if seconds < 120:
        return f"{seconds} s"
    minutes = seconds // 60
    hours = minutes // 60
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"
