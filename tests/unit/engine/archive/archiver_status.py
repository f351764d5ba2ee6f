# SPDX-License-Identifier: GPL-3.0-or-later
"""What an archiver with which all is well tells of itself."""

from __future__ import annotations

import json
from typing import Any

HOUR = 3600.0
NOW = 1_790_000_000.0
_WORK = {
    "done": 1,
    "last": "000000010000000000000007",
    "last_at": NOW - 10,
    "failures": 0,
    "failures_ever": 0,
    "error": "",
    "error_at": 0.0,
}
WELL: dict[str, Any] = {
    "archive": "p-abcdefgh2345",
    "incarnation": "20261125t000000z-k3v7q2ab",
    "engine": "wal-g",
    "refused": "",
    "began": NOW - 100 * HOUR,
    "now": NOW,
    "rpo_seconds": 60,
    "backup_hours": 24,
    "wal": _WORK,
    "fetched": _WORK,
    "ahead": _WORK,
    "backup": _WORK,
    "heartbeat": _WORK,
    "backup_running": False,
    "backup_next_at": NOW + HOUR,
    "newest_backup_at": NOW - 5 * HOUR,
    "newest_full_at": NOW - 5 * HOUR,
    "ready_files": 0,
    "oldest_ready_seconds": 0.0,
    "wal_bytes": 64 * 1024**2,
    "volume_bytes": 1024**3,
    "volume_free_bytes": 900 * 1024**2,
    "dump": _WORK,
    "load": _WORK,
    "check": _WORK,
    "point": _WORK,
    "points": [],
    "busy": "",
    "dump_bytes": 0,
    "kept": [],
    "copy": None,
    "writes_stopped": False,
}


def raw_status(**changes: object) -> bytes:
    """The status with these values changed."""
    return json.dumps({**WELL, **changes}).encode()
