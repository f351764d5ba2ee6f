# SPDX-License-Identifier: GPL-3.0-or-later
"""Archiving and recovery while things break: what is restored is exactly what was committed, or nothing at all.

The archive engines, PostgreSQL and the object store are real; what stands between them and the store is fix_flaky.
"""

from __future__ import annotations

import dataclasses
import datetime
import random
import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.recovery import (
    AtTime,
    Latest,
    plan_recovery,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.segments import SEGMENT_BYTES
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import Unrecoverable
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.life import LATEST, TIME, Life
from fix_archive import (
    ENGINES,
    FIRST_IN_CI,
    SECONDS,
    SEED,
    START_SECONDS,
    Archived,
    archived,
    laid_out,
    life_of,
    restored,
    restoring,
    start,
)
from fix_container import is_running, logs, podman
from fix_flaky import CUT, FINE, Flaky, flaky, is_base, is_wal
from fix_object_store import ObjectStore

WALG, BARMAN = "wal-g", "barman-cloud"
LONG = pytest.mark.long
# Longer than the archiver waits before it tries again for the third time.
FAULT_SECONDS = 6
IDS = "SELECT string_agg(id::text, ',' ORDER BY id) FROM rows"


@pytest.fixture
def way(object_store: ObjectStore) -> Iterator[Flaky]:
    with flaky(object_store) as made:
        yield made


@pytest.fixture
def before(object_store: ObjectStore, engine: str) -> Iterator[Archived]:
    """A project with a base backup."""
    with archived(object_store, engine) as made:
        made.sql("CREATE TABLE rows (id int PRIMARY KEY)")
        made.await_(lambda: made.status()["backup"]["done"] == 1, "no base backup was made", 3 * SECONDS)
        yield made


@dataclasses.dataclass(frozen=True)
class Past:
    """What is there to be restored: the archive, a moment after row 3 and before row 4, and the segment with row 2."""

    pair: Archived
    engine: str
    target: str
    segment: str

    def life(self, kind: str = TIME) -> Life:
        last = self.pair.last_segment()
        return life_of(self.pair, self.engine, target=kind, value=self.target if kind == TIME else "", last=last)

    def key(self, part: str) -> str:
        """Of the only object with this in its name."""
        (found,) = (key for key in self.pair.store.keys(f"{self.pair.prefix}/") if part in key)
        return found


@pytest.fixture
def past(before: Archived, engine: str) -> Past:
    segments = []
    for number in (1, 2, 3):
        before.sql(f"INSERT INTO rows VALUES ({number})")
        segments.append(before.segment())
    # The planner goes by the times of uploads.
    before.await_archived(segments[-1])
    target = before.sql("SELECT clock_timestamp()")
    before.sql("INSERT INTO rows VALUES (4)")
    before.await_archived(before.segment())
    before.stop()
    return Past(pair=before, engine=engine, target=target, segment=segments[1])


def await_end(made: Archived, container: str) -> str:
    """The log of one that has to end by itself."""
    made.await_(lambda: not is_running(container), "it goes on")
    return logs(container)


def is_promoted(made: Archived) -> bool:
    """A promotion writes the history of the new timeline before anything else."""
    return any((made.directory / "data/pgdata/pg_wal").glob("*.history"))


def flip(store: ObjectStore, key: str, at: float = 0.5) -> None:
    """Damage a few bytes somewhere in an object."""
    data = bytearray(store.get(key))
    place = int(len(data) * at)
    for offset in range(8):
        data[place + offset] ^= 0x55
    store.put(key, bytes(data))


def only_first_segment(passed: list[str]) -> Callable[[str, str], str]:
    """The network goes as soon as one segment has been fetched."""

    def judge(_method: str, path: str) -> str:
        name = path.rpartition("/")[2].partition(".")[0]
        if not is_wal(path) or len(name) != 24:
            return FINE
        if not passed:
            passed.append(name)
        return FINE if name in passed else CUT

    return judge


# --- A bad network ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", FIRST_IN_CI)
@LONG
def test_a_store_that_fails_one_request_in_twenty_loses_nothing_and_a_recovery_through_it_has_every_row(
    object_store: ObjectStore, way: Flaky, engine: str
) -> None:
    way.fail_some(0.05, SEED)
    _write_and_recover(object_store, way, engine)
    assert way.failed, "no request failed"


@LONG
@pytest.mark.parametrize("engine", ENGINES)
def test_a_store_that_is_slow_loses_nothing_and_a_recovery_through_it_has_every_row(
    object_store: ObjectStore, way: Flaky, engine: str
) -> None:
    choice = random.Random(SEED)  # noqa: S311 (no secret)
    way.delay_seconds = lambda _path: choice.uniform(1.0, 2.0)
    _write_and_recover(object_store, way, engine)


def _write_and_recover(store: ObjectStore, way: Flaky, engine: str) -> None:
    with archived(store, engine, address=way.address) as made:
        made.sql("CREATE TABLE rows (id int PRIMARY KEY)")
        made.await_(lambda: made.status()["backup"]["done"] == 1, "no base backup was made", 2 * SECONDS)
        for number in range(1, 9):
            made.sql(f"INSERT INTO rows VALUES ({number})")
            last = made.segment()
        made.await_archived(last)
        target = made.sql("SELECT clock_timestamp()")
        made.sql("INSERT INTO rows VALUES (99)")
        made.await_archived(made.segment())
        made.await_(lambda: made.status()["ready_files"] == 0, "WAL waits for ever")
        podman("kill", made.server, made.archiver)
        life = life_of(made, engine, target=TIME, value=target, last=made.last_segment())
        with archived(store, engine, address=way.address, life=life, before=made) as after:
            assert after.sql(IDS) == "1,2,3,4,5,6,7,8", f"seed {SEED}"


@pytest.mark.parametrize("engine", FIRST_IN_CI)
def test_a_network_that_goes_in_the_middle_of_a_recovery_is_waited_for(
    past: Past, object_store: ObjectStore, way: Flaky
) -> None:
    with laid_out(object_store, past.engine, address=way.address, life=past.life(LATEST), before=past.pair) as made:
        restored(made)
        way.judge = only_first_segment([])
        start(made)
        made.await_(lambda: made.status().get("fetched", {}).get("failures", 0) >= 2, "it does not try")
        time.sleep(FAULT_SECONDS)
        assert is_running(made.server)
        assert not is_promoted(made)
        way.mend()
        made.await_(made.is_up, "PostgreSQL did not get ready", START_SECONDS)
        assert made.sql(IDS) == "1,2,3,4"


# --- Kills ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", FIRST_IN_CI)
def test_a_base_backup_whose_archiver_is_killed_is_none_and_another_is_made(
    object_store: ObjectStore, way: Flaky, engine: str
) -> None:
    seen = threading.Event()

    def judge(method: str, path: str) -> str:
        if method in ("PUT", "POST") and is_base(path):
            seen.set()
        return FINE

    way.judge = judge
    # The first part is in the archive, and the end of the backup is some way off.
    way.delay_seconds = lambda path: 2.0 if is_base(path) else 0.0
    with archived(object_store, engine, address=way.address) as made:
        made.await_(seen.is_set, "no base backup has begun")
        made.await_(lambda: any(is_base(f"/{key}") for key in object_store.keys(f"{made.prefix}/")), "nothing is sent")
        podman("kill", made.archiver)
        assert _usable(made) == 0
        way.mend()
        podman("start", made.archiver)
        made.await_(lambda: made.status().get("backup", {}).get("done") == 1, "no other was made")
        assert _usable(made) == 1
        made.sql("CREATE TABLE rows AS SELECT 1 AS id")
        made.await_archived(made.segment())
        podman("kill", made.server, made.archiver)
        with archived(object_store, engine, life=life_to_the_end(made, engine), before=made) as after:
            assert after.sql(IDS) == "1"


def _usable(made: Archived) -> int:
    return sum(len(list(one.usable())) for one in made.catalogs())


def life_to_the_end(made: Archived, engine: str) -> Life:
    """Of the present incarnation, by the engine's own plan."""
    own = tuple(one for one in made.catalogs() if one.id == made.incarnation)
    plan = plan_recovery(own, Latest(), now=_now())
    return Life(
        number=2,
        archive=plan.archive,
        incarnation=plan.incarnation,
        engine=engine,
        backup=plan.backup,
        target=LATEST,
        value="",
        last_segment=plan.last_segment.name,
    )


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@pytest.mark.parametrize("engine", FIRST_IN_CI)
def test_a_restore_that_is_killed_while_fetching_and_again_while_recovering_ends_at_its_target(
    past: Past, object_store: ObjectStore, way: Flaky
) -> None:
    with laid_out(object_store, past.engine, address=way.address, life=past.life(), before=past.pair) as made:
        way.delay_seconds = lambda path: 3.0 if is_base(path) else 0.0
        first = restoring(made)
        partial = made.directory / "data/pgdata.restore"
        made.await_(partial.exists, "it does not begin")
        podman("kill", first)
        assert not (made.directory / "data/pgdata").exists()
        way.mend()
        restored(made)
        way.judge = only_first_segment([])
        start(made)
        made.await_(lambda: made.status().get("fetched", {}).get("failures", 0) >= 1, "it does not recover")
        podman("kill", made.server)
        assert not is_promoted(made)
        way.mend()
        podman("start", made.server)
        made.await_(made.is_up, "PostgreSQL did not get ready", START_SECONDS)
        assert made.sql(IDS) == "1,2,3"


# Ends what fetches WAL, and says whether there was anything. The quotes keep it from finding itself.
KILL_FETCHERS = """
for place in /proc/[0-9]*; do
  case "$(tr '\\0' ' ' < "$place/cmdline")" in
    *wal-rest''ore* | *wal-fet''ch*) kill -9 "${place#/proc/}" && echo killed ;;
  esac
done 2>/dev/null
true
"""


@LONG
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("victim", ["the archiver", "what it has started"])
def test_a_kill_in_the_midst_of_what_is_fetched_ahead_leaves_nothing_that_is_used(
    past: Past, object_store: ObjectStore, way: Flaky, victim: str
) -> None:
    with laid_out(object_store, past.engine, address=way.address, life=past.life(LATEST), before=past.pair) as made:
        restored(made)
        way.delay_seconds = lambda path: 3.0 if is_wal(path) else 0.0
        start(made)
        ahead = made.directory / "data/pgdata.ahead"
        made.await_(lambda: any(ahead.glob("*")) or made.told().get("fetched", {}).get("done"), "nothing is fetched")
        if victim == "the archiver":
            podman("kill", made.archiver)
            assert is_running(made.server)
            podman("start", made.archiver)
        else:
            made.await_(lambda: podman("exec", made.archiver, "/bin/sh", "-c", KILL_FETCHERS), "nothing fetches")
            assert not any(
                one.name for one in ahead.glob("*") if one.stat().st_size != SEGMENT_BYTES and not one.suffix
            )
        way.mend()
        made.await_(made.is_up, "PostgreSQL did not get ready", START_SECONDS)
        assert made.sql(IDS) == "1,2,3,4"
        made.await_(lambda: not ahead.exists(), "the folder stays")


# --- Damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", FIRST_IN_CI)
@pytest.mark.parametrize("kind", [TIME, pytest.param(LATEST, marks=LONG)])
def test_a_segment_that_is_gone_is_named_by_the_planner_and_one_that_goes_later_ends_the_server(
    past: Past, object_store: ObjectStore, kind: str
) -> None:
    life, name = past.life(kind), past.segment
    object_store.client().delete_object(Bucket=object_store.bucket, Key=past.key(f"/{name}."))
    time_ = datetime.datetime.fromisoformat(past.target)
    with pytest.raises(Unrecoverable, match=f"Segment {name} .* is missing"):
        plan_recovery(past.pair.catalogs(), AtTime(time=time_), now=_now())
    with laid_out(object_store, past.engine, life=life, before=past.pair) as made:
        restored(made)
        start(made)
        assert f"{name} has gone from the archive" in await_end(made, made.server)
        assert not is_promoted(made)


@pytest.mark.parametrize("engine", FIRST_IN_CI)
def test_a_damaged_segment_is_named_and_the_server_waits_instead_of_going_on_without_it(
    past: Past, object_store: ObjectStore
) -> None:
    life, name = past.life(LATEST), past.segment
    flip(object_store, past.key(f"/{name}."))
    with laid_out(object_store, past.engine, life=life, before=past.pair) as made:
        restored(made)
        start(made)
        made.await_(lambda: made.status().get("fetched", {}).get("failures", 0) >= 2, "it does not fail")
        assert name in made.status()["fetched"]["error"]
        assert is_running(made.server)
        assert not is_promoted(made)


@LONG
@pytest.mark.parametrize("engine", ENGINES)
def test_a_damaged_base_backup_is_told_and_never_gets_into_place(past: Past, object_store: ObjectStore) -> None:
    part = {WALG: "/part_001.tar", BARMAN: "/data.tar.gz"}[past.engine]
    # Near the end of a gzip a changed byte is another letter of somebody's, which only the checksum tells.
    flip(object_store, past.key(part), at=0.9)
    with laid_out(object_store, past.engine, life=past.life(), before=past.pair) as made:
        first = restoring(made)
        made.await_(lambda: "try 1 of 5" in logs(first), "it does not fail")
        assert not (made.directory / "data/pgdata").exists()
        podman("kill", first)


@LONG
@pytest.mark.parametrize("engine", [BARMAN])
def test_a_base_backup_of_barmans_with_another_checksum_is_refused(past: Past, object_store: ObjectStore) -> None:
    """Barman's own reader does not look at it."""
    key = past.key("/data.tar.gz")
    data = bytearray(object_store.get(key))
    data[-8] ^= 1
    object_store.put(key, bytes(data))
    with laid_out(object_store, past.engine, life=past.life(), before=past.pair) as made:
        first = restoring(made)
        made.await_(lambda: "try 1 of 5" in logs(first), "it does not fail")
        assert "CRC check failed" in logs(first)
        podman("kill", first)


@pytest.mark.parametrize("engine", [WALG])
def test_with_another_key_nothing_is_restored_and_the_reason_is_told(past: Past, object_store: ObjectStore) -> None:
    with laid_out(object_store, past.engine, life=past.life(), before=past.pair) as made:
        (made.directory / "archive-credentials/encryption_key").write_text(secrets.token_hex(32))
        first = restoring(made)
        made.await_(lambda: "try 1 of 5" in logs(first), "it does not fail")
        assert "corrupted chunk" in logs(first)
        assert not (made.directory / "data/pgdata").exists()
        podman("kill", first)


@LONG
@pytest.mark.parametrize("engine", [BARMAN])
def test_a_program_that_fails_is_not_the_end_of_the_archive(before: Archived) -> None:
    """Python ends with 1 of whatever it did not expect, such as too little memory: so did Barman of a missing file."""
    fetch = "/usr/local/bin/supalove-barman wal-restore s3://none/none pg 000000010000000000000001 /tmp/x"
    codes = []
    for limit in (40_000, 60_000, 80_000):
        done = subprocess.run(
            ["podman", "exec", before.archiver, "/bin/sh", "-c", f"ulimit -v {limit}; exec {fetch}"],
            capture_output=True,
            check=False,
        )
        codes.append(done.returncode)
    assert 1 in codes
    assert 74 not in codes


# --- Two servers, and lives after lives -------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", FIRST_IN_CI)
@LONG
def test_of_a_copied_volume_and_its_original_one_leaves_the_others_archive_and_both_are_archived(
    before: Archived, object_store: ObjectStore, engine: str
) -> None:
    before.stop()
    with laid_out(object_store, engine, before=before) as copy:
        subprocess.run(["cp", "-a", f"{before.directory}/data/.", f"{copy.directory}/data/"], check=True)
        podman("start", before.archiver, before.server)
        start(copy)
        for number, one in ((10, before), (20, copy)):
            one.await_(one.is_up, "PostgreSQL did not get ready", START_SECONDS)
            one.sql(f"INSERT INTO rows VALUES ({number})")
            one.segment()
        copy.await_(lambda: copy.incarnation != before.incarnation, "both go on in one place")
        for one in (before, copy):
            one.await_archived(one.segment())
            one.await_(lambda one=one: _backups_of(one) >= 1, "no base backup of its own")
        for one in (before, copy):
            one.stop()
        for one, ids in ((before, "10"), (copy, "20")):
            with archived(object_store, engine, life=life_to_the_end(one, engine), before=one) as after:
                assert after.sql(IDS) == ids


def _backups_of(made: Archived) -> int:
    return sum(len(list(one.usable())) for one in made.catalogs() if one.id == made.incarnation)


@pytest.mark.parametrize("engine", FIRST_IN_CI)
@LONG
def test_a_project_of_which_only_archive_and_keys_are_left_is_restored_and_that_one_again(
    past: Past, object_store: ObjectStore
) -> None:
    with archived(object_store, past.engine, life=past.life(), before=past.pair) as second:
        assert second.sql(IDS) == "1,2,3"
        second.sql("INSERT INTO rows VALUES (5)")
        second.await_(lambda: second.status()["backup"]["done"] == 1, "no base backup of the second life was made")
        target = second.sql("SELECT clock_timestamp()")
        second.sql("INSERT INTO rows VALUES (6)")
        second.await_archived(second.segment())
        second.stop()
        life = life_of(second, past.engine, target=TIME, value=target, last=second.last_segment())
        with archived(object_store, past.engine, life=life, before=second) as third:
            assert third.sql(IDS) == "1,2,3,5"
            third.await_(lambda: third.status()["backup"]["done"] == 1, "no base backup of the third life was made")
            first = AtTime(time=datetime.datetime.fromisoformat(past.target))
            plan = plan_recovery(third.catalogs(), first, now=_now())
            assert plan.incarnation == past.pair.incarnation
