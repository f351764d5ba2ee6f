# SPDX-License-Identifier: BSD-2-Clause
"""Arithmetic of positions in WAL, of segments of 16 MiB and of timelines, as PostgreSQL names them.

https://www.postgresql.org/docs/current/wal-internals.html; the form of a history file is that of timeline.c.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NewType

Lsn = NewType("Lsn", int)

SEGMENT_BYTES = 16 * 1024 * 1024
# Of 4 GiB, which is what the second third of a name counts.
_SEGMENTS_IN_LOG = 2**32 // SEGMENT_BYTES
_MOST_LSN = 2**64 - 1
_LSN = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")
_SEGMENT = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})")
_HISTORY = re.compile(r"([0-9A-F]{8})\.history")


def parse_lsn(text: str) -> Lsn:
    """A position as PostgreSQL writes it; ValueError for anything else.

    >>> parse_lsn("0/5000028")
    83886120
    >>> parse_lsn("16/B374D848") == 0x16B374D848
    True
    """
    found = _LSN.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is no position in WAL such as 0/5000028")
    return Lsn(int(found[1], 16) << 32 | int(found[2], 16))


def lsn_of(number: object) -> Lsn:
    """A position that is kept as a number; ValueError for what is none.

    >>> lsn_of(83886120)
    83886120
    """
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= _MOST_LSN:
        raise ValueError(f"{number!r} is no position in WAL")
    return Lsn(number)


def format_lsn(lsn: Lsn) -> str:
    """As PostgreSQL writes it.

    >>> format_lsn(Lsn(83886120))
    '0/5000028'
    """
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """One file of WAL: `number` counts segments from the beginning of all WAL, whatever the timeline.

    >>> Segment.parse("000000010000000000000007")
    Segment(timeline=1, number=7)
    """

    timeline: int
    number: int

    @classmethod
    def parse(cls, name: str) -> Segment:
        """From the name of its file; ValueError for any other name.

        >>> Segment.parse("0000000A00000002000000FF").number
        767
        >>> Segment.parse("000000010000000000000100")
        Traceback (most recent call last):
        ValueError: '000000010000000000000100' is no segment of 16 MiB
        """
        found = _SEGMENT.fullmatch(name)
        if not found:
            raise ValueError(f"{name!r} is no name of a WAL segment")
        timeline, log, rest = (int(part, 16) for part in found.groups())
        if timeline == 0 or rest >= _SEGMENTS_IN_LOG:
            raise ValueError(f"{name!r} is no segment of 16 MiB")
        return cls(timeline, log * _SEGMENTS_IN_LOG + rest)

    @classmethod
    def at(cls, timeline: int, lsn: Lsn) -> Segment:
        """The segment that holds the byte at `lsn`.

        >>> Segment.at(1, parse_lsn("0/5000028")).name
        '000000010000000000000005'
        """
        return cls(timeline, lsn // SEGMENT_BYTES)

    @classmethod
    def before(cls, timeline: int, lsn: Lsn) -> Segment:
        """The segment that holds the last byte before `lsn`, which is where something ends.

        >>> Segment.before(1, parse_lsn("0/6000000")).name
        '000000010000000000000005'
        """
        return cls(timeline, max(0, lsn - 1) // SEGMENT_BYTES)

    @property
    def name(self) -> str:
        """The name of its file.

        >>> Segment(2, 767).name
        '0000000200000002000000FF'
        """
        log, rest = divmod(self.number, _SEGMENTS_IN_LOG)
        return f"{self.timeline:08X}{log:08X}{rest:08X}"

    @property
    def next(self) -> Segment:
        """The one that follows on the same timeline.

        >>> Segment.parse("0000000100000000000000FF").next.name
        '000000010000000100000000'
        """
        return Segment(self.timeline, self.number + 1)

    @property
    def start(self) -> Lsn:
        """The position of its first byte.

        >>> format_lsn(Segment(1, 5).start)
        '0/5000000'
        """
        return Lsn(self.number * SEGMENT_BYTES)


def history_name(timeline: int) -> str:
    """The file that tells how a timeline came to be.

    >>> history_name(18)
    '00000012.history'
    """
    return f"{timeline:08X}.history"


def timeline_of_history(name: str) -> int | None:
    """The timeline that a file of this name is about; None if it is no history file.

    >>> timeline_of_history("00000012.history"), timeline_of_history("00000012.partial")
    (18, None)
    """
    found = _HISTORY.fullmatch(name)
    return int(found[1], 16) if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """A timeline of the past, and where it was left."""

    timeline: int
    lsn: Lsn


def parse_history(text: str) -> tuple[Switch, ...]:
    r"""The timelines before the one that a history file is about, oldest first; ValueError for any other text.

    >>> parse_history("1\t0/5000028\tno recovery target specified\n")
    (Switch(timeline=1, lsn=83886120),)
    >>> parse_history("1\t0/5000000\tbefore\n1\t0/4000000\tagain\n")
    Traceback (most recent call last):
    ValueError: line 2 of the history goes back
    """
    found: list[Switch] = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split("#", maxsplit=1)[0].split(maxsplit=2)
        if not words:
            continue
        if len(words) < 2 or not words[0].isdecimal():
            raise ValueError(f"line {number} of the history is not a timeline and a position")
        switch = Switch(timeline=int(words[0]), lsn=parse_lsn(words[1]))
        if found and (switch.timeline <= found[-1].timeline or switch.lsn < found[-1].lsn):
            raise ValueError(f"line {number} of the history goes back")
        found.append(switch)
    return tuple(found)
