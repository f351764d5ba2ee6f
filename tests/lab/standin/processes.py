# SPDX-License-Identifier: GPL-3.0-or-later
"""Child processes of the stand-in.

Each dies with the stand-in (as containerd dies with K3s); pods do not, because
their shims have left the family. A child that ends ends the whole program, and
systemd starts it again: K3s' components share one process and one fate.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

PR_SET_PDEATHSIG = 1
STOP_SECONDS = 15


def log(text: str) -> None:
    print(f'level=info msg="{text}"', file=sys.stderr, flush=True)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass(slots=True)
class Family:
    """The children, in the order they were started. Start them from the main thread only:
    the death signal is bound to the thread that forked.
    """

    children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        log(f"Running {name}")
        child = subprocess.Popen(argv, env={**os.environ, **(env or {})}, preexec_fn=_die_with_parent)  # noqa: PLW1509
        self.children[name] = child

    def wait_until(self, what: str, ready: Callable[[], bool], seconds: float) -> None:
        """Poll until `ready`; end the program when a child ends or time is up."""
        deadline = time.monotonic() + seconds
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                self.stop()
                sys.exit(f'level=fatal msg="timed out after {seconds:.0f}s waiting for {what}"')
            time.sleep(0.2)

    def check(self) -> None:
        for name, child in self.children.items():
            if child.poll() is not None:
                self.stop()
                sys.exit(f'level=fatal msg="{name} exited: {child.returncode}"')

    def watch(self) -> None:
        """Stay until a child ends or a signal comes."""
        while True:
            self.check()
            time.sleep(1)

    def stop(self) -> None:
        """End the children, youngest first, so that clients go before their servers."""
        for child in reversed(list(self.children.values())):
            if child.poll() is None:
                child.terminate()
                try:
                    child.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    child.kill()


def notify(state: str) -> None:
    """Tell systemd (sd_notify(3)); nothing happens outside a Type=notify unit."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(state.encode(), "\0" + path[1:] if path.startswith("@") else path)


def stop_on_signal(family: Family) -> None:
    """From now on SIGTERM and SIGINT end the children in order."""

    def stop(number: int, _frame: object) -> None:
        notify("STOPPING=1")
        family.stop()
        sys.exit(0 if number == signal.SIGTERM else 130)

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, stop)
