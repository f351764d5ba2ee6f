# SPDX-License-Identifier: BSD-2-Clause
"""What can go wrong, by what the user can do about it. Foreign exceptions become one of these at a backend's edge."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

# Of what the user wrote, in a message.
SHOWN_LENGTH = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One wrong value in what the user wrote: where it stands, what was found, what is allowed instead."""

    path: str
    value: object
    allowed: str

    @property
    def found(self) -> str:
        """The value as text, its beginning if it is long."""
        try:
            text = self.value if isinstance(self.value, str) else repr(self.value)
        except ValueError:
            # Python does not write numbers of thousands of digits.
            return "a number that is too long"
        return text if len(text) <= SHOWN_LENGTH else f"{text[: SHOWN_LENGTH - 1]}…"

    def __str__(self) -> str:
        found = repr(self.found) if isinstance(self.value, str) else self.found
        return f"{self.path}: found {'nothing' if self.value is None else found}, allowed is {self.allowed}"


class EngineError(Exception):
    """Base of all errors that the engine raises on purpose."""


class InvalidSpec(EngineError):
    """The input is wrong. Carries every problem at once; nothing has been read or changed."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = "\n".join(f"  - {problem}" for problem in problems)
        super().__init__(f"The input has {count}; nothing was changed:\n{lines}")


class SafetyStop(EngineError):
    """Going on could do harm. The text names what would lift the stop."""


class TooSoon(SafetyStop):
    """It is not time yet for a step; it will be, and nobody has to do anything."""


class DeadlineExceeded(EngineError):
    """A wait ended at the limit that its caller had set."""


class Lost(StrEnum):
    """Why an archive cannot give what is asked of it."""

    NO_BACKUP = "no-backup"
    BEFORE_WINDOW = "before-window"
    BEFORE_FIRST_BACKUP = "before-first-backup"
    AFTER_ARCHIVE = "after-archive"
    GAP = "gap"
    FUTURE = "future"
    UNKNOWN_POINT = "unknown-point"
    UNKNOWN_INCARNATION = "unknown-incarnation"
    UNREADABLE = "unreadable"
    NOT_ENDED = "not-ended"


class Unrecoverable(EngineError):
    """An archive does not have what leads to a target; `reason` says which of the known cases it is."""

    def __init__(self, reason: Lost, sentence: str) -> None:
        self.reason = reason
        super().__init__(sentence)


class MissingLibrary(EngineError):
    """A Python package that the engine needs cannot be imported."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"The Python package {name!r} is missing. Install it for the interpreter that runs this module."
        )


class BackendError(EngineError):
    """A backend refused or failed: `subject` is the object, `verb` what was tried.

    `status` is the server's code: a number of HTTP, or an SQLSTATE as text.
    """

    def __init__(self, *, subject: str, verb: str, reason: str, status: int | str | None = None) -> None:
        self.subject = subject
        self.verb = verb
        self.reason = reason
        self.status = status
        super().__init__(f"{verb} {subject}: {reason}{code_of(status)}")


def code_of(status: int | str | None) -> str:
    """A server's code at the end of a sentence."""
    if status is None:
        return ""
    return f" (HTTP {status})" if isinstance(status, int) else f" (SQLSTATE {status})"


class Unreachable(BackendError):
    """No answer from the server: connection, TLS or time; or it is just starting or stopping."""


class Denied(BackendError):
    """The server does not accept our identity or its rights (401, 403, insufficient privilege)."""


class NotFound(BackendError):
    """The object or its kind does not exist (404)."""


class Conflict(BackendError):
    """Somebody else changed or holds the object (409)."""


class Rejected(BackendError):
    """The server says that the request is wrong (400, 422 and alike). Repeating it cannot help."""


class Expired(BackendError):
    """The place in the history of changes is gone (410); a watch has to start anew."""


class Throttled(BackendError):
    """The server asks for patience (429, 503, too many connections). `retry_after` in seconds, if it said so."""

    def __init__(
        self, *, subject: str, verb: str, reason: str, status: int | str, retry_after: float | None = None
    ) -> None:
        super().__init__(subject=subject, verb=verb, reason=reason, status=status)
        self.retry_after = retry_after


class ServerFailed(BackendError):
    """The server met an error of its own (500 and above)."""
