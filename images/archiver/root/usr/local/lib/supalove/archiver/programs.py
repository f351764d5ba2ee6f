# SPDX-License-Identifier: GPL-3.0-or-later
"""Running other programs, always for a bounded time, with what they said last when they fail."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

SAID_LENGTH = 300
# So many bytes of what a program says are kept, its end.
KEPT_BYTES = 16 * 1024
TIMED_OUT = 124
LOOK_SECONDS = 1.0
# What programs get of our own environment.
PASSED_ON = ("PATH", "LANG", "HOME", "TMPDIR")

_running: set[int] = set()
_lock = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How a program ended: its exit code (negative for a signal), what it printed, and its last words of an error.

    `errors`: the end of all that it said.
    """

    code: int
    output: str
    said: str
    errors: str = ""


def run(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    seconds: float,
    told: str = "",
    memory: int = 0,
    watch: Callable[[], str] = lambda: "",
) -> Done:
    """Run a program to its end; after `seconds` it is killed with all that it started, and the code is TIMED_OUT.

    `told`: its input. `memory`: bytes of address space that it may have; 0 for any. `watch` is asked every second: as
    soon as it has a reason to, the program is killed as well.
    """
    own = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    with subprocess.Popen(
        argv,
        env={**own, **environment},
        stdin=subprocess.PIPE if told else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        with _lock:
            _running.add(process.pid)
        if memory:
            resource.prlimit(process.pid, resource.RLIMIT_AS, (memory, memory))
        try:
            output, errors = _communicate(process, told.encode() or None, seconds=seconds, watch=watch)
        except _Ended as reason:
            _kill(process.pid)
            process.communicate()
            return Done(code=TIMED_OUT, output="", said=f"{os.path.basename(argv[0])}: {reason}")
        finally:
            with _lock:
                _running.discard(process.pid)
    return Done(
        code=process.returncode,
        output=output.decode(errors="replace"),
        said=last_words(argv[0], errors),
        errors=errors[-KEPT_BYTES:].decode(errors="replace"),
    )


class _Ended(Exception):
    """A program has to be killed. The text says why."""


def _communicate(
    process: subprocess.Popen[bytes], told: bytes | None, *, seconds: float, watch: Callable[[], str]
) -> tuple[bytes, bytes]:
    end = time.monotonic() + seconds
    while True:
        left = end - time.monotonic()
        if left <= 0:
            raise _Ended(f"it did not end within {seconds:g} s")
        try:
            return process.communicate(told, timeout=min(LOOK_SECONDS, left))
        except subprocess.TimeoutExpired:
            # Input is given once; what comes is kept.
            told = None
        reason = watch()
        if reason:
            raise _Ended(reason)


def kill_all() -> None:
    """End whatever runs, so that this process can end."""
    with _lock:
        for pid in _running:
            _kill(pid)


def _kill(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def last_words(program: str, errors: bytes) -> str:
    """What a program said last of an error, in a line that begins with its name; empty if it said nothing."""
    lines = [line.strip() for line in errors[-KEPT_BYTES:].decode(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if "ERROR" in line or "FATAL" in line] or lines
    return f"{os.path.basename(program)}: {telling[-1]}"[:SAID_LENGTH] if telling else ""
