# SPDX-License-Identifier: GPL-3.0-or-later
"""New logins for clients while they work: none of their requests fails, and the old login ends when it is told to."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import interrupt, playbook
from lab.cluster import Cluster

pytestmark = pytest.mark.usefixtures("platform")

PROJECTS = ("demo", "notes")
# An application of the usual kind: it reads its login from the mounted Secret whenever it connects.
LOOP = """
touch /tmp/go; n=0
while [ -e /tmp/go ]; do
  psql -qAtX -v ON_ERROR_STOP=1 -c 'INSERT INTO worked DEFAULT VALUES' || exit 1
  n=$((n + 1))
done
echo $n
"""


@pytest.fixture
def working(platform: Cluster) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """A client of each project that works without a pause, until it is told to stop or fails."""
    with contextlib.ExitStack() as stack:
        loops = {}
        for project in PROJECTS:
            namespace = f"p-{project}"
            platform.start_client(namespace, "worker")
            stack.callback(platform.kubectl, "delete", "pod", "-n", namespace, "worker", "--wait=false")
            platform.psql(namespace, "CREATE TABLE IF NOT EXISTS worked (id serial PRIMARY KEY);", "worker")
            platform.psql(namespace, "TRUNCATE worked;", "worker")
            argv = platform.command("exec", "-i", "-n", namespace, "worker", "--", "sh", "-c", LOOP)
            loops[project] = stack.enter_context(
                subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            )
        yield loops
        for project in PROJECTS:
            platform.execute(f"p-{project}", "worker", "rm", "-f", "/tmp/go")


def test_no_request_fails_while_all_logins_are_rotated_and_the_old_ones_end(
    platform: Cluster, lab: Path, working: dict[str, subprocess.Popen[str]]
) -> None:
    before = {project: platform.secret(f"p-{project}", "credentials") for project in PROJECTS}
    done = playbook.run("rotate", lab)
    assert done.code == 0, done.output[-3000:]
    after = {project: platform.secret(f"p-{project}", "credentials") for project in PROJECTS}
    for project in PROJECTS:
        assert after[project]["owner.user"] != before[project]["owner.user"]
        assert after[project]["owner.password"] != before[project]["owner.password"]
        for texts in (before[project], after[project]):
            assert logs_in(platform, project, texts), "both logins work until the old one is ended"

    again = playbook.run("rotate", lab)
    assert again.code == 0, again.output[-3000:]
    assert not again.changes, "of all, each is left alone for which it is too soon"
    chosen = playbook.run("rotate", lab, "-e", json.dumps({"supalove_rotate_refs": ["demo"]}))
    assert chosen.code != 0
    assert "clients may still use the login before the last one" in chosen.output

    for project in PROJECTS:
        await_taken_up(platform, project, after[project]["owner.user"])
    ended = playbook.run("rotate", lab, "-e", "supalove_rotate_end_previous=true")
    assert ended.code == 0, ended.output[-3000:]
    for project in PROJECTS:
        assert not logs_in(platform, project, before[project])
        assert logs_in(platform, project, after[project])

    for project, loop in working.items():
        platform.execute(f"p-{project}", "worker", "rm", "/tmp/go")
        said, errors = loop.communicate(timeout=60)
        assert loop.returncode == 0, errors
        assert count(platform, project, after[project]) == said.strip()


def ask(found: Cluster, project: str, texts: dict[str, str], sql: str) -> subprocess.CompletedProcess[str]:
    login = (f"PGUSER={texts['owner.user']}", f"PGPASSWORD={texts['owner.password']}")
    return found.execute(f"p-{project}", "worker", "env", *login, "psql", "-qAtX", "-c", sql)


def logs_in(found: Cluster, project: str, texts: dict[str, str]) -> bool:
    return ask(found, project, texts, "SELECT 1").returncode == 0


def count(found: Cluster, project: str, texts: dict[str, str]) -> str:
    return ask(found, project, texts, "SELECT count(*) FROM worked").stdout.strip()


def await_taken_up(found: Cluster, project: str, login: str) -> None:
    """The kubelet brings the mounted Secret up to date by itself; told to look at the pod it does so at once."""
    found.kubectl("annotate", "pod", "worker", "-n", f"p-{project}", "looked=at", "--overwrite")
    wait = f"for _ in $(seq 180); do [ $(cat /credentials/owner.user) = {login} ] && exit 0; sleep 1; done; exit 1"
    assert found.execute(f"p-{project}", "worker", "sh", "-c", wait).returncode == 0


def test_a_rotation_killed_on_its_way_is_finished_by_the_next_one(platform: Cluster, lab: Path) -> None:
    """Killed when the new password is in the Secret and no client has been told of it."""
    options = ("-e", json.dumps({"supalove_rotate_refs": ["shop"]}))
    before = platform.secret("p-shop", "credentials")
    interrupt.at(lambda: "next.user" in platform.secret("p-shop", "credentials"), ("rotate", lab, *options), 60)
    begun = platform.secret("p-shop", "credentials")
    assert begun["owner.user"] == before["owner.user"]
    done = playbook.run("rotate", lab, *options)
    assert done.code == 0, done.output[-3000:]
    after = platform.secret("p-shop", "credentials")
    assert (after["owner.user"], after["owner.password"]) == (begun["next.user"], begun["next.password"])
    platform.start_client("p-shop", "worker")
    assert logs_in(platform, "shop", after)
    platform.kubectl("delete", "pod", "-n", "p-shop", "worker", "--wait=false")
