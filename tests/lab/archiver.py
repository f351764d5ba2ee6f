# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking at the archivers of the lab's PostgreSQLs."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from typing import Any

from .cluster import Cluster

SECONDS = 120


def status(found: Cluster, namespace: str) -> dict[str, Any]:
    """What the archiver of a PostgreSQL says; nothing while it starts."""
    argv = ("exec", "-n", namespace, "postgresql-0", "-c", "archiver", "--", "supalove-archiver", "status")
    done = subprocess.run(found.command(*argv), capture_output=True, text=True, check=False)
    said: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
    return said


def await_(is_so: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, what
        time.sleep(1)


def await_backup(found: Cluster, namespace: str) -> None:
    """Until the incarnation that runs has a base backup."""
    await_(lambda: status(found, namespace).get("newest_backup_at"), f"{namespace} has no base backup")


def await_archived(found: Cluster, namespace: str) -> None:
    """Until everything that has been committed by now is archived; the heartbeat would end its segment later."""
    segment = _superuser(found, namespace, "SELECT pg_walfile_name(pg_switch_wal())")
    last = "SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver"
    await_(lambda: _superuser(found, namespace, last) >= segment, f"{namespace} does not archive {segment}")


def _superuser(found: Cluster, namespace: str, sql: str) -> str:
    psql = ("psql", "-h", "/run/postgresql", "-U", "postgres", "-qAtX", "-c", sql)
    return found.kubectl("exec", "-n", namespace, "postgresql-0", "-c", "postgresql", "--", *psql).strip()
