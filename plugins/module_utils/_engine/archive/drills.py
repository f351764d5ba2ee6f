# SPDX-License-Identifier: BSD-2-Clause
"""What a drill tries, and what it proves. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from .catalog import Catalog

# The heartbeat commits in each RPO, and in each RPO a segment is ended: so much may lie between a commit and the upload
# of its segment.
RPO_TIMES = 2
SPARE = timedelta(seconds=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The outcome of one drill. `at`: when it ended; `target`: the moment that was restored.

    `seconds`: from nothing to a server that answers. `loss_seconds`: from the newest row that was found to the target.
    `databases`: how many were there and checked. `error`: why it proved nothing; empty if it did.
    """

    at: datetime
    target: datetime | None
    seconds: float = 0.0
    loss_seconds: float = 0.0
    databases: int = 0
    error: str = ""

    def to_text(self) -> str:
        """As it is kept."""
        said = asdict(self)
        return json.dumps({**said, "at": _text(self.at), "target": _text(self.target)}, sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> Proof | None:
        """As it was kept; None if it cannot be read."""
        try:
            said = json.loads(text)
            target = datetime.fromisoformat(said["target"]) if said["target"] else None
            return cls(**{**said, "at": datetime.fromisoformat(said["at"]), "target": target})
        except (ValueError, KeyError, TypeError):
            return None


def moments_of(catalogs: Sequence[Catalog], *, since: datetime) -> tuple[tuple[datetime, datetime], ...]:
    """From when to when every moment should be restorable, for each incarnation in which there are such moments.

    From the end of its first backup to the beginning of the next incarnation, or to the last segment in the archive.
    """
    ordered = sorted(catalogs, key=lambda one: (one.began, one.id))
    spans = []
    for number, catalog in enumerate(ordered):
        ends = [one.began for one in ordered[number + 1 : number + 2]]
        ends += [max(one.modified for one in catalog.segments)] if catalog.segments else []
        begins = [one.finished for one in catalog.usable()]
        if begins and ends:
            first, last = max(since, min(begins)), min(ends)
            if first < last:
                spans.append((first, last))
    return tuple(spans)


def choose_moment(spans: Sequence[tuple[datetime, datetime]], random: Callable[[], float]) -> datetime | None:
    """One of all moments, each as likely; None if there is none. `random` gives a number from 0 up to 1."""
    left = random() * sum((last - first).total_seconds() for first, last in spans)
    for first, last in spans:
        length = (last - first).total_seconds()
        if left <= length:
            return first + timedelta(seconds=left)
        left -= length
    return None


def flaw_of(catalogs: Sequence[Catalog], target: datetime, heartbeat: datetime, *, rpo_seconds: int) -> str:
    """What is wrong with a copy whose newest heartbeat is that; empty if nothing is.

    While a PostgreSQL is stopped its heart does not beat, and nothing is archived: so what counts is the last segment
    that came before the target.
    """
    if heartbeat > target:
        return f"it has a row of {heartbeat:%F %T.%f} UTC, after the target"
    uploads = [one.modified for catalog in catalogs for one in catalog.segments if one.modified <= target]
    longest = RPO_TIMES * timedelta(seconds=rpo_seconds) + SPARE
    if uploads and max(uploads) - heartbeat > longest:
        return f"its newest row is of {heartbeat:%F %T} UTC, and the archive had WAL until {max(uploads):%F %T} UTC"
    return ""


def in_turn(archives: Sequence[str], proofs: Mapping[str, Proof]) -> tuple[str, ...]:
    """Those first that were never tried, then those that were longest ago."""
    tried = [name for name in archives if name in proofs]
    never = [name for name in archives if name not in proofs]
    return (*sorted(never), *sorted(tried, key=lambda name: (proofs[name].at, name)))


def _text(time: datetime | None) -> str:
    return "" if time is None else time.isoformat(timespec="milliseconds")
