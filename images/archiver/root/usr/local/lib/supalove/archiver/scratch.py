# SPDX-License-Identifier: GPL-3.0-or-later
"""Beside a scratch copy: a PostgreSQL that was restored to be looked at, and that nobody uses.

Its WAL is fetched, it is dumped and checked, and it is told what is in it. Nothing is ever written into an archive.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

from . import sql, web
from .config import SPOOL, ConfigError, Incarnation
from .dumps import Dumps
from .engines import Engine
from .programs import kill_all
from .resident import LOOK_SECONDS, TICK_SECONDS, end, note_volume, say
from .restore import source_of
from .state import State
from .wal import Wal

NOT_HERE = "this is a scratch copy: nothing is archived, and nothing is loaded here"


class Scratch:
    """One archiver without an archive of its own; `run` returns when it has been told to stop."""

    def __init__(self, data: Path, spool: Path = SPOOL) -> None:
        self._data = data
        self._state = State()
        self._state.note(copy={"ready": False, "heartbeat": "", "databases": []})
        self._stopping = threading.Event()
        self._dumps = Dumps(data, self._state, say)
        self._wal = Wal(
            data=data,
            spool=spool,
            engine_of=self._source,
            source_of=self._source,
            state=self._state,
            # Nothing is sent, so nothing can be in conflict.
            conflict=lambda _name: None,
        )

    def run(self) -> int:
        """Work until SIGTERM or SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stopping.set())
        threading.excepthook = end
        asking = ("/backup", "/backup/full", "/point", "/load", "/swap", "/drop")
        moving = ("/look", "/close", "/hold", "/open", "/retire")
        refused = web.refusals((*asking, *moving), NOT_HERE)
        server = web.serve(self._state, {"/dump": self._dumps.dump, "/check": self._dumps.check, **refused})
        threading.Thread(target=self._keep_figures, name="figures", daemon=True).start()
        while not self._stopping.is_set():
            self._wal.tick_in()
            time.sleep(TICK_SECONDS)
        kill_all()
        server.shutdown()
        say("stopped")
        # What still waits in a thread is nobody's any more.
        os._exit(0)

    def _source(self) -> Engine:
        """What the copy is of."""
        parent = Incarnation.read(self._data).parent
        if parent is None:
            raise ConfigError("these data were not restored from an archive, so they are no copy")
        return source_of(parent)

    def _keep_figures(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            note_volume(self._data, self._state)
            done = sql.ask(sql.COPY)
            found = sql.rows(done) if done.code == 0 else []
            if found:
                self._state.note(copy={"ready": True, "heartbeat": found[0], "databases": found[1:]})
            else:
                self._state.note(copy={"ready": False, "heartbeat": "", "databases": []})
