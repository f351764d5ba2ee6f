# SPDX-License-Identifier: GPL-3.0-or-later
"""How much is archived and restored in cases 7 to 10, and how often."""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass, field
from typing import Any


def _size(default: Any, about: str) -> Any:
    return field(default=default, metadata={"about": about})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The defaults are what the page speaks of."""

    archive_engines: tuple[str, ...] = _size(("wal-g", "barman-cloud"), "of the cases lag, backups and retention")
    archive_rounds: int = _size(3, "of the cases lag and backups")
    load_seconds: int = _size(8, "lag: of each run of pgbench at full speed")
    load_scale: int = _size(10, "lag: pgbench's, about 15 MiB each")
    quiet_periods: int = _size(3, "lag: how many RPOs of 10 s the few commits go on; 0 for never")
    backup_mib: int = _size(512, "backups: of rows in the database")
    shared_databases: int = _size(200, "one_database: on the shared cluster")
    database_mib: int = _size(100, "one_database: of the one that is restored")
    replayed_segments: int = _size(8, "one_database: of WAL since the base backup")
    archives: int = _size(1000, "retention: that are planned")
    distinct_archives: int = _size(70, "retention: that differ from each other, which is in sevens")
    segments_a_day: int = _size(1440, "retention: of each archive; 1440 is one for each of the default RPOs")
    stored_a_day: int = _size(96, "retention: of those archives that lie in an object store")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """An option for each."""
    for one in dataclasses.fields(Sizes):
        kind = int if isinstance(one.default, int) else _words
        about = f"{one.metadata['about']} (default: {_shown(one.default)})"
        parser.add_argument(f"--{one.name.replace('_', '-')}", type=kind, default=one.default, help=about)


def sizes_from(arguments: argparse.Namespace) -> Sizes:
    """What was asked for."""
    return Sizes(**{one.name: getattr(arguments, one.name) for one in dataclasses.fields(Sizes)})


def sizes_of(kept: dict[str, Any]) -> Sizes:
    """Out of a report, where tuples are lists."""
    found: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in kept.items()}
    return Sizes(**found)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _shown(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)
