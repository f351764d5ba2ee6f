# SPDX-License-Identifier: GPL-3.0-or-later
"""What was committed, when, and in which order: writers that note what they write, and the answer that WAL gives.

A row says by whom it was written, in which transaction of that writer, and which part of it it is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import itertools
import random
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.segments import SEGMENT_BYTES
from fix_archive import Archived
from fix_container import podman

Row = tuple[int, int, int]
WRITERS = 3
# Of what a writer begins it takes one in so many back.
ROLLED_BACK = 8
MOST_PARTS = 4
# Between the parts of a transaction, so that the order of beginnings is not that of ends.
PAUSES = (0.0, 0.0, 0.002, 0.02, 0.1)
SCHEMA = """
CREATE SCHEMA app;
CREATE TABLE app.rows (writer int, number int, part int, PRIMARY KEY (writer, number, part));
"""
INSERT = "INSERT INTO app.rows VALUES (%s, %s, %s) RETURNING pg_current_xact_id()::text"
ROWS = "SELECT writer, number, part FROM app.rows"
RECORDED = "SELECT DISTINCT xmin, pg_xact_commit_timestamp(xmin) FROM app.rows"
FLUSHED = "pg_current_wal_flush_lsn()"
WAL = "/var/lib/postgresql/data/pgdata/pg_wal"
RECORD = re.compile(r"tx: +(\d+), lsn: ([0-9A-F/]+), .* desc: (COMMIT|ABORT) (\S+ \S+) UTC")

_names = itertools.count(1)


@dataclasses.dataclass(frozen=True)
class Written:
    """A transaction that may have been committed. `parts`: rows."""

    writer: int
    number: int
    parts: int

    def rows(self) -> frozenset[Row]:
        return frozenset((self.writer, self.number, part + 1) for part in range(self.parts))


@dataclasses.dataclass(frozen=True)
class End:
    """A record in WAL that ends a transaction."""

    xid: int
    lsn: str
    is_commit: bool
    at: datetime.datetime


def contents(
    ends: Sequence[End],
    rows: Mapping[int, frozenset[Row]],
    target: datetime.datetime,
    *,
    before: frozenset[Row] = frozenset(),
    instead: Mapping[int, frozenset[Row]] | None = None,
) -> frozenset[Row]:
    """What is there at a target: what the transactions have written that end before the first later record in WAL.

    `ends` are in the order of WAL. That is not the order of their times, as a commit takes its time before its place
    in WAL: one that stands behind a later one is not there, though its own time is before the target.
    `rows`: what was written, by transaction. `before`: what was there at first. `instead`: transactions that replaced
    all there was.
    """
    found = before
    for end in itertools.takewhile(lambda one: one.at <= target, ends):
        if end.is_commit:
            found = (instead or {}).get(end.xid, found) | rows.get(end.xid, frozenset())
    return found


def inverted(ends: Sequence[End]) -> list[End]:
    """Those that stand in WAL right behind a later one."""
    return [after for one, after in itertools.pairwise(ends) if after.at < one.at]


def segments_of(ends: Iterable[End]) -> set[int]:
    """Numbers of the segments of WAL in which they stand."""
    places = (one.lsn.split("/") for one in ends)
    return {(int(high, 16) << 32 | int(low, 16)) // SEGMENT_BYTES for high, low in places}


def ends_of(pair: Archived, since: str) -> list[End]:
    """All of them from a position in WAL up to now, as PostgreSQL's own reader of WAL tells them."""
    until, segment = pair.sql("SELECT pg_current_wal_flush_lsn(), pg_walfile_name(pg_current_wal_flush_lsn())").split(
        "|"
    )
    options = [f"--timeline={int(segment[:8], 16)}", "--rmgr=Transaction", f"--start={since}", f"--end={until}"]
    said = podman("exec", pair.server, "pg_waldump", f"--path={WAL}", *options)
    return [
        End(xid=int(xid), lsn=lsn, is_commit=kind == "COMMIT", at=datetime.datetime.fromisoformat(f"{at}+00:00"))
        for xid, lsn, kind, at in RECORD.findall(said)
    ]


def rows_of(pair: Archived, database: str) -> frozenset[Row]:
    found = (line.split("|") for line in pair.sql(ROWS, database).splitlines())
    return frozenset((int(writer), int(number), int(part)) for writer, number, part in found)


def recorded(pair: Archived, database: str) -> dict[int, datetime.datetime]:
    """When each transaction was committed whose rows are there, as the server remembers it."""
    found = (line.split("|") for line in pair.sql(RECORDED, database).splitlines())
    return {int(xid): datetime.datetime.fromisoformat(at) for xid, at in found}


def make_table(pair: Archived, database: str) -> None:
    with pair.session(database) as session:
        session.execute(f"SET SESSION AUTHORIZATION {database}_owner".encode())
        session.execute(SCHEMA.encode())


@dataclasses.dataclass
class Writers:
    """Sessions that write all the time.

    `written`: by transaction, noted before its end. `committed`: those that the server has confirmed.
    """

    written: dict[int, Written] = dataclasses.field(default_factory=dict)
    committed: set[int] = dataclasses.field(default_factory=set)

    def rows(self) -> frozenset[Row]:
        """What is there, if nothing was lost."""
        return frozenset().union(*(self.written[xid].rows() for xid in self.committed))


@contextlib.contextmanager
def writing(pair: Archived, database: str, seed: str, *, count: int = WRITERS) -> Iterator[Writers]:
    """So many sessions of a database's owner write as long as this lasts. An error of theirs is raised at its end."""
    over, made = threading.Event(), Writers()
    with ThreadPoolExecutor(count, thread_name_prefix="writer") as pool:
        names = itertools.islice(_names, count)
        ends = [pool.submit(_write, pair, database, f"{seed} {name}", name, made, over) for name in names]
        try:
            yield made
        finally:
            over.set()
    for end in ends:
        end.result()


def _write(pair: Archived, database: str, seed: str, writer: int, made: Writers, over: threading.Event) -> None:
    choice = random.Random(seed)  # noqa: S311 (no secret)
    with pair.session(database) as session:
        session.execute(f"SET SESSION AUTHORIZATION {database}_owner".encode())
        for number in itertools.count(1):
            if over.is_set():
                return
            is_taken_back = choice.randrange(ROLLED_BACK) == 0
            parts = choice.randint(1, MOST_PARTS)
            with session.transaction(force_rollback=is_taken_back):
                for part in range(parts):
                    (xid,) = session.execute(INSERT, (writer, number, part + 1)).fetchone() or ()
                    time.sleep(choice.choice(PAUSES))
                made.written[int(xid)] = Written(writer, number, parts)
            if not is_taken_back:
                made.committed.add(int(xid))
