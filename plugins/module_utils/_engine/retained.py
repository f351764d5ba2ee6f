# SPDX-License-Identifier: BSD-2-Clause
"""What a run of retention follows, and what it left: an outcome for each archive, and the result. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from .archive import retention
from .archive.catalog import Catalog
from .archive.retention import UNFINISHED_AGE, RetentionPlan, Verdict
from .errors import code_of
from .steps import Failure, Result

# A restore that is being planned reads the window's first moments while the window moves on.
MARGIN = timedelta(hours=1)
REMOVAL_LIMIT_PERCENT = 50
# A result goes to callbacks, logs and AWX's database whole.
SHOWN_ARCHIVES = 100
SHOWN_BACKUPS = 1000
SHOWN_PROBLEMS = 5
SHOWN_FAILURES = 5
SHOWN_DATABASES = 100
SHOWN_POINTS = 20
KEPT, REMOVED, LEFT = "kept", "removed", "left"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is kept. Parts of backups and uploads that are older than `unfinished_age` will never be finished.

    `removal_limit_percent`: of an archive's backups, that one run may remove.
    """

    window: timedelta
    margin: timedelta = MARGIN
    unfinished_age: timedelta = UNFINISHED_AGE
    removal_limit_percent: int = REMOVAL_LIMIT_PERCENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Whose archives a run is about: those of named projects and shared clusters, or all if both are None."""

    refs: tuple[str, ...] | None = None
    clusters: tuple[str, ...] | None = None

    @property
    def is_all(self) -> bool:
        """True if nothing is named."""
        return self.refs is None and self.clusters is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """An archive and whose it is, in words; empty if whoever had it is gone. `held`: why it must not be touched."""

    name: str
    owner: str = ""
    held: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.owner or 'its project is gone'})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What happened to one archive, in check mode what would.

    `plan`: None if it could not be read. `keys`: the objects that went, `freed` their bytes. `uploads`: those aborted.
    `points`: names of the restore points that went.
    """

    archive: Archive
    plan: RetentionPlan | None = None
    keys: frozenset[str] = frozenset()
    gone: frozenset[tuple[str, str]] = frozenset()
    freed: int = 0
    points: tuple[str, ...] = ()
    uploads: int = 0
    failure: Failure | None = None

    @property
    def changed(self) -> bool:
        """True if anything went."""
        return bool(self.keys or self.uploads)

    @property
    def result(self) -> Result:
        """How it ended. An archive of which something cannot be read is no success: it grows for ever."""
        if self.failure or self.problems:
            return Result.FAILED
        if self.archive.held:
            return Result.HELD
        return Result.CHANGED if self.changed else Result.UNCHANGED

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be read."""
        return () if self.plan is None else self.plan.problems

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """On each backup, those that go first."""
        found = () if self.plan is None else self.plan.verdicts
        return tuple(sorted(found, key=lambda one: one.choice is retention.Choice.KEEP))

    def fate(self, verdict: Verdict) -> str:
        """What became of a backup: kept, removed, or left, if it was to go and is there."""
        if verdict.choice is retention.Choice.KEEP:
            return KEPT
        return REMOVED if (verdict.incarnation, verdict.backup) in self.gone else LEFT

    def count(self, fate: str) -> int:
        """How many backups ended so."""
        return sum(self.fate(one) == fate for one in self.verdicts)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptDatabase:
    """A database that was live until `until`, and goes after `goes_at`. `ref`: whose it was; empty if that is gone.

    `is_due`: its time is up. `is_gone`: it was dropped, in check mode: it would be.
    """

    name: str
    ref: str
    server: str
    bytes: int
    until: datetime
    goes_at: datetime
    is_due: bool
    is_gone: bool = False
    failure: Failure | None = None

    def __str__(self) -> str:
        return (
            f"{self.name} ({self.ref or 'its project is gone'}): {self.bytes} bytes, replaced at {self.until:%F %T} UTC"
        )

    @property
    def fate(self) -> str:
        """What became of it: kept, removed, or left, if it was to go and is there."""
        if not self.is_due:
            return KEPT
        return REMOVED if self.is_gone else LEFT


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptReport:
    """Those of all servers that were asked, by server and name; and which servers did not answer."""

    databases: tuple[KeptDatabase, ...] = ()
    failures: tuple[Failure, ...] = ()

    @property
    def wrong(self) -> tuple[Failure, ...]:
        """All that went wrong."""
        return (*self.failures, *(one.failure for one in self.databases if one.failure is not None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All outcomes in the order of the archives. `others`: folders below the prefix that are no archives.

    `failure`: what went wrong beside the archives. `kept`: databases that restores have replaced.
    """

    choice: Choice
    outcomes: tuple[Outcome, ...] = ()
    others: tuple[str, ...] = ()
    failure: Failure | None = None
    kept: KeptReport = KeptReport()
    window_start: datetime | None = None
    reads: int = 0
    writes: int = 0


def gone_of(catalogs: Iterable[Catalog], keys: frozenset[str]) -> frozenset[tuple[str, str]]:
    """Incarnation and name of the backups that do not exist without these objects."""
    return frozenset((each.id, one.name) for each in catalogs for one in each.backups if one.marker in keys)


def points_of(catalogs: Iterable[Catalog], keys: frozenset[str]) -> tuple[str, ...]:
    """Names of restore points that are among these objects, each with the uid of its project."""
    return tuple(f"{one.project}.{one.name}" for each in catalogs for one in each.points if one.key in keys)


def bytes_of(catalogs: Iterable[Catalog], keys: frozenset[str]) -> int:
    """What these objects took; of a backup only if all of it is among them, and without the small documents."""
    total = 0
    for catalog in catalogs:
        total += sum(one.bytes for one in (*catalog.segments, *catalog.companions) if one.key in keys)
        total += sum(one.bytes for one in catalog.backups if keys.issuperset(one.keys))
        total += sum(one.bytes for one in catalog.unfinished if keys.issuperset(one.keys))
    return total


def result_of(report: Report, *, show_diff: bool) -> dict[str, Any]:
    """The result of a run, bounded: counts and sums always, archives one by one up to a limit, failures first."""
    shown = [one for one in report.outcomes if one.result is not Result.UNCHANGED or not report.choice.is_all]
    order = (Result.FAILED, Result.HELD, Result.CHANGED, Result.UNCHANGED)
    shown.sort(key=lambda one: (order.index(one.result), one.archive.name))
    listed = shown[:SHOWN_ARCHIVES]
    databases = sorted(report.kept.databases, key=lambda one: ((LEFT, REMOVED, KEPT).index(one.fate), one.name))
    most = SHOWN_BACKUPS // max(1, len(listed))
    result: dict[str, Any] = {
        "changed": any(one.changed for one in report.outcomes) or any(one.is_gone for one in report.kept.databases),
        "counts": {kind.value: sum(one.result is kind for one in report.outcomes) for kind in order},
        "totals": {
            **{f"backups_{fate}": sum(one.count(fate) for one in report.outcomes) for fate in (KEPT, REMOVED, LEFT)},
            "objects_removed": sum(len(one.keys) for one in report.outcomes),
            "bytes_freed": sum(one.freed for one in report.outcomes),
            "uploads_aborted": sum(one.uploads for one in report.outcomes),
            "points_removed": sum(len(one.points) for one in report.outcomes),
            "databases_removed": sum(one.is_gone for one in report.kept.databases),
            "database_bytes_freed": sum(one.bytes for one in report.kept.databases if one.is_gone),
        },
        "databases": [_database(one) for one in databases[:SHOWN_DATABASES]],
        "databases_left_out": max(0, len(databases) - SHOWN_DATABASES),
        "archives": [_shown(one, most) for one in listed],
        "archives_left_out": len(shown) - len(listed),
        "left_alone": list(report.others[:SHOWN_ARCHIVES]),
        "requests": {"reads": report.reads, "writes": report.writes},
        "window_start": None if report.window_start is None else report.window_start.isoformat(),
    }
    if show_diff:
        result["diff"] = [{"prepared": "".join(f"{line}\n" for line in _lines(one, most))} for one in listed]
        gone = [f"- {one.fate} database {one}\n" for one in databases if one.fate != KEPT]
        result["diff"] += [{"prepared": "".join(gone[:SHOWN_DATABASES])}] if gone else []
    if report.failure is not None or report.kept.wrong or result["counts"][Result.FAILED.value]:
        result.update(failed=True, msg=_failure_text(report))
    return result


def _database(one: KeptDatabase) -> dict[str, Any]:
    return {
        "database": one.name,
        "ref": one.ref,
        "server": one.server,
        "bytes": one.bytes,
        "until": one.until.isoformat(timespec="seconds"),
        "goes_at": one.goes_at.isoformat(timespec="seconds"),
        "fate": one.fate,
        "error": one.failure.reason if one.failure else "",
    }


def _shown(outcome: Outcome, most: int) -> dict[str, Any]:
    verdicts = outcome.verdicts
    shown: dict[str, Any] = {
        "archive": outcome.archive.name,
        "owner": outcome.archive.owner,
        "result": outcome.result.value,
        "backups": [
            {"incarnation": one.incarnation, "backup": one.backup, "fate": outcome.fate(one), "reason": one.reason}
            for one in verdicts[:most]
        ],
        "backups_left_out": max(0, len(verdicts) - most),
        "objects_removed": len(outcome.keys),
        "bytes_freed": outcome.freed,
        "uploads_aborted": outcome.uploads,
        "points_removed": list(outcome.points[:SHOWN_POINTS]),
        "problems": list(outcome.problems[:SHOWN_PROBLEMS]),
    }
    if outcome.archive.held:
        shown["held"] = outcome.archive.held
    if outcome.failure is not None:
        failure = outcome.failure
        shown["failure"] = {"step": failure.step, "object": failure.object, "reason": failure.reason}
        shown["failure"]["status"] = failure.status
    return shown


def _lines(outcome: Outcome, most: int) -> Iterator[str]:
    """An archive as a diff: every backup with what becomes of it, and why."""
    yield (
        f"{outcome.archive}: {outcome.count(REMOVED)} of {len(outcome.verdicts)} backups go, "
        f"{len(outcome.keys)} objects with {outcome.freed} bytes, {outcome.uploads} uploads"
    )
    if outcome.archive.held:
        yield f"  held: {outcome.archive.held}"
    for name in outcome.points:
        yield f"- removed restore point {name}: it was made before the window"
    for one in outcome.verdicts[:most]:
        fate = outcome.fate(one)
        yield f"{'-' if fate == REMOVED else ' '} {fate} {one.incarnation}/{one.backup}: {one.reason}"
    if len(outcome.verdicts) > most:
        yield f"  and {len(outcome.verdicts) - most} more backups"


def _failure_text(report: Report) -> str:
    """The first few that went wrong, each in a line; all of them are in the result."""
    wrong = [one for one in report.outcomes if one.result is Result.FAILED]
    lines = [f"{one.archive}: {_why(one)}" for one in wrong[:SHOWN_FAILURES]]
    if len(wrong) > SHOWN_FAILURES:
        lines.append(f"and {len(wrong) - SHOWN_FAILURES} more")
    if report.failure is not None:
        lines.append(_sentence(report.failure))
    lines += [_sentence(one) for one in report.kept.wrong[:SHOWN_FAILURES]]
    head = f"{len(wrong)} of {len(report.outcomes)} archives are not as they should be:"
    if not wrong and report.failure is None:
        head = f"{len(report.kept.wrong)} databases or servers are not as they should be:"
    return "\n".join((head, *(f"  - {line}" for line in lines)))


def _why(outcome: Outcome) -> str:
    if outcome.failure is not None:
        return _sentence(outcome.failure)
    return _first(outcome.problems)


def _first(problems: Sequence[str]) -> str:
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"what cannot be read is kept whole: {problems[0]}{more}"


def _sentence(failure: Failure) -> str:
    return f"{failure.step} {failure.object}: {failure.reason}{code_of(failure.status)}"
