# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers of our images, confined as their pods are, and what can only be done from within one."""

from __future__ import annotations

import contextlib
import ctypes
import platform
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from ansible_collections.supalove.platform.plugins.module_utils._engine.render.postgresql import USER

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
LABEL = "supalove.test=postgresql"
LIBC = ctypes.CDLL(None, use_errno=True)
SETRESUID = {"x86_64": 117, "aarch64": 147}
# The limits that the machine's own cannot be raised above.
ULIMITS = ["--ulimit", "nofile=20000:20000", "--ulimit", "nproc=30000:30000"]


def image_of(name: str, *options: str, folder: str = "images") -> str:
    """Podman's name of one of our images as it would be built now with `options`, built if it is not there."""
    build = [sys.executable, str(ROOT / "images/build.py")]
    recipe = str(ROOT / folder / name)
    key = subprocess.run([*build, "key", recipe, *options], capture_output=True, text=True, check=True).stdout.strip()
    tag = f"localhost/supalove-test/{name}:{key}"
    if subprocess.run(["podman", "image", "exists", tag], check=False).returncode == 0:
        return tag
    built = subprocess.run([*build, "build", recipe, *options], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr[-3000:]
    image, version, archive = built.stdout.split()
    podman("load", "--quiet", "--input", archive)
    podman("tag", f"{image}:{version}", tag)
    return tag


def container(stack: contextlib.ExitStack, *arguments: str, network: str = "none") -> str:
    id = podman("run", "--detach", "--log-driver", "k8s-file", *confined(network), *arguments)
    stack.callback(podman, "rm", "--force", "--time", "0", "--volumes", id)
    return id


def run_to_end(*arguments: str, network: str = "none") -> tuple[int, str]:
    """The exit code of a container, and what it said."""
    command = ["podman", "run", "--rm", *confined(network), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout + done.stderr


def confined(network: str) -> list[str]:
    """As pods are."""
    restricted = ["--read-only", "--read-only-tmpfs", "--cap-drop", "all", "--security-opt", "no-new-privileges"]
    flags = ["--runtime", "runc", "--label", LABEL, "--network", network, *ULIMITS]
    return [*flags, *restricted, "--shm-size", "256m"]


def podman(*arguments: str) -> str:
    done = subprocess.run(["podman", *arguments], capture_output=True, text=True, check=False, timeout=120)
    if done.returncode != 0:
        raise subprocess.CalledProcessError(done.returncode, arguments[:2], done.stdout, done.stderr)
    return done.stdout.strip()


def is_running(container: str) -> bool:
    return podman("inspect", "--format", "{{.State.Running}}", container) == "true"


def logs(container: str) -> str:
    done = subprocess.run(["podman", "logs", container], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def in_network_of(pid: int, call: Callable[[], T]) -> T:
    """What `call` returns in the network of another process."""

    def enter() -> T:
        with open(f"/proc/{pid}/ns/net") as namespace:
            _system_call(LIBC.setns, namespace.fileno(), 0)
        return call()

    return _in_thread(enter)


def as_postgres(call: Callable[[], T]) -> T:
    """What `call` returns for the system user postgres, as whom the socket lets the superuser in."""

    def become() -> T:
        # Not os.setresuid: the C library would do the same in all threads.
        _system_call(LIBC.syscall, SETRESUID[platform.machine()], -1, USER, -1)
        return call()

    return _in_thread(become)


def _in_thread(call: Callable[[], T]) -> T:
    """Network and user are the kernel's for each thread on its own, so they go with it."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="inside") as pool:
        return pool.submit(call).result()


def _system_call(function: Any, *arguments: int) -> None:
    assert function(*arguments) == 0, f"system call failed, error {ctypes.get_errno()}; these tests run as root"
