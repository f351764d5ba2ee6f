# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done with a scratch copy: its databases are dumped into the object store, and checked."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from . import sql, store
from .config import SOCKETS, Config
from .engines import Place
from .programs import PASSED_ON, last_words, run
from .state import State
from .work import Desk, Refused, WorkError, demand, text_of

SELF = "/usr/local/bin/supalove-archiver"
SECONDS = 24 * 3600.0
# Below the platform's prefix. Archives are beside it, and a scratch copy writes into none.
FOLDER = "dumps"
KEY = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_./]{0,500}\.dump")
COMPRESSION = "zstd:3"
# What the quota has put up in a database that has reached its limit must not be in a dump of it.
LIFT = Path("/usr/local/share/supalove/quota/lift.sql")
CORRUPT = 2


class Dumps:
    """Answers to POST /dump and POST /check."""

    def __init__(self, data: Path, state: State, say: Callable[[str], None]) -> None:
        self._data = data
        self._state = state
        self._desk = Desk(state, say)

    def dump(self, told: Mapping[str, Any]) -> tuple[int, str]:
        """Begin to dump `database` to `key`. Raises Refused."""
        database, key = text_of(told, "database", sql.DATABASE), text_of(told, "key", KEY)
        folder = f"{Config.read().prefix}/{FOLDER}/"
        if not key.startswith(folder) or ".." in key.split("/"):
            raise Refused(400, f"key has to begin with {folder}")
        self._demand_databases([database])
        self._desk.begin("dump", database, lambda: self._dump(database, key))
        return 202, "begun\n"

    def check(self, told: Mapping[str, Any]) -> tuple[int, str]:
        """Begin to check `databases`, all if there are none. Raises Refused."""
        databases = told.get("databases")
        if not isinstance(databases, list) or not all(
            isinstance(one, str) and sql.DATABASE.fullmatch(one) for one in databases
        ):
            raise Refused(400, "databases has to be a list of names of projects' databases")
        self._demand_databases(databases)
        what = databases[0] if len(databases) == 1 else f"{len(databases) or 'all'} databases"
        self._desk.begin("check", what, lambda: self._check(databases))
        return 202, "begun\n"

    def _demand_databases(self, names: list[str]) -> None:
        found = self._state.read().copy or {}
        if not found.get("ready"):
            raise Refused(409, "the copy is not ready: its server recovers, or has not started yet")
        for name in names:
            if name not in found["databases"]:
                raise Refused(404, f"there is no database {name} in this copy")

    def _dump(self, database: str, key: str) -> str:
        told = {"database": database}
        demand(sql.ask(sql.MAKE_DUMPER, variables=told), f"making the role {sql.DUMPER}")
        demand(sql.ask(LIFT.read_text(encoding="utf-8"), database=database), "lifting a block by the quota")
        done = run([SELF, "dump", str(self._data), database, key], environment={}, seconds=SECONDS)
        self._state.note(dump_bytes=int(demand(done, "dumping").output))
        return f"{database} {key}"

    def _check(self, databases: list[str]) -> str:
        demand(sql.ask(sql.MAKE_DUMPER, variables={"database": ""}), f"making the role {sql.DUMPER}")
        chosen = databases or ["postgres", *(self._state.read().copy or {})["databases"]]
        for name in chosen:
            demand(sql.ask(sql.LET_CHECK, database=name), f"installing amcheck in {name}")
        argv = ["pg_amcheck", "-h", str(SOCKETS), "-U", sql.DUMPER, "--no-password", "--heapallindexed"]
        environment = {"PGOPTIONS": sql.SESSION, "PGAPPNAME": "supalove-archiver"}
        done = run(
            [*argv, *(f"--database={name}" for name in chosen)], environment=environment, seconds=SECONDS
        )  # fmt: skip
        if done.code == CORRUPT:
            raise WorkError(f"corrupt: {' '.join(done.output.split()[:40])}")
        demand(done, "checking")
        return f"{', '.join(databases) or 'all databases'}: nothing is wrong"


def read_out(data: Path, database: str, key: str, login: str = sql.DUMPER) -> int:
    """Dump a database straight into the object store; its bytes. Raises StoreError.

    Nothing of it touches the disk, so that a dump may be larger than the scratch directory.
    """
    argv = ["pg_dump", "-h", str(SOCKETS), "-U", login, "-d", database, "--no-password"]
    argv += ["--format=custom", f"--compress={COMPRESSION}", "--no-subscriptions"]
    own = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    with tempfile.TemporaryFile() as errors:
        environment = {**own, "PGAPPNAME": "supalove-archiver"}
        with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=errors) as process:
            stream = _Stream(process, errors)
            try:
                store.upload(Place.of(data), key, stream)
            except BaseException:
                process.kill()
                raise
        return stream.bytes


class _Stream:
    """What pg_dump writes. It ends only if pg_dump has ended well, so that no dump that is cut off gets its name."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        self._process = process
        self._errors = errors
        self.bytes = 0

    def read(self, size: int = -1) -> bytes:
        """The next bytes. Raises StoreError at the end of a dump that failed."""
        found = self._process.stdout.read(size) if self._process.stdout else b""
        self.bytes += len(found)
        # Less than was wished for is the end.
        if (size < 0 or len(found) < size) and self._process.wait() != 0:
            self._errors.seek(0)
            said = last_words("pg_dump", self._errors.read())
            raise store.StoreError(said or f"pg_dump ended with {self._process.returncode}")
        return found
