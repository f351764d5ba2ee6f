# SPDX-License-Identifier: GPL-3.0-or-later
"""Something that is done again and again beside a test, while a `with` lasts."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Beside(ABC):
    """`look` is called every `pause_seconds` in a thread of its own, whose name is for listings."""

    def __init__(self, name: str, pause_seconds: float) -> None:
        self._pause_seconds = pause_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name=name)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    @abstractmethod
    def look(self) -> None:
        """Once."""

    def _go_on(self) -> None:
        while not self._stop.wait(self._pause_seconds):
            self.look()
