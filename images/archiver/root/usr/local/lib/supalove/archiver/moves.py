# SPDX-License-Identifier: GPL-3.0-or-later
"""A live database goes to another server: it is closed, dumped, and kept under another name or opened again."""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from . import sql
from .config import Config
from .dumps import FOLDER, KEY, LIFT, SECONDS, SELF
from .engines import Place
from .loads import SWAP_SECONDS, rename
from .programs import Done, run
from .state import State
from .work import Desk, Refused, demand, number_of, text_of

LONGEST_SECONDS = 3600
# Until all sessions have ended.
EMPTY_SECONDS = 20.0
EMPTY_PAUSE = 0.3
TOKEN = re.compile("[0-9a-f]{16}")


class Moves:
    """Answers to POST /look, /close, /hold, /open, /retire and, beside a live PostgreSQL, /dump.

    A closing has a token. Who names it speaks of what nobody has written to since: a dump of it is all that there is.
    What is closed is opened again when its time is up, and by the next archiver if this one ends.
    """

    def __init__(
        self, data: Path, state: State, desk: Desk, say: Callable[[str], None], *, on_kept: Callable[[], None]
    ) -> None:
        self._data = data
        self._state = state
        self._desk = desk
        self._say = say
        self._on_kept = on_kept
        # By database its token, and what will open it again. Held while one is closed, opened or retired.
        self._closed: dict[str, tuple[str, threading.Timer]] = {}
        self._lock = threading.RLock()

    def look(self, told: Mapping[str, Any]) -> tuple[int, str]:
        """How many bytes a database has; then, a line each, other roles that it would miss. Raises Refused."""
        database = text_of(told, "database", sql.DATABASE)
        done = sql.ask(sql.LOOK, variables=_names(database))
        if done.code != 0:
            raise Refused(503, done.said)
        if not sql.rows(done):
            raise Refused(404, f"there is no database {database}")
        return 200, done.output

    def close(self, told: Mapping[str, Any]) -> tuple[int, str]:
        """Let nobody in but who dumps it, for `seconds` at the most; the token. Raises Refused."""
        database, seconds = text_of(told, "database", sql.DATABASE), number_of(told, "seconds", LONGEST_SECONDS)
        with self._lock:
            self.look(told)
            self._forget(database)
            trouble = self._shut(_names(database))
            if trouble:
                self._open(database)
                raise Refused(503, trouble)
            token = secrets.token_hex(8)
            self._open_after(database, token, seconds)
        self._say(f"{database} is closed")
        return 200, f"{token}\n"

    def hold(self, told: Mapping[str, Any]) -> tuple[int, str]:
        """Leave closed what is closed, for `seconds` more at the most. Raises Refused."""
        database, seconds = text_of(told, "database", sql.DATABASE), number_of(told, "seconds", LONGEST_SECONDS)
        with self._lock:
            self._open_after(database, self._demand_closed(database, told), seconds)
        return 200, "done\n"

    def open(self, told: Mapping[str, Any]) -> tuple[int, str]:
        """Let its user in again, whoever closed it. Raises Refused."""
        database = text_of(told, "database", sql.DATABASE)
        with self._lock:
            self.look(told)
            if not self._open(database):
                raise Refused(503, f"{database} could not be opened; it is tried again")
        return 200, "done\n"

    def dump(self, told: Mapping[str, Any]) -> tuple[int, str]:
        """Begin to dump a database that is closed. Raises Refused."""
        database, key = text_of(told, "database", sql.DATABASE), text_of(told, "key", KEY)
        folder = f"{Config.read().prefix}/{FOLDER}/{Place.of(self._data).archive}/"
        if not key.startswith(folder) or ".." in key.split("/"):
            raise Refused(400, f"key has to begin with {folder}")
        with self._lock:
            self.look(told)
            self._demand_closed(database, told)
        self._desk.begin("dump", database, lambda: self._dump(database, key))
        return 202, "begun\n"

    def retire(self, told: Mapping[str, Any]) -> tuple[int, str]:
        """Keep a closed database under another name, for good; when that was. Raises Refused.

        Asked again it does nothing and says so, whatever the token.
        """
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
            self._demand_closed(database, told)
            done = rename(sql.RETIRE, {**names, "oid": oid[0]})
            at, *opened = sql.rows(done) or [""]
            if done.code != 0:
                raise Refused(503, done.said or "the server did not say why")
            if opened:
                raise Refused(409, f"{database} was opened meanwhile, so it may have what its dump has not")
            self._forget(database)
        self._say(f"{database} has moved; it is kept as {kept}")
        self._on_kept()
        return 200, f"{at}\n"

    def clean_up(self) -> bool:
        """Open what an archiver before this one has closed, and drop its readers; False if that has to be repeated."""
        with self._lock:
            found = sql.ask(sql.CLOSED_ONES)
            opened = [self._open(one) for one in sql.rows(found) if one not in self._closed]
        if self._desk.busy:
            return False
        readers = sql.ask(sql.READERS)
        dropped = [sql.ask(sql.DROP_READER, variables={"reader": one}) for one in sql.rows(readers)]
        return all(opened) and all(one.code == 0 for one in (found, readers, *dropped))

    def _shut(self, names: Mapping[str, str]) -> str:
        """Why it could not be closed; empty if nobody is in and nobody comes in."""
        done = sql.ask(sql.CLOSE, variables=names)
        end = time.monotonic() + EMPTY_SECONDS
        while done.code == 0 and time.monotonic() < end:
            done = sql.ask(sql.EMPTY, variables=names)
            if done.code == 0 and sql.rows(done)[-1] == "0":
                return ""
            time.sleep(EMPTY_PAUSE)
        return f"sessions of {names['owner']} do not end" if done.code == 0 else done.said

    def _dump(self, database: str, key: str) -> str:
        names = _names(database)
        login = names["reader"]
        demand(sql.ask(sql.MAKE_READER, variables=names), f"making the role {login}")
        try:
            # The quota puts it up again when the database is open.
            demand(sql.ask(LIFT.read_text(encoding="utf-8"), database=database), "lifting a block by the quota")
            argv = [SELF, "dump", str(self._data), database, key, "--login", login]
            done = demand(run(argv, environment={}, seconds=SECONDS), "dumping")
        finally:
            dropped: Done = sql.ask(sql.DROP_READER, variables=names)
        demand(dropped, f"dropping the role {login}")
        self._state.note(dump_bytes=int(done.output))
        return f"{database} {key}"

    def _demand_closed(self, database: str, told: Mapping[str, Any]) -> str:
        token = text_of(told, "token", TOKEN)
        if self._closed.get(database, ("",))[0] != token:
            raise Refused(409, f"{database} has been open since, so it may have what a dump has not: close it first")
        return token

    def _open(self, database: str) -> bool:
        with self._lock:
            self._forget(database)
            done = sql.ask(sql.OPEN, variables=_names(database))
            if done.code == 0:
                self._say(f"{database} is open")
        return done.code == 0

    def _open_after(self, database: str, token: str, seconds: float) -> None:
        self._forget(database)
        timer = threading.Timer(seconds, self._open_if, [database, token])
        timer.daemon = True
        self._closed[database] = (token, timer)
        timer.start()

    def _open_if(self, database: str, token: str) -> None:
        """Unless it was closed once more, or retired, since this was set."""
        with self._lock:
            found = self._closed.get(database)
            if found is not None and found[0] == token and found[1] is threading.current_thread():
                self._open(database)

    def _forget(self, database: str) -> None:
        found = self._closed.pop(database, None)
        if found is not None:
            found[1].cancel()


def _names(database: str) -> dict[str, str]:
    """As variables of psql."""
    return {
        "live": database,
        "new": f"{database}{sql.NEW_SUFFIX}",
        "owner": f"{database}_owner",
        **{role: f"{database}_{role}" for role in ("probe", "rest", "auth")},
        "reader": f"{sql.READER_PREFIX}{database.removeprefix('p_')}",
    }
