# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line."""

from __future__ import annotations

import argparse
import datetime
import http.client
import json
import os
import sys
from pathlib import Path
from typing import Any

from . import dumps, ends, points, sql, store, web
from .config import ConfigError, Incarnation, fingerprint_of_key
from .engines import Place
from .resident import Resident
from .restore import begin_life, parent_of, restore
from .scratch import Scratch

SECONDS = 10


def main(arguments: list[str]) -> int:
    """Do what the command line says; 0 if it was done."""
    parser = argparse.ArgumentParser(prog="supalove-archiver", description="Keeps the archive of a PostgreSQL.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="archive until told to stop")
    commands.add_parser("serve", help="be there for a scratch copy: fetch its WAL, dump and check it")
    commands.add_parser("status", help="how it goes, as JSON")
    asking = commands.add_parser("backup", help="ask for a base backup now")
    asking.add_argument("--full", action="store_true", help="one that needs no other")
    founding = commands.add_parser("found", help="say in the archive whose it is; prints its base backups, as JSON")
    founding.add_argument("data", type=Path)
    founding.add_argument("system_identifier")
    founding.add_argument("postgresql", type=int)
    founding.add_argument("heartbeat", help="the last one before this life began, where it began with a restore")
    commands.add_parser("restore", help="put the base backup into place that the life of this PostgreSQL begins with")
    listing = commands.add_parser("backups", help="the base backups in the archive, as JSON")
    listing.add_argument("data", type=Path)
    dumping = commands.add_parser("dump", help="dump a database into the store; prints its bytes")
    dumping.add_argument("data", type=Path)
    dumping.add_argument("database")
    dumping.add_argument("key")
    dumping.add_argument("--login", default=sql.DUMPER, help="as whom; by default %(default)s")
    pointing = commands.add_parser("point", help="note a restore point in the archive")
    pointing.add_argument("data", type=Path)
    pointing.add_argument("note", type=json.loads)
    naming = commands.add_parser("points", help="the newest restore points in the archive, as JSON")
    naming.add_argument("data", type=Path)
    ending = commands.add_parser("end", help="note in the archive that all which was committed is in it")
    ending.add_argument("data", type=Path)
    ending.add_argument("lsn")
    told = parser.parse_args(arguments)
    try:
        return _do(told)
    except (ConfigError, store.StoreError, store.ForeignPrefix) as error:
        sys.stderr.write(f"supalove-archiver: ERROR: {error}\n")
        return 1


def _do(told: argparse.Namespace) -> int:
    if told.command == "run":
        return Resident(Path(os.environ["PGDATA"])).run()
    if told.command == "serve":
        return Scratch(Path(os.environ["PGDATA"])).run()
    if told.command == "status":
        sys.stdout.write(_ask("GET", "/status") + "\n")
    elif told.command == "restore":
        sys.stderr.write(f"supalove-archiver: {restore(Path(os.environ['PGDATA']))}\n")
    elif told.command == "backup":
        sys.stdout.write(_ask("POST", "/backup/full" if told.full else "/backup"))
    elif told.command == "dump":
        sys.stdout.write(f"{dumps.read_out(told.data, told.database, told.key, told.login)}\n")
    elif told.command == "found":
        _found(told.data, told.system_identifier, told.postgresql, told.heartbeat)
    else:
        _in_the_store(Place.of(told.data), told)
    return 0


def _in_the_store(place: Place, told: argparse.Namespace) -> None:
    """What the resident asks for, each as a program of its own. Raises StoreError."""
    if told.command == "point":
        _point(place, told.note)
    elif told.command == "points":
        found = store.points(place)
        sys.stdout.write(json.dumps([made for life, one in found for made in points.told(life, one)]) + "\n")
    elif told.command == "end":
        _end(place, told.lsn)
    else:
        sys.stdout.write(json.dumps(store.backups(place)) + "\n")


def _point(place: Place, note: dict[str, Any]) -> None:
    """Raises StoreError if the name is taken."""
    if not store.note(place, f"{store.POINTS}{note['project']}.{note['name']}.json", note):
        raise store.StoreError(f"there is a restore point {note['name']} already")


def _end(place: Place, lsn: str) -> None:
    """In the place of one that was left there. Raises StoreError."""
    store.forget(place, ends.NAME)
    if not store.note(place, ends.NAME, ends.note_of(lsn)):
        raise store.StoreError(f"another archiver writes {ends.NAME}")


def _ask(method: str, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", web.PORT, timeout=SECONDS)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        text = answer.read().decode()
    except OSError as error:
        raise ConfigError(f"the archiver does not answer on port {web.PORT}: {error}") from error
    finally:
        connection.close()
    if answer.status >= 400:
        raise ConfigError(text.strip())
    return text


def _found(data: Path, system_identifier: str, postgresql: int, heartbeat: str) -> None:
    """With another key than before a new incarnation begins, as it would with another volume.

    Which base backups there are is told by the same program: each start of one takes a second.
    """
    try:
        engine = _found_as_it_is(data, system_identifier, postgresql, heartbeat)
    except store.OtherKey as error:
        sys.stderr.write(f"supalove-archiver: {error}, so another incarnation begins\n")
        begin_life(data, None)
        engine = _found_as_it_is(data, system_identifier, postgresql, heartbeat)
    sys.stdout.write(json.dumps({"engine": engine, "backups": store.backups(Place.of(data))}))


def _found_as_it_is(data: Path, system_identifier: str, postgresql: int, heartbeat: str) -> str:
    place, incarnation = Place.of(data), Incarnation.read(data)
    now = datetime.datetime.now(datetime.UTC)
    engine = store.found(
        place,
        {
            "version": 1,
            "incarnation": incarnation.id,
            "archive": place.archive,
            "engine": place.config.engine,
            "postgresql": postgresql,
            "system_identifier": system_identifier,
            "began": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "key": fingerprint_of_key(),
            "parent": parent_of(data, incarnation.parent, heartbeat),
        },
    )
    # The server runs, and will send more.
    store.forget(place, ends.NAME)
    return engine
