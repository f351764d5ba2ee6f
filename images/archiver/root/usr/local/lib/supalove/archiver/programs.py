# SPDX-License-Identifier: GPL-3.0-or-later
"""Running other programs, always for a bounded time, with what they said last when they fail."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SAID_LENGTH = 300
# So many bytes of what a program says are kept, its end.
KEPT_BYTES = 16 * 1024
TIMED_OUT = 124
# What programs get of our own environment.
PASSED_ON = ("PATH", "LANG", "HOME", "TMPDIR")

_running: set[int] = set()
_lock = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How a program ended: its exit code (negative for a signal), what it printed, and its last words of an error."""

    code: int
    output: str
    said: str


def run(argv: Sequence[str], *, environment: Mapping[str, str], seconds: float) -> Done:
    """Run a program to its end; after `seconds` it is killed with all that it started, and the code is TIMED_OUT."""
    own = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    with subprocess.Popen(
        argv,
        env={**own, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        with _lock:
            _running.add(process.pid)
        try:
            output, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            _kill(process.pid)
            process.communicate()
            return Done(code=TIMED_OUT, output="", said=f"{argv[0]} did not end within {seconds:g} s")
        finally:
            with _lock:
                _running.discard(process.pid)
    return Done(code=process.returncode, output=output.decode(errors="replace"), said=_last_words(argv[0], errors))


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


def _last_words(program: str, errors: bytes) -> str:
    lines = [line.strip() for line in errors[-KEPT_BYTES:].decode(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if "ERROR" in line or "FATAL" in line] or lines
    return f"{os.path.basename(program)}: {telling[-1]}"[:SAID_LENGTH] if telling else ""
