# SPDX-License-Identifier: GPL-3.0-or-later
"""Arithmetic on names of WAL segments and the history of timelines; no input or output."""

from __future__ import annotations

import re
from collections.abc import Iterable

SEGMENT = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})")
WAL_FILE = re.compile(
    r"[0-9A-F]{24}(?:\.partial|\.[0-9A-F]{8}\.backup)?|[0-9A-F]{8}\.history",
)
HISTORY = re.compile(r"\s*(\d+)\s+([0-9A-F]+/[0-9A-F]+)")


class Segments:
    """Numbers of segments of one size."""

    def __init__(self, mebibytes: int) -> None:
        self.size = mebibytes << 20
        self.per_log = (1 << 32) // self.size

    def number_of(self, lsn: int) -> int:
        return lsn // self.size

    def name(self, timeline: int, number: int) -> str:
        """
        >>> Segments(16).name(1, 7)
        '000000010000000000000007'
        """
        return f"{timeline:08X}{number // self.per_log:08X}{number % self.per_log:08X}"

    def parse(self, text: str) -> tuple[int, int] | None:
        """Timeline and number of the first segment that is named in a text.

        >>> Segments(16).parse("base_000000020000000100000007_D_000000010000000100000005")
        (2, 263)
        """
        match = SEGMENT.search(text)
        if match is None:
            return None
        timeline, log, rest = (int(part, 16) for part in match.groups())
        return timeline, log * self.per_log + rest


def lsn_of(text: str) -> int:
    """The number that PostgreSQL writes in two halves.

    >>> lsn_of("1/10")
    4294967312
    """
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def parse_history(text: str) -> list[tuple[int, int]]:
    """Parent timelines and the LSN at which each was left, oldest first."""
    matches = (HISTORY.match(line) for line in text.splitlines())
    return [(int(match[1]), lsn_of(match[2])) for match in matches if match]


def runs(scanned: Iterable[tuple[int, int, str]]) -> list[tuple[int, int, int, str]]:
    """Timeline, number and status of segments, oldest first, joined to timeline, first, last, status.

    >>> runs([(1, 5, "FOUND"), (1, 6, "FOUND"), (1, 7, "MISSING_LOST")])
    [(1, 5, 6, 'FOUND'), (1, 7, 7, 'MISSING_LOST')]
    """
    found: list[tuple[int, int, int, str]] = []
    for timeline, number, status in scanned:
        if found and (found[-1][0], found[-1][3]) == (timeline, status):
            found[-1] = (timeline, found[-1][1], number, status)
        else:
            found.append((timeline, number, number, status))
    return found
