# SPDX-License-Identifier: BSD-2-Clause
"""From a listing of an archive to its catalogs. Keys are `<archive>/<incarnation>/...`, below the platform's prefix."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import ModuleType
from typing import Final

from . import barman, walg
from .catalog import Catalog, Engine, Incarnation, Parent, Stored
from .documents import Fields, parse_object
from .findings import Documents, Findings, is_readable_history
from .notes import is_note, read_notes
from .segments import format_lsn, history_name, parse_lsn

DESCRIPTION: Final = "incarnation.json"
VERSION = 1
# Documents are small; one that is longer is none.
DOCUMENT_BYTES = 4 * 1024 * 1024
# Histories as the archiver puts them beside what an engine compresses in a way that cannot be read here.
HISTORIES = "history/"
_ID = re.compile(r"([0-9]{8}t[0-9]{6}z)-[a-z0-9]{8}")
_ENGINES: Final[Mapping[Engine, ModuleType]] = {Engine.WALG: walg, Engine.BARMAN: barman}


def incarnation_id(began: datetime, letters: str) -> str:
    """The name of a new incarnation: they sort by the time they began.

    >>> incarnation_id(datetime(2026, 11, 25, 23, 48, 12, tzinfo=UTC), "k3v7q2ab")
    '20261125t234812z-k3v7q2ab'
    """
    return f"{began.astimezone(UTC):%Y%m%dt%H%M%Sz}-{letters}"


def began_of(id: str) -> datetime | None:
    """The time in the name of an incarnation, None if it is no such name.

    >>> began_of("20261125t234812z-k3v7q2ab").isoformat()
    '2026-11-25T23:48:12+00:00'
    """
    found = _ID.fullmatch(id)
    if not found:
        return None
    try:
        return datetime.strptime(found[1], "%Y%m%dt%H%M%Sz").replace(tzinfo=UTC)
    except ValueError:
        return None


def documents_of(listing: Iterable[Stored]) -> tuple[str, ...]:
    """The keys that must be read before `catalogs_of`, in the order of the listing."""
    found = []
    for stored in listing:
        _archive, id, path = _split(stored.key)
        name = path.rpartition("/")[2]
        readers = walg.is_document(path) or barman.is_document(path) or is_readable_history(name)
        if began_of(id) and (path == DESCRIPTION or is_note(path) or readers):
            found.append(stored.key)
    return tuple(found)


def catalogs_of(archive: str, listing: Iterable[Stored], documents: Documents) -> tuple[Catalog, ...]:
    """Every incarnation of an archive, oldest first. What does not lie below one is not ours, and is left out."""
    grouped: dict[str, list[tuple[str, Stored]]] = defaultdict(list)
    for stored in listing:
        owner, id, path = _split(stored.key)
        if owner == archive and path:
            grouped[id].append((path, stored))
    began = {id: time for id in grouped if (time := began_of(id)) is not None}
    return tuple(_catalog(archive, id, began[id], grouped[id], documents) for id in sorted(began))


def describe(incarnation: Incarnation) -> bytes:
    """The text of incarnation.json; `parse_description` reads it."""
    parent = incarnation.parent
    value = {
        "version": VERSION,
        "incarnation": incarnation.id,
        "archive": incarnation.archive,
        "engine": str(incarnation.engine),
        "postgresql": incarnation.postgresql,
        "system_identifier": incarnation.system_identifier,
        "began": _text_of(incarnation.began),
        "parent": None
        if parent is None
        else {
            "archive": parent.archive,
            "incarnation": parent.incarnation,
            "timeline": parent.timeline,
            "lsn": format_lsn(parent.lsn),
            "time": _text_of(parent.time),
        },
    }
    return json.dumps(value, indent=2).encode() + b"\n"


def parse_description(raw: bytes) -> Incarnation:
    """What incarnation.json says; ValueError for anything that is not as we write it."""
    fields = parse_object(raw)
    if fields.values.get("version") != VERSION:
        raise ValueError(f"version is {fields.values.get('version')!r}, known is {VERSION}")
    engine = fields.text("engine")
    if engine not in tuple(Engine):
        raise ValueError(f"engine is {engine!r}, known are {', '.join(Engine)}")
    if "parent" not in fields.values:
        raise ValueError("parent is missing")
    return Incarnation(
        id=fields.text("incarnation"),
        archive=fields.text("archive"),
        engine=Engine(engine),
        postgresql=fields.number("postgresql"),
        system_identifier=fields.text("system_identifier"),
        began=fields.time("began"),
        parent=_parent(fields.values["parent"]),
    )


def _parent(value: object) -> Parent | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ValueError("parent is neither null nor an object")
    fields = Fields(value)
    return Parent(
        archive=fields.text("archive"),
        incarnation=fields.text("incarnation"),
        timeline=fields.number("timeline"),
        lsn=parse_lsn(fields.text("lsn")),
        time=fields.time("time"),
    )


def _catalog(
    archive: str, id: str, began: datetime, objects: list[tuple[str, Stored]], documents: Documents
) -> Catalog:
    key = f"{archive}/{id}/{DESCRIPTION}"
    rest = [(path, stored) for path, stored in objects if path != DESCRIPTION]
    is_there = len(rest) < len(objects)
    try:
        incarnation = _described(archive, id, documents.get(key))
    except ValueError as error:
        others = tuple(sorted(stored.key for _path, stored in rest))
        return Catalog(
            archive=archive,
            id=id,
            began=began,
            incarnation=None,
            description_key=key if is_there else None,
            others=others,
            problems=(f"{key}: {error}",),
        )
    ours = [(path.removeprefix(HISTORIES), stored) for path, stored in rest if path.startswith(HISTORIES)]
    notes = read_notes(((path, stored) for path, stored in rest if is_note(path)), documents)
    theirs = [(path, stored) for path, stored in rest if not (path.startswith(HISTORIES) or is_note(path))]
    found: Findings = _ENGINES[incarnation.engine].read(incarnation, theirs, documents)
    for name, stored in ours:
        found.add_wal(name, stored, documents)
    return Catalog(
        archive=archive,
        id=id,
        began=incarnation.began,
        incarnation=incarnation,
        backups=tuple(sorted(found.backups, key=lambda one: (one.finished, one.name))),
        unfinished=tuple(found.unfinished),
        segments=tuple(sorted(found.segments, key=lambda one: (one.segment, one.key))),
        companions=tuple(sorted(found.companions, key=lambda one: (one.segment, one.key))),
        histories=dict(sorted(found.histories.items())),
        history_keys={timeline: tuple(sorted(keys)) for timeline, keys in sorted(found.history_keys.items())},
        points=notes.points,
        end=notes.end,
        description_key=key,
        others=tuple(sorted(found.others)),
        problems=(*sorted((*found.problems, *notes.problems)), *_lineage_problems(id, found)),
    )


def _described(archive: str, id: str, raw: bytes | None) -> Incarnation:
    if raw is None:
        raise ValueError("it is not there, or could not be read")
    found = parse_description(raw)
    if (found.archive, found.id) != (archive, id):
        raise ValueError(f"it is the description of {found.archive}/{found.id}")
    return found


def _lineage_problems(id: str, found: Findings) -> tuple[str, ...]:
    """With one timeline no history is needed; with several the newest must be known by its history."""
    timelines = {one.segment.timeline for one in found.segments} | {one.timeline for one in found.backups}
    timelines |= found.history_keys.keys()
    if len(timelines) < 2 or max(timelines) in found.histories:
        return ()
    name = history_name(max(timelines))
    return (f"{id}: it has timelines {', '.join(map(str, sorted(timelines)))}, and {name} cannot be read",)


def _split(key: str) -> tuple[str, str, str]:
    archive, _slash, rest = key.partition("/")
    id, _slash, path = rest.partition("/")
    return archive, id, path


def _text_of(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")
