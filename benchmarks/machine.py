# SPDX-License-Identifier: GPL-3.0-or-later
"""Where and with what a run was made."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from fix_apiserver import lab_kube

from tests.lab import binaries

from . import rivals


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


def _etcd() -> str:
    asked = [str(lab_kube().with_name("etcd")), "--version"]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.splitlines()[0].split()[-1]


def _first(file: str, key: str) -> str:
    """The first value of `key` in a file of lines `key : value`."""
    lines = (line.partition(":") for line in Path(file).read_text().splitlines())
    return next((value.strip() for found, _, value in lines if found.strip() == key), "unknown")
