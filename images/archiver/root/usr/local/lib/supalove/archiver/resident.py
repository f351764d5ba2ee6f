# SPDX-License-Identifier: GPL-3.0-or-later
"""The resident: it waits for the server, says whose archive this is, and then archives until it is told to stop."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from . import ends, schedule, sql, web
from .config import SPOOL, Config, ConfigError, Incarnation, fingerprint_of_key
from .engines import Engine, Place, engine_of
from .loads import Loads
from .moves import Moves
from .points import Points
from .programs import kill_all, run
from .restore import begin_life, source_of
from .state import State
from .wal import Wal
from .work import Desk

TICK_SECONDS = 0.2
LOOK_SECONDS = 2.0
STORE_SECONDS = 90.0
# Of the time that the kubelet leaves for the end of a pod. When nothing has got on for so long, what waits is left to
# the next start: clients wait for the next pod, and the volume keeps it.
END_SECONDS = 20.0
# A base backup may take this long, and no longer.
BACKUP_SECONDS = 24 * 3600.0
RETRY_SECONDS = 5.0
# Until the server answers for the first time, as it does within seconds.
START_SECONDS = 1.0
FOUND_SECONDS = 3600.0
SELF = "/usr/local/bin/supalove-archiver"
# From one look at the databases that are kept to the next.
KEPT_SECONDS = 60.0


def say(text: str) -> None:
    """A line for the log."""
    sys.stderr.write(f"supalove-archiver: {text}\n")
    sys.stderr.flush()


class Resident:
    """One archiver; `run` returns when it has been told to stop and all WAL is archived."""

    def __init__(self, data: Path, spool: Path = SPOOL) -> None:
        self._data = data
        self._state = State()
        self._stopping = threading.Event()
        # How much WAL was sent when that was last seen to grow, and when; while it is time to stop.
        self._got_on: tuple[int, float] | None = None
        self._asked = threading.Event()
        self._asked_full = False
        self._asking = threading.Lock()
        desk = Desk(self._state, say)
        self._loads = Loads(data, self._state, desk, say)
        self._moves = Moves(data, self._state, desk, say, on_kept=self._loads.look_later)
        self._points = Points(data, self._state, say)
        # Where it was said whose archive this is; empty before.
        self._founded = ""
        self._engine_name = ""
        self._has_server = False
        # When the server that was seen last was started, in its own words.
        self._server_began = ""
        self._past = schedule.Past()
        self._wal = Wal(
            data=data,
            spool=spool,
            engine_of=self._engine,
            source_of=self._source,
            state=self._state,
            conflict=self._in_conflict,
        )
        # The WAL file that is in the archive with another content; empty if there is none.
        self._conflict = ""

    def run(self) -> int:
        """Work until SIGTERM or SIGINT. The kubelet sends it when the server has ended: then the rest is sent."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stopping.set())
        threading.excepthook = end
        server = web.serve(self._state, self._answers())
        workers = [
            threading.Thread(target=self._keep_archive, name="archive", daemon=True),
            threading.Thread(target=self._keep_figures, name="figures", daemon=True),
            threading.Thread(target=self._keep_databases, name="databases", daemon=True),
        ]
        for worker in workers:
            worker.start()
        while not (self._stopping.is_set() and (self._wal.is_drained() or not self._founded or self._is_stuck())):
            self._wal.tick_in()
            if self._founded:
                self._wal.tick_out()
            time.sleep(TICK_SECONDS)
        if self._founded and not self._wal.is_drained():
            say(f"{self._state.read().ready_files} WAL files wait for the next start: {self._state.read().wal.error}")
        kill_all()
        self._note_end()
        server.shutdown()
        say("stopped")
        # What still waits in a thread is nobody's any more.
        os._exit(0)

    def _is_stuck(self) -> bool:
        """True if nothing has got into the archive for a while since it is time to stop."""
        done, now = self._state.read().wal.done, time.monotonic()
        if self._got_on is None or done != self._got_on[0]:
            self._got_on = (done, now)
        return now - self._got_on[1] > END_SECONDS

    def _note_end(self) -> None:
        """Say in the archive that it is whole, if it is: the server has shut down, and nothing of it waits."""
        lsn = ends.shutdown_of(self._data)
        if lsn and self._founded and self._wal.is_drained():
            done = run([SELF, "end", str(self._data), lsn], environment={}, seconds=END_SECONDS)
            say(f"all before {lsn} is archived" if done.code == 0 else f"the end is not noted: {done.said}")

    def _answers(self) -> dict[str, web.Answer]:
        return {
            **web.backup_answers(self._ask_backup),
            "/load": self._loads.load,
            "/swap": self._loads.swap,
            "/drop": self._loads.drop,
            "/look": self._moves.look,
            "/close": self._moves.close,
            "/hold": self._moves.hold,
            "/dump": self._moves.dump,
            "/retire": self._moves.retire,
            "/open": self._moves.open,
            "/point": self._points.make,
            **web.refusals(("/check",), "this PostgreSQL is live; only a scratch copy is checked"),
        }

    def _engine(self) -> Engine:
        return engine_of(Place.of(self._data), self._engine_name)

    def _source(self) -> Engine:
        """What is restored from: the incarnation before this one."""
        parent = Incarnation.read(self._data).parent
        if parent is None:
            raise ConfigError("this incarnation was not restored from another")
        return source_of(parent)

    def _in_conflict(self, name: str) -> None:
        """Nothing more of ours is sent to where another server archives."""
        self._founded = ""
        self._conflict = name

    def _leave_conflict(self) -> None:
        """Go on in a place of our own, as nobody can tell which of two is the copy. What is archived belongs to one."""
        if self._conflict:
            say(f"{self._conflict} is in the archive with another content: another server archives there. We leave it")
            begin_life(self._data, None)
            self._conflict = ""

    def _ask_backup(self, full: bool) -> bool:  # noqa: FBT001 (the shape of web.Ask)
        with self._asking:
            if self._asked.is_set() or self._state.read().backup_running:
                return False
            self._asked_full = full
            self._asked.set()
        return True

    def _keep_archive(self) -> None:
        """Found the archive, then heartbeats and base backups, each when it is due.

        It is founded anew where it is to be from now on, if that is told, and every hour: a store may have been lost.
        So it is before a backup that somebody asks for, who may know that it was.
        """
        heart_at = found_at = 0.0
        while not self._stopping.is_set():
            try:
                self._leave_conflict()
                place = Place.of(self._data)
                where = _where(place)
            except (ConfigError, OSError) as error:
                self._refuse(str(error))
                self._stopping.wait(RETRY_SECONDS)
                continue
            config = place.config
            now = time.time()
            if now >= heart_at:
                heart_at = now + config.rpo_seconds
                self._beat()
            if self._founded != where or now >= found_at or self._asked.is_set():
                if not self._found():
                    self._stopping.wait(RETRY_SECONDS if self._has_server else START_SECONDS)
                    continue
                found_at = now + FOUND_SECONDS
            self._state.note(rpo_seconds=config.rpo_seconds, backup_hours=config.backup_hours)
            self._backup_if_due(config, now)
            self._stopping.wait(1.0)

    def _found(self) -> bool:
        """True once the archive says that it is ours; before that nothing is sent."""
        try:
            place = Place.of(self._data)
        except ConfigError as error:
            self._refuse(str(error))
            return False
        self._state.note(archive=place.archive, incarnation=place.incarnation, engine=self._engine_name)
        asked = sql.ask(sql.IDENTITY)
        if asked.code != 0 or not asked.output.strip():
            self._refuse(asked.said or "the server does not answer yet")
            return False
        self._has_server = True
        done = run([SELF, "found", str(self._data), *asked.output.split()], environment={}, seconds=STORE_SECONDS)
        if done.code != 0:
            self._refuse(done.said or f"supalove-archiver found ended with {done.code}")
            return False
        told = json.loads(done.output)
        self._engine_name = told["engine"]
        self._state.note(engine=self._engine_name)
        self._take_backups(told["backups"])
        # Read again: with another key it is another incarnation by now.
        place = Place.of(self._data)
        self._state.note(refused="", incarnation=place.incarnation)
        if self._founded != _where(place):
            say(f"archiving to {place.url} with {self._engine_name}")
        self._founded = _where(place)
        # Which names there are is worth no pause in archiving, and so a program of its own.
        self._points.look()
        return True

    def _refuse(self, reason: str) -> None:
        self._founded = ""
        if self._state.read().refused != reason:
            say(f"nothing is archived: {reason}")
        self._state.note(refused=reason)

    def _look_at_backups(self) -> str:
        """Read which there are in the archive; why that did not work, empty if it did."""
        done = run([SELF, "backups", str(self._data)], environment={}, seconds=STORE_SECONDS)
        if done.code != 0:
            return done.said or f"supalove-archiver backups ended with {done.code}"
        self._take_backups(json.loads(done.output))
        return ""

    def _take_backups(self, made: list[dict[str, Any]]) -> None:
        self._past = schedule.Past(
            backups=[one["at"] for one in made], fulls=[one["at"] for one in made if one["full"]]
        )
        self._state.note(
            newest_backup_at=max(self._past.backups, default=0.0), newest_full_at=max(self._past.fulls, default=0.0)
        )

    def _beat(self) -> None:
        done = sql.ask(sql.HEARTBEAT)
        if done.code == 0:
            self._state.note(writes_stopped=not done.output.strip())
        if done.code == 0 and done.output.strip():
            self._state.succeeded("heartbeat", "")
            if self._server_began != done.output and sql.ask(sql.WAKE).code == 0:
                self._server_began = done.output
        elif done.code != 0:
            self._state.failed("heartbeat", done.said)

    def _backup_if_due(self, config: Config, now: float) -> None:
        work = self._state.read().backup
        past = schedule.Past(
            backups=self._past.backups, fulls=self._past.fulls, failures=work.failures, failed_at=work.error_at
        )
        due = schedule.next_backup(config.archive, hours=config.backup_hours, past=past, now=now)
        self._state.note(backup_next_at=due)
        if now < due and not self._asked.is_set():
            return
        with self._asking:
            full = self._asked_full or schedule.is_full_due(days=config.full_days, past=past, now=now)
            self._state.note(backup_running=True)
            # Now, not when it has ended: who asks in between would be told yes, and then forgotten.
            self._asked.clear()
            self._asked_full = False
        threading.Thread(target=self._backup, args=(full,), name="backup", daemon=True).start()
        while self._state.read().backup_running and not self._stopping.is_set():
            # The heart goes on beating: a long backup must not make the timeline coarse.
            self._stopping.wait(min(1.0, config.rpo_seconds))
            if time.time() >= now + config.rpo_seconds:
                now = time.time()
                self._beat()

    def _backup(self, full: bool) -> None:  # noqa: FBT001 (of a thread)
        try:
            engine = self._engine()
            say(f"base backup begins{', a full one' if full else ''}")
            argv = engine.backup(self._data, full=full)
            done = run(argv, environment=engine.environment(), seconds=BACKUP_SECONDS)
            error = (done.said or f"exit code {done.code}") if done.code != 0 else self._look_at_backups()
            if error:
                self._state.failed("backup", error)
                say(f"base backup failed: {error}")
            else:
                self._state.succeeded("backup", "full" if full else "delta")
                say("base backup done")
        except ConfigError as error:
            self._state.failed("backup", str(error))
        finally:
            self._state.note(backup_running=False)

    def _keep_figures(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            note_volume(self._data, self._state)

    def _keep_databases(self) -> None:
        """What a load that was killed has left is removed once; the rest is looked at again and again."""
        is_clean = False
        while not self._stopping.is_set():
            is_clean = is_clean or self._loads.clean_up()
            is_well = all([self._moves.clean_up(), self._loads.look(), is_clean])
            self._stopping.wait(KEPT_SECONDS if is_well else RETRY_SECONDS)


def note_volume(data: Path, state: State) -> None:
    """How full the volume of the data is."""
    volume = os.statvfs(data.parent)
    state.note(
        wal_bytes=_bytes_in(data / "pg_wal"),
        volume_bytes=volume.f_blocks * volume.f_frsize,
        volume_free_bytes=volume.f_bavail * volume.f_frsize,
    )


def _where(place: Place) -> str:
    """An incarnation's place, in whichever store, and with which key: another one begins another incarnation.

    Raises ConfigError without a key.
    """
    return f"{place.config.endpoint} {place.url} {fingerprint_of_key()}"


def end(told: threading.ExceptHookArgs) -> None:
    """A thread that ends of an error nobody thought of takes the program with it, which is then started again."""
    traceback.print_exception(told.exc_type, told.exc_value, told.exc_traceback)
    kill_all()
    os._exit(1)


def _bytes_in(folder: Path) -> int:
    total = 0
    try:
        for one in os.scandir(folder):
            if one.is_file(follow_symlinks=False):
                total += one.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return total
    return total
