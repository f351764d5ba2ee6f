# SPDX-License-Identifier: BSD-2-Clause
"""From where a target can be reached: which incarnation, which backup, which WAL. Decides only.

What is certainly archived. A listing tells when a segment was uploaded, not which commits are in it. A commit is
written before its segment is filled, and that is before it is uploaded: so no commit in the archive is later than the
newest upload, and that time is only an upper bound of what can be reached. It is the one that a listing gives, and the
error is bounded: with `archive_timeout` and a commit of the heartbeat at least once in the RPO, the last commit in the
newest segment is no older than the RPO before its upload. For the same reason the last segment that a target needs is
taken to be the first one that was uploaded after it. If uploads were late, commits before the target may be in a later
segment yet; PostgreSQL reads on as long as there is WAL, and refuses to open a cluster that did not reach its target.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from ..errors import Lost, Unrecoverable
from .catalog import Backup, Catalog, Lineage, Point, WalFile
from .segments import Lsn, Segment, format_lsn

# In a message.
SHOWN_POINTS = 20
# A store tells the whole second of an upload (S3), by its own clock.
CLOCKS = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class AtTime:
    """The last commit up to a moment."""

    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AtLsn:
    """A position, in the newest incarnation or in the one named: positions of two incarnations say nothing together."""

    lsn: Lsn
    incarnation: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AtPoint:
    """A restore point that was named for a project (its uid), in the newest incarnation that has it or in a given one.

    `made` is for one that nobody has noted: a listing does not tell where in WAL a name stands.
    """

    name: str
    made: datetime | None = None
    project: str = ""
    incarnation: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Latest:
    """The end of the archive of the newest incarnation."""


Target: TypeAlias = "AtTime | AtLsn | AtPoint | Latest"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryPlan:
    """How to reach a target.

    timeline: for `recovery_target_timeline`
    first_segment, last_segment: what is read, from the start of the backup to the last one that follows without a gap
    needed_segment: the last one that the target is known to need, not after `last_segment`
    archived_until: upload of `last_segment`; no commit in the archive is later
    is_beyond_archive: the target is certainly later than that. Recovery then goes to the end of the archive, and must
    not be told the target as a time, because PostgreSQL refuses to open a cluster that did not see a later commit.
    point: what was noted of the restore point that is the target; None for any other
    """

    archive: str
    incarnation: str
    backup: str
    timeline: int
    first_segment: Segment
    needed_segment: Segment
    last_segment: Segment
    archived_until: datetime
    is_beyond_archive: bool
    point: Point | None = None


def plan_recovery(catalogs: Sequence[Catalog], target: Target, *, now: datetime) -> RecoveryPlan:
    """The way to a target in one archive, or Unrecoverable.

    1. A moment belongs to the incarnation that lived then: from its beginning to that of the next one. Before its first
       backup finished an incarnation has nothing of its own; such a moment is its parent's if it lies before the fork.
    2. The newest backup is taken that finished before the target, can be fetched whole, and leads to the newest
       timeline of its incarnation.
    3. Every segment from the start of that backup to the end that the target needs has to be there.
    """
    ordered = sorted(catalogs, key=lambda one: (one.began, one.id))
    if not ordered:
        raise Unrecoverable(Lost.NO_BACKUP, "The archive is empty: there is no incarnation in it.")
    if isinstance(target, AtTime):
        return _to_time(ordered, target.time, now=now, needs_all=False)
    if isinstance(target, AtPoint):
        return _to_point(ordered, target, now=now)
    if isinstance(target, AtLsn):
        return _to_lsn(ordered, target)
    return _to_end(ordered)


def _to_time(ordered: Sequence[Catalog], time: datetime, *, now: datetime, needs_all: bool) -> RecoveryPlan:
    if time.tzinfo is None:
        raise ValueError("a target time has an offset from UTC")
    if time > now:
        raise Unrecoverable(Lost.FUTURE, f"The target {_shown(time)} is in the future; now it is {_shown(now)}.")
    catalog, backup = _home(ordered, time)
    way = _Way.of(catalog, backup)
    needed = way.uploaded_after(time)
    if way.gap is not None and (needed is None or needs_all):
        raise way.lost()
    last = way.files[-1]
    return way.plan(needed=needed or last, is_beyond=needed is None and time >= last.modified + CLOCKS)


def is_noted(catalogs: Iterable[Catalog], target: AtPoint) -> bool:
    """True if an archive has a restore point, whether or not anything leads to it."""
    return any(_is_meant(each, one, target) for each in catalogs for one in each.points)


def _is_meant(catalog: Catalog, point: Point, target: AtPoint) -> bool:
    wanted = (target.project, target.name, target.incarnation or catalog.id)
    return (point.project, point.name, catalog.id) == wanted


def _to_point(ordered: Sequence[Catalog], target: AtPoint, *, now: datetime) -> RecoveryPlan:
    """By its position, which no clock has a part in."""
    theirs = [(each, one) for each in ordered for one in each.points if one.project == target.project]
    found = [(each, one) for each, one in theirs if _is_meant(each, one, target)]
    if found:
        catalog, point = found[-1]
        shown = f"{point.name} ({format_lsn(point.lsn)})"
        plan = _to_position(catalog, point.lsn, Segment.before(1, point.lsn).number, shown)
        return replace(plan, point=point)
    if target.made is not None:
        return _to_time(ordered, target.made, now=now, needs_all=True)
    there = [f"{one.name} of {_shown(one.made)} in {each.id}" for each, one in reversed(theirs)]
    more = f" and {len(there) - SHOWN_POINTS} older ones" if len(there) > SHOWN_POINTS else ""
    raise Unrecoverable(
        Lost.UNKNOWN_POINT,
        f"Nothing in the archive tells where the restore point {target.name!r} is. "
        f"There {'is' if len(there) == 1 else 'are'}: {', '.join(there[:SHOWN_POINTS]) or 'none'}{more}.",
    )


def _home(ordered: Sequence[Catalog], time: datetime) -> tuple[Catalog, Backup]:
    """The incarnation that a moment belongs to, and the backup to start from."""
    lived = [one for one in ordered if one.began <= time]
    if not lived:
        raise _before_all(ordered, time)
    catalog = lived[-1]
    seen: set[str] = set()
    while True:
        _require_readable(catalog)
        backups = [one for one in catalog.usable() if one.finished <= time]
        if backups:
            return catalog, backups[-1]
        seen.add(catalog.id)
        parent = _parent_for(catalog, ordered, time)
        if parent is None or parent.id in seen:
            raise _before_first_backup(catalog, time, is_oldest=catalog is ordered[0])
        catalog = parent


def _parent_for(catalog: Catalog, ordered: Iterable[Catalog], time: datetime) -> Catalog | None:
    parent = catalog.incarnation.parent if catalog.incarnation else None
    if parent is None or parent.archive != catalog.archive or time >= parent.time:
        return None
    return next((one for one in ordered if one.id == parent.incarnation), None)


def _to_lsn(ordered: Sequence[Catalog], target: AtLsn) -> RecoveryPlan:
    named = [one for one in ordered if target.incarnation in (None, one.id)]
    if not named:
        known = ", ".join(one.id for one in ordered)
        raise Unrecoverable(
            Lost.UNKNOWN_INCARNATION, f"The archive has no incarnation {target.incarnation}; it has {known}."
        )
    return _to_position(named[-1], target.lsn, Segment.at(1, target.lsn).number, format_lsn(target.lsn))


def _to_position(catalog: Catalog, lsn: Lsn, number: int, shown: str) -> RecoveryPlan:
    """`number`: of the last segment that is needed."""
    _require_readable(catalog)
    usable = _require_backups(catalog)
    backups = [one for one in usable if one.finish_lsn <= lsn]
    if not backups:
        first = min(one.finish_lsn for one in usable)
        raise Unrecoverable(
            Lost.BEFORE_WINDOW,
            f"The oldest backup of incarnation {catalog.id} finished at {format_lsn(first)}, after the target {shown}. "
            "Name an older incarnation if the position is of its life.",
        )
    way = _Way.of(catalog, backups[-1])
    needed = next((one for one in way.files if one.segment.number == number), None)
    if needed is None:
        if way.gap is not None:
            raise way.lost()
        last = way.files[-1]
        raise Unrecoverable(
            Lost.AFTER_ARCHIVE,
            f"The target {shown} is after the last archived segment {last.segment.name} of incarnation {catalog.id}, "
            f"which was uploaded at {_shown(last.modified)}.",
        )
    return way.plan(needed=needed, is_beyond=False)


def _to_end(ordered: Sequence[Catalog]) -> RecoveryPlan:
    catalog = ordered[-1]
    _require_readable(catalog)
    way = _Way.of(catalog, _require_backups(catalog)[-1])
    if way.gap is not None:
        raise way.lost()
    return way.plan(needed=way.files[-1], is_beyond=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """WAL from a backup on without a gap; `gap` is the first segment that is missing although later ones are there."""

    catalog: Catalog
    backup: Backup
    lineage: Lineage
    files: tuple[WalFile, ...]
    gap: Segment | None

    @classmethod
    def of(cls, catalog: Catalog, backup: Backup) -> _Way:
        """Raises Unrecoverable if what makes the backup consistent is not all there."""
        lineage = catalog.lineage
        if lineage is None:
            raise AssertionError("a usable backup has a lineage")
        # Of two uploads of one segment the first counts: what is in it was in it then.
        present = {one.segment: one for one in sorted(catalog.segments, key=lambda one: one.modified, reverse=True)}
        last = max((one.number for one in present if one in lineage.needed(one.number)), default=-1)
        files: list[WalFile] = []
        gap = None
        for number in range(backup.first_segment.number, last + 1):
            best, *older = lineage.needed(number)
            file = present.get(best) or next((present[one] for one in older if one in present), None)
            if file is not None:
                files.append(file)
            if best not in present:
                # Where a timeline was left, and the new one's first segment is still to come, nothing is lost yet.
                gap = best if file is None or number < last else None
                break
        way = cls(catalog=catalog, backup=backup, lineage=lineage, files=tuple(files), gap=gap)
        if not files or files[-1].segment.number < backup.last_segment.number:
            following = files[-1].segment.number + 1 if files else backup.first_segment.number
            raise replace(way, gap=gap or lineage.needed(following)[0]).lost()
        return way

    def uploaded_after(self, time: datetime) -> WalFile | None:
        """The first segment that can have a commit after `time`, and not before the backup is consistent."""
        consistent = self.backup.last_segment.number
        return next((one for one in self.files if one.segment.number >= consistent and one.modified > time), None)

    def plan(self, *, needed: WalFile, is_beyond: bool) -> RecoveryPlan:
        """To a segment of the way."""
        last = self.files[-1]
        return RecoveryPlan(
            archive=self.catalog.archive,
            incarnation=self.catalog.id,
            backup=self.backup.name,
            timeline=self.lineage.timeline,
            first_segment=self.files[0].segment,
            needed_segment=needed.segment,
            last_segment=last.segment,
            archived_until=last.modified,
            is_beyond_archive=is_beyond,
        )

    def lost(self) -> Unrecoverable:
        """For the gap."""
        name = self.gap.name if self.gap else ""
        until = f"; before it the archive reaches {_shown(self.files[-1].modified)} at most" if self.files else ""
        return Unrecoverable(
            Lost.GAP,
            f"Segment {name} of incarnation {self.catalog.id} is missing, and recovery from backup {self.backup.name} "
            f"needs it{until}.",
        )


def _require_readable(catalog: Catalog) -> None:
    if catalog.incarnation is None or (catalog.timelines and catalog.lineage is None):
        raise Unrecoverable(
            Lost.UNREADABLE,
            f"Incarnation {catalog.id} has what the target needs, and cannot be read: {'; '.join(catalog.problems)}.",
        )


def _require_backups(catalog: Catalog) -> tuple[Backup, ...]:
    usable = tuple(catalog.usable())
    if not usable:
        raise Unrecoverable(Lost.NO_BACKUP, f"Incarnation {catalog.id} has no backup that can be restored.")
    return usable


def _before_all(ordered: Sequence[Catalog], time: datetime) -> Unrecoverable:
    oldest = ordered[0]
    parent = oldest.incarnation.parent if oldest.incarnation else None
    from_where = f" It was restored from archive {parent.archive}, which may have it." if parent else ""
    return Unrecoverable(
        Lost.BEFORE_WINDOW,
        f"The target {_shown(time)} is before the oldest incarnation of the archive, {oldest.id}, which began at "
        f"{_shown(oldest.began)}.{from_where}",
    )


def _before_first_backup(catalog: Catalog, time: datetime, *, is_oldest: bool) -> Unrecoverable:
    usable = tuple(catalog.usable())
    if not usable:
        return Unrecoverable(
            Lost.NO_BACKUP,
            f"The target {_shown(time)} is in the life of incarnation {catalog.id}, which has no usable backup.",
        )
    first = min(one.finished for one in usable)
    reason = Lost.BEFORE_WINDOW if is_oldest else Lost.BEFORE_FIRST_BACKUP
    return Unrecoverable(
        reason,
        f"The target {_shown(time)} is before {_shown(first)}, when the oldest backup of incarnation {catalog.id} "
        "finished: what happened before it in the life of that incarnation cannot be restored.",
    )


def _shown(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
