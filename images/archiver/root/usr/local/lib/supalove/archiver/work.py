# SPDX-License-Identifier: GPL-3.0-or-later
"""Work that is asked for: one piece at a time, in the background, with its end in the figures."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from typing import Any

from .config import ConfigError
from .programs import Done
from .state import State


class Refused(Exception):
    """A request that is not done. The text says why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class WorkError(Exception):
    """A piece of work went wrong. The text says how."""


class Desk:
    """Who works at it is alone."""

    def __init__(self, state: State, say: Callable[[str], None]) -> None:
        self._state = state
        self._say = say
        self._lock = threading.Lock()
        self._busy = ""

    @property
    def busy(self) -> str:
        """What runs; empty if nothing does."""
        with self._lock:
            return self._busy

    def begin(self, kind: str, what: str, work: Callable[[], str]) -> None:
        """Do `work` in the background; what it returns becomes the last of its kind. Raises Refused if one runs."""
        name = f"{kind} {what}".strip()
        self._take(name)
        threading.Thread(target=self._do, args=(kind, name, work), name=kind, daemon=True).start()

    def _take(self, name: str) -> None:
        with self._lock:
            if self._busy:
                raise Refused(409, f"{self._busy} runs")
            self._busy = name
        self._state.begin(name)

    def _give_back(self) -> None:
        with self._lock:
            self._state.end(self._busy)
            self._busy = ""

    def _do(self, kind: str, name: str, work: Callable[[], str]) -> None:
        try:
            self._say(f"{name} begins")
            last = work()
        except (WorkError, ConfigError, OSError) as error:
            self._state.failed(kind, str(error))
            self._say(f"{name} failed: {error}")
        else:
            self._state.succeeded(kind, last)
            self._say(f"{name} is done")
        finally:
            self._give_back()


def demand(done: Done, what: str) -> Done:
    """What was run, if it ended well. Raises WorkError."""
    if done.code != 0:
        raise WorkError(f"{what}: {done.said or f'exit code {done.code}'}")
    return done


def text_of(told: Mapping[str, Any], name: str, pattern: re.Pattern[str]) -> str:
    """A text in a request. Raises Refused unless all of it is as it has to be."""
    value = told.get(name)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise Refused(400, f"{name} has to be a text like {pattern.pattern}")
    return value


def number_of(told: Mapping[str, Any], name: str, most: int) -> int:
    """A whole number in a request, from 1 to `most`. Raises Refused."""
    value = told.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise Refused(400, f"{name} has to be a whole number from 1 to {most}")
    return value


def flag_of(told: Mapping[str, Any], name: str) -> bool:
    """A yes or no in a request. Raises Refused."""
    value = told.get(name)
    if not isinstance(value, bool):
        raise Refused(400, f"{name} has to be true or false")
    return value
