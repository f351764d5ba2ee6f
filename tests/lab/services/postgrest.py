# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of the stand-in for PostgREST, its life, and its admin server."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping

import psycopg

from . import settings, tokens, web
from .database import NoneFree, Pool
from .postgrest_api import Api
from .schema import Cache
from .settings import Unusable, contract, is_true
from .web import Answer, Request

NAME = "postgrest"
LONGEST_DELAY = 32
FATAL_WORDS = ("password authentication failed", "no password supplied")
DUPLICATE_PREPARED_STATEMENT = "42P05"
# The reserved hosts; of IPv6 there is none in the stand-in.
ANY_HOST = {"!4": "", "*": "", "*4": ""}


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM. A configuration file is not in the stand-in."""
    if arguments == ["--version"]:
        sys.stdout.write(f"PostgREST {contract(NAME)['version']} (stand-in)\n")
        return 0
    try:
        told = _read(arguments)
    except Unusable as error:
        for line in str(error).splitlines():
            web.say(NAME, f"Error in config {line}")
        return 1
    process = Process(told)
    process.start()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_signal: stop.set())
    signal.signal(signal.SIGUSR1, lambda *_signal: process.reload())
    signal.signal(signal.SIGUSR2, lambda *_signal: process.read_secret())
    stop.wait()
    return 0


def _read(arguments: list[str]) -> dict[str, str]:
    """The settings, with the contents of files. Raises Unusable."""
    if arguments:
        raise Unusable(f"{arguments[0]}: no arguments but --version are in the stand-in")
    told = settings.read(NAME, "serve", os.environ)
    told["PGRST_DB_URI"] = _file("PGRST_DB_URI", told, settings.check_uri)
    told["PGRST_JWT_SECRET"] = _file("PGRST_JWT_SECRET", told, settings.check_secret)
    if told.get("PGRST_ADMIN_SERVER_PORT") == told["PGRST_SERVER_PORT"]:
        raise Unusable("admin-server-port cannot be the same as server-port")
    if is_true(told["STANDIN_TRANSACTION_POOL"]):
        wrong = [name for name in ("PREPARED_STATEMENTS", "CHANNEL_ENABLED") if is_true(told[f"PGRST_DB_{name}"])]
        if wrong:
            raise Unusable("\n".join(f"PGRST_DB_{name}: has to be false behind a transaction pool" for name in wrong))
    return told


def _file(name: str, told: Mapping[str, str], check: settings.Check) -> str:
    value = settings.read_value(told[name])
    if fault := check(value):
        raise Unusable(f"{name}: its value {fault}")
    return value


class Process:
    """The pool, the schema cache and what keeps it, the listener, both servers."""

    def __init__(self, told: Mapping[str, str]) -> None:
        self._told = told
        self._schemas = [one.strip() for one in told["PGRST_DB_SCHEMAS"].split(",")]
        self.pool = Pool(
            told["PGRST_DB_URI"],
            int(told["PGRST_DB_POOL"]),
            name=f"PostgREST {contract(NAME)['version']}",
            wait_seconds=int(told["PGRST_DB_POOL_ACQUISITION_TIMEOUT"]),
            is_preparing=is_true(told["PGRST_DB_PREPARED_STATEMENTS"]),
            lifetime_seconds=int(told["PGRST_DB_POOL_MAX_LIFETIME"]),
            idle_seconds=int(told["PGRST_DB_POOL_MAX_IDLETIME"]),
        )
        self.cache: Cache | None = None
        self._wanted = threading.Event()
        self._loads = {"SUCCESS": 0, "FAIL": 0}
        self._is_listening = False
        self._api = Api(told, self._schemas, self)
        self.keys = keys_of(told["PGRST_JWT_SECRET"])

    def start(self) -> None:
        """The server answers before it knows the schemas: with 503."""
        told, port = self._told, int(self._told["PGRST_SERVER_PORT"])
        host = told["PGRST_SERVER_HOST"]
        web.serve(ANY_HOST.get(host, host), port, self._api.answer)
        web.say(NAME, f"API server listening on {host}:{port} (stand-in)")
        if told.get("PGRST_ADMIN_SERVER_PORT"):
            admin = told.get("PGRST_ADMIN_SERVER_HOST") or host
            web.serve(ANY_HOST.get(admin, admin), int(told["PGRST_ADMIN_SERVER_PORT"]), self._admin)
        self._wanted.set()
        threading.Thread(target=self._keep_cache, name="schema-cache", daemon=True).start()
        if is_true(told["PGRST_DB_CHANNEL_ENABLED"]):
            threading.Thread(target=self._listen, name="listener", daemon=True).start()

    def reload(self) -> None:
        self._wanted.set()

    def read_secret(self) -> None:
        """Of the settings that can be read anew, what its file holds now; what is wrong changes nothing."""
        try:
            self.keys = keys_of(_file("PGRST_JWT_SECRET", os.environ, settings.check_secret))
        except Unusable as error:
            web.say(NAME, f"Failed reloading config: {error}")
        else:
            web.say(NAME, "Config reloaded")

    def failed(self, error: psycopg.Error) -> None:
        """What PostgREST holds for beyond help ends it."""
        words = str(error)
        if error.sqlstate == DUPLICATE_PREPARED_STATEMENT or any(one in words for one in FATAL_WORDS):
            web.say(NAME, f"fatal: {' '.join(words.split())}")
            os._exit(1)

    def _keep_cache(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            delay = 1
            while not self._load():
                web.say(NAME, f"Attempting to reconnect to the database in {delay} seconds...")
                self._wanted.wait(delay)
                self._wanted.clear()
                delay = min(2 * delay, LONGEST_DELAY)

    def _load(self) -> bool:
        self.pool.flush()
        try:
            with self.pool.connection() as connection:
                self.cache = Cache.load(connection, self._schemas)
        except (psycopg.Error, NoneFree) as error:
            self._loads["FAIL"] += 1
            self.cache = None
            web.say(NAME, f"Failed to load the schema cache: {' '.join(str(error).split())}")
            if isinstance(error, psycopg.Error):
                self.failed(error)
            return False
        self._loads["SUCCESS"] += 1
        web.say(NAME, f"Schema cache loaded {len(self.cache.tables)} Relations, {len(self.cache.routines)} Functions")
        return True

    def _listen(self) -> None:
        """Behind a transaction pool this succeeds, and nothing is ever heard."""
        delay, wake = 1, threading.Event()
        while True:
            with contextlib.suppress(psycopg.Error), self.pool.connect() as connection:
                connection.execute(psycopg.sql.SQL("LISTEN {}").format(psycopg.sql.Identifier(self._channel())))
                self._is_listening, delay = True, 1
                for heard in connection.notifies():
                    if heard.payload in ("", "reload schema"):
                        self.reload()
                    elif heard.payload == "reload config":
                        self.read_secret()
            self._is_listening = False
            wake.wait(delay)
            delay = min(2 * delay, LONGEST_DELAY)

    def _channel(self) -> str:
        return self._told["PGRST_DB_CHANNEL"]

    def _admin(self, request: Request) -> Answer:
        if request.path == "/live":
            return web.as_text(200 if self._is_live() else 500)
        if request.path == "/ready":
            return web.as_text(200 if self._is_live() and self._is_ready() else 503)
        if request.path == "/metrics":
            return web.as_text(200, "".join(f"{name} {value}\n" for name, value in self._figures().items()))
        if request.path == "/schema_cache" and self.cache is not None:
            return web.as_json(200, self.cache.as_json())
        return web.as_text(404)

    def _is_live(self) -> bool:
        place = ("127.0.0.1", int(self._told["PGRST_SERVER_PORT"]))
        with contextlib.suppress(OSError), socket.create_connection(place, timeout=2):
            return True
        return False

    def _is_ready(self) -> bool:
        if self.cache is None:
            return False
        if is_true(self._told["PGRST_DB_CHANNEL_ENABLED"]):
            return self._is_listening
        try:
            with self.pool.connection() as connection:
                connection.execute("SELECT 1")
        except NoneFree:
            return False
        except psycopg.Error as error:
            self.failed(error)
            return False
        return True

    def _figures(self) -> dict[str, int]:
        return {
            "pgrst_db_pool_available": self.pool.available,
            "pgrst_db_pool_max": self.pool.size,
            "pgrst_db_pool_waiting": self.pool.waiting,
            "pgrst_db_pool_timeouts_total": self.pool.timeouts,
            **{f'pgrst_schema_cache_loads_total{{status="{name}"}}': count for name, count in self._loads.items()},
        }


def keys_of(secret: str) -> list[tokens.Key]:
    """A text is the key of HS256; else a JWK or a set of them."""
    if not secret.lstrip().startswith("{"):
        return [tokens.key_of_text(secret)]
    found = json.loads(secret)
    keys: list[tokens.Key] = found.get("keys", [found])
    return keys
