# SPDX-License-Identifier: BSD-2-Clause
"""The API server's own notation of numbers, all of it; users write less."""

from __future__ import annotations

from decimal import Decimal

# Suffixes of resource.Quantity (apimachinery pkg/api/resource/suffix.go).
_FACTORS = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGT", start=1)},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGT", start=1)},
}


def amount(text: str) -> Decimal:
    """The number that a quantity of the API server stands for.

    >>> amount("1500m"), amount("16Ki")
    (Decimal('1.500'), Decimal('16384'))
    """
    number = text.rstrip("kKMGTim")
    return Decimal(number) * _FACTORS[text[len(number) :]]
