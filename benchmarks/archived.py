# SPDX-License-Identifier: GPL-3.0-or-later
"""The page's part on archiving and restoring: cases 7 to 10. They have no goals; each figure has one beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from statistics import median
from typing import Any

from .backups import BASEBACKUP, COPY, COPY_BACK, PACKED, UNPACK
from .cases import ARCHIVES
from .lag import CLIENTS, QUIET_RATE, RPO_SECONDS, quantile
from .machine import STANDIN_NAME
from .one_database import STAGES
from .retention import WINDOW_DAYS
from .servers import BY_HAND, MIB, NONE, WALG_ENGINE
from .sizes import Sizes, sizes_of

Run = dict[str, Any]

PREFACE = """\
Cases 7 to 10: PostgreSQL, archiver and object store are real, and all on the machine described below: the images and
the files that the engine renders, in containers without limits of processor and memory, their data on the machine's
disk, with fsync; SeaweedFS with TLS, on the same disk. So what is archived takes processor and disk from PostgreSQL,
which it does less where the object store is another machine. What is compared takes turns, and each round begins with
another. A figure is the median of its turns, and the turns are listed; a ratio is of medians.

{walg}
"""
STANDIN = """\
**WAL-G is the stand-in** of `tests/lab/walg`: a program in Python which stores what WAL-G stores, compressed with zstd
and encrypted as WAL-G does it, but not at WAL-G's speed. What is said of WAL-G here is an upper bound of what our side
of it costs, and nothing about WAL-G. Barman Cloud is the real one; it compresses with gzip and does not encrypt."""
REAL = "WAL-G is the real one, named by `WALG_BINARY`. Barman Cloud is real, too; it compresses with gzip."
BESIDE = """\
**To be repeated:** other work, the lab's hosts among it, took processor and disk from this run. Its seconds are too
many, its rates too small, and ratios of what took turns are noisy; the load is below.
"""
LAG = """\
A PostgreSQL {version} of a project's own (tier: 2 CPU, 4 GiB), with `pgbench`, {clients} clients, {seconds} s a turn,
scale {scale}: the same data directory each time, now without an archive, now archived by one engine through the
archiver beside it, and now by what every tutorial says, `archive_command = 'wal-g wal-push %p'`, in the server's own
container, with the keys there. Beside the load somebody commits every 50 ms; the lag is the time from such a commit to
the moment at which a LIST of the store, every 50 ms, first shows its segment. A turn begins when everything before is
archived. At full speed segments are full before the RPO is over, so the lag is that of filling and sending one.
"""
QUIET = """\
With {rate} transactions per second it is the RPO that ends a segment, here {rpo} s (`rpo_seconds`, the least that can
be set; the default is 60): **what is lost with the server and its disk is what was committed in the lag.**
"""
BACKUPS = """\
The same server with {mib} MiB of rows, half of whose bytes can be compressed away; {whole} MiB in all, read from the
machine's memory. An engine's time is from the request to the archiver until that says that the backup is in the store,
with a second or two until the archiver begins and has looked. The others write to the same disk and wait for it
(`sync`). A `cp` of a running server is no backup; it is the floor.
"""
RESTORES = """\
Back again, into an empty directory: an engine's program fetches, decrypts and unpacks its newest backup, and waits for
the disk. Then a server starts on it, reads WAL to the end of the archive and answers; that is the whole time to restore
an instance, and stands in the last column.
"""
ONE = """\
A shared cluster as the engine renders it, {databases} databases, {cluster} MiB; the one that is restored has
{database} MiB, a table with two indexes. After the base backup (WAL-G) so much was written that a recovery reads
{segments} segments. On the left, what `restore.yml` has done, by the same programs, without Kubernetes between: a copy
of the whole cluster fetched and recovered, the database dumped into the object store, loaded beside the live one by a
login that is no superuser, analysed, and swapped in. On the right, the runbook by hand: `wal-g backup-fetch` into an
empty directory, a server there with `wal-g wal-fetch`, then `pg_dump -Fc | pg_restore` as superuser into a new
database, ANALYZE, and two new names. Neither copy waits for the disk (`fsync = off`). Clients are shut out for the last
stage only.
"""
PLANNED = """\
{archives} archives of each engine, a base backup a day (with WAL-G each seventh a full one), {day} segments of WAL a
day each (one each default RPO, as the heartbeat ends one), the window {window} days. Planned in memory, in one process:
{distinct} archives differ, and the others repeat them. To make sense of a listing takes longer than to decide; it is
measured for those {distinct} and multiplied. The requests follow from the listings: a LIST for each 1,000 objects of an
archive, and a GET for each small document. A decision is a verdict on a backup with its reason; on WAL there is one for
all of it.
"""
STORED = """\
The same of one archive each in a real SeaweedFS, {day} segments a day, in which one day's worth or a chain of deltas is
to go: reading, deciding and removing, by us and by the engine's own program, which both remove the same objects.
Requests are counted by the store. Ours is one process for all archives, whose start is not counted; theirs starts anew
for each, here by `podman exec`. Seconds and requests of {archives} are those of one **multiplied**, not measured: one
archive after the other, where a run of ours works on several at once.
"""


def document(run: Run) -> str:
    """The part, from its heading on."""
    figures, sizes = run["figures"], sizes_of(run["sizes"])
    lines = [
        "## Archiving and restoring",
        "",
        PREFACE.format(walg=STANDIN if run["archives"]["WAL-G"] == STANDIN_NAME else REAL),
        *([BESIDE] if run["beside_lab"] else []),
        *_lacking(figures),
        *_summary(figures),
        *_lag_section(figures, sizes),
        *_backups_section(figures, sizes),
        *_one_database_section(figures),
        *_retention_section(figures, sizes),
        *_machine_section(run),
    ]
    return "\n".join(lines) + "\n"


def _lacking(figures: Run) -> list[str]:
    names = [f"`{name}`" for name in ARCHIVES if name not in figures]
    return [f"Not in this run: {', '.join(names)}.", ""] if names else []


def _summary(figures: Run) -> list[str]:
    rows = [*_lost(figures), *_waited(figures)]
    head = ["## RPO and RTO", "", "| what | seconds | beside it | ratio |", "|---|---|---|---|"]
    return [*head, *rows, ""] if rows else []


def _lost(figures: Run) -> Iterator[str]:
    """The worst of what was seen."""
    quiet = figures.get("lag", {}).get("quiet", {})
    full = figures.get("lag", {}).get("full", {})
    for text, lags in (
        (f"few commits, `rpo_seconds` {RPO_SECONDS}", {way: one["lags"] for way, one in quiet.items()}),
        ("full load", {way: _all_lags(runs) for way, runs in full.items() if way != NONE}),
    ):
        for way, some in lags.items():
            if way != BY_HAND and some:
                yield _beside(f"RPO, {text}, {way}: the longest lag", max(some), "by hand", _longest(lags, way))


def _longest(lags: dict[str, list[float]], way: str) -> float | None:
    """By hand it is WAL-G that runs, so nothing stands beside Barman."""
    return max(lags[BY_HAND]) if way == WALG_ENGINE and lags.get(BY_HAND) else None


def _waited(figures: Run) -> Iterator[str]:
    for engine, seconds in figures.get("backups", {}).get("answers", {}).items():
        mib = figures["backups"]["bytes"] / MIB
        back = median(figures["backups"]["restore"][COPY_BACK])
        text = f"RTO, an instance of {mib:.0f} MiB, {engine}: until it answers"
        yield _beside(text, median(seconds), "`cp -a` alone", back)
    if "one_database" in figures:
        found = figures["one_database"]
        ours, theirs = (sum(found[way].values()) for way in ("engine", "by_hand"))
        text = f"RTO, one database of {found['databases']}: from the request to the swap"
        yield _beside(text, ours, "by hand", theirs)


def _beside(text: str, seconds: float, other: str, other_seconds: float | None) -> str:
    if other_seconds is None:
        return f"| {text} | {seconds:.1f} | | |"
    return f"| {text} | {seconds:.1f} | {other}: {other_seconds:.1f} | {seconds / other_seconds:.2f} |"


def _all_lags(runs: Iterable[Run]) -> list[float]:
    return [lag for one in runs for lag in one["lags"]]


def _lag_section(figures: Run, sizes: Sizes) -> list[str]:
    if "lag" not in figures:
        return []
    found = figures["lag"]
    text = LAG.format(
        version=found["postgresql"], clients=CLIENTS, seconds=sizes.load_seconds, scale=sizes.load_scale
    )  # fmt: skip
    quiet = [_lag_row(way, one["lags"]) for way, one in found["quiet"].items()]
    return [
        "## 7. What archiving costs, and the lag of the archive",
        "",
        text,
        "| archived | tps, turn by turn | share of tps without | WAL, MiB/s | lag, s: p50 | p99 | longest | commits |",
        "|---|---|---|---|---|---|---|---|",
        *(_load_row(way, runs, found["full"][NONE]) for way, runs in found["full"].items()),
        "",
        *(
            [
                QUIET.format(rate=QUIET_RATE, rpo=RPO_SECONDS),
                "| archived | lag, s: p50 | p99 | longest | commits |",
                "|---|---|---|---|---|",
                *quiet,
                "",
            ]
            if quiet
            else []
        ),
    ]


def _load_row(way: str, runs: Sequence[Run], without: Sequence[Run]) -> str:
    """The share is that of the turn of the same round, so that drift of the machine cancels out."""
    turns = ", ".join(f"{one['tps']:.0f}" for one in runs)
    share = median(one["tps"] / other["tps"] for one, other in zip(runs, without, strict=True))
    wal = median(one["wal_bytes"] / MIB / one["seconds"] for one in runs)
    lag = _lag_cells(_all_lags(runs)) if way != NONE else " | | | "
    return f"| {way} | {turns} | {share:.2f} | {wal:.1f} | {lag} |"


def _lag_row(way: str, lags: list[float]) -> str:
    return f"| {way} | {_lag_cells(lags)} |"


def _lag_cells(lags: list[float]) -> str:
    if not lags:
        return " | | | 0"
    return f"{quantile(lags, 0.5):.2f} | {quantile(lags, 0.99):.2f} | {max(lags):.2f} | {len(lags)}"


def _backups_section(figures: Run, sizes: Sizes) -> list[str]:
    if "backups" not in figures:
        return []
    found = figures["backups"]
    mib = found["bytes"] / MIB
    stored = {engine: f"{size / MIB:.0f}" for engine, size in found["stored"].items()}
    return [
        "## 8. Base backups and restores",
        "",
        BACKUPS.format(mib=sizes.backup_mib, whole=f"{mib:.0f}"),
        "| backup | MiB/s | seconds, turn by turn | times pg_basebackup's seconds | times cp's | MiB stored |",
        "|---|---|---|---|---|---|",
        *(_rate_row(way, found["backup"], mib, (BASEBACKUP, COPY), stored) for way in _ordered(found["backup"])),
        "",
        RESTORES,
        "| restore | MiB/s | seconds, turn by turn | times tar's seconds | times cp's | until a server answers, s |",
        "|---|---|---|---|---|---|",
        *(
            _rate_row(
                way,
                found["restore"],
                mib,
                (UNPACK, COPY_BACK),
                {engine: f"{median(seconds):.1f}" for engine, seconds in found["answers"].items()},
            )
            for way in _ordered(found["restore"])
        ),
        "",
    ]


def _ordered(rates: Run) -> list[str]:
    """The engines first."""
    return sorted(rates, key=lambda way: way in (BASEBACKUP, PACKED, COPY, UNPACK, COPY_BACK))


def _rate_row(way: str, rates: Run, mib: float, others: tuple[str, str], last: dict[str, str]) -> str:
    seconds = rates[way]
    turns = ", ".join(f"{one:.1f}" for one in seconds)
    first, second = (f"{median(seconds) / median(rates[other]):.1f}" for other in others)
    return f"| {way} | {mib / median(seconds):.0f} | {turns} | {first} | {second} | {last.get(way, '')} |"


_STAGE_TEXTS = {
    "fetch": "fetch the base backup of the cluster",
    "recover": "start, read WAL, answer",
    "dump": "dump the one database into the store",
    "load": "load it beside the live one; by hand dump and load in one",
    "swap": "swap",
}


def _one_database_section(figures: Run) -> list[str]:
    if "one_database" not in figures:
        return []
    found = figures["one_database"]
    ours, theirs = found["engine"], found["by_hand"]
    all_ours, all_theirs = sum(ours.values()), sum(theirs.values())
    text = ONE.format(
        databases=found["databases"],
        cluster=f"{found['cluster_bytes'] / MIB:.0f}",
        database=f"{found['database_bytes'] / MIB:.0f}",
        segments=found["segments"],
    )
    rows = [
        f"| {_STAGE_TEXTS[stage]} | {ours[stage]:.1f} | {f'{theirs[stage]:.1f}' if stage in theirs else ''} | |"
        for stage in STAGES
    ]
    return [
        f"## 9. One database out of {found['databases']}",
        "",
        text,
        "| stage | engine, s | by hand, s | ratio |",
        "|---|---|---|---|",
        *rows,
        f"| **all** | {all_ours:.1f} | {all_theirs:.1f} | {all_ours / all_theirs:.2f} |",
        "",
    ]


def _retention_section(figures: Run, sizes: Sizes) -> list[str]:
    if "retention" not in figures:
        return []
    found = figures["retention"]
    count = sizes.archives
    planned = PLANNED.format(
        archives=count, day=sizes.segments_a_day, window=WINDOW_DAYS, distinct=min(sizes.distinct_archives, count)
    )
    return [
        f"## 10. Retention of {count} archives",
        "",
        planned,
        "| engine | objects | decisions | decisions/s | plans/s | planned, s | listings understood, s | LIST | GET |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_planned_row(engine, one, count) for engine, one in found["planned"].items()),
        "",
        STORED.format(day=sizes.stored_a_day, archives=count),
        f"| archive | by | objects, removed | seconds | requests | of {count}: processes | requests | seconds |",
        "|---|---|---|---|---|---|---|---|",
        *(row for engine, one in found["stored"].items() for row in _stored_rows(engine, one, count)),
        "",
    ]


def _planned_row(engine: str, one: Run, count: int) -> str:
    rates = f"{one['backups'] / one['seconds']:.0f} | {count / one['seconds']:.0f}"
    return (
        f"| {engine} | {one['objects']} | {one['backups']} | {rates} | {one['seconds']:.1f} "
        f"| {one['reading_seconds']:.0f} | {one['lists']} | {one['gets']} |"
    )


def _stored_rows(engine: str, one: Run, count: int) -> Iterator[str]:
    programs = {WALG_ENGINE: "`wal-g delete`"}.get(engine, "`barman-cloud-backup-delete`")
    for by, found, processes in (("us", one["ours"], 1), (programs, one["theirs"], count)):
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(found["requests"].items()))
        total = sum(found["requests"].values())
        yield (
            f"| {engine} | {by} | {one['objects']}, {found['removed']} | {found['seconds']:.2f} | {total}: {kinds} "
            f"| {processes} | {total * count} | {found['seconds'] * count:.0f} |"
        )


def _machine_section(run: Run) -> list[str]:
    common = {key: run["machine"][key] for key in ("date", "processor", "memory", "kernel", "load before")}
    told = {**common, **run["archives"], "load after": " ".join(f"{load:.2f}" for load in run["load_after"])}
    told["duration"] = f"{run['minutes']:.0f} minutes"
    return ["## Their machine", "", "| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in told.items()), ""]
