# SPDX-License-Identifier: BSD-2-Clause
"""What the archiver notes beside incarnation.json: moments that were named, and that it has sent all there was."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from .catalog import End, Point, Stored
from .documents import Fields, parse_object
from .findings import Documents
from .segments import parse_lsn

# Of these, below the prefix of an incarnation. The archiver in the image has the same.
POINTS: Final = "points/"
END: Final = "end.json"
VERSION = 1
# What a restore point may be called. PostgreSQL takes 63 bytes, of which the project has some.
NAME: Final = re.compile(r"[a-z0-9](?:[-a-z0-9_.]{0,38}[a-z0-9])?")
NAME_RULE: Final = "up to 40 small letters, digits, hyphens, underscores and dots, with a letter or digit at both ends"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """Points in the order in which they were made. `problems`: what could not be read, a sentence each."""

    points: tuple[Point, ...] = ()
    end: End | None = None
    problems: tuple[str, ...] = ()


def is_note(path: str) -> bool:
    """True if the object at a path below the incarnation is one of these, which have to be read.

    >>> is_note("points/abcdefgh2345.before-v2.json"), is_note("end.json"), is_note("wal_005/end.json")
    (True, True, False)
    """
    return path == END or (path.startswith(POINTS) and path.endswith(".json"))


def read_notes(objects: Iterable[tuple[str, Stored]], documents: Documents) -> Notes:
    """All notes of an incarnation, as pairs of the path below it and the object; one that has gone is left out."""
    points: list[Point] = []
    end: End | None = None
    problems: list[str] = []
    for path, stored in objects:
        if stored.key not in documents:
            continue
        try:
            fields = _document(documents[stored.key])
            if path == END:
                end = End(lsn=parse_lsn(fields.text("lsn")), at=fields.time("at"), key=stored.key)
            else:
                points.append(_point(fields, stored.key))
        except ValueError as error:
            problems.append(f"{stored.key}: {error}")
    ordered = sorted(points, key=lambda one: (one.lsn, one.key))
    return Notes(points=tuple(ordered), end=end, problems=tuple(problems))


def _document(raw: bytes | None) -> Fields:
    if raw is None:
        raise ValueError("it could not be read")
    fields = parse_object(raw)
    if fields.values.get("version") != VERSION:
        raise ValueError(f"version is {fields.values.get('version')!r}, known is {VERSION}")
    return fields


def _point(fields: Fields, key: str) -> Point:
    name = fields.text("name")
    if not NAME.fullmatch(name):
        raise ValueError(f"name is {name!r}, not {NAME_RULE}")
    return Point(
        name=name,
        project=fields.text("project"),
        made=fields.time("made"),
        lsn=parse_lsn(fields.text("lsn")),
        record=fields.text("record"),
        key=key,
    )
