# SPDX-License-Identifier: BSD-2-Clause
"""Where WAL-G (3.0.9) puts what, below the prefix of an incarnation.

A backup exists from its sentinel on, which is written last and has what metadata.json has too; of the two only
metadata.json follows a later `backup-mark`. Their form: internal/databases/postgres/backup_sentinel_dto.go.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from .catalog import Backup, Incarnation, Kind, Stored, Unfinished
from .documents import Fields, parse_object
from .findings import Documents, Findings
from .segments import Segment, lsn_of

BACKUPS = "basebackups_005/"
WAL = "wal_005/"
SENTINEL = "_backup_stop_sentinel.json"
METADATA = "/metadata.json"
# The second segment is that of the backup which a delta builds upon.
_NAME = re.compile(r"base_([0-9A-F]{24})(?:_D_([0-9A-F]{24}))?")


def is_document(path: str) -> bool:
    """True if the object at a path below the incarnation has to be read.

    >>> is_document("basebackups_005/base_000000010000000000000007_backup_stop_sentinel.json")
    True
    >>> is_document("basebackups_005/base_000000010000000000000007/files_metadata.json")
    False
    """
    return path.startswith(BACKUPS) and path.endswith((SENTINEL, METADATA))


def read(incarnation: Incarnation, objects: Iterable[tuple[str, Stored]], documents: Documents) -> Findings:
    """Everything below the prefix, as pairs of the path below it and the object."""
    found = Findings()
    backups: dict[str, list[Stored]] = defaultdict(list)
    for path, stored in objects:
        name = _backup_of(path)
        if name is not None:
            backups[name].append(stored)
        elif path.startswith(WAL):
            found.add_wal(path.removeprefix(WAL), stored, documents)
        else:
            found.others.append(stored.key)
    for name, parts in sorted(backups.items()):
        _add_backup(found, incarnation, name, parts, documents)
    return found


def _backup_of(path: str) -> str | None:
    """The backup to which an object belongs."""
    if not path.startswith(BACKUPS):
        return None
    rest = path.removeprefix(BACKUPS)
    name, slash, _file = rest.partition("/")
    if not slash:
        if not name.endswith(SENTINEL):
            return None
        name = name.removesuffix(SENTINEL)
    return name if _NAME.fullmatch(name) else None


def _add_backup(
    found: Findings, incarnation: Incarnation, name: str, parts: list[Stored], documents: Documents
) -> None:
    marker = next((one.key for one in parts if one.key.endswith(SENTINEL)), "")
    metadata = next((one.key for one in parts if one.key.endswith(METADATA)), "")
    if marker not in documents:
        # Not written yet, or gone since it was listed: then its backup is being removed.
        found.unfinished.append(_unfinished(name, parts))
        return
    try:
        sentinel = _document(documents, marker)
        more = _document(documents, metadata) if metadata in documents else _metadata_of(sentinel)
        found.backups.append(_backup(incarnation, name, sentinel, more, parts))
    except ValueError as error:
        found.problems.append(f"{marker} or its metadata.json: {error}")


def _backup(incarnation: Incarnation, name: str, sentinel: Fields, more: Fields, parts: list[Stored]) -> Backup:
    system = sentinel.values.get("SystemIdentifier")
    if system is not None and str(system) != incarnation.system_identifier:
        raise ValueError(f"it is of system {system}, and its incarnation of {incarnation.system_identifier}")
    is_delta = sentinel.values.get("DeltaFrom") is not None
    return Backup(
        name=name,
        kind=Kind.DELTA if is_delta else Kind.FULL,
        base=sentinel.text("DeltaFrom") if is_delta else None,
        began=more.time("start_time"),
        finished=more.time("finish_time"),
        start_lsn=lsn_of(sentinel.values.get("LSN")),
        finish_lsn=lsn_of(sentinel.values.get("FinishLSN")),
        timeline=sentinel.number("Timeline"),
        bytes=sum(one.bytes for one in parts),
        is_permanent=bool(more.values.get("is_permanent")),
        marker=next(one.key for one in parts if one.key.endswith(SENTINEL)),
        keys=tuple(sorted(one.key for one in parts)),
    )


def _document(documents: Documents, key: str) -> Fields:
    raw = documents[key]
    if raw is None:
        raise ValueError("it could not be read")
    return parse_object(raw)


def _metadata_of(sentinel: Fields) -> Fields:
    names = {"start_time": "StartTime", "finish_time": "FinishTime", "is_permanent": "IsPermanent"}
    return Fields({to: sentinel.values.get(source) for to, source in names.items()})


def _unfinished(name: str, parts: list[Stored]) -> Unfinished:
    start, base = _segments_of(name)
    return Unfinished(
        name=name,
        start=start,
        base=base,
        modified=max(one.modified for one in parts),
        bytes=sum(one.bytes for one in parts),
        keys=tuple(sorted(one.key for one in parts)),
    )


def _segments_of(name: str) -> tuple[Segment | None, str | None]:
    """Where a backup starts by its name, and the segment of the one that it builds upon."""
    found = _NAME.fullmatch(name)
    if not found:
        return None, None
    try:
        return Segment.parse(found[1]), found[2]
    except ValueError:
        return None, found[2]
