# SPDX-License-Identifier: GPL-3.0-or-later
"""Running other programs, always for a bounded time, with what they said last when they fail."""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, cast

SAID_LENGTH = 300
# So many bytes of what a program says are kept, its end.
KEPT_BYTES = 16 * 1024
FAILED = 1
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
    with subprocess.Popen(
        argv,
        env=_environment(environment),
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


class Series:
    """A program that does one thing after another: a line of its input says what, a line of its output that it is done.

    It ends by itself when something goes wrong. What it says of that is in our own log.
    """

    def __init__(self, argv: Sequence[str], *, environment: Mapping[str, str]) -> None:
        self._name = os.path.basename(argv[0])
        self._process = subprocess.Popen(
            argv,
            env=_environment(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        self._input = cast("IO[bytes]", self._process.stdin)
        self._output = cast("IO[bytes]", self._process.stdout)
        with _lock:
            _running.add(self._process.pid)

    def do(self, line: str, *, seconds: float, watch: Callable[[], str] = lambda: "") -> Done:
        """One thing, in a bounded time as with `run`. Code 0 if it is done; otherwise the program has ended with it."""
        try:
            self._input.write(f"{line}\n".encode())
            if _has_answer(self._output, seconds=seconds, watch=watch):
                return Done(code=0, output="", said="")
        except BrokenPipeError:
            pass
        except _Ended as reason:
            self.close()
            return Done(code=TIMED_OUT, output="", said=f"{self._name}: {reason}")
        code = self._process.wait()
        # Without an answer nothing is done, whatever it thinks itself.
        return Done(code=code or FAILED, output="", said=f"{self._name}: it ended with {code}")

    def close(self) -> None:
        """End it, whatever it does."""
        if self._process.poll() is None:
            _kill(self._process.pid)
        with self._process:
            pass
        with _lock:
            _running.discard(self._process.pid)


class _Ended(Exception):
    """A program has to be killed. The text says why."""


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    return {**{name: os.environ[name] for name in PASSED_ON if name in os.environ}, **given}


def _has_answer(output: IO[bytes], *, seconds: float, watch: Callable[[], str]) -> bool:
    """True as soon as there is a line; False if the program ends before."""
    end = time.monotonic() + seconds
    found = b""
    while not found.endswith(b"\n"):
        left = end - time.monotonic()
        if left <= 0:
            raise _Ended(f"it did not answer within {seconds:g} s")
        if select.select([output], [], [], min(LOOK_SECONDS, left))[0]:
            more = os.read(output.fileno(), KEPT_BYTES)
            if not more:
                return False
            found += more
        reason = watch()
        if reason:
            raise _Ended(reason)
    return True


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
