# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients of a pooler are held for a restart, and let go again whatever happens to the one who holds them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.plan import plan_objects
from ansible_collections.supalove.platform.plugins.module_utils._engine.pause import needs_pause
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.context import context_of
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.pause import (
    LONGEST_SECONDS,
    render_pause,
)
from builders import DEDICATED, UID, Platform, a_project, live, objects_of, observed

SCRIPT = Path(__file__).parents[3] / "images/pgbouncer/root/usr/local/bin/supalove-pooler-pause"


@pytest.fixture
def pause(tmp_path):
    """Starts the program with a stand-in for psql that notes what it is asked; `hangs` names a statement."""
    started = []

    def start(*arguments: str, hangs: str = "nothing") -> subprocess.Popen[str]:
        psql = tmp_path / "psql"
        note = f'for last; do :; done; echo "$last" >>{tmp_path}/log'
        psql.write_text(f'#!/bin/sh\n{note}\ncase "$last" in *{hangs}*) sleep 30 ;; esac\n')
        psql.chmod(0o755)
        (tmp_path / "password").write_text("secret")
        environment = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "TMPDIR": str(tmp_path),
            "SETTLE_SECONDS": "1",
            "SUPALOVE_PASSWORD_FILE": str(tmp_path / "password"),
        }
        process = subprocess.Popen(
            ["/bin/sh", str(SCRIPT), *arguments], env=environment, start_new_session=True, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def asked(path: Path) -> list[str]:
    log = path / "log"
    return [line.removeprefix("--command=") for line in log.read_text().splitlines()] if log.exists() else []


def until(seconds: float) -> str:
    return str(int(time.time() + seconds))


def await_mark(path: Path) -> None:
    end = time.monotonic() + 10
    while not (path / "paused").exists():
        assert time.monotonic() < end, asked(path)
        time.sleep(0.02)


def test_clients_are_let_go_when_the_time_is_up(pause, tmp_path):
    process = pause("postgres", "1", until(60))
    await_mark(tmp_path)
    assert process.wait(timeout=10) == 0
    assert asked(tmp_path) == ["PAUSE postgres", "RESUME postgres"]
    assert not (tmp_path / "paused").exists()


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_clients_are_let_go_when_the_job_is_removed(pause, tmp_path, told):
    process = pause("postgres", "60", until(60))
    await_mark(tmp_path)
    process.send_signal(told)
    assert process.wait(timeout=10) == 0
    assert asked(tmp_path)[-1] == "RESUME postgres"


def test_a_pooler_that_does_not_pause_is_let_go_at_once(pause, tmp_path):
    assert pause("postgres", "60", until(60), hangs="PAUSE").wait(timeout=10) == 1
    assert asked(tmp_path) == ["PAUSE postgres", "RESUME postgres"]


def test_a_successor_that_comes_too_late_only_lets_go(pause, tmp_path):
    assert pause("postgres", "60", until(-1)).wait(timeout=10) == 0
    assert asked(tmp_path) == ["RESUME postgres"]


@pytest.mark.parametrize(
    ("before", "after", "needed"),
    [
        ({}, {"memory": "512Mi"}, True),
        ({}, {"connections": 30}, True),
        ({}, {"clients": 999}, False),
        ({}, {"state": "absent"}, False),
        ({"state": "absent"}, {}, False),
        ({"state": "absent"}, {"state": "absent", "memory": "512Mi"}, False),
    ],
)
def test_only_a_database_that_serves_and_goes_on_is_restarted_behind_a_pause(before, after, needed):
    state = observed(*(live(one) for one in objects_of(a_project(**before))))
    project = a_project(**after)
    steps = plan_objects(objects_of(project), state).steps
    assert any(needs_pause(project, step) for step in steps) is needed


def test_the_job_passes_its_bound_and_no_secret_by_value():
    body = render_pause(context_of(a_project(), Platform(), DEDICATED, UID), 1234).body
    (container,) = body["spec"]["template"]["spec"]["containers"]
    assert container["command"][1:] == ["postgres", str(LONGEST_SECONDS), "1234"]
    assert all("valueFrom" not in one for one in container["env"])
    (secret,) = (one["secret"] for one in body["spec"]["template"]["spec"]["volumes"] if "secret" in one)
    assert (secret["secretName"], [one["key"] for one in secret["items"]]) == ("credentials", ["pauser.password"])


def test_the_password_of_the_console_is_in_a_file_of_the_programs_own(pause, tmp_path):
    assert pause("postgres", "60", until(-1)).wait(timeout=10) == 0
    assert (tmp_path / "pgpass").read_text() == "*:*:*:*:secret\n"
    assert (tmp_path / "pgpass").stat().st_mode & 0o777 == 0o600


def test_clients_wait_longer_for_their_database_than_they_are_held():
    (config,) = (one.body["data"] for one in objects_of() if one.id.kind == "ConfigMap" and one.id.name == "pooler")
    (line,) = (line for line in config["pgbouncer.ini"].splitlines() if line.startswith("query_wait_timeout"))
    assert int(line.split("=")[1]) > LONGEST_SECONDS
