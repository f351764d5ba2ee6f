# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backups there are, and what each says of itself."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
from collections.abc import Mapping
from typing import Any

from .contract import Failure, backup_object, folder, message, record
from .segments import SEGMENT
from .store import Store

SENTINEL = re.compile(
    re.escape(folder("backups")) + r"(base_[0-9A-F]{24}(?:_D_[0-9A-F]{24})?)_backup_stop_sentinel.json"
)
STORAGE = "default"


@dataclasses.dataclass(frozen=True)
class Backup:
    name: str
    modified: datetime.datetime

    def segment(self) -> str:
        match = SEGMENT.search(self.name)
        assert match is not None
        return match[0]

    def listed(self) -> dict[str, Any]:
        values = {
            "backup_name": self.name,
            "time": f"{self.modified.astimezone(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}",
            "wal_file_name": self.segment(),
            "storage_name": STORAGE,
        }
        return record("backup_list", values)


def backups(store: Store) -> list[Backup]:
    """Those that have a sentinel, oldest first."""
    found = ((SENTINEL.fullmatch(item.name), item.modified) for item in store.list(folder("backups")))
    return sorted(
        (Backup(match[1], modified) for match, modified in found if match),
        key=lambda backup: (backup.modified, backup.name),
    )


def select(store: Store, name: str) -> Backup:
    """One backup by name, or LATEST."""
    found = backups(store)
    if name == "LATEST":
        if not found:
            raise Failure(f"Failed to select backup: {message('no_backups')}")
        return found[-1]
    for backup in found:
        if backup.name == name:
            return backup
    raise Failure(message("backup_absent", name=name))


def sentinel(store: Store, name: str) -> Mapping[str, Any]:
    return _json(store, backup_object("sentinel", name))


def files_metadata(store: Store, name: str) -> Mapping[str, Any]:
    return _json(store, backup_object("files_metadata", name))


def detailed(store: Store, backup: Backup) -> dict[str, Any]:
    """The line of `backup-list --detail`."""
    metadata = dict(_json(store, backup_object("metadata", backup.name)))
    metadata.pop("timeline", None)
    return {**backup.listed(), **record("backup_detail", metadata)}


def go_time(seconds: float) -> str:
    """UTC to the microsecond, without trailing zeros, as Go writes it.

    >>> go_time(1.5)
    '1970-01-01T00:00:01.5Z'
    """
    text = f"{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m-%dT%H:%M:%S.%f}"
    return text.rstrip("0").rstrip(".") + "Z"


def parse_time(text: str) -> datetime.datetime:
    """A time as RFC 3339 has it; raises ValueError."""
    found = datetime.datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text} has no offset")
    return found


def _json(store: Store, name: str) -> Mapping[str, Any]:
    try:
        loaded = json.loads(store.get(name))
    except ValueError as error:
        raise Failure(f"failed to fetch dto from {name}: {error}") from error
    if not isinstance(loaded, dict):
        raise Failure(f"failed to fetch dto from {name}: it is no JSON object")
    return loaded
