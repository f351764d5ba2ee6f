# SPDX-License-Identifier: BSD-2-Clause
"""What the reader of one engine's layout collects on its way through a listing."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from .catalog import Backup, Stored, Unfinished, WalFile
from .documents import SUFFIXES, can_decompress, decompressed
from .segments import Segment, Switch, parse_history, timeline_of_history

_WAL = re.compile(r"([0-9A-F]{24})(.*)")
_HISTORY = re.compile(r"([0-9A-F]{8}\.history)(.*)")
# What stands beside a segment: the label of a backup, a segment that was never filled, WAL-G's summary of changes.
_COMPANION = re.compile(r"(\.[0-9A-F]{8}\.backup|\.partial|_delta)(\..*)?")

# Of a document that is there but could not be read, such as one far too long; those that are gone are not in the
# mapping at all.
Documents: TypeAlias = Mapping[str, "bytes | None"]


@dataclass(slots=True, kw_only=True)
class Findings:
    """Grows while a listing is read."""

    backups: list[Backup] = field(default_factory=list)
    unfinished: list[Unfinished] = field(default_factory=list)
    segments: list[WalFile] = field(default_factory=list)
    companions: list[WalFile] = field(default_factory=list)
    histories: dict[int, tuple[Switch, ...]] = field(default_factory=dict)
    history_keys: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    others: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add_wal(self, name: str, stored: Stored, documents: Documents) -> None:
        """A file of an engine's folder of WAL."""
        if found := _HISTORY.fullmatch(name):
            self._add_history(found[1], found[2], stored, documents)
            return
        found = _WAL.fullmatch(name)
        is_segment = found is not None and found[2] in SUFFIXES
        if found is None or not (is_segment or _COMPANION.fullmatch(found[2])):
            self.others.append(stored.key)
            return
        try:
            segment = Segment.parse(found[1])
        except ValueError as error:
            self.problems.append(f"{stored.key}: {error}")
            self.others.append(stored.key)
            return
        file = WalFile(segment=segment, key=stored.key, bytes=stored.bytes, modified=stored.modified)
        (self.segments if is_segment else self.companions).append(file)

    def _add_history(self, name: str, suffix: str, stored: Stored, documents: Documents) -> None:
        timeline = timeline_of_history(name)
        if timeline is None or suffix not in SUFFIXES:
            self.others.append(stored.key)
            return
        self.history_keys[timeline].append(stored.key)
        raw = documents.get(stored.key)
        if raw is None:
            return
        try:
            content = decompressed(raw, suffix)
            if content is not None:
                self.histories[timeline] = parse_history(content.decode())
        except ValueError as error:
            self.problems.append(f"{stored.key}: {error}")


def is_readable_history(name: str) -> bool:
    """True if a file is a history whose compression can be read here.

    >>> is_readable_history("00000002.history"), is_readable_history("00000002.history.zst")
    (True, False)
    """
    found = _HISTORY.fullmatch(name)
    return found is not None and can_decompress(found[2])
