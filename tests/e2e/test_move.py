# SPDX-License-Identifier: GPL-3.0-or-later
"""A project's database goes to a PostgreSQL of its own and back, and no row that was confirmed is missing."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from lab import interrupt, playbook
from lab.archiver import await_, await_archived, await_backup, status
from lab.cluster import Cluster
from lab.writer import Writer

pytestmark = pytest.mark.usefixtures("platform")

NOTES = "p-notes"
# Within a minute the archiver opens what a killed run has closed.
OPEN_SECONDS = 90
ROWS = "SELECT count(*), min(id), max(id) FROM moved;"
BEGIN = "DROP TABLE IF EXISTS moved; CREATE TABLE moved (id int PRIMARY KEY);"


def choice(tier: str) -> tuple[str, str]:
    """Of the project notes, which is to have this tier."""
    projects = {"demo": {"tier": "pro"}, "notes": {"tier": tier}, "shop": {"tier": "free"}}
    return "-e", json.dumps({"supalove_projects": projects, "supalove_move_ref": "notes"})


def move(lab: Path, tier: str, *options: str) -> playbook.Run:
    return playbook.run("move", lab, *options, *choice(tier))


def places(found: Cluster) -> dict[str, str]:
    return {one["metadata"]["name"]: one["status"]["placement"] for one in found.objects("slp", "-A")}


def moved_with_writer(found: Cluster, lab: Path, tier: str) -> None:
    """Move while somebody writes; what was confirmed to him is there afterwards, and nothing else."""
    found.start_client(NOTES)
    found.psql(NOTES, BEGIN)
    with Writer(found, NOTES, "moved") as writer:
        done = move(lab, tier)
    assert done.code == 0, done.output[-3000:]
    assert writer.written > 5
    assert found.psql(NOTES, ROWS).stdout.strip() == f"{writer.written}|1|{writer.written}", writer.errors
    assert found.psql(NOTES, "INSERT INTO moved VALUES (0) RETURNING id;").stdout.strip() == "0"


def test_a_database_moves_to_a_postgresql_of_its_own_and_back_and_has_every_row(platform: Cluster, lab: Path) -> None:
    projects = {"demo": {"tier": "pro"}, "notes": {"tier": "pro"}, "shop": {"tier": "free"}}
    refused = playbook.run("projects", lab, "-e", json.dumps({"supalove_projects": projects}))
    assert refused.code != 0
    assert "notes: plan SupaloveProject/supalove-system/notes: its database is shared/free-1" in refused.output
    too_large = move(lab, "pro", "-e", "supalove_move_max_size=1Mi")
    assert too_large.code != 0
    assert "at most 1 MiB are allowed" in too_large.output
    assert places(platform)["notes"] == "shared/free-1"

    moved_with_writer(platform, lab, "pro")
    assert places(platform)["notes"] == "dedicated"
    again = move(lab, "pro")
    assert (again.code, again.changes) == (0, frozenset()), again.output[-3000:]
    await_(lambda: status(platform, "s-free-1").get("kept"), "the server that it left keeps nothing", seconds=20)
    mistaken = playbook.run("projects", lab)
    assert mistaken.code != 0
    assert "its database is dedicated, and the tier free wants it shared" in " ".join(mistaken.output.split())

    moved_with_writer(platform, lab, "free")
    assert places(platform)["notes"] == "shared/free-1"
    assert not platform.objects("statefulsets", "-n", NOTES)
    assert platform.objects("pvc", "-n", NOTES), "the volume of its own PostgreSQL is kept"
    last = playbook.run("projects", lab)
    assert last.code == 0, last.output[-3000:]
    assert not last.changes


@pytest.mark.long
def test_a_moment_before_a_move_is_restored_out_of_the_archive_of_then(platform: Cluster, lab: Path) -> None:
    platform.start_client(NOTES)
    await_backup(platform, "s-free-1")
    platform.psql(NOTES, f"{BEGIN} INSERT INTO moved VALUES (1), (2);")
    moment = platform.psql(NOTES, "SELECT clock_timestamp();").stdout.strip().replace(" ", "T")
    await_archived(platform, "s-free-1")
    assert move(lab, "pro").code == 0
    platform.start_client(NOTES)
    assert platform.psql(NOTES, "DROP TABLE moved;").returncode == 0
    projects = {"demo": {"tier": "pro"}, "notes": {"tier": "pro"}, "shop": {"tier": "free"}}
    then = {"supalove_projects": projects, "supalove_restore_ref": "notes", "supalove_restore_time": moment}
    done = playbook.run("restore", lab, "-e", json.dumps(then))
    assert done.code == 0, done.output[-3000:]
    assert "s-free-1" in done.output
    assert platform.psql(NOTES, ROWS).stdout.strip() == "2|1|2"
    assert move(lab, "free").code == 0


@pytest.mark.long
def test_a_move_that_is_killed_while_clients_are_held_leaves_the_project_at_work_and_the_next_one_ends_it(
    platform: Cluster, lab: Path
) -> None:
    platform.start_client(NOTES)
    platform.psql(NOTES, f"{BEGIN} INSERT INTO moved VALUES (1);")
    interrupt.at(lambda: bool(platform.objects("jobs", "-n", NOTES)), ("move", lab, *choice("pro")), 120)
    until = time.monotonic() + OPEN_SECONDS
    while platform.psql(NOTES, "INSERT INTO moved VALUES (2);").returncode:
        assert time.monotonic() < until, "it does not go on"
    assert places(platform)["notes"] == "shared/free-1>dedicated"
    refused = playbook.run("projects", lab)
    # Long lines of an error are wrapped.
    assert "that has not ended: run the playbook move.yml" in " ".join(refused.output.split()), refused.output[-3000:]
    done = move(lab, "pro")
    assert done.code == 0, done.output[-3000:]
    assert places(platform)["notes"] == "dedicated"
    assert platform.psql(NOTES, ROWS).stdout.strip() == "2|1|2"


@pytest.mark.long
def test_a_move_that_was_killed_is_given_up_with_the_tier_of_before(platform: Cluster, lab: Path) -> None:
    platform.start_client(NOTES)
    platform.psql(NOTES, f"{BEGIN} INSERT INTO moved VALUES (1);")
    interrupt.at(lambda: ">" in places(platform)["notes"], ("move", lab, *choice("free")), 120)
    done = move(lab, "pro")
    assert done.code == 0, done.output[-3000:]
    assert places(platform)["notes"] == "dedicated"
    assert platform.psql(NOTES, ROWS).stdout.strip() == "1|1|1"
    assert move(lab, "free").code == 0
    assert playbook.run("projects", lab).code == 0
