# SPDX-License-Identifier: BSD-2-Clause
"""Reading the small documents of an archive, strictly: what is wrong with one is told as a ValueError."""

from __future__ import annotations

import bz2
import json
import lzma
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

# What zlib calls the format of gzip.
_GZIP = 16 + zlib.MAX_WBITS
# Of a document once it is decompressed. Whoever holds the key of an archive wrote it, and may mean harm.
LONGEST = 1024 * 1024
# By the suffix that a compression leaves, to no more than a length. Python's own library has no other.
_DECOMPRESS: Final[Mapping[str, Callable[[bytes, int], bytes]]] = {
    "": lambda raw, most: raw[:most],
    ".gz": lambda raw, most: zlib.decompressobj(_GZIP).decompress(raw, most),
    ".bz2": lambda raw, most: bz2.BZ2Decompressor().decompress(raw, most),
    ".lzma": lambda raw, most: lzma.LZMADecompressor().decompress(raw, most),
    ".xz": lambda raw, most: lzma.LZMADecompressor().decompress(raw, most),
}
# All that the archive engines know.
SUFFIXES: Final = frozenset({*_DECOMPRESS, ".zst", ".lz4", ".br", ".snappy"})


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of a document, each asked for by name and type; ValueError names the one that is wrong."""

    values: Mapping[str, Any]

    def text(self, name: str) -> str:
        """Text that is not empty."""
        value = self.values.get(name)
        if not isinstance(value, str) or not value:
            raise ValueError(f"{name} is {value!r}, not a text")
        return value

    def number(self, name: str) -> int:
        """A whole number, not negative."""
        value = self.values.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ValueError(f"{name} is {value!r}, not a number")
        return value

    def time(self, name: str) -> datetime:
        """A time with its offset."""
        return parse_time(self.text(name), name)


def parse_object(raw: bytes) -> Fields:
    """A JSON object.

    >>> parse_object(b'{"version": 1}').number("version")
    1
    >>> parse_object(b'[]')
    Traceback (most recent call last):
    ValueError: it is no JSON object
    """
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    return Fields(value)


def parse_time(text: str, what: str) -> datetime:
    """A moment in UTC from ISO 8601 with an offset.

    >>> parse_time("2026-11-25T23:48:12Z", "began").isoformat()
    '2026-11-25T23:48:12+00:00'
    >>> parse_time("2026-11-25 23:48:12", "began")
    Traceback (most recent call last):
    ValueError: began is '2026-11-25 23:48:12', which has no offset from UTC
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{what} is {text!r}, not a time") from None
    if found.tzinfo is None:
        raise ValueError(f"{what} is {text!r}, which has no offset from UTC")
    try:
        return found.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{what} is {text!r}, which is out of range") from None


def decompressed(raw: bytes, suffix: str) -> bytes | None:
    """What was compressed; None if the suffix is of a compression that cannot be read here.

    >>> decompressed(b"1", ""), decompressed(b"1", ".zst")
    (b'1', None)
    """
    decompress = _DECOMPRESS.get(suffix)
    if decompress is None:
        return None
    try:
        content = decompress(raw, LONGEST + 1)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise ValueError(f"it cannot be decompressed: {error}") from None
    if len(content) > LONGEST:
        raise ValueError(f"it is too long, {LONGEST} bytes are allowed")
    return content


def can_decompress(suffix: str) -> bool:
    """True if what has this suffix can be read here."""
    return suffix in _DECOMPRESS
