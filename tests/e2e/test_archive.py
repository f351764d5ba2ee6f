# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab's PostgreSQLs archive, and a project that goes back to the second before a mistake."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lab import object_store, playbook
from lab.cluster import Cluster
from lab.object_store import BUCKET

pytestmark = pytest.mark.usefixtures("platform")

SECONDS = 120
# The namespaces of the lab's PostgreSQLs, with the engines that they are archived with.
ARCHIVED = {"p-demo": "wal-g", "s-free-1": "barman-cloud"}


def status(found: Cluster, namespace: str) -> dict[str, Any]:
    """What the archiver of a PostgreSQL says; nothing while it starts."""
    argv = ("exec", "-n", namespace, "postgresql-0", "-c", "archiver", "--", "supalove-archiver", "status")
    done = subprocess.run(found.command(*argv), capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else {}


def await_(is_so: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, what
        time.sleep(1)


@pytest.mark.parametrize("namespace", sorted(ARCHIVED))
def test_wal_and_base_backups_of_every_postgresql_are_in_the_object_store(platform: Cluster, namespace: str) -> None:
    await_(lambda: status(platform, namespace).get("backup", {}).get("done"), f"{namespace} has no base backup")
    before = status(platform, namespace)
    assert (before["engine"], before["refused"]) == (ARCHIVED[namespace], "")
    await_(lambda: status(platform, namespace)["wal"]["done"] > before["wal"]["done"], f"{namespace} does not archive")
    prefix = f"platform/{before['archive']}/{before['incarnation']}/"
    listed = object_store.administrator().s3().list_objects_v2(Bucket=BUCKET, Prefix=prefix)
    assert f"{prefix}incarnation.json" in {one["Key"] for one in listed["Contents"]}


def test_the_login_of_an_archive_opens_that_archive_and_no_other(platform: Cluster) -> None:
    keys = platform.secret("p-demo", "archive")
    own, other = (status(platform, namespace)["archive"] for namespace in ("p-demo", "s-free-1"))
    client = object_store.administrator().known_as(keys["access_key"], keys["secret_key"]).s3()
    assert client.list_objects_v2(Bucket=BUCKET, Prefix=f"platform/{own}/")["KeyCount"] > 0
    with pytest.raises(Exception, match="AccessDenied"):
        client.list_objects_v2(Bucket=BUCKET, Prefix=f"platform/{other}/")


def test_a_project_goes_back_to_the_second_before_a_mistake(platform: Cluster, lab: Path) -> None:
    await_(lambda: status(platform, "p-demo").get("backup", {}).get("done"), "there is no base backup")
    platform.start_client("p-demo")
    platform.psql("p-demo", "DROP TABLE IF EXISTS kept; CREATE TABLE kept (id int); INSERT INTO kept VALUES (1), (2);")
    moment = platform.psql("p-demo", "SELECT clock_timestamp();").stdout.strip()
    platform.psql("p-demo", "SELECT pg_sleep(1); DROP TABLE kept; CREATE TABLE wrong ();")
    before = status(platform, "p-demo")
    await_(
        lambda: status(platform, "p-demo")["wal"]["done"] >= before["wal"]["done"] + 2, "the mistake is not archived"
    )
    choice = ("-e", json.dumps({"supalove_restore_ref": "demo", "supalove_restore_time": moment.replace(" ", "T")}))

    told = playbook.run("restore", lab, *choice, "--check")
    assert told.code == 0, told.output[-3000:]
    assert before["incarnation"] in told.output
    done = playbook.run("restore", lab, *choice)
    assert done.code == 0, done.output[-3000:]

    assert platform.psql("p-demo", "SELECT string_agg(id::text, ',' ORDER BY id) FROM kept;").stdout.strip() == "1,2"
    assert platform.psql("p-demo", "SELECT to_regclass('wrong');").stdout.strip() == ""
    after = status(platform, "p-demo")
    assert after["incarnation"] != before["incarnation"]
    await_(lambda: status(platform, "p-demo")["backup"]["done"], "the new life has no base backup")
    volumes = {one["metadata"]["name"] for one in platform.objects("pvc", "-n", "p-demo")}
    assert len(volumes) == 2, "the data of before are kept"
    again = playbook.run("projects", lab)
    assert again.code == 0, again.output[-3000:]
    assert not again.changes


def test_a_moment_that_the_archive_does_not_reach_is_refused_with_the_reason(platform: Cluster, lab: Path) -> None:
    before = status(platform, "p-demo")["incarnation"]
    for moment, reason in (("2020-01-01T00:00:00+00:00", "before"), ("2100-01-01T00:00:00+00:00", "in the future")):
        choice = json.dumps({"supalove_restore_ref": "demo", "supalove_restore_time": moment})
        done = playbook.run("restore", lab, "-e", choice)
        assert done.code != 0
        assert reason in done.output
    assert status(platform, "p-demo")["incarnation"] == before
