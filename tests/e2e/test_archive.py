# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab's PostgreSQLs archive, and a project that goes back to the second before a mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lab import object_store, playbook
from lab.archiver import await_, await_archived, await_backup, status
from lab.cluster import Cluster
from lab.object_store import BUCKET
from lab.writer import Writer

pytestmark = pytest.mark.usefixtures("platform")

# The namespaces of the lab's PostgreSQLs, with the engines that they are archived with.
ARCHIVED = {"p-demo": "wal-g", "s-free-1": "barman-cloud"}
# What an earlier run of a test has left.
CLEAN = "DROP TABLE IF EXISTS kept, wrong;"


@pytest.mark.parametrize("namespace", sorted(ARCHIVED))
def test_wal_and_base_backups_of_every_postgresql_are_in_the_object_store(platform: Cluster, namespace: str) -> None:
    await_backup(platform, namespace)
    before = status(platform, namespace)
    assert (before["engine"], before["refused"]) == (ARCHIVED[namespace], "")
    await_archived(platform, namespace)
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
    await_backup(platform, "p-demo")
    platform.start_client("p-demo")
    platform.psql("p-demo", f"{CLEAN} CREATE TABLE kept (id int); INSERT INTO kept VALUES (1), (2);")
    moment = platform.psql("p-demo", "SELECT clock_timestamp();").stdout.strip()
    platform.psql("p-demo", "SELECT pg_sleep(1); DROP TABLE kept; CREATE TABLE wrong ();")
    before = status(platform, "p-demo")
    await_archived(platform, "p-demo")
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
    await_backup(platform, "p-demo")
    volumes = {one["metadata"]["name"] for one in platform.objects("pvc", "-n", "p-demo")}
    assert len(volumes) == 2, "the data of before are kept"
    again = playbook.run("projects", lab)
    assert again.code == 0, again.output[-3000:]
    assert not again.changes


def test_one_database_of_a_shared_cluster_goes_back_while_its_neighbour_goes_on(platform: Cluster, lab: Path) -> None:
    await_backup(platform, "s-free-1")
    for namespace in ("p-notes", "p-shop"):
        platform.start_client(namespace)
    platform.psql("p-notes", f"{CLEAN} CREATE TABLE kept (id int); INSERT INTO kept VALUES (1), (2);")
    platform.psql("p-shop", "DROP TABLE IF EXISTS mine; CREATE TABLE mine (id int PRIMARY KEY);")
    moment = platform.psql("p-notes", "SELECT clock_timestamp();").stdout.strip()
    platform.psql("p-notes", "SELECT pg_sleep(1); DROP TABLE kept; CREATE TABLE wrong ();")
    await_archived(platform, "s-free-1")
    server = one_pod(platform, "s-free-1")

    choice = {"supalove_restore_ref": "notes", "supalove_restore_time": moment.replace(" ", "T")}
    with Writer(platform, "p-shop", "mine") as neighbour:
        done = playbook.run("restore", lab, "-e", json.dumps(choice))
    assert done.code == 0, done.output[-3000:]

    assert platform.psql("p-notes", "SELECT string_agg(id::text, ',' ORDER BY id) FROM kept;").stdout.strip() == "1,2"
    assert platform.psql("p-notes", "SELECT to_regclass('wrong');").stdout.strip() == ""
    written = platform.psql("p-notes", "INSERT INTO kept VALUES (3) RETURNING id;")
    assert written.stdout.strip() == "3", written.stderr
    assert neighbour.errors == []
    assert neighbour.written > 10
    counted = platform.psql("p-shop", "SELECT count(*) FROM mine;").stdout.strip()
    assert counted == str(neighbour.written), "the neighbour has all its rows, and no other"
    assert one_pod(platform, "s-free-1") == server, "neither restarted nor replaced"
    await_no_copies(platform)
    kept = status(platform, "s-free-1")["kept"]
    assert len(kept) == 1, "the database of before is kept"
    again = playbook.run("projects", lab)
    assert again.code == 0, again.output[-3000:]
    assert not again.changes


# The projects of the lab that are on the cluster free-1.
ON_FREE_1 = ("p-notes", "p-shop")


@pytest.mark.long
def test_a_shared_cluster_goes_back_to_a_moment_with_all_its_projects(platform: Cluster, lab: Path) -> None:
    await_backup(platform, "s-free-1")
    for namespace in ON_FREE_1:
        platform.start_client(namespace)
        platform.psql(namespace, f"{CLEAN} CREATE TABLE kept (id int); INSERT INTO kept VALUES (1), (2);")
    moment = platform.psql("p-notes", "SELECT clock_timestamp();").stdout.strip().replace(" ", "T")
    for namespace in ON_FREE_1:
        platform.psql(namespace, "SELECT pg_sleep(1); DROP TABLE kept; CREATE TABLE wrong ();")
    await_archived(platform, "s-free-1")
    before, claims = status(platform, "s-free-1"), claims_of(platform, "s-free-1")
    choice = ("-e", json.dumps({"supalove_restore_cluster": "free-1", "supalove_restore_time": moment}))

    told = playbook.run("restore", lab, *choice, "--check")
    assert told.code == 0, told.output[-3000:]
    assert before["incarnation"] in told.output
    assert (status(platform, "s-free-1")["incarnation"], claims_of(platform, "s-free-1")) == (
        before["incarnation"],
        claims,
    )
    done = playbook.run("restore", lab, *choice)
    assert done.code == 0, done.output[-3000:]

    for namespace in ON_FREE_1:
        found = platform.psql(namespace, "SELECT string_agg(id::text, ',' ORDER BY id) FROM kept;")
        assert found.stdout.strip() == "1,2", found.stderr
        assert platform.psql(namespace, "SELECT to_regclass('wrong');").stdout.strip() == ""
    assert status(platform, "s-free-1")["incarnation"] != before["incarnation"]
    assert len(claims_of(platform, "s-free-1") - claims) == 1
    assert claims <= claims_of(platform, "s-free-1"), "the data of before are kept"
    await_backup(platform, "s-free-1")
    again = playbook.run("projects", lab)
    assert again.code == 0, again.output[-3000:]
    assert not again.changes


@pytest.mark.long
def test_a_shared_cluster_that_has_lost_its_volume_comes_back_out_of_its_archive(platform: Cluster, lab: Path) -> None:
    await_backup(platform, "s-free-1")
    for namespace in ON_FREE_1:
        platform.start_client(namespace)
        platform.psql(namespace, f"{CLEAN} CREATE TABLE kept (id int); INSERT INTO kept VALUES (1), (2);")
    await_archived(platform, "s-free-1")
    before = status(platform, "s-free-1")
    (pod,) = platform.objects("pod", "-n", "s-free-1", "--field-selector=metadata.name=postgresql-0")
    (claim,) = (
        one["persistentVolumeClaim"]["claimName"] for one in pod["spec"]["volumes"] if "persistentVolumeClaim" in one
    )
    platform.kubectl("delete", "pvc", "-n", "s-free-1", claim, "--wait=false")
    platform.kubectl("delete", "pod", "-n", "s-free-1", "postgresql-0")
    await_(lambda: claim not in claims_of(platform, "s-free-1"), f"the claim {claim} does not go")

    choice = {"supalove_restore_cluster": "free-1", "supalove_restore_latest": True}
    done = playbook.run("restore", lab, "-e", json.dumps(choice))
    assert done.code == 0, done.output[-3000:]
    assert before["incarnation"] in done.output
    for namespace in ON_FREE_1:
        found = platform.psql(namespace, "SELECT string_agg(id::text, ',' ORDER BY id) FROM kept;")
        assert found.stdout.strip() == "1,2", found.stderr
        assert platform.psql(namespace, "INSERT INTO kept VALUES (3) RETURNING id;").stdout.strip() == "3"
    await_backup(platform, "s-free-1")
    again = playbook.run("projects", lab)
    assert again.code == 0, again.output[-3000:]
    assert not again.changes


def claims_of(found: Cluster, namespace: str) -> set[str]:
    return {one["metadata"]["name"] for one in found.objects("pvc", "-n", namespace)}


@pytest.mark.long
def test_the_past_of_a_purged_project_comes_back_in_another(platform: Cluster, lab: Path) -> None:
    """The shop is purged, and listed again: another project, with another uid."""
    platform.start_client("p-shop")
    platform.psql("p-shop", f"{CLEAN} CREATE TABLE kept (id int); INSERT INTO kept VALUES (1), (2);")
    await_archived(platform, "s-free-1")
    moment = platform.psql("p-shop", "SELECT clock_timestamp();").stdout.strip().replace(" ", "T")
    await_archived(platform, "s-free-1")
    (uid,) = (one["status"]["uid"] for one in platform.objects("slp", "-A") if one["metadata"]["name"] == "shop")
    others = {"demo": {"tier": "pro"}, "notes": {"tier": "free"}}
    stopped = {"supalove_projects": {**others, "shop": {"tier": "free", "state": "absent"}}}
    assert playbook.run("projects", lab, "-e", json.dumps(stopped)).code == 0
    purge = {**stopped, "supalove_purge": {"shop": uid}}
    purged = playbook.run("projects", lab, "-e", json.dumps(purge))
    assert purged.code == 0, purged.output[-3000:]
    anew = playbook.run("projects", lab)
    assert anew.code == 0, anew.output[-3000:]
    choice = {
        "supalove_restore_ref": "shop",
        "supalove_restore_source_uid": uid,
        "supalove_restore_source_archive": "s-free-1",
        "supalove_restore_time": moment,
    }
    done = playbook.run("restore", lab, "-e", json.dumps(choice))
    assert done.code == 0, done.output[-3000:]
    platform.start_client("p-shop")
    assert platform.psql("p-shop", "SELECT count(*) FROM kept;").stdout.strip() == "2"


def test_a_drill_proves_what_can_be_restored_and_says_so(platform: Cluster, lab: Path) -> None:
    choice = {"supalove_drill_clusters": ["free-1"], "supalove_drill_refs": ["demo"]}
    done = playbook.run("drill", lab, "-e", json.dumps(choice))
    assert done.code == 0, done.output[-3000:]
    (kept,) = platform.objects("configmaps", "-n", "supalove-system", "--field-selector=metadata.name=drills")
    assert len(kept["data"]) == 2
    for text in kept["data"].values():
        proof = json.loads(text)
        assert proof["error"] == ""
        assert proof["databases"] >= 1
    await_no_copies(platform)
    listed = object_store.administrator().s3().list_objects_v2(Bucket=BUCKET, Prefix="platform/dumps/")
    assert listed["KeyCount"] == 0


def await_no_copies(found: Cluster) -> None:
    await_(
        lambda: not any(one["metadata"]["name"].startswith("scratch-") for one in found.objects("namespaces")),
        "a copy is left",
    )


def one_pod(found: Cluster, namespace: str) -> tuple[str, int]:
    """Which pod the PostgreSQL of a namespace is, and how often its server was started again."""
    pod = json.loads(found.kubectl("get", "pod", "-n", namespace, "postgresql-0", "-o", "json"))
    counts = {one["name"]: one["restartCount"] for one in pod["status"]["containerStatuses"]}
    return pod["metadata"]["uid"], counts["postgresql"]


def test_a_moment_that_the_archive_does_not_reach_is_refused_with_the_reason(platform: Cluster, lab: Path) -> None:
    before = status(platform, "p-demo")["incarnation"]
    for moment, reason in (("2020-01-01T00:00:00+00:00", "before"), ("2100-01-01T00:00:00+00:00", "in the future")):
        choice = json.dumps({"supalove_restore_ref": "demo", "supalove_restore_time": moment})
        done = playbook.run("restore", lab, "-e", choice)
        assert done.code != 0
        assert reason in done.output
    assert status(platform, "p-demo")["incarnation"] == before
