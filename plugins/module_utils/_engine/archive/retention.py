# SPDX-License-Identifier: BSD-2-Clause
"""What of an archive may go, so that every moment in the window stays restorable. Decides only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from .catalog import Backup, Catalog, Unfinished, WalFile
from .segments import Segment

# A backup of the largest clusters takes hours; nothing takes days.
UNFINISHED_AGE = timedelta(days=2)


class Choice(StrEnum):
    """What becomes of a backup."""

    KEEP = "keep"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Of one backup, with the reason as a sentence."""

    incarnation: str
    backup: str
    choice: Choice
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """What goes of one incarnation, in the order in which it has to go, so that a kill at any point harms nothing.

    points: restore points, before what is needed to reach them
    markers: the objects that make the backups exist; those of a later group are needed by those of an earlier one
    parts: what else the backups are made of
    leftovers: parts of backups that were never finished
    wal: oldest first; `wal_before` is the segment before whose number all of it lies
    rest: notes and history files, and the description as the very last, if the whole incarnation goes
    """

    incarnation: str
    points: tuple[str, ...] = ()
    markers: tuple[tuple[str, ...], ...] = ()
    parts: tuple[str, ...] = ()
    leftovers: tuple[str, ...] = ()
    wal: tuple[str, ...] = ()
    wal_before: Segment | None = None
    rest: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """Everything that goes, in order."""
        markers = (key for group in self.markers for key in group)
        return (*self.points, *markers, *self.parts, *self.leftovers, *self.wal, *self.rest)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPlan:
    """Verdicts in the order of incarnations and backups; removals only where something goes, oldest first.

    problems: why an incarnation is kept whole, and what else could not be read.
    """

    archive: str
    window_start: datetime
    verdicts: tuple[Verdict, ...]
    removals: tuple[Removal, ...]
    problems: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """Every object that goes."""
        return tuple(key for removal in self.removals for key in removal.keys)


def plan_retention(
    catalogs: Sequence[Catalog], *, window: timedelta, now: datetime, unfinished_age: timedelta = UNFINISHED_AGE
) -> RetentionPlan:
    """Verdicts on all incarnations of one archive.

    1. An incarnation of which anything cannot be read is kept whole.
    2. An older incarnation goes if a newer one began, and finished a usable backup, before the window's start: that one
       then serves every moment in the window. Unless a newer one was forked from it inside of the window.
    3. Of any other, the newest usable backup that finished before the window's start is kept, and all that finished
       later, each with the backups that it builds upon. A time in the future counts as later.
    4. The newest backup of the archive, permanent ones, and what a backup in the making builds upon are kept always.
    5. WAL goes that lies before the first segment that a kept backup reads, on any timeline, as positions only grow
       along timelines. A permanent backup outside of the window keeps what makes it consistent and no more.
    6. Without a kept backup in an incarnation that stays, all of its WAL stays.
    7. Unfinished parts go when their newest is older than `unfinished_age`; until then they keep the WAL from their
       start on, or all of it if that is not known.
    8. What nobody knows is never removed, and keeps the description of its incarnation.
    9. A restore point goes when the window has passed it, as a moment without a name does.

    `now` is the earlier one of the planner's clock and the store's: a clock that is behind removes less.
    """
    if window < timedelta(0) or unfinished_age < timedelta(0):
        raise ValueError("a window and an age are not negative")
    archives = {one.archive for one in catalogs}
    if len(archives) > 1 or now.tzinfo is None:
        raise ValueError("retention is planned for one archive, at a time with its offset from UTC")
    start = now - window
    ordered = sorted(catalogs, key=lambda one: (one.began, one.id))
    newest = max(
        ((backup.finished, catalog.id, backup.name) for catalog in ordered for backup in catalog.backups), default=None
    )
    verdicts: list[Verdict] = []
    removals: list[Removal] = []
    for place, catalog in enumerate(ordered):
        heir = _heir(catalog, ordered[place + 1 :], start)
        judged = _Judgement(
            catalog=catalog,
            start=start,
            old=now - unfinished_age,
            heir=heir,
            newest=None if newest is None or newest[1] != catalog.id else newest[2],
        )
        decided = judged.verdicts()
        verdicts += decided
        removal = judged.removal({one.backup for one in decided if one.choice is Choice.KEEP})
        if removal.keys:
            removals.append(removal)
    return RetentionPlan(
        archive=next(iter(archives), ""),
        window_start=start,
        verdicts=tuple(verdicts),
        removals=tuple(removals),
        problems=tuple(problem for catalog in ordered for problem in catalog.problems),
    )


def _heir(older: Catalog, newer: Sequence[Catalog], start: datetime) -> Catalog | None:
    """The first newer incarnation that serves the whole window by itself."""
    parents = [one.incarnation.parent for one in newer if one.incarnation is not None]
    if any(one is not None and one.incarnation == older.id and one.time > start for one in parents):
        return None
    for catalog in newer:
        if catalog.problems or catalog.incarnation is None or catalog.began > start:
            continue
        if any(backup.finished <= start for backup in catalog.usable()):
            return catalog
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judgement:
    """One incarnation, and what of the others counts for it. `newest`: the archive's newest backup, if it is here."""

    catalog: Catalog
    start: datetime
    old: datetime
    heir: Catalog | None
    newest: str | None

    def verdicts(self) -> tuple[Verdict, ...]:
        """One for each backup, oldest first."""
        reasons = dict(self._reasons_to_keep())
        for backup in reversed(self.catalog.backups):
            if backup.name in reasons:
                for base in (self.catalog.chain(backup) or ())[1:]:
                    reasons.setdefault(base.name, f"{backup.name} builds upon it")
        return tuple(
            self._verdict(backup, Choice.KEEP, reasons[backup.name])
            if backup.name in reasons
            else self._verdict(backup, Choice.REMOVE, self._reason_to_remove(backup))
            for backup in self.catalog.backups
        )

    def _verdict(self, backup: Backup, choice: Choice, reason: str) -> Verdict:
        return Verdict(incarnation=self.catalog.id, backup=backup.name, choice=choice, reason=reason)

    def _reasons_to_keep(self) -> Iterator[tuple[str, str]]:
        """Later ones replace earlier ones of the same backup."""
        anchor = self._anchor()
        for backup in self.catalog.backups:
            if self.catalog.problems:
                yield backup.name, f"its incarnation cannot be judged: {self.catalog.problems[0]}"
            elif any(_is_named_by(one, backup) for one in self._in_the_making()):
                yield backup.name, "a backup in the making builds upon it"
            elif backup.is_permanent:
                yield backup.name, "it is permanent"
            elif self.heir is None and backup.finished > self.start:
                yield backup.name, "it finished inside of the window"
            elif anchor is not None and backup.name == anchor.name:
                yield backup.name, "it is the newest that finished before the window, whose first moments need it"
            elif backup.name == self.newest:
                yield backup.name, "it is the newest of the archive"

    def _reason_to_remove(self, backup: Backup) -> str:
        if self.heir is not None:
            return f"the newer incarnation {self.heir.id} serves the whole window"
        if self.catalog.chain(backup) is None:
            return "a backup that it builds upon is missing, and it finished before the window"
        anchor = self._anchor()
        return f"it finished before the window, and {anchor.name if anchor else 'a newer one'} is newer"

    def _anchor(self) -> Backup | None:
        if self.heir is not None:
            return None
        before = [one for one in self.catalog.usable() if one.finished <= self.start]
        if before:
            return before[-1]
        # None of them leads to the newest timeline: the newest is kept all the same.
        rest = [one for one in self.catalog.backups if one.finished <= self.start]
        return rest[-1] if rest else None

    def _in_the_making(self) -> tuple[Unfinished, ...]:
        return tuple(one for one in self.catalog.unfinished if one.modified >= self.old)

    def removal(self, kept: set[str]) -> Removal:
        """What goes beside the backups that are not in `kept`."""
        catalog = self.catalog
        if catalog.problems:
            return Removal(incarnation=catalog.id)
        going = [one for one in catalog.backups if one.name not in kept]
        staying = [one for one in catalog.backups if one.name in kept]
        stale = [one for one in catalog.unfinished if one.modified < self.old]
        wal, before = self._wal(staying)
        is_over = self.heir is not None and not staying and not self._in_the_making() and not catalog.others
        histories = tuple(key for keys in catalog.history_keys.values() for key in keys) if is_over else ()
        end = (catalog.end.key,) if is_over and catalog.end is not None else ()
        last = (catalog.description_key,) if is_over and catalog.description_key is not None else ()
        return Removal(
            incarnation=catalog.id,
            points=tuple(one.key for one in catalog.points if is_over or one.made < self.start),
            markers=self._markers(going),
            parts=tuple(key for one in going for key in one.keys if key != one.marker),
            leftovers=tuple(key for one in stale for key in one.keys),
            wal=tuple(one.key for one in wal),
            wal_before=before if wal else None,
            rest=(*end, *histories, *last),
        )

    def _markers(self, going: Iterable[Backup]) -> tuple[tuple[str, ...], ...]:
        """Deltas before what they build upon, the longest chains first."""
        by_depth: dict[int, list[str]] = defaultdict(list)
        for backup in going:
            by_depth[self._depth(backup)].append(backup.marker)
        return tuple(tuple(by_depth[depth]) for depth in sorted(by_depth, reverse=True))

    def _depth(self, backup: Backup) -> int:
        """How many backups there are below it, those of a broken chain too."""
        by_name = {one.name: one for one in self.catalog.backups}
        seen = {backup.name}
        below = by_name.get(backup.base or "")
        while below is not None and below.name not in seen:
            seen.add(below.name)
            below = by_name.get(below.base or "")
        return len(seen) - 1

    def _wal(self, staying: Sequence[Backup]) -> tuple[tuple[WalFile, ...], Segment | None]:
        """The files that go, oldest first, and the segment before which they lie."""
        files = (*self.catalog.segments, *self.catalog.companions)
        making = self._in_the_making()
        if any(one.start is None for one in making):
            return (), None
        needing = [one.first_segment for one in staying if not self._is_apart(one)]
        if not needing and self.heir is None:
            return (), None
        needing += [one.start for one in making if one.start is not None]
        before = min(needing, key=lambda one: one.number, default=None)
        apart = [one for one in staying if self._is_apart(one)]
        going = tuple(
            one
            for one in sorted(files, key=lambda one: (one.segment.number, one.key))
            if (before is None or one.segment.number < before.number)
            and not any(_is_within(one.segment, backup) for backup in apart)
        )
        return going, before

    def _is_apart(self, backup: Backup) -> bool:
        """True if a backup is kept for its own sake, and not for the moments after it."""
        if not backup.is_permanent or backup.name == self.newest:
            return False
        if self.heir is not None:
            return True
        anchor = self._anchor()
        chain = () if anchor is None else self.catalog.chain(anchor) or (anchor,)
        return backup.finished <= self.start and backup not in chain


def _is_within(segment: Segment, backup: Backup) -> bool:
    return backup.first_segment.number <= segment.number <= backup.last_segment.number


def _is_named_by(unfinished: Unfinished, backup: Backup) -> bool:
    """WAL-G names a delta after the segment in which the backup that it builds upon starts."""
    return unfinished.base is not None and backup.name.startswith(f"base_{unfinished.base}")
