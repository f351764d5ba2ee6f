# SPDX-License-Identifier: GPL-3.0-or-later
"""wal-show and wal-verify: what of the WAL is there."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from . import log
from .catalog import Backup, backups, detailed
from .codec import Codec
from .contract import Absent, Failure, folder, record
from .segments import Segments, lsn_of, parse_history, runs
from .server import Server
from .settings import Settings
from .store import Store
from .wal import read

CHECKS = ("integrity", "timeline")
SEGMENT_OBJECT = re.compile(re.escape(folder("wal")) + r"([0-9A-F]{24})(?:\.(?:zst|lzma|lz4|br))?")


def show(settings: Settings, *, without_backups: bool) -> None:
    store, codec, segments = Store(settings), Codec(settings), Segments(settings.get("WALG_PG_WAL_SIZE"))
    by_timeline: dict[int, set[int]] = {}
    for timeline, number in _stored(store, segments):
        by_timeline.setdefault(timeline, set()).add(number)
    details = [] if without_backups else [detailed(store, backup) for backup in reversed(backups(store))]
    shown = []
    for timeline, numbers in sorted(by_timeline.items()):
        history = _history(store, codec, timeline)
        first, last = min(numbers), max(numbers)
        missing = [segments.name(timeline, number) for number in range(first, last) if number not in numbers]
        line = {
            "id": timeline,
            "parent_id": history[-1][0] if history else 0,
            "switch_point_lsn": history[-1][1] if history else 0,
            "start_segment": segments.name(timeline, first),
            "end_segment": segments.name(timeline, last),
            "segments_count": len(numbers),
            "missing_segments": missing,
            "segment_range_size": last - first + 1,
            "status": "LOST_SEGMENTS" if missing else "OK",
        }
        inside = [one for one in details if _is_inside(one, line, segments)]
        shown.append(record("timeline", line | ({"backups": inside} if inside else {})))
    print(json.dumps(shown, separators=(",", ":")))


def verify(settings: Settings, checks: list[str], *, timeline: str, lsn: str) -> None:
    unknown = [check for check in checks if check not in CHECKS]
    if unknown or len(set(checks)) != len(checks):
        raise Failure(f"wal-verify: allowed are {' and '.join(CHECKS)}, each once; found {' '.join(checks)}")
    store, codec, segments = Store(settings), Codec(settings), Segments(settings.get("WALG_PG_WAL_SIZE"))
    now_timeline, now_lsn = _now(timeline, lsn)
    stored = _stored(store, segments)
    results = {}
    if "integrity" in checks:
        switches = {segments.number_of(at): parent for parent, at in _history(store, codec, now_timeline)}
        oldest = _oldest(store, segments)
        scanned = _scan(settings, stored, (now_timeline, segments.number_of(now_lsn)), oldest, switches)
        results["integrity"] = _integrity(scanned, segments)
    if "timeline" in checks:
        highest = max((found for found, _number in stored), default=0)
        status = "WARNING" if not highest else "OK" if highest == now_timeline else "FAILURE"
        details = {"current_timeline_id": now_timeline, "highest_storage_timeline_id": highest}
        results["timeline"] = {"status": status, "details": details}
    # Without a newline: measured.
    sys.stdout.write(json.dumps(results, separators=(",", ":")))


def _now(timeline: str, lsn: str) -> tuple[int, int]:
    if timeline and lsn:
        try:
            return int(timeline), lsn_of(lsn)
        except ValueError:
            raise Failure(f"expected --timeline NUMBER --lsn X/X, found {timeline} {lsn}") from None
    server = Server()
    try:
        return server.current()
    finally:
        server.close()


def _stored(store: Store, segments: Segments) -> set[tuple[int, int]]:
    found = set()
    for item in store.list(folder("wal")):
        match = SEGMENT_OBJECT.fullmatch(item.name)
        parsed = segments.parse(match[1]) if match else None
        if parsed:
            found.add(parsed)
        elif item.name.count(".backup"):
            log.warning(f"Could not parse the timeline Id from {item.name}. Skipping it.")
    return found


def _history(store: Store, codec: Codec, timeline: int) -> list[tuple[int, int]]:
    if timeline == 1:
        return []
    try:
        return parse_history(read(store, codec, f"{timeline:08X}.history").decode())
    except Absent:
        return []


def _oldest(store: Store, segments: Segments) -> int:
    numbers = [parsed[1] for backup in backups(store) if (parsed := _segment(backup, segments))]
    if not numbers:
        log.warning("Failed to detect earliest backup WAL segment no: will scan until segment 1.")
    return min(numbers, default=1)


def _segment(backup: Backup, segments: Segments) -> tuple[int, int] | None:
    return segments.parse(backup.segment())


def _scan(
    settings: Settings,
    stored: set[tuple[int, int]],
    now: tuple[int, int],
    oldest: int,
    switches: dict[int, int],
) -> list[tuple[int, int, str]]:
    """Back from before the current segment to the oldest backup's; oldest first.

    1. Up to WALG_INTEGRITY_MAX_DELAYED_WALS segments until the first that is there: what lacks is delayed.
    2. The next WALG_UPLOAD_CONCURRENCY: what lacks is uploading.
    3. All others: what lacks is lost.
    """
    delayed, uploading = settings.get("WALG_INTEGRITY_MAX_DELAYED_WALS"), settings.get("WALG_UPLOAD_CONCURRENCY")
    found, timeline = [], now[0]
    for number in range(now[1] - 1, oldest - 1, -1):
        timeline = switches.get(number, timeline)
        status = "MISSING_DELAYED" if delayed else "MISSING_UPLOADING" if uploading else "MISSING_LOST"
        if (timeline, number) in stored:
            status, delayed = "FOUND", 0
        elif delayed:
            delayed -= 1
        if not delayed and status != "MISSING_DELAYED" and uploading:
            uploading -= 1
        found.append((timeline, number, status))
    return found[::-1]


def _integrity(scanned: list[tuple[int, int, str]], segments: Segments) -> dict[str, Any]:
    details = []
    for timeline, first, last, status in runs(scanned):
        names = {"start_segment": segments.name(timeline, first), "end_segment": segments.name(timeline, last)}
        line = {"timeline_id": timeline, **names, "segments_count": last - first + 1, "status": status}
        details.append(record("sequence", line))
    statuses = {line["status"] for line in details}
    status = "FAILURE" if "MISSING_LOST" in statuses else "OK" if statuses <= {"FOUND"} else "WARNING"
    return {"status": status, "details": details}


def _is_inside(detail: dict[str, Any], line: dict[str, Any], segments: Segments) -> bool:
    parsed = segments.parse(detail["wal_file_name"])
    if parsed is None or parsed[0] != line["id"]:
        return False
    names = [segments.name(parsed[0], segments.number_of(detail[key])) for key in ("start_lsn", "finish_lsn")]
    return bool(names[0] >= line["start_segment"] and names[1] <= line["end_segment"])
