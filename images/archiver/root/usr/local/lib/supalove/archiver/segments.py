# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of WAL segments: timeline, number of 4 GiB, and place in them, eight hexadecimal digits each."""

from __future__ import annotations

import re

# initdb's default; no cluster of ours has another.
SEGMENT_BYTES = 16 * 1024**2
_IN_LOG = 2**32 // SEGMENT_BYTES
_NAME = re.compile(r"[0-9A-F]{24}")


def is_segment(name: str) -> bool:
    """False for histories, labels of backups, and parts of segments.

    >>> is_segment("000000010000000000000007"), is_segment("00000002.history")
    (True, False)
    """
    return _NAME.fullmatch(name) is not None


def following(name: str, count: int, *, last: str = "") -> list[str]:
    """The segments after one on its timeline, in their order: `count` of them, and none after `last` if that is given.

    Where `last` is of another timeline, its place in WAL counts.

    >>> following("0000000100000000000000FE", 2)
    ['0000000100000000000000FF', '000000010000000100000000']
    >>> following("0000000100000000000000FE", 2, last="0000000100000000000000FF")
    ['0000000100000000000000FF']
    """
    first = _number(name) + 1
    end = first + count
    if is_segment(last):
        end = min(end, _number(last) + 1)
    return [f"{name[:8]}{number // _IN_LOG:08X}{number % _IN_LOG:08X}" for number in range(first, end)]


def _number(name: str) -> int:
    return int(name[8:16], 16) * _IN_LOG + int(name[16:], 16)
