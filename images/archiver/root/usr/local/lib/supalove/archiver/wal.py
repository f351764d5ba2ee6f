# SPDX-License-Identifier: GPL-3.0-or-later
"""WAL between the server and the archive. The server has no keys: it waits in the spool for what is done here.

Out: of every `archive_status/<name>.ready` the file is sent, several at once; then `archived/<name>` appears in the
spool, for which the server's archive_command (supalove-archived) waits.
In: for every `wanted/<name>` the file is fetched to `fetched/<name>`; then `answers/<name>` says `found` or `missing`.
On any other error there is no answer, and it is tried again: the server's restore_command (supalove-wanted) must not
take it for the end of the archive. In the wish is the last segment that there may be: the next ones are fetched ahead.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .ahead import Ahead
from .config import ConfigError
from .engines import DIFFERS, Engine
from .programs import run
from .state import State

SENDERS = 2
FETCHERS = 2
SECONDS = 300.0
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
FOLDERS = ("archived", "wanted", "fetched", "answers")

EngineOf = Callable[[], Engine]
# Told a file that is in the archive with another content.
Conflict = Callable[[str], None]


@dataclass(slots=True)
class _Task:
    """One file on its way, or waiting for another try."""

    future: Future[bool] | None = None
    tries: int = 0
    not_before: float = 0.0

    def pause(self) -> None:
        """After a failure: each time twice as long."""
        self.future = None
        self.tries += 1
        self.not_before = time.monotonic() + min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (self.tries - 1))


class _Lane:
    """Files that are worked on, a few at a time, each until it is done."""

    def __init__(self, work: Callable[[str], bool], *, workers: int, name: str) -> None:
        self._work = work
        self._workers = workers
        self._pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix=name)
        self._tasks: dict[str, _Task] = {}

    def tick(self, names: Iterable[str]) -> None:
        """Go on with these, in their order; what is asked for no more is forgotten."""
        wanted = list(names)
        for name in [one for one in self._tasks if one not in wanted and self._tasks[one].future is None]:
            del self._tasks[name]
        for name, task in list(self._tasks.items()):
            if task.future is not None and task.future.done():
                if task.future.result():
                    del self._tasks[name]
                else:
                    task.pause()
        for name in wanted:
            busy = sum(task.future is not None for task in self._tasks.values())
            task = self._tasks.setdefault(name, _Task())
            if busy < self._workers and task.future is None and time.monotonic() >= task.not_before:
                task.future = self._pool.submit(self._work, name)

    def is_idle(self) -> bool:
        """True if nothing is on its way."""
        return all(task.future is None for task in self._tasks.values())


class Wal:
    """Both directions, for one data directory and one spool."""

    def __init__(
        self, *, data: Path, spool: Path, engine_of: EngineOf, source_of: EngineOf, state: State, conflict: Conflict
    ) -> None:
        self._wal = data / "pg_wal"
        self._spool = spool
        self._engine_of = engine_of
        self._source_of = source_of
        self._state = state
        self._conflict = conflict
        # The first file goes alone: if this volume is a copy, it is another's, and nothing after it may be sent there.
        self._is_ours = False
        self._out = _Lane(self._push, workers=SENDERS, name="push")
        self._in = _Lane(self._fetch, workers=FETCHERS, name="fetch")
        self._ahead = Ahead(data=data, source_of=source_of, state=state)
        for folder in FOLDERS:
            (spool / folder).mkdir(mode=0o700, exist_ok=True)

    def tick_out(self) -> None:
        """Send what is ready."""
        ready = self._ready()
        now = time.time()
        oldest = min((at for _name, at in ready), default=now)
        self._state.note(ready_files=len(ready), oldest_ready_seconds=max(0.0, now - oldest))
        names = [name for name, _since in ready]
        self._forget_marks(names)
        waiting = [name for name in names if not (self._spool / "archived" / name).exists()]
        self._out.tick(waiting if self._is_ours else waiting[:1])

    def tick_in(self) -> None:
        """Fetch what the server asks for."""
        wanted = self._wishes()
        self._ahead.tick(wanted)
        for folder in ("answers", "fetched"):
            for one in (self._spool / folder).iterdir():
                if one.name not in wanted and self._in.is_idle():
                    one.unlink(missing_ok=True)
        self._in.tick([name for name in wanted if not self._is_there(name)])

    def _wishes(self) -> dict[str, str]:
        """What the server waits for, each with what it says of the last segment that it may need."""
        found: dict[str, str] = {}
        for one in sorted((self._spool / "wanted").iterdir()):
            with contextlib.suppress(FileNotFoundError):
                found[one.name] = one.read_text(encoding="utf-8")
        return found

    def _is_there(self, name: str) -> bool:
        """True if nothing has to be done for a wish. What the server has taken by now it does not wish for any more."""
        has_answer = self._ahead.has(name) or (self._spool / "answers" / name).exists()
        return has_answer or not (self._spool / "wanted" / name).exists()

    def is_drained(self) -> bool:
        """True if all that the server has to archive is archived. It may have ended before it saw that."""
        marks = {mark.name for mark in (self._spool / "archived").iterdir()}
        return self._out.is_idle() and all(name in marks for name, _since in self._ready())

    def _ready(self) -> list[tuple[str, float]]:
        """Names with the times since when they wait, histories first, as PostgreSQL has it (pgarch.c)."""
        found: list[tuple[str, float]] = []
        with contextlib.suppress(FileNotFoundError):
            for one in (self._wal / "archive_status").iterdir():
                if one.suffix == ".ready":
                    with contextlib.suppress(FileNotFoundError):
                        found.append((one.name.removesuffix(".ready"), one.stat().st_mtime))
        return sorted(found, key=lambda each: (not each[0].endswith(".history"), each[0]))

    def _forget_marks(self, ready: list[str]) -> None:
        """Of files that the server has seen archived."""
        for mark in (self._spool / "archived").iterdir():
            if mark.name not in ready:
                mark.unlink(missing_ok=True)

    def _push(self, name: str) -> bool:
        try:
            return self._pushed(name)
        except (ConfigError, OSError) as error:
            self._state.failed("wal", f"{name}: {error}")
            return False

    def _pushed(self, name: str) -> bool:
        engine = self._engine_of()
        done = run(engine.push(self._wal / name), environment=engine.environment(), seconds=SECONDS)
        if done.code != 0:
            self._state.failed("wal", f"{name}: {done.said or f'exit code {done.code}'}")
            if DIFFERS in done.said:
                self._conflict(name)
            return False
        self._is_ours = True
        (self._spool / "archived" / name).touch()
        self._state.succeeded("wal", name)
        return True

    def _fetch(self, name: str) -> bool:
        try:
            return self._fetched(name)
        except (ConfigError, OSError) as error:
            self._state.failed("fetched", f"{name}: {error}")
            return False

    def _fetched(self, name: str) -> bool:
        engine = self._source_of()
        partial, whole = self._spool / f"{name}.partial", self._spool / "fetched" / name
        partial.unlink(missing_ok=True)
        done = run(engine.fetch(name, partial), environment=engine.environment(), seconds=SECONDS)
        if done.code == 0 and partial.exists():
            partial.rename(whole)
            answer = "found"
        elif done.code == engine.missing:
            partial.unlink(missing_ok=True)
            answer = "missing"
        else:
            self._state.failed("fetched", f"{name}: {done.said or f'exit code {done.code}'}")
            return False
        self._answer(name, answer)
        self._state.succeeded("fetched", f"{name} {answer}")
        return True

    def _answer(self, name: str, answer: str) -> None:
        partial = self._spool / f"{name}.answer"
        partial.write_text(answer, encoding="utf-8")
        partial.rename(self._spool / "answers" / name)
