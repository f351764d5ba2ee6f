# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that do not reach their end: a playbook killed at a chosen moment."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from . import playbook

POLL_SECONDS = 0.2


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
    with Path(os.devnull).open() as nothing:
        run = subprocess.Popen(
            playbook.command(*run_of), env=playbook.environment(Path(os.devnull)), stdin=nothing, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        _await(moment, run, seconds)
        if act:
            act()
        else:
            os.killpg(run.pid, signal.SIGKILL)
        output = run.communicate(timeout=seconds)[0]
        return run.returncode, output
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            run.communicate()


def _await(moment: Callable[[], bool], run: subprocess.Popen[str], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not moment():
        if run.poll() is not None:
            raise AssertionError(f"the run ended before the moment came:\n{run.communicate()[0][-2000:]}")
        if time.monotonic() > deadline:
            raise AssertionError(f"the moment did not come within {seconds:.0f}s")
        time.sleep(POLL_SECONDS)
