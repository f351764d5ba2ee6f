# SPDX-License-Identifier: BSD-2-Clause
"""How a run behaves, apart from what it should reach. Built by the caller, passed down, never changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from .deadline import Backoff
from .project.life import Life
from .project.placement import Placement


class Drift(StrEnum):
    """How much is read to find what others changed.

    `metadata`: the fingerprint on the object, and what the record certifies of uid and last editors.
    `full`: every object, field by field. `off`: the fingerprint alone.
    """

    METADATA = "metadata"
    FULL = "full"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Limits of a run; times in seconds.

    `only`: refs of the projects to act on; None for all. `prune`: stop projects that are no longer listed, at most
    `prune_limit` at once. `purge`: ref and uid of stopped projects whose data is to be destroyed.
    `purge_without_final_backup`: refs among those of which nothing has to be kept.
    `data_lost`: refs of projects whose data is gone for good, and which begin anew with nothing.
    `lives`: by ref, what the PostgreSQL of a project is to be restored from. `places`: by ref, where one that moves is.
    `wave_size`: how many running projects are restarted at once; more go in waves. `wave_failures`: how many of them
    may fail before the rest is held back. `check_capacity`: refuse what the data plane's nodes cannot run.
    """

    check: bool = False
    drift: Drift = Drift.METADATA
    wait: bool = True
    timeout_seconds: float = 900.0
    # In flight at once; more than this finds no seats in a small API server's priority level.
    workers: int = 16
    # Long enough for one lost renewal, short enough that the run after a kill need not wait for long.
    lease_seconds: float = 30.0
    only: frozenset[str] | None = None
    prune: bool = False
    prune_limit: int = 5
    purge: Mapping[str, str] = field(default_factory=dict, hash=False)
    purge_without_final_backup: frozenset[str] = frozenset()
    data_lost: frozenset[str] = frozenset()
    lives: Mapping[str, Life] = field(default_factory=dict, hash=False)
    places: Mapping[str, Placement] = field(default_factory=dict, hash=False)
    wave_size: int = 25
    wave_failures: int = 0
    check_capacity: bool = True
    backoff: Backoff = field(default_factory=Backoff)
