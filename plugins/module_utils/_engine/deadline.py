# SPDX-License-Identifier: BSD-2-Clause
"""Limits in time. What decides is told the time; only `Deadline` and `retrying` look at a clock."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from .errors import BackendError, DeadlineExceeded, ServerFailed, Throttled, Unreachable

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """A moment on the monotonic clock, set once by the caller of a run and passed inwards."""

    limit_seconds: float
    started: float = field(default_factory=time.monotonic)

    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.started + self.limit_seconds - time.monotonic())

    def require(self, what: str) -> None:
        """Raise DeadlineExceeded if no time is left for `what`."""
        if self.remaining() <= 0:
            raise DeadlineExceeded(
                f"No time left for {what}: the limit of {self.limit_seconds:g} s has passed. "
                "What was done stays; run again, with a longer timeout if that is too short."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Delays between tries: `first_seconds` doubled each time up to `longest_seconds`; `tries` in all.

    The defaults sleep for 11 to 21 seconds together: longer than an API server takes to start again, and shorter than a
    lease lasts.
    """

    first_seconds: float = 0.2
    longest_seconds: float = 5.0
    tries: int = 9

    def delay(self, *, failed_tries: int, asked_seconds: float | None, jitter: float, remaining: float) -> float | None:
        """Seconds to sleep before the next try, or None to give up.

        1. After `tries` failures there is no other.
        2. The delay doubles with each failure; `jitter` (0 to 1) takes away up to half of it, against herds.
        3. What the server asked for may lengthen the delay, never shorten it.
        4. A sleep that would end after the deadline is not begun.
        """
        if failed_tries >= self.tries:
            return None
        own = min(self.longest_seconds, self.first_seconds * 2.0 ** (failed_tries - 1)) * (1 - jitter / 2)
        seconds = max(own, asked_seconds or 0.0)
        return seconds if seconds < remaining else None


def retrying(
    call: Callable[[], T],
    *,
    deadline: Deadline,
    backoff: Backoff,
    sleep: Callable[[float], None] = time.sleep,
    jitter: Callable[[], float] = random.random,
) -> T:
    """Result of `call`, which must be harmless to repeat. The last error is raised when another try makes no sense."""
    failed = 0
    while True:
        try:
            return call()
        except (Unreachable, Throttled, ServerFailed) as error:
            failed += 1
            seconds = backoff.delay(
                failed_tries=failed,
                asked_seconds=_asked(error),
                jitter=jitter(),
                remaining=deadline.remaining(),
            )
            if seconds is None:
                raise
            sleep(seconds)


def _asked(error: BackendError) -> float | None:
    return error.retry_after if isinstance(error, Throttled) else None
