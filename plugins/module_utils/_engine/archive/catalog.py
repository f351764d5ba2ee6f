# SPDX-License-Identifier: BSD-2-Clause
"""What is known of one incarnation in an archive. Its sources are layout.py, walg.py and barman.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from .segments import Lsn, Segment, Switch


class Engine(StrEnum):
    """What pushes WAL and base backups."""

    WALG = "wal-g"
    BARMAN = "barman-cloud"


class Kind(StrEnum):
    """Whether a backup can be fetched by itself."""

    FULL = "full"
    DELTA = "delta"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An object as a listing tells it. `key` is below the prefix of the platform; `modified` is the store's time."""

    key: str
    bytes: int
    modified: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """What an incarnation was restored from, and up to where."""

    archive: str
    incarnation: str
    timeline: int
    lsn: Lsn
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Incarnation:
    """One life of a PostgreSQL cluster, between initdb or restore and its end, as incarnation.json describes it."""

    id: str
    archive: str
    engine: Engine
    postgresql: int
    system_identifier: str
    began: datetime
    parent: Parent | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A base backup that finished. `marker` is the object without which it does not exist; one of `keys`."""

    name: str
    kind: Kind
    base: str | None = None
    began: datetime
    finished: datetime
    start_lsn: Lsn
    finish_lsn: Lsn
    timeline: int
    bytes: int
    is_permanent: bool
    marker: str
    keys: tuple[str, ...]

    @property
    def first_segment(self) -> Segment:
        """Where recovery from it starts to read WAL."""
        return Segment.at(self.timeline, self.start_lsn)

    @property
    def last_segment(self) -> Segment:
        """Up to where WAL is needed before its files are consistent."""
        return Segment.before(self.timeline, self.finish_lsn)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """Parts of a backup that is still being made, or whose making or removal was broken off.

    `start` is where its WAL begins, None if that is not known; `base` the segment in the name of the backup that it
    builds upon. `modified` is that of its newest part.
    """

    name: str
    start: Segment | None
    base: str | None = None
    modified: datetime
    bytes: int
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WalFile:
    """A segment that is archived, or what belongs to one: a label of a backup, a partial segment, a summary."""

    segment: Segment
    key: str
    bytes: int
    modified: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A moment that was named for a project, whose uid is `project`.

    `lsn`: where its record in WAL ends. `record`: what PostgreSQL knows it by, which no other one is called.
    """

    name: str
    project: str
    made: datetime
    lsn: Lsn
    record: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The server had shut down, with its last checkpoint at `lsn`, and all segments before that were archived."""

    lsn: Lsn
    at: datetime
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """One incarnation. `id` is the name of its prefix, and began with it the time that the name tells.

    backups: oldest first, by the time they finished
    segments, companions: sorted by segment
    histories: what was before each timeline whose history could be read
    history_keys: the history files themselves, by timeline
    points: in the order of WAL
    end: None as long as its server runs, and if its archiver did not come to say that all is archived
    others: objects of which nobody knows what they are; never removed
    problems: what could not be read, a sentence each; an incarnation with problems is not a basis for removing anything
    """

    archive: str
    id: str
    began: datetime
    incarnation: Incarnation | None
    backups: tuple[Backup, ...] = ()
    unfinished: tuple[Unfinished, ...] = ()
    segments: tuple[WalFile, ...] = ()
    companions: tuple[WalFile, ...] = ()
    histories: Mapping[int, tuple[Switch, ...]] = field(default_factory=dict, hash=False)
    history_keys: Mapping[int, tuple[str, ...]] = field(default_factory=dict, hash=False)
    points: tuple[Point, ...] = ()
    end: End | None = None
    description_key: str | None = None
    others: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def chain(self, backup: Backup) -> tuple[Backup, ...] | None:
        """A backup and those that it builds upon, down to a full one; None if one of them is missing."""
        by_name = {one.name: one for one in self.backups}
        found = [backup]
        while found[-1].base is not None:
            base = by_name.get(found[-1].base)
            if base is None or base in found:
                return None
            found.append(base)
        return tuple(found)

    @property
    def timelines(self) -> tuple[int, ...]:
        """Those on which there is a segment, a backup or a history, ascending."""
        of_wal = {one.segment.timeline for one in self.segments}
        return tuple(sorted(of_wal | {one.timeline for one in self.backups} | self.history_keys.keys()))

    @property
    def lineage(self) -> Lineage | None:
        """The newest timeline and those before it; None if there is none, or its history is missing."""
        timelines = self.timelines
        if not timelines:
            return None
        newest = timelines[-1]
        if len(timelines) == 1 and newest not in self.histories:
            return Lineage(timeline=newest, before=())
        if newest not in self.histories:
            return None
        return Lineage(timeline=newest, before=self.histories[newest])

    def usable(self) -> Iterator[Backup]:
        """Backups that can be fetched whole and lead to the newest timeline, oldest first."""
        lineage = self.lineage
        if lineage is None:
            return
        for backup in self.backups:
            if self.chain(backup) is not None and lineage.leads_from(backup):
                yield backup


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """A timeline, and those that led to it, oldest first, each with where it was left."""

    timeline: int
    before: tuple[Switch, ...]

    def leads_from(self, backup: Backup) -> bool:
        """True if a backup was finished before its timeline was left, so that recovery can follow."""
        if backup.timeline == self.timeline:
            return True
        return any(one.timeline == backup.timeline and backup.finish_lsn <= one.lsn for one in self.before)

    def needed(self, number: int) -> tuple[Segment, ...]:
        """The segments that recovery takes for a number, best first, as XLogFileReadAnyTLI chooses.

        A timeline begins with a copy of the segment in which the one before was left, so that the newest one holds all;
        there the older one still serves what lies before the switch.
        """
        starts = [(self.before[0].timeline if self.before else self.timeline, 0)]
        for place, switch in enumerate(self.before):
            follower = self.before[place + 1].timeline if place + 1 < len(self.before) else self.timeline
            starts.append((follower, Segment.at(1, switch.lsn).number))
        found: list[Segment] = []
        for timeline, first in reversed(starts):
            if first <= number:
                found.append(Segment(timeline, number))
                if first < number:
                    break
        return tuple(found)
