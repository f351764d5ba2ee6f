# SPDX-License-Identifier: GPL-3.0-or-later
"""Moments that are named: a restore point in WAL, and when the archive has it, a note of it beside the incarnation."""

from __future__ import annotations

import datetime
import json
import re
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from . import sql
from .engines import Place
from .programs import run
from .restore import LETTERS
from .state import State
from .work import Desk, Refused, WorkError, demand, text_of

SELF = "/usr/local/bin/supalove-archiver"
# The engine has the same in archive/notes.py.
NAME = re.compile(r"[a-z0-9](?:[-a-z0-9_.]{0,38}[a-z0-9])?")
PROJECT = re.compile(sql.UID)
# Of a request to the store.
STORE_SECONDS = 90.0
# Until the segment of a point has to be archived, and from one look for that to the next.
ARCHIVED_SECONDS = 600.0
LOOK_SECONDS = 0.5
LETTERS_COUNT = 6


class Points:
    """Answers to POST /point."""

    def __init__(self, data: Path, state: State, say: Callable[[str], None]) -> None:
        self._data = data
        self._state = state
        self._desk = Desk(state, say)

    def make(self, asked: Mapping[str, Any]) -> tuple[int, str]:
        """Begin to name this moment `name`, for the project whose uid is `project`. Raises Refused."""
        project, name = text_of(asked, "project", PROJECT), text_of(asked, "name", NAME)
        self._demand_archive()
        wanted = (self._incarnation, project, name)
        for one in self._state.read().points:
            if (one["incarnation"], one["project"], one["name"]) == wanted:
                at = datetime.datetime.fromtimestamp(one["made"], datetime.UTC)
                raise Refused(409, f"there is a restore point {name} already, made at {at:%Y-%m-%dT%H:%M:%SZ}")
        there = sql.ask(sql.EXISTS, variables={"database": f"p_{project}"})
        if there.code != 0:
            raise Refused(503, there.said)
        if sql.rows(there) != ["1"]:
            raise Refused(404, f"there is no database p_{project}")
        self._desk.begin("point", f"{project} {name}", lambda: self._make(project, name))
        return 202, "begun\n"

    @property
    def _incarnation(self) -> str:
        return Place.of(self._data).incarnation

    def _demand_archive(self) -> None:
        """A name that leads nowhere is worse than none."""
        figures = self._state.read()
        if figures.refused or not figures.incarnation:
            raise Refused(409, f"nothing is archived: {figures.refused or 'the archiver has just begun'}")
        if figures.writes_stopped:
            raise Refused(409, "tenants are stopped, as the volume is nearly full of WAL that waits to be archived")
        if not figures.newest_backup_at:
            raise Refused(409, "no base backup has finished yet, so that no moment of this incarnation can be restored")

    def look(self) -> bool:
        """Note which there are in the archive, the newest ones; False if the store does not say."""
        done = run([SELF, "points", str(self._data)], environment={}, seconds=STORE_SECONDS)
        if done.code == 0:
            self._state.note(points=json.loads(done.output))
        return done.code == 0

    def _make(self, project: str, name: str) -> str:
        """The record first, then its segment in the archive, and the note last: what is noted can be restored to.

        PostgreSQL stops at the first record of a name, so each try has one of its own.
        """
        incarnation = self._incarnation
        letters = "".join(secrets.choice(LETTERS) for _letter in range(LETTERS_COUNT))
        record = f"p_{project}.{name}.{letters}"
        made = demand(sql.ask(sql.MAKE_POINT, variables={"record": record}), "making the restore point")
        at, lsn, segment = sql.rows(made)[0].split()
        self._await_archived(segment)
        if self._incarnation != incarnation:
            raise WorkError("another incarnation has begun meanwhile; run again")
        note = {"version": 1, "name": name, "project": project, "made": at, "lsn": lsn, "record": record}
        argv = [SELF, "point", str(self._data), json.dumps(note)]
        demand(run(argv, environment={}, seconds=STORE_SECONDS), "noting the restore point")
        if not self.look():
            self._state.note(points=[*told(incarnation, note), *self._state.read().points])
        return f"{project} {name}"

    def _await_archived(self, segment: str) -> None:
        end = time.monotonic() + ARCHIVED_SECONDS
        while not is_archived(self._data / "pg_wal", segment):
            if time.monotonic() >= end:
                raise WorkError(f"{segment}, in which it is, was not archived within {ARCHIVED_SECONDS:g} s")
            time.sleep(LOOK_SECONDS)


def is_archived(wal: Path, segment: str) -> bool:
    """Whether the server knows that a segment which has ended is archived.

    It renames the mark from `ready` to `done`, and removes that together with the segment, or lets it be used again.
    """
    marks = wal / "archive_status"
    if (marks / f"{segment}.done").exists():
        return True
    return not (marks / f"{segment}.ready").exists() and not (wal / segment).exists()


def told(incarnation: str, note: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A note as the figures have it; nothing if it is none."""
    try:
        made = datetime.datetime.fromisoformat(str(note["made"])).timestamp()
        texts = {key: str(note[key]) for key in ("project", "name", "lsn")}
    except (KeyError, TypeError, ValueError):
        return []
    return [{"incarnation": incarnation, "made": made, **texts}]
