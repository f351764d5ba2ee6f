# SPDX-License-Identifier: GPL-3.0-or-later
"""Checksums of data pages (postgres:src/include/storage/checksum_impl.h), with all 32 sums in one large number."""

from __future__ import annotations

import array
import re
import struct

PAGE = 8192
PAGES_PER_FILE = (1 << 30) // PAGE
LANES = 32
ROW = LANES * 8
PRIME = 16777619
OFFSETS = (
    *(0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C),
    *(0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB),
    *(0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4),
    *(0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756),
)
RELATION = re.compile(r"/(?:base/\d+|global)/\d+(?:_(?:fsm|vm|init))?(?:\.(\d+))?")
# What one relation may report (wal-g:docs/PostgreSQL.md).
MOST_TOLD = 10


def _lanes(values: tuple[int, ...] | array.array[int]) -> bytes:
    return array.array("Q", values).tobytes()


_START = int.from_bytes(_lanes(OFFSETS), "little")
_LOW = int.from_bytes(_lanes((0xFFFFFFFF,) * LANES), "little")
_SHIFTED = int.from_bytes(_lanes((0xFFFFFFFF >> 17,) * LANES), "little")


def first_block(path: str) -> int | None:
    """The block with which a file of a relation begins; None for any other file.

    >>> first_block("/base/5/1259.1"), first_block("/PG_VERSION")
    (131072, None)
    """
    match = RELATION.fullmatch(path)
    return int(match[1] or 0) * PAGES_PER_FILE if match else None


def is_sound(page: bytes, block: int, started: int) -> bool:
    """Whether a page can be restored: its checksum holds, it is new, or WAL since `started` (an LSN) rewrites it."""
    high, low, stored, _flags, _lower, upper = struct.unpack_from("<IIHHHH", page)
    is_rewritten: bool = upper == 0 or (high << 32) + low >= started
    return is_rewritten or checksum(page, block) == stored


def checksum(page: bytes, block: int) -> int:
    words = array.array("I", page[:8] + b"\0\0" + page[10:])
    wide = _lanes(words)
    sums = _START
    for row in range(0, len(wide), ROW):
        sums = _mix(sums ^ int.from_bytes(wide[row : row + ROW], "little"))
    sums = _mix(_mix(sums))
    folded = 0
    for lane in range(LANES):
        folded ^= (sums >> (64 * lane)) & 0xFFFFFFFF
    return (folded ^ block) % 65535 + 1


def _mix(value: int) -> int:
    return ((value * PRIME) & _LOW) ^ ((value >> 17) & _SHIFTED)
