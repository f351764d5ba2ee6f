# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives as WAL-G and Barman Cloud leave them: one segment an hour, backups where a test asks for them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.catalog import (
    Catalog,
    Engine,
    Incarnation,
    Parent,
    Stored,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.layout import (
    catalogs_of,
    describe,
    documents_of,
    incarnation_id,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.segments import (
    SEGMENT_BYTES,
    Segment,
    format_lsn,
    history_name,
)

ARCHIVE = "p-abc"
START = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
SYSTEM = "7412345678901234567"


def at(hours: float) -> datetime:
    """Hours after the first incarnation began."""
    return START + hours * HOUR


@dataclasses.dataclass
class Life:
    """One incarnation, written object by object. Hours are those of `at`, segments are counted from 1."""

    began: float = 0
    letters: str = "aaaaaaaa"
    engine: Engine = Engine.WALG
    timeline: int = 1
    parent: Parent | None = None
    archive: str = ARCHIVE
    suffix: str = ".zst"

    def __post_init__(self):
        self.objects: dict[str, tuple[bytes, datetime]] = {}
        self.id = incarnation_id(at(self.began), self.letters)
        self.put("incarnation.json", describe(self.incarnation), self.began)

    @property
    def incarnation(self):
        return Incarnation(
            id=self.id,
            archive=self.archive,
            engine=self.engine,
            postgresql=17,
            system_identifier=SYSTEM,
            began=at(self.began),
            parent=self.parent,
        )

    def key(self, path):
        return f"{self.archive}/{self.id}/{path}"

    def put(self, path, content, hours):
        self.objects[self.key(path)] = (content, at(hours))

    def wal_path(self, name):
        if self.engine is Engine.WALG:
            return f"wal_005/{name}"
        folder = "" if name.endswith(".history") else f"{name[:16]}/"
        return f"pg/wals/{folder}{name}"

    def segment(self, number, hours=None, timeline=None, suffix=None):
        """Uploaded at `hours`, or when the clock says so: number 1 an hour after the beginning."""
        name = Segment(timeline or self.timeline, number).name
        path = self.wal_path(name + (self.suffix if suffix is None else suffix))
        self.put(path, b"wal", self.began + number if hours is None else hours)

    def segments(self, numbers: Iterable[int]):
        for number in numbers:
            self.segment(number)
        return self

    def history(self, timeline, *switches):
        """`switches`: timeline and segment in whose middle it was left."""
        lines = [f"{old}\t{format_lsn(number * SEGMENT_BYTES + 0x800000)}\tpromoted\n" for old, number in switches]
        self.put(self.wal_path(history_name(timeline)), "".join(lines).encode(), self.began)

    def point(self, name, number, *, project="abcdefgh2345", made=None):
        """Named in the middle of segment `number`, whose upload is the next thing that happens."""
        made = self.began + number - 0.5 if made is None else made
        note = {
            "version": 1,
            "name": name,
            "project": project,
            "made": at(made).isoformat(),
            "lsn": format_lsn(number * SEGMENT_BYTES + 0x800000),
            "record": f"p_{project}.{name}.abcdef",
        }
        self.put(f"points/{project}.{name}.json", json.dumps(note).encode(), made)
        return self.key(f"points/{project}.{name}.json")

    def end(self, last, hours=None):
        """The server shut down, and `last` is the segment in which the last commit is."""
        lsn = format_lsn((last + 1) * SEGMENT_BYTES + 0x28)
        hours = self.began + last if hours is None else hours
        self.put("end.json", json.dumps({"version": 1, "lsn": lsn, "at": at(hours).isoformat()}).encode(), hours)

    def backup(self, first, last, finished=None, *, base=None, permanent=False, unfinished=False):
        """Starts in segment `first`, is consistent in `last`; its name."""
        finished = self.began + last if finished is None else finished
        make = self._walg if self.engine is Engine.WALG else self._barman
        return make(first, last, finished, base, permanent, unfinished)

    def _walg(self, first, last, finished, base, permanent, unfinished):
        start = Segment(self.timeline, first).name
        name = f"base_{start}" + (f"_D_{base[5:29]}" if base else "")
        times = {"start_time": at(finished - 0.5).isoformat(), "finish_time": at(finished).isoformat()}
        metadata = {**times, "is_permanent": permanent}
        self.put(f"basebackups_005/{name}/tar_partitions/part_001.tar.zst", b"part", finished)
        if unfinished:
            return name
        self.put(f"basebackups_005/{name}/metadata.json", json.dumps(metadata).encode(), finished)
        sentinel = {
            "LSN": first * SEGMENT_BYTES + 0x28,
            "FinishLSN": last * SEGMENT_BYTES + 0x100,
            "Timeline": self.timeline,
            "SystemIdentifier": int(SYSTEM),
            **({"DeltaFrom": base} if base else {}),
        }
        self.put(f"basebackups_005/{name}_backup_stop_sentinel.json", json.dumps(sentinel).encode(), finished)
        return name

    def _barman(self, first, last, finished, _base, permanent, unfinished):
        name = f"{at(finished - 0.5):%Y%m%dT%H%M%S}"
        self.put(f"pg/base/{name}/data.tar.gz", b"part", finished)
        if unfinished:
            return name
        info = {
            "backup_label": None,
            "begin_time": at(finished - 0.5).isoformat(" "),
            "begin_wal": Segment(self.timeline, first).name,
            "begin_xlog": format_lsn(first * SEGMENT_BYTES + 0x28),
            "end_time": at(finished).isoformat(" "),
            "end_wal": Segment(self.timeline, last).name,
            "end_xlog": format_lsn(last * SEGMENT_BYTES + 0x100),
            "status": "DONE",
            "systemid": SYSTEM,
            "timeline": self.timeline,
            "version": 170002,
        }
        text = "".join(f"{key}={value}\n" for key, value in info.items())
        self.put(f"pg/base/{name}/backup.info", text.encode(), finished)
        if permanent:
            self.put(f"pg/base/{name}/annotations/keep", b"full", finished)
        return name


def stored(objects) -> list[Stored]:
    return [Stored(key=key, bytes=len(content), modified=time) for key, (content, time) in objects.items()]


def catalogs_from(objects, archive: str = ARCHIVE) -> tuple[Catalog, ...]:
    """As an observer would read them."""
    listing = stored(objects)
    documents = {key: objects[key][0] for key in documents_of(listing)}
    return catalogs_of(archive, listing, documents)


def catalogs(*lives: Life) -> tuple[Catalog, ...]:
    return catalogs_from({key: one for life in lives for key, one in life.objects.items()})
