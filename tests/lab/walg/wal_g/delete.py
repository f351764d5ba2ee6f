# SPDX-License-Identifier: GPL-3.0-or-later
"""delete: retain, before, everything and garbage; a dry run unless it is confirmed."""

from __future__ import annotations

import dataclasses
import datetime
import re

from . import log
from .catalog import backups, detailed, parse_time, sentinel
from .contract import Failure, folder, message
from .segments import Segments
from .settings import Settings
from .store import Store

BACKUP_NAME = re.compile(re.escape(folder("backups")) + r"(base_[0-9A-F]{24}(?:_D_[0-9A-F]{24})?)(?:_backup_stop|/)")
MODIFIERS = {"retain": ("FULL", "FIND_FULL"), "before": ("FIND_FULL",), "everything": ("FORCE",), "garbage": ()}


@dataclasses.dataclass(frozen=True)
class Known:
    """A backup with what deleting asks of it."""

    name: str
    place: tuple[int, int]
    # When it was started, or with the objects' own times when its sentinel was written.
    time: datetime.datetime
    full: bool
    permanent: bool
    # Segments that a permanent backup needs.
    segments: tuple[int, int]


def delete(settings: Settings, arguments: list[str], *, confirm: bool, use_sentinel_time: bool) -> None:
    verb, modifier, value = _parsed(arguments)
    store, segments = Store(settings), Segments(settings.get("WALG_PG_WAL_SIZE"))
    known = _known(store, segments, use_sentinel_time=use_sentinel_time)
    if verb == "everything":
        permanent = [one.name for one in known if one.permanent]
        if permanent and modifier != "FORCE":
            raise Failure(f"Found permanent backups={permanent}")
        _remove(store, [item.name for item in store.list("")], confirm=confirm)
        return
    target = _target(known, verb, modifier, value)
    if target is None:
        log.info(message("nothing_to_delete"))
        return
    if not target.full:
        raise Failure(message("incremental", name=target.name))
    log.info("Start delete")
    doomed = _Doomed(known, target, segments, by_time=use_sentinel_time)
    _remove(store, [item.name for item in store.list("") if doomed.includes(item.name)], confirm=confirm)


class _Doomed:
    """Whether an object is older than the target.

    1. An object of a backup: by timeline and segment, or by the times of the two backups' start; then what has no
       sentinel is kept.
    2. An object of WAL: by timeline and segment, or with times by the segment alone. History files are kept.
    3. A permanent backup and the WAL that it needs are kept.
    """

    def __init__(self, known: list[Known], target: Known, segments: Segments, *, by_time: bool) -> None:
        self.known = {one.name: one for one in known}
        self.target, self.segments, self.by_time = target, segments, by_time

    def includes(self, name: str) -> bool:
        place = self.segments.parse(name)
        if place is None:
            return False
        match = BACKUP_NAME.match(name)
        if match is None:
            return name.startswith(folder("wal")) and self._is_old_wal(place)
        backup = self.known.get(match[1])
        if backup is None:
            return not self.by_time and place < self.target.place
        older = backup.time < self.target.time if self.by_time else place < self.target.place
        return older and not backup.permanent

    def _is_old_wal(self, place: tuple[int, int]) -> bool:
        for one in self.known.values():
            if one.permanent and one.place[0] == place[0] and one.segments[0] <= place[1] <= one.segments[1]:
                return False
        return place[1] < self.target.place[1] if self.by_time else place < self.target.place


def _parsed(arguments: list[str]) -> tuple[str, str, str]:
    verb, *rest = arguments
    if verb not in MODIFIERS:
        raise Failure(f"delete {verb}: not in the stand-in; it has {', '.join(MODIFIERS)}")
    modifier = rest.pop(0) if rest and rest[0] in MODIFIERS[verb] else ""
    if len(rest) != (0 if verb in ("everything", "garbage") else 1):
        raise Failure("incorrect arguments")
    return verb, modifier, rest[0] if rest else ""


def _known(store: Store, segments: Segments, *, use_sentinel_time: bool) -> list[Known]:
    """All backups, newest first as deleting orders them."""
    found = []
    for backup in backups(store):
        told, detail = sentinel(store, backup.name), detailed(store, backup)
        place = segments.parse(backup.name)
        assert place is not None
        needed = (segments.number_of(told["LSN"]), segments.number_of(told["FinishLSN"]))
        time = parse_time(detail["start_time"]) if use_sentinel_time else backup.modified
        full = "DeltaFrom" not in told
        found.append(Known(backup.name, place, time, full, detail["is_permanent"], needed))
    return sorted(found, key=lambda one: one.time if use_sentinel_time else one.place, reverse=True)


def _target(known: list[Known], verb: str, modifier: str, value: str) -> Known | None:
    """The oldest backup that stays; None if there is nothing to delete."""
    if verb == "garbage":
        return next((one for one in reversed(known) if not one.permanent), None)
    if verb == "retain":
        if not value.isdigit() or int(value) < 1:
            raise Failure(f"delete retain: expected a number above 0, found {value}")
        counted = [one for one in known if one.full] if modifier == "FULL" else known
        last = counted[int(value) - 1 : int(value)]
        return _full_of(known, last[0]) if last and modifier == "FIND_FULL" else next(iter(last), None)
    try:
        time = parse_time(value)
    except ValueError:
        named = [one for one in known if one.name == value]
        if not named:
            raise Failure("not found") from None
    else:
        named = [one for one in reversed(known) if one.time >= time][:1]
    if not named:
        return None
    return _full_of(known, named[0]) if modifier == "FIND_FULL" else named[0]


def _full_of(known: list[Known], named: Known) -> Known | None:
    return next((one for one in known[known.index(named) :] if one.full), None)


def _remove(store: Store, names: list[str], *, confirm: bool) -> None:
    for name in names:
        log.info(message("marked", key=name))
    if not confirm:
        log.info(message("dry_run", count=len(names)))
        return
    # Sentinels first: what is killed here leaves no backup that looks whole.
    store.delete(sorted(names, key=lambda name: not name.endswith("_backup_stop_sentinel.json")))
    log.info(message("deleted", count=len(names)))
