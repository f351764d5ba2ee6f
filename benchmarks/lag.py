# SPDX-License-Identifier: GPL-3.0-or-later
"""What archiving costs a PostgreSQL under load, and how long after a commit its segment is in the object store."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.segments import Lsn, Segment, parse_lsn
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.postgresql import SOCKET_DIRECTORY
from fix_archive import Archived
from fix_object_store import ObjectStore

from .cluster import Figures
from .servers import (
    ADMIN_DATABASE,
    BY_HAND,
    NONE,
    WALG_ENGINE,
    OneServer,
    disk,
    in_container,
    object_store,
    one_server,
    seconds_of,
)
from .sizes import Sizes

CLIENTS = 4
# Of the few commits, by all clients, each second.
QUIET_RATE = 20
# Of the tier's in tests/integration/fix_archive.py.
RPO_SECONDS = 10
# From one commit whose way is followed to the next, and from one look into the store to the next.
COMMIT_SECONDS = 0.05
LOOK_SECONDS = 0.05
ARRIVAL_SECONDS = 300.0
COMMIT = "SELECT pg_catalog.pg_logical_emit_message(true, 'bench', '')"
FLUSHED = "SELECT pg_catalog.pg_current_wal_flush_lsn()"
TPS = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)
# What belongs to a segment has one ending more.
SEGMENT = re.compile(r"([0-9A-F]{24})(?:\.[a-z0-9]+)?")
TIMELINE = 1


def measure(sizes: Sizes) -> Figures:
    """The ways take turns, each round begins with another; at the end each has only a few commits to archive."""
    ways = ways_of(sizes)
    figures: Figures = {"full": {way: [] for way in ways}, "quiet": {}}
    with object_store() as store, disk() as place, one_server(store, place) as server:
        with server.archived(NONE) as made:
            _pgbench(made, "--initialize", "--quiet", f"--scale={sizes.load_scale}")
            figures["postgresql"] = made.sql("SHOW server_version", ADMIN_DATABASE).split()[0]
        for number in range(sizes.archive_rounds):
            for way in turned(ways, number):
                load = ["--protocol=prepared", f"--time={sizes.load_seconds}"]
                figures["full"][way].append(_told(f"{way}, full", _under_load(store, server, way, load)))
        for way in ways[1:] if sizes.quiet_periods else ():
            load = [f"--rate={QUIET_RATE}", f"--time={sizes.quiet_periods * RPO_SECONDS}"]
            figures["quiet"][way] = _told(f"{way}, few commits", _under_load(store, server, way, load))
    return figures


def ways_of(sizes: Sizes) -> tuple[str, ...]:
    """None first. By hand it is WAL-G that runs."""
    by_hand = (BY_HAND,) if WALG_ENGINE in sizes.archive_engines else ()
    return (NONE, *sizes.archive_engines, *by_hand)


def turned(ways: Sequence[str], number: int) -> tuple[str, ...]:
    """The same in a circle, begun elsewhere: what a machine does first is often not what it does best.

    >>> turned(("a", "b", "c"), 4)
    ('b', 'c', 'a')
    """
    first = number % len(ways)
    return (*ways[first:], *ways[:first])


def quantile(values: Sequence[float], share: float) -> float:
    """The least value that is not below such a share of them.

    >>> quantile([3.0, 1.0, 2.0, 4.0], 0.5), quantile([1.0, 2.0], 0.99)
    (2.0, 2.0)
    """
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * round(share * 1000) // 1000) - 1)]


def _under_load(store: ObjectStore, server: OneServer, way: str, load: list[str]) -> Figures:
    """pgbench's rate, and of what was committed meanwhile each one's seconds until it was in the store."""
    with server.archived(way) as made, ThreadPoolExecutor(max_workers=2) as pool:
        folder = "" if way == NONE else server.wal_folder(way)
        first, began = _lsn(made), time.perf_counter()
        seen: dict[str, float] = {}
        over, all_seen = threading.Event(), threading.Event()
        committing = pool.submit(_commit, made, over)
        looking = pool.submit(_look, store, folder, first, seen, all_seen) if folder else None
        try:
            said = _pgbench(made, f"--client={CLIENTS}", "--jobs=2", "--no-vacuum", *load)
            seconds = seconds_of(began)
            over.set()
            commits, last = committing.result(), _lsn(made)
            if folder:
                made.sql("SELECT pg_catalog.pg_switch_wal()", ADMIN_DATABASE)
                wanted = {_name_at(lsn) for _at, lsn in commits}
                made.await_(lambda: wanted <= seen.keys(), "WAL does not come into the archive", ARRIVAL_SECONDS)
        finally:
            over.set()
            all_seen.set()
        if looking is not None:
            looking.result()
    return {
        "seconds": seconds,
        "tps": float(TPS.findall(said)[0]),
        "wal_bytes": last - first,
        "lags": lags(commits, seen, but=_name_at(last)) if folder else [],
    }


def lags(commits: Sequence[tuple[float, int]], seen: Mapping[str, float], *, but: str) -> list[float]:
    """Seconds from each commit to the arrival of the segment that holds it.

    `commits`: when it was flushed, and up to where WAL was flushed then. `but`: the segment that was ended by hand,
    before it was full or the RPO was over; its commits came into the archive sooner than they would have.
    """
    return [seen[_name_at(lsn)] - at for at, lsn in commits if _name_at(lsn) != but]


def _name_at(lsn: int) -> str:
    """Of the segment whose bytes end before or at a position."""
    return Segment.before(TIMELINE, Lsn(lsn)).name


def _lsn(made: Archived) -> int:
    return int(parse_lsn(made.sql(FLUSHED, ADMIN_DATABASE)))


def _pgbench(made: Archived, *options: str) -> str:
    return in_container(
        made.server, "pgbench", f"--host={SOCKET_DIRECTORY}", "--username=postgres", *options, ADMIN_DATABASE
    )


def _commit(made: Archived, over: threading.Event) -> list[tuple[float, int]]:
    """Commit again and again; when each was flushed, and up to where WAL was flushed then."""
    commits = []
    with made.session(ADMIN_DATABASE) as session:
        while not over.wait(COMMIT_SECONDS):
            session.execute(COMMIT)
            at = time.monotonic()
            (row,) = session.execute(FLUSHED).fetchall()
            commits.append((at, int(parse_lsn(row[0]))))
    return commits


def _look(store: ObjectStore, folder: str, first: int, seen: dict[str, float], over: threading.Event) -> None:
    """Note when each segment is first in the store, from the one that holds the position `first` on."""
    client, number = store.client(), Segment.before(TIMELINE, Lsn(first)).number
    while not over.wait(LOOK_SECONDS):
        # Several are sent at once: only what came without a gap is not asked for again.
        after = _key_of(folder, Segment(TIMELINE, number).name)
        page = client.list_objects_v2(Bucket=store.bucket, Prefix=folder, StartAfter=after)
        at = time.monotonic()
        for one in page.get("Contents", ()):
            found = SEGMENT.fullmatch(one["Key"].rsplit("/", 1)[-1])
            if found:
                seen.setdefault(found[1], at)
        while Segment(TIMELINE, number).name in seen:
            number += 1


def _key_of(folder: str, name: str) -> str:
    """The key after which a segment and all later ones come; Barman has folders of 256."""
    return f"{folder}{name[:16]}/{name}" if folder.endswith("/wals/") else f"{folder}{name}"


def _told(what: str, found: Figures) -> Figures:
    """Say it in a line."""
    worst = f", lag at most {max(found['lags']):.2f} s" if found["lags"] else ""
    print(f"  {what}: {found['tps']:.0f} tps{worst}", flush=True)
    return found
