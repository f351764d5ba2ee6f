# SPDX-License-Identifier: BSD-2-Clause
"""Where Barman Cloud (3.x) puts what, below the prefix of an incarnation.

A backup is there from its backup.info with status DONE on; one that fails leaves a backup.info with another status.
The form of the file is that of barman/infofile.py (BackupInfo), one `name=value` a line, unset values as None.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from .catalog import Backup, Incarnation, Kind, Stored, Unfinished
from .documents import Fields
from .findings import Documents, Findings
from .segments import SEGMENT_BYTES, Segment, parse_lsn

# The name that the archiver gives to barman-cloud-* as that of the server.
SERVER = "pg"
BASE = f"{SERVER}/base/"
WAL = f"{SERVER}/wals/"
INFO = "/backup.info"
# Written by barman-cloud-backup-keep; that it is there is what counts.
KEEP = "/annotations/keep"
DONE = "DONE"
_ID = re.compile(r"[0-9]{8}T[0-9]{6}")
_FOLDER = re.compile(r"[0-9A-F]{16}/")


def is_document(path: str) -> bool:
    """True if the object at a path below the incarnation has to be read.

    >>> is_document("pg/base/20261125T234812/backup.info"), is_document("pg/base/20261125T234812/data.tar.gz")
    (True, False)
    """
    return path.startswith(BASE) and path.endswith(INFO)


def read(incarnation: Incarnation, objects: Iterable[tuple[str, Stored]], documents: Documents) -> Findings:
    """Everything below the prefix, as pairs of the path below it and the object."""
    found = Findings()
    backups: dict[str, list[Stored]] = defaultdict(list)
    for path, stored in objects:
        id, slash, _rest = path.removeprefix(BASE).partition("/")
        if path.startswith(BASE) and slash and _ID.fullmatch(id):
            backups[id].append(stored)
        elif path.startswith(WAL):
            found.add_wal(_FOLDER.sub("", path.removeprefix(WAL), count=1), stored, documents)
        else:
            found.others.append(stored.key)
    for id, parts in sorted(backups.items()):
        _add_backup(found, incarnation, id, parts, documents)
    return found


def parse_info(raw: bytes) -> dict[str, str]:
    r"""The fields of a backup.info that are set.

    >>> parse_info(b"begin_wal=000000010000000000000002\nerror=None\n")
    {'begin_wal': '000000010000000000000002'}
    """
    found: dict[str, str] = {}
    for number, line in enumerate(raw.decode().splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals:
            raise ValueError(f"line {number} is not name=value")
        if value.strip() != "None":
            found[name.strip()] = value.strip()
    return found


def _add_backup(found: Findings, incarnation: Incarnation, id: str, parts: list[Stored], documents: Documents) -> None:
    marker = next((one.key for one in parts if one.key.endswith(INFO)), "")
    try:
        # A backup.info that went away after it was listed: its backup is being removed.
        info = _info(documents[marker]) if marker in documents else {}
        if info.get("status") == DONE:
            found.backups.append(_backup(incarnation, id, info, marker, parts))
        else:
            found.unfinished.append(_unfinished(id, info, parts))
    except ValueError as error:
        found.problems.append(f"{marker}: {error}")


def _info(raw: bytes | None) -> dict[str, str]:
    if raw is None:
        raise ValueError("it could not be read")
    info = parse_info(raw)
    if "status" not in info:
        raise ValueError("it has no status")
    return info


def _unfinished(id: str, info: dict[str, str], parts: list[Stored]) -> Unfinished:
    return Unfinished(
        name=id,
        start=Segment.parse(info["begin_wal"]) if "begin_wal" in info else None,
        modified=max(one.modified for one in parts),
        bytes=sum(one.bytes for one in parts),
        keys=tuple(sorted(one.key for one in parts)),
    )


def _backup(incarnation: Incarnation, id: str, info: dict[str, str], marker: str, parts: list[Stored]) -> Backup:
    fields = Fields(info)
    system = info.get("systemid")
    if system is not None and system != incarnation.system_identifier:
        raise ValueError(f"it is of system {system}, and its incarnation of {incarnation.system_identifier}")
    size = info.get("xlog_segment_size", str(SEGMENT_BYTES))
    if size != str(SEGMENT_BYTES):
        raise ValueError(f"its segments have {size} bytes, and only {SEGMENT_BYTES} are known here")
    timeline = fields.text("timeline")
    if not timeline.isdecimal():
        raise ValueError(f"timeline is {timeline!r}, not a number")
    return Backup(
        name=id,
        kind=Kind.FULL,
        began=fields.time("begin_time"),
        finished=fields.time("end_time"),
        start_lsn=parse_lsn(fields.text("begin_xlog")),
        finish_lsn=parse_lsn(fields.text("end_xlog")),
        timeline=int(timeline),
        bytes=sum(one.bytes for one in parts),
        is_permanent=any(one.key.endswith(KEEP) for one in parts),
        marker=marker,
        keys=tuple(sorted(one.key for one in parts)),
    )
