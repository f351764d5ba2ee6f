# SPDX-License-Identifier: GPL-3.0-or-later
"""WAL of a recovery before the server asks for it: while it replays one segment, the next ones are fetched.

They lie in `<data directory>.ahead`, on the same volume, from where the server's restore_command (supalove-wanted)
takes them by renaming. What has its own name there is whole and on the disk; what is on its way has another.
Nothing but such a file is ever an answer. What is missing here, or fails, is fetched when the server asks for it, as is
everything that is no segment; so what PostgreSQL takes for the end of the archive is never decided here.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from .config import ConfigError
from .engines import Engine
from .programs import Done, Series, run
from .segments import SEGMENT_BYTES, following, is_segment
from .state import State

# So many wait for the server at most, those on their way included.
SEGMENTS = 8
# So many are on their way at once.
HANDS = 2
# What is left free on the volume: the server writes, too.
SPARE_BYTES = 16 * SEGMENT_BYTES
# Of one segment, as when the server waits for it.
SECONDS = 300.0
LOOK_SECONDS = 0.1
# From the moment at which the server takes a file until its wish for that is gone, and more.
TAKEN_SECONDS = 2.0
OVER = "the recovery is over"


class Ahead:
    """The segments after the one that the server has asked for last. There is one recovery at a time.

    Whether there is one says the server's own mark, which it removes when it has been promoted.
    """

    def __init__(self, *, data: Path, source_of: Callable[[], Engine], state: State) -> None:
        self._mark = data / "recovery.signal"
        self._folder = data.with_name(f"{data.name}.ahead")
        self._source_of = source_of
        self._state = state
        self._hands: list[threading.Thread] = []
        self._lock = threading.Lock()
        # Asked for last, and the last one that may be needed; empty if nobody knows.
        self._at = ""
        self._last = ""
        self._coming: set[str] = set()
        self._whole: set[str] = set()
        # When it was seen that the server has taken a file: for a moment its wish may still be there.
        self._taken: dict[str, float] = {}
        # Nothing is begun before the server gets on: something failed, and it may be the end of the archive.
        self._is_held = False
        # Of an archiver that was killed.
        shutil.rmtree(self._folder, ignore_errors=True)

    def tick(self, wishes: Mapping[str, str]) -> None:
        """Go by what the server asks for: names of files, each with the last segment that it may need.

        A server that does not say that asks as its image did before there was this: it takes nothing from here.
        """
        if not self._is_recovering():
            self._clear_away()
            return
        asked = next((name for name, last in wishes.items() if last and is_segment(name)), "")
        if not asked:
            return
        with self._lock:
            # What it took before it asked for this one: seen later, that would lead back, and this be fetched twice.
            self._look()
            self._last = wishes[asked]
            # The wish was read before: the server may have taken that file since, and the next ones, too.
            if not self._is_taken(asked):
                self._go_on(asked)
        if not self._hands:
            self._hands = [threading.Thread(target=self._work, name="ahead", daemon=True) for _hand in range(HANDS)]
            for hand in self._hands:
                hand.start()

    def has(self, name: str) -> bool:
        """True if a file is there, on its way, or just taken; then it need not be fetched once more."""
        with self._lock:
            self._look()
            return self._is_taken(name) or name in self._coming or name in self._whole

    def _is_taken(self, name: str) -> bool:
        return time.monotonic() - self._taken.get(name, -TAKEN_SECONDS) < TAKEN_SECONDS

    def _is_recovering(self) -> bool:
        return self._mark.exists()

    def _clear_away(self) -> None:
        """The hands see by themselves that the recovery is over."""
        if any(hand.is_alive() for hand in self._hands):
            return
        self._hands = []
        self._at = self._last = ""
        self._whole.clear()
        if self._folder.exists():
            shutil.rmtree(self._folder, ignore_errors=True)

    def _go_on(self, name: str) -> None:
        if name != self._at:
            self._at = name
            self._is_held = False

    def _look(self) -> None:
        """What the server has taken says where it is."""
        taken = {name for name in self._whole if not (self._folder / name).exists()}
        self._whole -= taken
        if taken:
            before = {name: at for name, at in self._taken.items() if self._is_taken(name)}
            self._taken = {**before, **dict.fromkeys(taken, time.monotonic())}
            self._go_on(max(taken))

    def _next(self) -> str:
        """What to fetch now; empty if there is nothing. What is not wanted any more is thrown away."""
        with self._lock:
            self._look()
            wanted = following(self._at, SEGMENTS, last=self._last)
            # What the server waits for just now came after it had looked.
            for name in self._whole.difference(wanted, [self._at]):
                (self._folder / name).unlink(missing_ok=True)
                self._whole.discard(name)
            name = next((one for one in wanted if one not in self._whole and one not in self._coming), "")
            if not name or self._is_held or not self._has_room():
                return ""
            self._coming.add(name)
            return name

    def _has_room(self) -> bool:
        volume = os.statvfs(self._folder.parent)
        return volume.f_bavail * volume.f_frsize >= SPARE_BYTES + SEGMENT_BYTES * (len(self._coming) + 1)

    def _work(self) -> None:
        """One hand, as long as the server recovers."""
        fetch = Fetch(self._source_of, lambda: "" if self._is_recovering() else OVER)
        try:
            while self._is_recovering():
                name = self._next()
                if name:
                    self._fetch(name, fetch)
                else:
                    time.sleep(LOOK_SECONDS)
        finally:
            fetch.close()

    def _fetch(self, name: str, fetch: Fetch) -> None:
        partial = self._folder / f"{name}.partial"
        try:
            error = self._fetched(name, partial, fetch)
            partial.unlink(missing_ok=True)
        except (ConfigError, OSError) as caught:
            error = str(caught)
        with self._lock:
            self._coming.discard(name)
            self._is_held = self._is_held or bool(error)
        if not error:
            self._state.succeeded("ahead", name)
        elif self._is_recovering():
            self._state.failed("ahead", f"{name}: {error}")

    def _fetched(self, name: str, partial: Path, fetch: Fetch) -> str:
        """Why it is not there; empty if it is."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        partial.unlink(missing_ok=True)
        done = fetch(name, partial)
        if done.code != 0:
            return done.said or f"exit code {done.code}"
        with partial.open("rb+") as file:
            if os.fstat(file.fileno()).st_size != SEGMENT_BYTES:
                return f"it has not {SEGMENT_BYTES} bytes"
            os.fchmod(file.fileno(), 0o600)
            # Whole before it has the name by which it counts as whole, even if the power fails.
            os.fsync(file.fileno())
        with self._lock:
            partial.rename(self._folder / name)
            self._whole.add(name)
        return ""


class Fetch:
    """How a hand fetches: by a program for each file, or by one that stays, where the engine has such a one."""

    def __init__(self, source_of: Callable[[], Engine], watch: Callable[[], str]) -> None:
        self._source_of = source_of
        self._watch = watch
        self._series: Series | None = None

    def __call__(self, name: str, destination: Path) -> Done:
        """Raises ConfigError."""
        if self._series is None:
            engine = self._source_of()
            argv = engine.fetch_series()
            if not argv:
                argv, environment = engine.fetch(name, destination), engine.environment()
                return run(argv, environment=environment, seconds=SECONDS, watch=self._watch)
            self._series = Series(argv, environment=engine.environment())
        done = self._series.do(f"{name} {destination}", seconds=SECONDS, watch=self._watch)
        if done.code != 0:
            # The next one is told anew where the archive is, and what opens it.
            self.close()
        return done

    def close(self) -> None:
        """End what stays."""
        if self._series is not None:
            self._series.close()
            self._series = None
