# SPDX-License-Identifier: BSD-2-Clause
"""The one way in which the engine does several things at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_parallel(call: Callable[[T], R], things: Iterable[T], *, workers: int) -> list[R]:
    """Results in the order of the things. The first error is raised after all have ended."""
    with ThreadPoolExecutor(max_workers=workers) as pool:
        return list(pool.map(call, things))
