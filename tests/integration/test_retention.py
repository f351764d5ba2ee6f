# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives in a real SeaweedFS are thinned out: by the module as a user runs it, and by runs that are killed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.catalog import Engine
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.recovery import Latest, plan_recovery
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.retention import plan_retention
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.object_store.observe import (
    read_archive,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.object_store.store import ArchiveStore
from ansible_collections.supalove.platform.plugins.module_utils._engine.progress import Silent
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.life import LATEST
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.life import Life as Restored
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Platform
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import LIFE_ANNOTATION
from ansible_collections.supalove.platform.plugins.module_utils._engine.retain import retain
from ansible_collections.supalove.platform.plugins.module_utils._engine.retained import REMOVED, Choice, Rules
from ansible_collections.supalove.platform.plugins.module_utils._engine.settings import Settings
from ansible_collections.supalove.platform.plugins.module_utils._engine.steps import Result
from archives import ARCHIVE, HOUR, START, Life, catalogs
from fix_engine import RECORDS
from test_modules import play  # noqa: F401
from test_object_store import PREFIX, a_client, fill, in_time

DRIVER = Path(__file__).with_name("retained_run.py")
DAY = 24
SENTINEL = "basebackups_005/base_000000010000000000000002_backup_stop_sentinel.json"


def a_life(days=20, **rest):
    """Of an archive that is so old, with backups after 2, 5, 11 and 18 days: the window of a week needs two of them."""
    life = Life(**{"began": (datetime.now(UTC) - START) / HOUR - days * DAY, **rest}).segments(range(1, 21))
    for segment, day in ((2, 2), (6, 5), (12, 11), (16, 18)):
        life.backup(segment, segment + 1, life.began + day * DAY)
    return life


@pytest.fixture
def thin(object_store, play, tmp_path):  # noqa: F811
    """Runs the module; its result, and what was printed."""
    keys = tmp_path / "object-store.json"
    keys.write_text(json.dumps({"access_key": object_store.access_key, "secret_key": object_store.secret_key}))
    platform = {
        "object_store_endpoint": object_store.address,
        "object_store_bucket": object_store.bucket,
        "object_store_prefix": PREFIX.rstrip("/"),
        "object_store_ca": object_store.ca_file.read_text(),
    }

    def run(*flags, more=None, **arguments):
        arguments.setdefault("object_store_credentials_file", str(keys))
        return play("retention", *flags, platform={**platform, **(more or {})}, **arguments)

    return run


def paths(store, life):
    """What is left of an archive."""
    return {key.removeprefix(PREFIX) for key in store.keys(f"{PREFIX}{life.archive}/")}


@pytest.mark.parametrize("kind", Engine)
def test_what_the_window_does_not_need_goes_and_a_second_run_changes_nothing(object_store, thin, kind):
    life = a_life(engine=kind)
    fill(object_store, life)
    first, printed = thin()
    assert first["changed"] is True
    assert first["counts"] == {"failed": 0, "held": 0, "changed": 1, "unchanged": 0}
    assert (first["totals"]["backups_removed"], first["totals"]["backups_kept"]) == (2, 2)
    (archive,) = first["archives"]
    assert [one["fate"] for one in archive["backups"]] == ["removed", "removed", "kept", "kept"]
    assert "archives: 1 of 1" in printed
    left = paths(object_store, life)
    went = life.objects.keys() - left
    assert (len(went), sum(len(life.objects[key][0]) for key in went)) == (
        archive["objects_removed"],
        archive["bytes_freed"],
    )
    again, _printed = thin()
    assert (again["changed"], again["archives"], again["requests"]["writes"]) == (False, [], 0)
    assert paths(object_store, life) == left
    with a_client(object_store) as client:
        (found,) = read_archive(client, ARCHIVE, deadline=in_time())
    assert [one.segment.number for one in found.segments] == list(range(12, 21))
    assert plan_recovery((found,), Latest(), now=datetime.now(UTC)).last_segment.number == 20


def test_a_bucket_that_does_not_lock_as_it_should_is_told_when_all_else_is_done(object_store, thin):
    life = a_life()
    fill(object_store, life)
    result, _printed = thin(ok=False, more={"object_store_lock_days": 7})
    assert result["totals"]["backups_removed"] == 2
    said = f"check the object lock of {object_store.bucket}: it locks nothing, and object_store_lock_days asks for 7"
    assert said in result["msg"]


def test_check_mode_removes_nothing_and_says_what_a_run_says(object_store, thin):
    life = a_life()
    fill(object_store, life)
    checked, printed = thin("--check", "--diff")
    assert paths(object_store, life) == set(life.objects)
    assert checked["requests"]["writes"] == 0
    assert f"- removed {life.id}/base_000000010000000000000002: it finished before the window" in printed
    assert f"  kept {life.id}/base_000000010000000000000010: it finished inside of the window" in printed
    done, _printed = thin()
    for name in ("changed", "counts", "totals", "archives"):
        assert done[name] == checked[name]


def test_an_archive_that_cannot_be_read_fails_and_the_others_are_thinned_out(object_store, thin):
    life, bad = a_life(), a_life(archive="p-bad", letters="bbbbbbbb")
    bad.put(SENTINEL, b"no JSON", bad.began)
    fill(object_store, life, bad)
    result, _printed = thin(ok=False)
    assert result["counts"] == {"failed": 1, "held": 0, "changed": 1, "unchanged": 0}
    assert result["msg"].startswith("1 of 2 archives are not as they should be:\n  - p-bad (its project is gone): ")
    assert SENTINEL in result["msg"]
    assert paths(object_store, bad) == set(bad.objects)
    assert len(paths(object_store, life)) < len(life.objects)


def test_more_than_the_limit_is_not_removed_until_the_limit_is_raised(object_store, thin):
    life = a_life()
    fill(object_store, life)
    result, _printed = thin(removal_limit_percent=49, ok=False)
    assert "2 of 4 backups would go, which is more than 49 %" in result["msg"]
    assert result["totals"]["backups_left"] == 2
    assert paths(object_store, life) == set(life.objects)
    assert thin(removal_limit_percent=50)[0]["totals"]["backups_removed"] == 2


def test_the_archive_of_a_project_is_thinned_out_by_its_ref_and_others_are_not(object_store, engine, ref, thin):
    engine.settle({ref: {"tier": "free"}})
    uid = engine.record(ref)["status"]["uid"]
    life, other = a_life(archive=f"p-{uid}"), a_life(archive="p-other", letters="bbbbbbbb")
    fill(object_store, life, other)
    result, _printed = thin(refs=[ref])
    assert [(one["archive"], one["owner"]) for one in result["archives"]] == [(life.archive, f"project {ref}")]
    assert paths(object_store, other) == set(other.objects)
    assert len(paths(object_store, life)) < len(life.objects)
    wrong, _printed = thin(refs=["nobody"], ok=False)
    assert wrong["problems"][0]["path"] == "refs"


def test_what_is_no_archive_is_left_alone_and_told(object_store, thin):
    object_store.put(f"{PREFIX}Notes/2020", b"mine")
    object_store.put("elsewhere/p-abc/2020", b"mine")
    result, _printed = thin()
    assert (result["changed"], result["left_alone"]) == (False, ["Notes"])
    assert len(object_store.keys()) == 2


def test_keys_that_are_not_there_are_told_and_in_check_mode_stand_for_an_empty_store(thin, tmp_path):
    missing = str(tmp_path / "missing.json")
    result, _printed = thin(object_store_credentials_file=missing, ok=False)
    assert result["problems"][0]["path"] == "object_store_credentials_file"
    assert thin("--check", object_store_credentials_file=missing)[0]["changed"] is False


def rules(**rest):
    """Without regard for the age of parts, as those of a test have been written just now."""
    return {"window": timedelta(days=7), "margin": timedelta(0), "unfinished_age": timedelta(0), **rest}


@contextlib.contextmanager
def in_place(engine, store):
    with engine.client() as client, a_client(store) as made:
        archives = ArchiveStore(made, manages_identities=False)

        def run(*, check=False, **rest):
            return retain(
                client,
                archives,
                Platform(),
                choice=Choice(),
                rules=Rules(**rules(**rest), removal_limit_percent=100),
                settings=Settings(check=check, timeout_seconds=60.0),
                progress=Silent(),
            )

        yield run


def test_a_longer_window_keeps_more(object_store, engine):
    fill(object_store, a_life())
    with in_place(engine, object_store) as run:
        removed = [run(check=True, window=timedelta(days=days)).outcomes[0].count(REMOVED) for days in (7, 12, 16)]
    assert removed == [2, 1, 0]


def test_an_archive_is_left_as_it_is_until_the_restore_from_it_is_done(object_store, engine, ref):
    engine.settle({ref: {"tier": "free"}})
    life = a_life(archive=f"p-{engine.record(ref)['status']['uid']}")
    fill(object_store, life)
    source = Restored(
        number=2,
        archive=life.archive,
        incarnation=life.id,
        engine="wal-g",
        backup="base_000000010000000000000002",
        target=LATEST,
        value="",
        last_segment="",
    )
    engine.server.merge(f"{RECORDS}/{ref}", {"metadata": {"annotations": {LIFE_ANNOTATION: str(source)}}})
    with in_place(engine, object_store) as run:
        for phase, result in (("Applying", Result.HELD), ("Ready", Result.CHANGED)):
            engine.server.merge(f"{RECORDS}/{ref}/status", {"status": {"phase": phase}})
            (outcome,) = run().outcomes
            assert outcome.result is result
            assert (paths(object_store, life) == set(life.objects)) is (result is Result.HELD)


def start_upload(store, key):
    """One with a part that is there; its id."""
    s3 = store.client()
    id = s3.create_multipart_upload(Bucket=store.bucket, Key=key)["UploadId"]
    s3.upload_part(Bucket=store.bucket, Key=key, UploadId=id, PartNumber=1, Body=b"part")
    return id


def uploads(store):
    return [one["Key"] for one in store.client().list_multipart_uploads(Bucket=store.bucket).get("Uploads", ())]


def test_an_upload_that_was_never_finished_goes_when_it_is_old_enough(object_store, engine):
    fill(object_store, a_life(days=1))
    ours, foreign = f"{PREFIX}{ARCHIVE}/x/part_001.tar.zst", "elsewhere/part_001.tar.zst"
    alone = f"{PREFIX}p-alone/x/part_001.tar.zst"
    for key in (ours, foreign, alone):
        start_upload(object_store, key)
    with in_place(engine, object_store) as run:
        assert sum(one.uploads for one in run(unfinished_age=timedelta(days=2)).outcomes) == 0
        assert sorted(uploads(object_store)) == sorted((ours, foreign, alone))
        # A store tells its time to the second.
        time.sleep(1.1)
        checked = run(check=True)
        assert [(one.archive.name, one.uploads) for one in checked.outcomes] == [(ARCHIVE, 1), ("p-alone", 1)]
        assert len(uploads(object_store)) == 3
        done = run()
        assert [(one.result, one.uploads) for one in done.outcomes] == [(Result.CHANGED, 1)] * 2
        assert uploads(object_store) == [foreign]
        assert sum(one.uploads for one in run().outcomes) == 0


@pytest.mark.parametrize("writes", range(1, 5))
def test_a_run_killed_at_a_deletion_leaves_whole_backups_and_the_next_one_finishes(object_store, engine, writes):
    """The deletions are those of a delta, of two full backups, of their parts, and of WAL."""
    life = a_life()
    life.backup(8, 9, life.began + 6 * DAY, base="base_000000010000000000000006")
    fill(object_store, life)
    wanted = plan_retention(catalogs(life), window=timedelta(days=7), now=datetime.now(UTC))
    assert len(wanted.removals[0].markers) == 2
    milliseconds = random.Random(writes).uniform(0, 10)  # noqa: S311 (nothing secret)
    killed(object_store, engine, writes=writes, milliseconds=milliseconds)
    between = paths(object_store, life)
    with a_client(object_store) as client:
        (found,) = read_archive(client, ARCHIVE, deadline=in_time())
    whole = {one.marker: one for one in catalogs(life)[0].backups}
    assert found.problems == ()
    assert all(backup == whole[backup.marker] and found.chain(backup) for backup in found.backups)
    with in_place(engine, object_store) as run:
        (outcome,) = run().outcomes
    assert outcome.failure is None
    assert life.objects.keys() - between | outcome.keys == set(wanted.keys)
    assert paths(object_store, life) == life.objects.keys() - set(wanted.keys)


def killed(store, engine, **fuse):
    run = {
        "kubeconfig": str(engine.server.kubeconfig),
        "target": {
            "endpoint": store.address,
            "region": "us-east-1",
            "bucket": store.bucket,
            "prefix": PREFIX,
            "ca_file": str(store.ca_file),
            "access_key": store.access_key,
            "secret_key": store.secret_key,
        },
        "rules": {name: value.total_seconds() for name, value in rules().items()},
        **fuse,
    }
    done = subprocess.run(
        [sys.executable, str(DRIVER)],
        input=json.dumps(run).encode(),
        env={**os.environ, "PYTHONPATH": str(DRIVER.parent)},
        capture_output=True,
        check=False,
        timeout=90,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def test_two_runs_at_once_remove_what_one_would(object_store, engine):
    lives = [a_life(archive=f"p-{number}", letters="bbbbbbbb") for number in range(4)]
    fill(object_store, *lives)
    with in_place(engine, object_store) as one, in_place(engine, object_store) as other:
        wanted = {key for outcome in one(check=True).outcomes for key in outcome.keys}
        with ThreadPoolExecutor(max_workers=2) as pool:
            reports = list(pool.map(lambda run: run(), (one, other)))
    assert [outcome.failure for report in reports for outcome in report.outcomes] == [None] * 8
    assert set(object_store.keys()) == {PREFIX + key for life in lives for key in life.objects.keys() - wanted}
