# SPDX-License-Identifier: GPL-3.0-or-later
"""A dump is loaded beside a live database, then the two are swapped, and what was live is kept until it is dropped."""

from __future__ import annotations

import datetime
import os
import re
import secrets
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO, cast

from . import rights, sql
from .config import SOCKETS
from .download import download
from .engines import Place
from .programs import Done, run
from .state import State
from .toc import wanted
from .work import Desk, Refused, WorkError, demand, flag_of, text_of

SECONDS = 24 * 3600.0
DROP_SECONDS = 600.0
SWAP_SECONDS = 9.0
# Of the volume, below which a load is ended: at a tenth, or 8 GiB, supalove-quota stops the tenants of all databases.
FREE_SHARE = 0.15
FREE_BYTES = 12 * 1024**3
# Bytes of address space of pg_restore, which holds the list of what is in a dump.
MEMORY = 384 * 1024**2
URL = re.compile(r"https://\S{1,8000}")


class Loads:
    """Answers to POST /load, /swap and /drop."""

    def __init__(self, data: Path, state: State, desk: Desk, say: Callable[[str], None]) -> None:
        self._data = data
        self._folder = data.with_name(f"{data.name}.load")
        self._state = state
        self._say = say
        self._desk = desk
        self._swapping = threading.Lock()
        self._looking = threading.Lock()
        # Held by a load from its beginning to its end, and by the clean-up after one that was killed.
        self._beside = threading.Lock()

    def load(self, told: Mapping[str, Any]) -> tuple[int, str]:
        """Begin to load what is at `url` beside `database`. Raises Refused."""
        database = text_of(told, "database", sql.DATABASE)
        owner, same = text_of(told, "owner", sql.OWNER), flag_of(told, "same_project")
        url = told.get("url")
        if owner != f"{database}_owner":
            raise Refused(400, f"owner has to be {database}_owner")
        if not isinstance(url, str) or not URL.fullmatch(url):
            raise Refused(400, "url has to be an address that begins with https://")

        def work() -> str:
            with self._beside:
                return self._load(_Names(database, owner), url, same=same)

        self._desk.begin("load", database, work)
        return 202, "begun\n"

    def swap(self, told: Mapping[str, Any]) -> tuple[int, str]:
        """Put what was loaded in the place of `database`, which is `kept` under that name. Raises Refused."""
        database, kept = text_of(told, "database", sql.DATABASE), text_of(told, "kept", sql.KEPT)
        if not kept.startswith(f"{database}_"):
            raise Refused(400, f"kept has to begin with {database}_")
        names = {"live": database, "new": f"{database}{sql.NEW_SUFFIX}", "kept": kept}
        if self._desk.busy == f"load {database}":
            raise Refused(409, f"load {database} runs")
        with self._swapping:
            live, new, there, *oid = self._before_swap(names)
            if new == "-" and there == "kept" and live != "-":
                return 200, "it is done already\n"
            if new == "-":
                raise Refused(404, f"there is no database {names['new']} that was loaded to its end")
            if there == "kept":
                raise Refused(409, f"there is a database {kept} already")
            if live == "-":
                raise Refused(404, f"there is no database {database}")
            allowed = "true" if live == "open" else "false"
            done = rename(sql.SWAP, {**names, "oid": oid[0], "allowed": allowed})
            # The answer may have been lost, but what it was about was done.
            if done.code != 0 and self._before_swap(names)[1:3] != ["-", "kept"]:
                raise Refused(503, done.said or "the server did not say why")
        self._say(f"{database} is what was loaded; {kept} is what it was before")
        self.look_later()
        return 200, "done\n"

    def drop(self, told: Mapping[str, Any]) -> tuple[int, str]:
        """Drop a database that was kept, or one that was loaded and never took the other's place. Raises Refused."""
        name = text_of(told, "database", sql.DROPPED)
        if self._desk.busy == f"load {name.removesuffix(sql.NEW_SUFFIX)}":
            raise Refused(409, f"{self._desk.busy} runs")
        with self._swapping:
            there = sql.ask(sql.EXISTS, variables={"database": name})
            if there.code != 0:
                raise Refused(503, there.said)
            if sql.rows(there) != ["1"]:
                raise Refused(404, f"there is no database {name}")
            done = sql.ask(sql.DROP, variables={"database": name}, seconds=DROP_SECONDS)
            if done.code != 0:
                raise Refused(503, done.said)
        self._say(f"{name} is dropped")
        self.look_later()
        return 200, "done\n"

    def look_later(self) -> None:
        """To measure what is kept may take longer than whoever waits for an answer does."""
        threading.Thread(target=self.look, name="look", daemon=True).start()

    def look(self) -> bool:
        """Note what is kept; False if the server does not say. One look at a time: the last one is what counts."""
        with self._looking:
            done = sql.ask(sql.KEPT_ONES)
            if done.code == 0:
                self._state.note(kept=[_kept(line) for line in sql.rows(done)])
            return done.code == 0

    def clean_up(self) -> bool:
        """Remove what a load that was killed has left; False if that has to be tried again."""
        if not self._beside.acquire(blocking=False):
            return False
        try:
            shutil.rmtree(self._folder, ignore_errors=True)
            found = sql.ask(sql.UNFINISHED)
            done = [found, *(self._remove_unfinished(name) for name in sql.rows(found))]
            return all(one.code == 0 for one in done)
        finally:
            self._beside.release()

    def _remove_unfinished(self, name: str) -> Done:
        self._say(f"{name} was not loaded to its end and is removed")
        return self._remove(_Names(name.removesuffix(sql.NEW_SUFFIX), ""))

    def _before_swap(self, names: Mapping[str, str]) -> list[str]:
        done = sql.ask(sql.BEFORE_SWAP, variables=names, seconds=SWAP_SECONDS / 3)
        if done.code != 0:
            raise Refused(503, done.said or "the server does not answer")
        return done.output.split()

    def _load(self, names: _Names, url: str, *, same: bool) -> str:
        try:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir(mode=0o700)
            dump = self._folder / "dump"
            authority = Place.of(self._data).authority()
            size = download(url, dump, authority=authority, refuse=self._no_room)
            self._make(names)
            self._restore(names, dump, same=same)
            self._finish(names, same=same)
        except BaseException:
            self._remove(names)
            raise
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
        return f"{names.live} {size}"

    def _make(self, names: _Names) -> None:
        if sql.rows(demand(sql.ask(sql.EXISTS, variables={"database": names.live}), "looking")) != ["1"]:
            raise WorkError(f"there is no database {names.live} to load beside")
        demand(sql.ask(sql.MAKE_NEW, variables=names.told, seconds=DROP_SECONDS), f"making {names.new}")
        if sql.rows(demand(sql.ask(sql.IS_FROM_TEMPLATE), "looking for the template")) != ["1"]:
            demand(sql.ask(sql.SHAPE_NEW, variables=names.told, database=names.new), f"making {names.new}")

    def _restore(self, names: _Names, dump: Path, *, same: bool) -> None:
        """As the loader, who becomes the project's user: what tenants have written runs as nobody else."""
        every, chosen = self._folder / "list", self._folder / "chosen"
        argv = ["pg_restore", "--list", f"--file={every}", str(dump)]
        demand(run(argv, environment={}, seconds=SECONDS, memory=MEMORY), "reading the dump")
        with every.open("rb") as lines, chosen.open("wb") as file:
            file.writelines(wanted(lines))
        argv = ["pg_restore", "-h", str(SOCKETS), "-U", names.loader, "-d", names.new, "--no-password"]
        argv += [f"--use-list={chosen}", f"--role={names.owner}", "--no-owner", "--no-tablespaces"]
        # Rows are read back before policies are there; a view that is filled reads what its owner may.
        argv += ["--enable-row-security", "--exit-on-error", *([] if same else ["--no-privileges"])]
        environment = {"PGAPPNAME": "supalove-archiver", "PGOPTIONS": "-c client_min_messages=error"}
        done = run(
            [*argv, str(dump)], environment=environment, seconds=SECONDS, memory=MEMORY, watch=self._no_room
        )  # fmt: skip
        if done.code != 0:
            raise WorkError(_first_error(done.errors) or done.said or f"pg_restore ended with {done.code}")
        if not same:
            self._give_rights(names, dump, chosen)
        analyzed = sql.ask(
            sql.ANALYZE, variables=names.told, database=names.new, user=names.loader, seconds=SECONDS
        )  # fmt: skip
        demand(analyzed, "ANALYZE")

    def _give_rights(self, names: _Names, dump: Path, chosen: Path) -> None:
        """In another project there are other logins, and the same groups."""
        entries, script, given = (self._folder / name for name in ("entries", "script", "given"))
        with chosen.open("rb") as lines, entries.open("wb") as file:
            file.writelines(rights.listed(lines))
        argv = ["pg_restore", "--no-owner", f"--use-list={entries}", f"--file={script}", str(dump)]
        read = run(argv, environment={}, seconds=SECONDS, memory=MEMORY, watch=self._no_room)
        demand(read, "reading the dump's rights")
        roles = {rights.EVERYBODY, *sql.rows(demand(sql.ask(sql.GROUPS), "looking for groups"))}
        with _bytes_of(script, "r") as told, _bytes_of(given, "w") as file:
            file.write(f"\\restrict {secrets.token_hex()}\n")
            try:
                file.writelines(f"{right}\n" for right in rights.carried(told, roles))
            except ValueError as error:
                raise WorkError(str(error)) from error
        done = sql.ask(
            sql.GIVE_RIGHTS,
            variables={**names.told, "given": str(given)},
            database=names.new,
            user=names.loader,
            seconds=SECONDS,
        )
        demand(done, "giving the dump's rights")

    def _finish(self, names: _Names, *, same: bool) -> None:
        if not same:
            strangers = demand(sql.ask(sql.STRANGERS, variables=names.told), "looking for other roles")
            for stranger in sql.rows(strangers):
                raise WorkError(f"what was loaded names the role {stranger}, which is another project's")
        demand(sql.ask(sql.FINISH_NEW, variables=names.told), f"finishing {names.new}")

    def _remove(self, names: _Names) -> Done:
        done = sql.ask(sql.CLEAN_UP, variables=names.told, seconds=DROP_SECONDS)
        if done.code != 0:
            self._say(f"{names.new} cannot be removed: {done.said}")
        return done

    def _no_room(self, more: int = 0) -> str:
        """Why so many bytes more must not be written; empty if they may."""
        if self._state.read().writes_stopped:
            return "tenants are stopped, as the volume is nearly full of WAL that waits"
        volume = os.statvfs(self._data.parent)
        free = volume.f_bavail * volume.f_frsize - more
        if free >= min(FREE_BYTES, volume.f_blocks * volume.f_frsize * FREE_SHARE):
            return ""
        needs = f"{more} bytes are to come, and " if more else ""
        return f"{needs}the volume of the data would have less than {FREE_SHARE:.0%} left, or 12 GiB"


def rename(statements: str, names: Mapping[str, str]) -> Done:
    """While this renames, another session ends all others. Whoever comes new waits for the renaming's lock."""
    over = threading.Event()

    def evict() -> None:
        sql.ask(sql.EVICT, variables=names, seconds=SWAP_SECONDS, watch=lambda: "over" if over.is_set() else "")

    evicting = threading.Thread(target=evict, name="evict", daemon=True)
    evicting.start()
    try:
        return sql.ask(statements, variables=names, seconds=SWAP_SECONDS)
    finally:
        over.set()
        # Whoever comes afterwards is not ended.
        evicting.join()


class _Names:
    """What a load has to do with."""

    def __init__(self, live: str, owner: str) -> None:
        self.live = live
        self.owner = owner
        self.new = f"{live}{sql.NEW_SUFFIX}"
        self.loader = f"{sql.LOADER_PREFIX}{live.removeprefix('p_')}"

    @property
    def told(self) -> dict[str, str]:
        """As variables of psql."""
        return {"live": self.live, "new": self.new, "owner": self.owner, "loader": self.loader}


def _bytes_of(file: Path, mode: str) -> TextIO:
    """A character for each byte, and no line break but the usual one."""
    return cast("TextIO", file.open(mode, encoding="latin-1", newline="\n"))


def _kept(line: str) -> dict[str, Any]:
    """Name and bytes; in the name is when it was live last."""
    name, size = line.split()
    at = datetime.datetime.strptime(name.rsplit("_", 1)[1], "%Y%m%dt%H%M%Sz").replace(tzinfo=datetime.UTC)
    return {"name": name, "bytes": int(size), "at": at.timestamp()}


def _first_error(said: str) -> str:
    """Of pg_restore: what went wrong, and at what of the dump. What follows may hold rows and is left out."""
    entry = ""
    for line in said.splitlines():
        if line.startswith("pg_restore: from TOC entry "):
            entry = line.partition(";")[2].split(maxsplit=2)[-1]
        if line.startswith("pg_restore: error: "):
            what = line.removeprefix("pg_restore: error: ").removeprefix("could not execute query: ")
            return f"{what} (at {entry})" if entry else what
    return ""
