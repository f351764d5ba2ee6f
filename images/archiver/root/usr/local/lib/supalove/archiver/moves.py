# SPDX-License-Identifier: GPL-3.0-or-later
"""A live database goes to another server: it is closed, dumped, and kept under another name or opened again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from . import sql
from .config import Config
from .dumps import FOLDER, KEY, SECONDS, SELF
from .engines import Place
from .loads import DROP_SECONDS, SWAP_SECONDS, Names, rename
from .programs import run
from .state import State
from .work import Desk, Refused, demand, number_of, text_of

LONGEST_SECONDS = 3600


class Moves:
    """Answers to POST /size, /close, /hold, /open, /retire and, beside a live PostgreSQL, /dump.

    What is closed is opened again when its time is up, and by the next archiver if this one ends.
    """

    def __init__(self, data: Path, state: State, desk: Desk, say: Callable[[str], None]) -> None:
        self._data = data
        self._state = state
        self._desk = desk
        self._say = say
        # By database, what will open it again. Held while one is closed, opened or retired.
        self._closed: dict[str, threading.Timer] = {}
        self._lock = threading.RLock()

    def size(self, told: Mapping[str, Any]) -> tuple[int, str]:
        """How many bytes a database has. Raises Refused."""
        database = text_of(told, "database", sql.DATABASE)
        done = sql.ask(sql.SIZE, variables={"database": database})
        if done.code != 0:
            raise Refused(503, done.said)
        if not sql.rows(done):
            raise Refused(404, f"there is no database {database}")
        return 200, f"{sql.rows(done)[0]}\n"

    def close(self, told: Mapping[str, Any]) -> tuple[int, str]:
        """Let nobody in but who dumps it, for `seconds` at the most. Raises Refused."""
        database, seconds = text_of(told, "database", sql.DATABASE), number_of(told, "seconds", LONGEST_SECONDS)
        with self._lock:
            self._demand(database)
            for statements in (sql.CLOSE, sql.EMPTY):
                done = sql.ask(statements, variables=_names(database))
                if done.code != 0:
                    self._open(database)
                    raise Refused(503, done.said or "the server did not say why")
            self._open_after(database, seconds)
        self._say(f"{database} is closed")
        return 200, "done\n"

    def hold(self, told: Mapping[str, Any]) -> tuple[int, str]:
        """Leave closed what is closed, for `seconds` more at the most. Raises Refused."""
        database, seconds = text_of(told, "database", sql.DATABASE), number_of(told, "seconds", LONGEST_SECONDS)
        with self._lock:
            if database not in self._closed:
                raise Refused(409, f"{database} is open")
            self._open_after(database, seconds)
        return 200, "done\n"

    def open(self, told: Mapping[str, Any]) -> tuple[int, str]:
        """Let its user in again. Raises Refused."""
        database = text_of(told, "database", sql.DATABASE)
        with self._lock:
            self._demand(database)
            if not self._open(database):
                raise Refused(503, f"{database} could not be opened; it is tried again")
        return 200, "done\n"

    def dump(self, told: Mapping[str, Any]) -> tuple[int, str]:
        """Begin to dump a database that is closed. Raises Refused."""
        database, key = text_of(told, "database", sql.DATABASE), text_of(told, "key", KEY)
        place = Place.of(self._data)
        folder = f"{Config.read().prefix}/{FOLDER}/{place.archive}/"
        if not key.startswith(folder) or ".." in key.split("/"):
            raise Refused(400, f"key has to begin with {folder}")
        self._demand(database)
        if database not in self._closed:
            raise Refused(409, f"{database} is open: close it first, as a dump has nothing of what is written after it")
        self._desk.begin("dump", database, lambda: self._dump(database, key))
        return 202, "begun\n"

    def retire(self, told: Mapping[str, Any]) -> tuple[int, str]:
        """Keep a closed database under another name, for good. Asked again it does nothing. Raises Refused."""
        database, kept = text_of(told, "database", sql.DATABASE), text_of(told, "kept", sql.KEPT)
        if not kept.startswith(f"{database}_"):
            raise Refused(400, f"kept has to begin with {database}_")
        names = {**_names(database), "kept": kept}
        with self._lock:
            done = sql.ask(sql.BEFORE_SWAP, variables=names, seconds=SWAP_SECONDS)
            if done.code != 0:
                raise Refused(503, done.said)
            live, _new, there, *oid = done.output.split()
            if live == "-" and there == "kept":
                return 200, "it is done already\n"
            if live == "-":
                raise Refused(404, f"there is no database {database}")
            if database not in self._closed:
                raise Refused(409, f"{database} is open, so it may have what its dump has not")
            done = rename(sql.RETIRE, {**names, "oid": oid[0]})
            if done.code != 0:
                raise Refused(503, done.said)
            if sql.rows(done) == ["opened"]:
                raise Refused(409, f"{database} was opened meanwhile, so it may have what its dump has not")
            self._forget(database)
        self._say(f"{database} has moved; it is kept as {kept}")
        return 200, "done\n"

    def clean_up(self) -> bool:
        """Open what an archiver before this one has closed; False if that has to be tried again."""
        with self._lock:
            found = sql.ask(sql.CLOSED_ONES)
            opened = [self._open(one) for one in sql.rows(found) if one not in self._closed]
            return found.code == 0 and all(opened)

    def _dump(self, database: str, key: str) -> str:
        names = _names(database)
        login = names["loader"]
        try:
            demand(sql.ask(sql.MAKE_READER, variables=names), f"making the role {login}")
            argv = [SELF, "dump", str(self._data), database, key, "--login", login]
            done = demand(run(argv, environment={}, seconds=SECONDS), "dumping")
        finally:
            sql.ask(sql.CLEAN_UP, variables=names, seconds=DROP_SECONDS)
        self._state.note(dump_bytes=int(done.output))
        return f"{database} {key}"

    def _open(self, database: str) -> bool:
        with self._lock:
            self._forget(database)
            done = sql.ask(sql.OPEN, variables=_names(database))
            if done.code == 0:
                self._say(f"{database} is open again")
        return done.code == 0

    def _open_after(self, database: str, seconds: float) -> None:
        self._forget(database)
        timer = threading.Timer(seconds, self._open, [database])
        timer.daemon = True
        self._closed[database] = timer
        timer.start()

    def _forget(self, database: str) -> None:
        timer = self._closed.pop(database, None)
        if timer is not None:
            timer.cancel()

    def _demand(self, database: str) -> None:
        self.size({"database": database})


def _names(database: str) -> dict[str, str]:
    return Names(database, f"{database}_owner").told
