# SPDX-License-Identifier: GPL-3.0-or-later
"""The database's entrypoints when they are told to stop, with stand-ins for PostgreSQL's programs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "images/postgresql/root/usr/local/bin/supalove-postgresql"
PROGRAMS = {
    "pg_ctl": 'echo "pg_ctl $1 $*" >>"$LOG"; case "$1" in start) touch "$PGDATA/postmaster.pid" ;; esac',
    "pg_controldata": 'echo "Database cluster state:               in production"',
    "pg_isready": "true",
    "psql": 'echo psql >>"$LOG"; sleep 20',
    "postgres": 'echo postgres >>"$LOG"',
}


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_a_pod_told_to_stop_during_bootstrap_shuts_its_server_down(tmp_path, told):
    data, config, programs, log = (tmp_path / name for name in ("data", "config", "bin", "log"))
    for directory in (data, config, programs):
        directory.mkdir()
    (data / "PG_VERSION").write_text("17\n")
    for name in ("postgresql.conf", "pg_hba.conf", "bootstrap.sql"):
        (config / name).touch()
    for name, text in PROGRAMS.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PGDATA": str(data),
        "SUPALOVE_CONFIG": str(config),
        "TMPDIR": str(tmp_path),
        "LOG": str(log),
    }
    process = subprocess.Popen(["/bin/sh", str(SCRIPT)], env=environment, start_new_session=True)
    try:
        end = time.monotonic() + 10
        while not (log.exists() and "psql" in log.read_text()):
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(told)
        assert process.wait(timeout=5) == 143
        assert f"pg_ctl stop stop --pgdata={data} --mode=fast" in log.read_text()
        assert "postgres\n" not in log.read_text()
    finally:
        # What psql stands for still sleeps.
        os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_the_reaper_asks_again_when_its_session_ends_and_stops_when_told_to(tmp_path, told):
    config, programs, log = (tmp_path / name for name in ("config", "bin", "log"))
    for directory in (config, programs):
        directory.mkdir()
    (config / "reaper.sql").touch()
    # The first session ends as with its server, the second one lasts.
    text = 'echo psql >>"$LOG"; [ "$(wc -l <"$LOG")" -lt 2 ] || exec sleep 20; exit 2'
    for name, script in {"psql": text, "sleep": "exec /bin/sleep 0.1"}.items():
        (programs / name).write_text(f"#!/bin/sh\n{script.replace('exec sleep', 'exec /bin/sleep')}\n")
        (programs / name).chmod(0o755)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "SUPALOVE_CONFIG": str(config), "LOG": str(log)}
    reaper = ["/bin/sh", str(SCRIPT.with_name("supalove-reaper"))]
    process = subprocess.Popen(reaper, env=environment, start_new_session=True)
    try:
        end = time.monotonic() + 10
        while not (log.exists() and log.read_text() == "psql\npsql\n"):
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(told)
        assert process.wait(timeout=5) == 143
    finally:
        # One that does not stop would ask again for ever.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
