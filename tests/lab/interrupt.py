# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that do not reach their end: a playbook killed at a chosen moment."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from . import playbook

POLL_SECONDS = 0.2
MARK = "LAB_RUN"


def at(
    moment: Callable[[], bool],
    run_of: tuple[str, Path, *tuple[str, ...]],
    seconds: float,
    act: Callable[[], None] | None = None,
) -> tuple[int, str]:
    """Run a playbook (name, inventory, options); when `moment` has come do `act` beside it, or else kill the run.

    Returns the run's exit code and output. AssertionError when the run ended before the moment came, or `seconds`
    passed before it.
    """
    mark = uuid.uuid4().hex
    environment = {**playbook.environment(Path(os.devnull)), MARK: mark}
    with tempfile.TemporaryFile("w+") as output:
        run = subprocess.Popen(
            playbook.command(*run_of),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _await(moment, run, seconds)
            if act:
                act()
                run.wait(seconds)
        finally:
            _kill_all(mark)
            run.wait()
        output.seek(0)
        return run.returncode, output.read()


def _await(moment: Callable[[], bool], run: subprocess.Popen[bytes], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not moment():
        assert run.poll() is None, "the run ended before the moment came"
        assert time.monotonic() < deadline, f"the moment did not come within {seconds:.0f}s"
        time.sleep(POLL_SECONDS)


def _kill_all(mark: str) -> None:
    """SIGKILL to all that the run has started here: Ansible's workers are no children of its process group."""
    entry = f"{MARK}={mark}".encode()
    while members := [pid for pid in _processes() if entry in _environment(pid)]:
        for pid in members:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(POLL_SECONDS)


def _processes() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
