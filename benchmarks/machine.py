# SPDX-License-Identifier: GPL-3.0-or-later
"""Where and with what a run was made."""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from fix_apiserver import lab_kube
from fix_archive import archiver_image
from fix_container import container, image_of

from tests.lab import binaries

from . import rivals, servers

STANDIN_NAME = "the lab's stand-in"


def describe() -> dict[str, str]:
    """Machine, load, date and the versions of everything that takes part."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{os.cpu_count()} x {_first('/proc/cpuinfo', 'model name')}",
        "memory": f"{int(_first('/proc/meminfo', 'MemTotal').split()[0]) / 2**20:.0f} GiB",
        "kernel": platform.release(),
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "Kubernetes": binaries.target("kube").version,
        "datastore": f"etcd {_etcd()}, one member, without fsync (--unsafe-no-fsync), new but for the lab's in case 5",
        "kwok": binaries.target("kwok").version,
        "Python": sys.version.split()[0],
        **{name: metadata.version(name) for name in ("ansible-core", "kubernetes", "psycopg", "urllib3")},
        **rivals.versions(),
    }


def describe_archives() -> dict[str, str]:
    """What takes part in cases 7 to 10, and the file system that is written to."""
    tools = (("barman-cloud-backup", archiver_image()), ("postgres", image_of("postgresql")))
    with contextlib.ExitStack() as stack:
        barman, server = (
            servers.in_container(container(stack, "--entrypoint", "sleep", image, "infinity"), program, "--version")
            for program, image in tools
        )
    return {
        "file system": _said("findmnt", "--noheadings", "--output", "FSTYPE", "--target", tempfile.gettempdir()),
        # The word after "postgres (PostgreSQL)".
        "PostgreSQL": server.split()[2],
        "WAL-G": STANDIN_NAME if servers.is_standin() else os.environ["WALG_BINARY"],
        "Barman Cloud": barman.split()[-1],
        "SeaweedFS": _said("weed", "version").split()[2],
        "podman": _said("podman", "--version").split()[-1],
    }


def describe_gateway() -> dict[str, str]:
    """What takes part in case 11 beside what `describe` says."""
    return {
        # The word after "Version:".
        "Traefik": _said("traefik", "version").split()[1],
        "Go, of server and client": _said("go", "env", "GOVERSION"),
        "podman": _said("podman", "--version").split()[-1],
    }


def _said(*argv: str) -> str:
    """The first line of a program's output."""
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()[0]


def _etcd() -> str:
    asked = [str(lab_kube().with_name("etcd")), "--version"]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.splitlines()[0].split()[-1]


def _first(file: str, key: str) -> str:
    """The first value of `key` in a file of lines `key : value`."""
    lines = (line.partition(":") for line in Path(file).read_text().splitlines())
    return next((value.strip() for found, _, value in lines if found.strip() == key), "unknown")
