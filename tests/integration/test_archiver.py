# SPDX-License-Identifier: GPL-3.0-or-later
"""The archiver beside a real PostgreSQL, over real S3, with each archive engine."""

from __future__ import annotations

import datetime
import json
import secrets
import socket
from collections.abc import Iterator

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.ends import plan_to_end
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.segments import Segment, format_lsn
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import Unrecoverable
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.archive import ENCRYPTION_KEY
from fix_archive import ENGINES, FIRST_IN_CI, Archived, archived, start
from fix_container import podman
from fix_object_store import ObjectStore
from fix_proxy import Proxy


@pytest.fixture(params=FIRST_IN_CI)
def pair(object_store: ObjectStore, request: pytest.FixtureRequest) -> Iterator[Archived]:
    with archived(object_store, request.param) as made:
        yield made


@pytest.mark.parametrize("engine", ENGINES)
def test_wal_and_a_base_backup_are_in_the_archive_and_it_says_whose_they_are(
    locked_store: ObjectStore, engine: str
) -> None:
    """In a bucket that locks, and encrypted by the store."""
    with archived(locked_store, engine) as pair:
        pair.sql("CREATE TABLE rows (id int); INSERT INTO rows VALUES (1)")
        pair.await_archived(pair.segment())
        pair.await_(lambda: pair.status()["backup"]["done"] == 1, "no base backup was made")
        said = json.loads(pair.store.get(f"{pair.prefix}/incarnation.json"))
        assert said["incarnation"] == pair.incarnation
        assert said["system_identifier"] == pair.sql("SELECT system_identifier FROM pg_control_system()")
        assert said["postgresql"] == 17
        assert pair.status()["refused"] == ""
        assert pair.sql("SELECT now() - at < interval '30 s' FROM supalove_archive.heartbeat", "postgres") == "True"
        pair.stop()
        keys = locked_store.keys(f"{pair.prefix}/")
        assert f"{pair.prefix}/end.json" in keys
    s3 = locked_store.client()
    told = [s3.head_object(Bucket=locked_store.bucket, Key=key) for key in keys]
    assert {(one["ServerSideEncryption"], one["ObjectLockMode"]) for one in told} == {("AES256", "GOVERNANCE")}


def test_nothing_is_lost_while_the_store_is_away_and_what_waited_is_archived_after(object_store: ObjectStore) -> None:
    way = Proxy(lambda: socket.create_connection(("127.0.0.1", object_store.port())))
    try:
        with archived(object_store, ENGINES[0], address=f"https://127.0.0.1:{way.port}") as pair:
            pair.await_archived(pair.segment())
            way.stop()
            pair.sql("CREATE TABLE rows (id int)")
            lost = []
            for number in range(3):
                pair.sql(f"INSERT INTO rows VALUES ({number})")
                lost.append(pair.segment())
            pair.await_(lambda: pair.status()["wal"]["failures"] > 0, "the archiver did not notice")
            assert pair.status()["ready_files"] >= 3
            assert not set(lost) & {name.split(".")[0] for name in pair.names()}
            way.start()
            for segment in lost:
                pair.await_archived(segment)
            pair.await_(lambda: pair.status()["wal"]["failures"] == 0, "the archiver still fails")
    finally:
        way.close()


def test_a_prefix_that_is_another_clusters_is_left_alone(pair: Archived) -> None:
    """As when a volume was copied, and its copy was started: its own life begins with another description."""
    pair.await_archived(pair.segment())
    description = f"{pair.prefix}/incarnation.json"
    said = json.loads(pair.store.get(description))
    pair.store.put(description, json.dumps({**said, "system_identifier": "1"}).encode())
    podman("restart", "--time", "5", pair.archiver)
    pair.await_(lambda: "system_identifier" in pair.status().get("refused", ""), "it did not refuse")
    segment = pair.segment()
    pair.await_(lambda: pair.status()["ready_files"] > 0 or pair.status()["heartbeat"]["done"] > 1, "it does not try")
    assert not any(name.startswith(segment) for name in pair.names())


def test_a_store_that_lost_its_data_is_begun_again_with_the_backup_that_is_asked_for(pair: Archived) -> None:
    """Without a description of the incarnation nobody finds the backup: it was written an hour later, if at all."""
    pair.await_(lambda: pair.told().get("newest_backup_at"), "no base backup was made")
    for key in pair.store.keys(f"{pair.prefix}/"):
        pair.store.client().delete_object(Bucket=pair.store.bucket, Key=key)
    done = pair.told()["backup"]["done"]
    pair.ask_backup()
    pair.await_(lambda: pair.told()["backup"]["done"] > done, "no base backup was made")
    (catalog,) = pair.catalogs()
    assert (catalog.problems, len(catalog.backups)) == ((), 1)


def test_a_key_that_was_lost_and_made_anew_begins_another_incarnation_at_once(pair: Archived) -> None:
    """For up to an hour WAL went with the new key to where everything before has the old one."""
    pair.await_(lambda: pair.told().get("newest_backup_at"), "no base backup was made")
    before = pair.incarnation
    (pair.directory / "archive-credentials" / ENCRYPTION_KEY).write_text(secrets.token_hex(32))
    pair.await_(lambda: pair.incarnation != before, "no other incarnation begins", 30)
    pair.await_(lambda: pair.told()["backup"]["done"] == 2, "no base backup was made")
    assert [one.problems for one in pair.catalogs() if one.id == pair.incarnation] == [()]


def test_a_moment_is_named_when_it_is_archived_and_a_name_is_given_once(pair: Archived) -> None:
    told = {"project": str(pair.uid), "name": "before-v2"}
    pair.await_(lambda: pair.told().get("newest_backup_at"), "no base backup was made")
    assert pair.work("/point", **told)["error"] == ""
    (point,) = pair.told()["points"]
    assert (point["name"], point["project"], point["incarnation"]) == ("before-v2", pair.uid, pair.incarnation)
    (catalog,) = pair.catalogs()
    (noted,) = catalog.points
    assert (catalog.problems, catalog.others) == ((), ())
    assert (noted.name, format_lsn(noted.lsn), noted.project) == ("before-v2", point["lsn"], pair.uid)
    assert Segment.before(1, noted.lsn) in {one.segment for one in catalog.segments}
    status, text = pair.ask("/point", **told)
    assert (status, text.partition(",")[0]) == (409, "there is a restore point before-v2 already")
    for wrong in ({"name": "Before"}, {"name": "../x"}, {"project": "postgres"}):
        assert pair.ask("/point", **{**told, **wrong})[0] == 400


def test_a_name_that_another_archiver_gave_meanwhile_is_refused_by_the_store(pair: Archived) -> None:
    pair.await_(lambda: pair.told().get("newest_backup_at"), "no base backup was made")
    pair.store.put(f"{pair.prefix}/points/{pair.uid}.taken.json", b"{}")
    work = pair.work("/point", project=str(pair.uid), name="taken")
    assert "there is a restore point taken already" in work["error"]
    assert pair.store.get(f"{pair.prefix}/points/{pair.uid}.taken.json") == b"{}"


def test_a_stop_is_noted_in_the_archive_and_the_next_start_takes_it_back(pair: Archived) -> None:
    pair.await_(lambda: pair.told().get("newest_backup_at"), "no base backup was made")
    pair.sql("CREATE TABLE last AS SELECT 1")
    with pytest.raises(Unrecoverable, match="has not noted"):
        plan_to_end(pair.catalogs(), now=datetime.datetime.now(datetime.UTC))
    pair.stop()
    found = plan_to_end(pair.catalogs(), now=datetime.datetime.now(datetime.UTC))
    assert found.last_segment.name == pair.last_segment()
    podman("start", pair.archiver)
    podman("start", pair.server)
    pair.await_(pair.is_up, "PostgreSQL did not get ready")
    end = f"{pair.prefix}/end.json"
    pair.await_(lambda: end not in pair.store.keys(f"{pair.prefix}/"), "the note is still there")


def test_a_server_that_crashed_has_no_end(pair: Archived) -> None:
    pair.await_(lambda: pair.told().get("newest_backup_at"), "no base backup was made")
    pair.sql("CREATE TABLE last AS SELECT 1")
    podman("kill", pair.server)
    podman("stop", "--time", "60", pair.archiver)
    assert f"{pair.prefix}/end.json" not in pair.store.keys(f"{pair.prefix}/")


def test_a_stop_of_the_pod_leaves_no_wal_behind(pair: Archived) -> None:
    """Kubernetes ends the server first. Its shutdown checkpoint is in the segment that is archived last."""
    pair.await_archived(pair.segment())
    pair.sql("CREATE TABLE last AS SELECT 1")
    pair.stop()
    left = [one.name for one in (pair.directory / "data/pgdata/pg_wal/archive_status").iterdir()]
    assert not [name for name in left if name.endswith(".ready")]


def test_a_stop_while_the_store_is_away_ends_before_clients_give_up_and_the_next_start_archives_the_rest(
    object_store: ObjectStore,
) -> None:
    """Found by a restart that took 100 s, while poolers hold clients for 90: the server waited for its last WAL."""
    way = Proxy(lambda: socket.create_connection(("127.0.0.1", object_store.port())))
    try:
        with archived(object_store, ENGINES[0], address=f"https://127.0.0.1:{way.port}") as pair:
            pair.await_archived(pair.segment())
            way.stop()
            pair.sql("CREATE TABLE rows (id int)")
            segment = pair.segment()
            # Who has not ended by then is killed, and its exit code says so.
            podman("stop", "--time", "45", pair.server)
            podman("stop", "--time", "45", pair.archiver)
            codes = [podman("inspect", "--format", "{{.State.ExitCode}}", one) for one in (pair.server, pair.archiver)]
            assert codes == ["0", "0"], pair.logs()
            assert "WAL files wait for the next start" in pair.logs()
            way.start()
            start(pair)
            pair.await_archived(segment)
    finally:
        way.close()


def test_an_idle_server_that_was_started_again_ends_its_segments_in_time(pair: Archived) -> None:
    """It would not do so before checkpoint_timeout, which is five minutes: the RPO is 10 seconds."""
    pair.await_(lambda: pair.status()["backup"]["done"] == 1, "no base backup was made")
    podman("restart", "--time", "30", pair.server)
    pair.await_(pair.is_up, "PostgreSQL did not get ready")
    before = pair.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")
    pair.await_(lambda: any(name.startswith(before) for name in pair.names()), f"{before} is not ended", 90)
