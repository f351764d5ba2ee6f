# SPDX-License-Identifier: BSD-2-Clause
"""Names of what a container may ask of a disk: blockio classes of containerd, which nodes know by their figures.

A class is named after its figures, not after its tier: a running container keeps the limits that its class had when it
was made, so other figures have to make a new pod, and a node that has not been told of them must not know the name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from .model import Tier

_CLASS = re.compile(r"supalove(?:-r([0-9]+))?(?:-w([0-9]+))?")


def disk_class(read_iops: int, write_iops: int) -> str | None:
    """The class of these operations a second, 0 for any number; None if nothing is limited.

    >>> disk_class(500, 0)
    'supalove-r500'
    """
    parts = [f"{letter}{figure}" for letter, figure in (("r", read_iops), ("w", write_iops)) if figure]
    return "-".join(["supalove", *parts]) if parts else None


def figures_of(name: str) -> tuple[int, int] | None:
    """The operations a second of reads and writes that a class lets through; None if the class is not one of ours.

    >>> figures_of("supalove-r500-w200")
    (500, 200)
    """
    found = _CLASS.fullmatch(name)
    figures = (int(found[1] or 0), int(found[2] or 0)) if found else (0, 0)
    return figures if any(figures) else None


def disk_classes(tiers: Iterable[Tier]) -> tuple[str, ...]:
    """The classes that pods of these tiers name, in order."""
    named = {disk_class(tier.read_iops, tier.write_iops) for tier in tiers}
    return tuple(sorted(name for name in named if name is not None))
