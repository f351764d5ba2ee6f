# SPDX-License-Identifier: BSD-2-Clause
"""Kubernetes' notation of quantities to base units and back. Only the part of it that a user of ours may write."""

from __future__ import annotations

import re

MIB = 1024**2

CPU_ALLOWED = "a number of cores such as 2 or 0.5, or millicores such as 500m"
BYTES_ALLOWED = "a whole number with Mi, Gi or Ti, such as 512Mi or 4Gi"

_CPU = re.compile(r"(?P<cores>[0-9]{1,4})(?:\.(?P<fraction>[0-9]{1,3}))?|(?P<milli>[0-9]{1,7})m")
_BYTES = re.compile(r"(?P<number>[0-9]{1,6})(?P<unit>Mi|Gi|Ti)")
_UNITS = {"Ti": 1024**4, "Gi": 1024**3, "Mi": 1024**2}


def parse_cpu(text: str) -> int:
    """Millicores of a CPU quantity.

    >>> parse_cpu("2"), parse_cpu("0.5"), parse_cpu("250m")
    (2000, 500, 250)

    Raises ValueError with what is allowed.
    """
    match = _CPU.fullmatch(text)
    if match is None:
        raise ValueError(CPU_ALLOWED)
    if match["milli"] is not None:
        return int(match["milli"])
    return int(match["cores"]) * 1000 + int((match["fraction"] or "0").ljust(3, "0"))


def parse_bytes(text: str) -> int:
    """Bytes of a memory or storage quantity.

    >>> parse_bytes("4Gi")
    4294967296

    Raises ValueError with what is allowed.
    """
    match = _BYTES.fullmatch(text)
    if match is None:
        raise ValueError(BYTES_ALLOWED)
    return int(match["number"]) * _UNITS[match["unit"]]


def format_cpu(millicores: int) -> str:
    """The form in which the API server returns a CPU quantity.

    >>> format_cpu(2000), format_cpu(1500)
    ('2', '1500m')
    """
    cores, rest = divmod(millicores, 1000)
    return f"{millicores}m" if rest else str(cores)


def format_bytes(count: int) -> str:
    """The form in which the API server returns whole mebibytes.

    >>> format_bytes(4 * 1024**3), format_bytes(1536 * 1024**2)
    ('4Gi', '1536Mi')

    Raises ValueError if `count` is no whole number of mebibytes, which no parsed quantity is.
    """
    if count <= 0 or count % _UNITS["Mi"]:
        raise ValueError(f"{count} is no whole number of mebibytes")
    unit = next(name for name, size in _UNITS.items() if count % size == 0)
    return f"{count // _UNITS[unit]}{unit}"
