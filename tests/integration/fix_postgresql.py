# SPDX-License-Identifier: GPL-3.0-or-later
"""A shared cluster: PostgreSQL from our image with the rendered files mounted as in the pod, its reaper beside it.

The container has no network but its own loopback. Connections are made from within its network namespace, as those of
a port-forward are.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import dataclasses
import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.apply import generated_data
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Platform, SharedCluster
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.cluster import (
    REAPER_PROGRAM,
    cluster_files,
    process_memory,
    render_cluster,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.postgresql import (
    CONFIG_DIRECTORY,
    CREDENTIALS_DIRECTORY,
    DATA_DIRECTORY,
    DATA_MOUNT,
    SOCKET_DIRECTORY,
    USER,
)

ROOT = Path(__file__).parents[2]
START_SECONDS = 60
LABEL = "supalove.test=postgresql"
# The limits that the machine's own cannot be raised above.
ULIMITS = ["--ulimit", "nofile=20000:20000", "--ulimit", "nproc=30000:30000"]
CLUSTER = SharedCluster(
    name="main",
    cpu=1000,
    memory=512 * 1024**2,
    storage=2 * 1024**3,
    max_databases=50,
    max_connections=40,
    max_transaction_seconds=3,
    cordoned=False,
)


@dataclasses.dataclass(frozen=True)
class Server:
    """The running cluster. `secret` is the data of its Secret; `directory` holds what is mounted."""

    id: str
    directory: Path
    secret: dict[str, str]

    def connect_inside(self, port: int = 5432) -> socket.socket:
        """A connection to the pod's own loopback; raises ConnectionRefusedError if nobody listens."""
        return _in_network_of(self.pid(), lambda: socket.create_connection(("127.0.0.1", port), timeout=10))

    def pid(self) -> int:
        return int(_podman("inspect", "--format", "{{.State.Pid}}", self.id))

    def sql(self, text: str, database: str = "postgres") -> str:
        """What the platform's superuser gets for an answer, over the pod's socket."""
        psql = ["psql", "-U", "postgres", "-d", database, "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", text]
        return _podman("exec", self.id, *psql)

    def log(self) -> str:
        done = subprocess.run(["podman", "logs", self.id], capture_output=True, text=True, check=True)
        return done.stdout + done.stderr

    def restart(self) -> None:
        """As when the pod is replaced: told to stop, and started on the same volume."""
        _podman("restart", "--time", "20", self.id)
        self.await_ready()

    def kill_postmaster(self) -> None:
        """As when memory runs out for one of its processes."""
        _podman("exec", self.id, "sh", "-c", "kill -9 $(head -1 $PGDATA/postmaster.pid)")

    def await_ready(self) -> None:
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                self.sql("SELECT 1")
            except subprocess.CalledProcessError as error:
                if time.monotonic() > end:
                    pytest.fail(f"PostgreSQL did not get ready: {error.stderr}\n{self.log()[-3000:]}")
                time.sleep(0.1)
            else:
                return


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_cluster(tmp_path_factory.mktemp("postgresql"), CLUSTER) as server:
        yield server


@contextlib.contextmanager
def running_cluster(directory: Path, cluster: SharedCluster) -> Iterator[Server]:
    secret = _write_mounts(directory, cluster)
    image = image_of("postgresql")
    mounts = [
        *("--volume", f"{directory}/config:{CONFIG_DIRECTORY}:ro"),
        *("--volume", f"{directory}/run:{SOCKET_DIRECTORY}"),
    ]
    server_mounts = [
        *("--volume", f"{directory}/credentials:{CREDENTIALS_DIRECTORY}:ro"),
        *("--volume", f"{directory}/data:{DATA_MOUNT}"),
    ]
    env = {
        "PGDATA": DATA_DIRECTORY,
        "PGOPTIONS": "-c search_path=pg_catalog",
        "SUPALOVE_PROCESS_KIB": str(process_memory(cluster) // 1024),
    }
    variables = [word for name, value in env.items() for word in ("--env", f"{name}={value}")]
    with contextlib.ExitStack() as stack:
        started = _container(stack, *mounts, *server_mounts, *variables, image)
        server = Server(id=started, directory=directory, secret=secret)
        server.await_ready()
        _container(stack, *mounts, "--entrypoint", REAPER_PROGRAM, image)
        yield server


def image_of(name: str) -> str:
    """Podman's name of one of our images as the recipe is now, built if it is not there."""
    build = [sys.executable, str(ROOT / "images/build.py")]
    recipe = str(ROOT / "images" / name)
    key = subprocess.run([*build, "key", recipe], capture_output=True, text=True, check=True).stdout.strip()
    tag = f"localhost/supalove-test/{name}:{key}"
    if subprocess.run(["podman", "image", "exists", tag], check=False).returncode == 0:
        return tag
    built = subprocess.run([*build, "build", recipe], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr[-3000:]
    image, version, archive = built.stdout.split()
    _podman("load", "--quiet", "--input", archive)
    _podman("tag", f"{image}:{version}", tag)
    return tag


def _write_mounts(directory: Path, cluster: SharedCluster) -> dict[str, str]:
    (desired,) = [one for one in render_cluster(cluster, Platform()) if one.generates]
    data = generated_data(desired, secrets.token_bytes)
    secret = {key: base64.b64decode(text).decode() for key, text in data.items()}
    verifiers = {key: text for key, text in secret.items() if key.endswith(".verifier")}
    for folder, files in {"config": cluster_files(cluster), "credentials": verifiers, "run": {}, "data": {}}.items():
        place = directory / folder
        place.mkdir()
        for name, text in files.items():
            (place / name).write_text(text)
        os.chown(place, USER, USER)
    return secret


def _container(stack: contextlib.ExitStack, *arguments: str) -> str:
    flags = ["--runtime", "runc", "--detach", "--label", LABEL, "--network", "none", "--log-driver", "k8s-file", *ULIMITS]
    restricted = ["--read-only", "--read-only-tmpfs", "--cap-drop", "all", "--security-opt", "no-new-privileges"]
    id = _podman("run", *flags, *restricted, "--shm-size", "256m", *arguments)
    stack.callback(_podman, "rm", "--force", "--time", "0", "--volumes", id)
    return id


def _podman(*arguments: str) -> str:
    done = subprocess.run(["podman", *arguments], capture_output=True, text=True, check=False, timeout=120)
    if done.returncode != 0:
        raise subprocess.CalledProcessError(done.returncode, arguments[:2], done.stdout, done.stderr)
    return done.stdout.strip()


def _in_network_of(pid: int, call: Callable[[], Any]) -> Any:
    """What `call` returns in the network of another process. The kernel keeps that for each thread on its own."""
    outcome: list[Any] = []

    def enter() -> None:
        try:
            with open(f"/proc/{pid}/ns/net") as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            outcome.append(call())
        except OSError as error:
            outcome.append(error)

    thread = threading.Thread(target=enter, name="inside")
    thread.start()
    thread.join()
    if isinstance(outcome[0], OSError):
        raise outcome[0]
    return outcome[0]
