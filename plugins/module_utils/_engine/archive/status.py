# SPDX-License-Identifier: BSD-2-Clause
"""What the archiver beside a PostgreSQL tells of itself, read strictly: what is wrong is told as a ValueError."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

# Of a text that is shown. Engines' errors are longer than anybody reads.
LONGEST_TEXT = 300
# The last second that datetime knows, and more than any disk has bytes.
LAST_SECOND = 253402300799.0
MOST = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One kind of work. `done` and `last` are of this process; `failures` are those since the last success."""

    done: int
    last: str
    last_at: datetime | None
    failures: int
    failures_ever: int
    error: str
    error_at: datetime | None

    @property
    def ended(self) -> int:
        """How many times it has ended, well or not, since the process began."""
        return self.done + self.failures_ever


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A database that was live until `at`, when another took its place."""

    name: str
    bytes: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A restore point in the archive, of a project by its uid. `lsn`: as PostgreSQL writes a position."""

    name: str
    project: str
    made: datetime
    lsn: str
    incarnation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """What is in a scratch copy: the last heartbeat that was recovered, and names of projects' databases.

    Before it is ready, nothing is told of it.
    """

    is_ready: bool
    heartbeat: datetime | None
    databases: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiverStatus:
    """How one PostgreSQL is archived. All times are of the archiver's own clock, which says `now`; None for never.

    `refused`: why nothing is archived at all; empty if it is. `began`: since when this process runs.
    `rpo_seconds`, `backup_hours`: what it goes by; 0 as long as it has not read its configuration.
    `newest_backup_at`, `newest_full_at`: base backups in the archive of this incarnation.
    `next_backup_at`: when the next one is due. `wal_bytes`: what pg_wal takes of the volume.
    `busy`: which dump, load, check or point is being worked on, "load p_x"; empty if none is. `dump_bytes`: of the last
    dump. `points`: those in the archive, of all its incarnations, newest first, some hundreds at the most.
    `kept`: what swaps have left. `copy`: of a scratch copy what is in it; None beside a live PostgreSQL.
    `writes_stopped`: tenants have no sessions, and the heart does not beat, as too much WAL waits on too full a volume.
    """

    archive: str
    incarnation: str
    engine: str
    refused: str
    began: datetime
    now: datetime
    rpo_seconds: int
    backup_hours: int
    wal: Work
    backup: Work
    heartbeat: Work
    backup_running: bool
    next_backup_at: datetime | None
    newest_backup_at: datetime | None
    newest_full_at: datetime | None
    ready_files: int
    oldest_ready_seconds: float
    wal_bytes: int
    volume_bytes: int
    volume_free_bytes: int
    dump: Work
    load: Work
    check: Work
    point: Work
    points: tuple[Named, ...]
    busy: str
    dump_bytes: int
    kept: tuple[Kept, ...]
    copy: Copy | None
    writes_stopped: bool

    @property
    def newest_is_full(self) -> bool:
        """True if the newest base backup needs no other."""
        return self.newest_backup_at is not None and self.newest_backup_at == self.newest_full_at


def parse_status(raw: bytes) -> ArchiverStatus:
    """The answer to GET /status. Keys that are not known are passed over; one that is missing is an error."""
    found = _Reader(_object(raw), "")
    return ArchiverStatus(
        archive=found.text("archive"),
        incarnation=found.text("incarnation"),
        engine=found.text("engine"),
        refused=found.text("refused"),
        began=found.moment("began"),
        now=found.moment("now"),
        rpo_seconds=found.count("rpo_seconds"),
        backup_hours=found.count("backup_hours"),
        wal=found.work("wal"),
        backup=found.work("backup"),
        heartbeat=found.work("heartbeat"),
        backup_running=found.flag("backup_running"),
        next_backup_at=found.time("backup_next_at"),
        newest_backup_at=found.time("newest_backup_at"),
        newest_full_at=found.time("newest_full_at"),
        ready_files=found.count("ready_files"),
        oldest_ready_seconds=found.seconds("oldest_ready_seconds"),
        wal_bytes=found.count("wal_bytes"),
        volume_bytes=found.count("volume_bytes"),
        volume_free_bytes=found.count("volume_free_bytes"),
        dump=found.work("dump"),
        load=found.work("load"),
        check=found.work("check"),
        point=found.work("point"),
        points=tuple(_named(one) for one in found.objects("points")),
        busy=found.text("busy"),
        dump_bytes=found.count("dump_bytes"),
        kept=tuple(_kept(one) for one in found.objects("kept")),
        copy=_copy(found.object("copy")),
        writes_stopped=found.flag("writes_stopped"),
    )


def _kept(found: _Reader) -> Kept:
    return Kept(name=found.text("name"), bytes=found.count("bytes"), at=found.moment("at"))


def _named(found: _Reader) -> Named:
    texts = {name: found.text(name) for name in ("name", "project", "lsn", "incarnation")}
    return Named(made=found.moment("made"), **texts)


def _copy(found: _Reader | None) -> Copy | None:
    if found is None:
        return None
    return Copy(
        is_ready=found.flag("ready"), heartbeat=found.written("heartbeat"), databases=found.texts("databases")
    )  # fmt: skip


def _object(raw: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ValueError("it is not JSON") from error
    if not isinstance(found, dict):
        raise ValueError("it is not an object in JSON")
    return found


@dataclass(frozen=True, slots=True)
class _Reader:
    """Values by name and type; `where` is what their names begin with in an error."""

    values: Mapping[str, Any]
    where: str

    def text(self, name: str) -> str:
        return _shown(str(self._of(name, (str,), "a text")))

    def flag(self, name: str) -> bool:
        return bool(self._of(name, (bool,), "true or false"))

    def count(self, name: str) -> int:
        value = self._of(name, (int,), "a whole number")
        if not 0 <= value <= MOST:
            raise ValueError(f"{self.where}{name} is out of range")
        return int(value)

    def seconds(self, name: str) -> float:
        value = self._of(name, (int, float), "a number of seconds")
        if not (0 <= value <= LAST_SECOND and math.isfinite(value)):
            raise ValueError(f"{self.where}{name} is out of range")
        return float(value)

    def time(self, name: str) -> datetime | None:
        value = self.seconds(name)
        return datetime.fromtimestamp(value, UTC) if value else None

    def moment(self, name: str) -> datetime:
        return datetime.fromtimestamp(self.seconds(name), UTC)

    def written(self, name: str) -> datetime | None:
        """A time as ISO 8601 has it; None for an empty text."""
        text = self.text(name)
        try:
            found = datetime.fromisoformat(text) if text else None
        except ValueError as error:
            raise ValueError(f"{self.where}{name} is not a time") from error
        if found is not None and found.tzinfo is None:
            raise ValueError(f"{self.where}{name} is a time without a zone")
        return found

    def texts(self, name: str) -> tuple[str, ...]:
        values = self._of(name, (list,), "a list")
        each = _Reader({str(number): value for number, value in enumerate(values)}, f"{self.where}{name}.")
        return tuple(each.text(number) for number in each.values)

    def object(self, name: str) -> _Reader | None:
        """None for null."""
        value = self._of(name, (dict, type(None)), "an object or null")
        return None if value is None else _Reader(value, f"{self.where}{name}.")

    def objects(self, name: str) -> tuple[_Reader, ...]:
        values = self._of(name, (list,), "a list")
        if not all(isinstance(value, dict) for value in values):
            raise ValueError(f"{self.where}{name} has what is not an object")
        return tuple(_Reader(value, f"{self.where}{name}.{number}.") for number, value in enumerate(values))

    def work(self, name: str) -> Work:
        found = _Reader(self._of(name, (dict,), "an object"), f"{self.where}{name}.")
        return Work(
            done=found.count("done"),
            last=found.text("last"),
            last_at=found.time("last_at"),
            failures=found.count("failures"),
            failures_ever=found.count("failures_ever"),
            error=found.text("error"),
            error_at=found.time("error_at"),
        )

    def _of(self, name: str, kinds: tuple[type, ...], wanted: str) -> Any:
        if name not in self.values:
            raise ValueError(f"{self.where}{name} is missing")
        value = self.values[name]
        # To Python, true is a number, too.
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise ValueError(f"{self.where}{name} is not {wanted}")
        return value


def _shown(text: str) -> str:
    """In one line that a terminal shows as it is: what engines say is not ours."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= LONGEST_TEXT else f"{line[: LONGEST_TEXT - 1]}…"
