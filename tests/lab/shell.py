# SPDX-License-Identifier: GPL-3.0-or-later
"""Running programs and telling what goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


def say(text: str) -> None:
    print(f"lab: {text}", file=sys.stderr, flush=True)


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Say what begins and how many seconds it took."""
    say(f"{what} ...")
    started = time.monotonic()
    yield
    say(f"{what}: {time.monotonic() - started:.0f}s")


def run(
    argv: Sequence[str], *, stdin: str | None = None, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> str:
    """The program's output; SystemExit with its last words when it fails."""
    done = subprocess.run(
        argv, input=stdin, env={**os.environ, **(env or {})}, cwd=cwd, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(
            f"lab: {' '.join(argv[:6])} ... failed ({done.returncode}):\n{(done.stderr or done.stdout)[-2000:]}"
        )
    return done.stdout.strip()


def podman(*argv: str, stdin: str | None = None) -> str:
    return run(["podman", *argv], stdin=stdin)
