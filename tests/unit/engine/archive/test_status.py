# SPDX-License-Identifier: GPL-3.0-or-later
"""What an archiver tells of itself, and what of it is a problem."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.health import STOPPED, problems_of
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.status import parse_status
from archiver_status import HOUR, NOW, WELL, raw_status

EVERY = "there should be one every 24 h"
BIG = 10 * 1024**3
KEPT = {"name": "p_abcdefgh2345_20261126t034450z", "bytes": 8 * 1024**2, "at": NOW}
COPY = {"ready": True, "heartbeat": "2026-11-26T03:44:50.000001Z", "databases": ["p_abcdefgh2345"]}


def test_a_status_is_read_as_the_archiver_of_the_image_writes_it(archiver_package):
    state = archiver_package.state.State()
    state.note(archive="p-a", incarnation="i", engine="wal-g", rpo_seconds=60, backup_hours=24, backup_running=True)
    state.succeeded("wal", "000000010000000000000001")
    state.failed("backup", "no room")
    found = parse_status(json.dumps(archiver_package.state.as_json(state.read())).encode())
    assert (found.archive, found.engine, found.rpo_seconds, found.backup_running) == ("p-a", "wal-g", 60, True)
    assert (found.wal.last, found.wal.done, found.wal.ended) == ("000000010000000000000001", 1, 1)
    assert (found.backup.error, found.backup.failures, found.backup.ended) == ("no room", 1, 1)
    assert found.newest_backup_at is None
    assert found.began <= found.now


def test_times_are_times_and_never_is_none():
    found = parse_status(raw_status(newest_backup_at=NOW - HOUR, newest_full_at=NOW - 3 * HOUR, backup_next_at=0.0))
    assert found.newest_backup_at == datetime.fromtimestamp(NOW - HOUR, UTC)
    assert (found.newest_is_full, found.next_backup_at) == (False, None)


def test_what_a_swap_has_kept_is_told_with_the_time_until_when_it_was_live():
    (kept,) = parse_status(raw_status(kept=[KEPT])).kept
    assert (kept.name, kept.bytes, kept.at) == (KEPT["name"], KEPT["bytes"], datetime.fromtimestamp(NOW, UTC))


def test_a_scratch_copy_tells_what_is_in_it_and_a_live_one_is_none():
    assert parse_status(raw_status()).copy is None
    copy = parse_status(raw_status(copy=COPY)).copy
    assert (copy.is_ready, copy.databases) == (True, ("p_abcdefgh2345",))
    assert copy.heartbeat == datetime(2026, 11, 26, 3, 44, 50, 1, UTC)
    recovering = parse_status(raw_status(copy={"ready": False, "heartbeat": "", "databases": []})).copy
    assert (recovering.is_ready, recovering.heartbeat) == (False, None)


def test_keys_of_a_later_release_are_passed_over():
    assert parse_status(raw_status(news={"of": "it"})) == parse_status(raw_status())


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"<html>", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not an object"),
        (raw_status(rpo_seconds=None), "rpo_seconds is not a whole number"),
        (raw_status(ready_files=True), "ready_files is not a whole number"),
        (raw_status(ready_files=-1), "ready_files is out of range"),
        (raw_status(volume_bytes=10**30), "volume_bytes is out of range"),
        (raw_status(backup_running="no"), "backup_running is not true or false"),
        (raw_status(began=1e300), "began is out of range"),
        (raw_status(now=float("nan")), "now is out of range"),
        (raw_status(wal=[]), "wal is not an object"),
        (raw_status(kept={}), "kept is not a list"),
        (raw_status(kept=["p_a"]), "kept has what is not an object"),
        (raw_status(kept=[{**KEPT, "bytes": -1}]), "kept.0.bytes is out of range"),
        (raw_status(copy=[]), "copy is not an object or null"),
        (raw_status(copy={**COPY, "databases": [1]}), "copy.databases.0 is not a text"),
        (raw_status(copy={**COPY, "heartbeat": "now"}), "copy.heartbeat is not a time"),
        (raw_status(copy={**COPY, "heartbeat": "2026-11-26T03:44:50"}), "copy.heartbeat is a time without a zone"),
        (raw_status(wal={**WELL["wal"], "failures": "2"}), "wal.failures is not a whole number"),
        (json.dumps({key: WELL[key] for key in WELL if key != "refused"}).encode(), "refused is missing"),
    ],
)
def test_what_is_not_a_status_is_an_error_that_names_the_place(raw, text):
    with pytest.raises(ValueError, match=text):
        parse_status(raw)


def test_an_error_of_an_engine_is_one_short_line():
    found = parse_status(raw_status(refused="no\x1b[31m\n" + "x" * 1000))
    assert found.refused.startswith("no [31m xxx")
    assert len(found.refused) == 300


def work(**changes):
    return {**WELL["wal"], **changes}


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        ({}, []),
        ({"refused": "no keys", "ready_files": 99, "oldest_ready_seconds": 9999}, ["nothing is archived: no keys"]),
        ({"rpo_seconds": 0}, ["nothing is archived yet: the archiver has just begun"]),
        ({"wal": work(failures=2, error="away")}, []),
        ({"wal": work(failures=3, error="away")}, ["WAL could not be sent 3 times in a row: away"]),
        ({"backup": work(failures=3)}, ["the base backup failed 3 times in a row: no reason was given"]),
        ({"heartbeat": work(failures=4, error="no")}, ["the heartbeat failed 4 times in a row: no"]),
        ({"ready_files": 5, "oldest_ready_seconds": 180.0}, []),
        (
            {"ready_files": 5, "oldest_ready_seconds": 400.0},
            ["5 WAL files wait to be sent, the oldest for 6 min; 180 s are to be expected"],
        ),
        ({"heartbeat": work(last_at=NOW - 300)}, ["the last heartbeat was 5 min ago; it beats every 60 s"]),
        ({"newest_backup_at": NOW - 48 * HOUR}, []),
        (
            {"newest_backup_at": NOW - 50 * HOUR},
            [f"the last base backup is 2 d 2 h old; {EVERY}"],
        ),
        ({"newest_backup_at": 0, "began": NOW - 47 * HOUR}, []),
        (
            {"newest_backup_at": 0, "began": NOW - 49 * HOUR},
            [
                f"there is no base backup at all since 2 d 1 h, so nothing can be restored; {EVERY}",
            ],
        ),
        ({"volume_bytes": 0, "volume_free_bytes": 0}, []),
        ({"volume_bytes": BIG, "volume_free_bytes": BIG // 10}, []),
        (
            {"volume_bytes": BIG, "volume_free_bytes": BIG // 20, "wal_bytes": BIG // 5},
            ["5 % of the volume is free, 0.5 of 10.0 GiB; pg_wal takes 2.0 GiB"],
        ),
        ({"writes_stopped": True, "heartbeat": work(last_at=NOW - 300)}, [STOPPED]),
        ({"writes_stopped": True, "refused": "no keys"}, [STOPPED, "nothing is archived: no keys"]),
        (
            {"wal": work(failures=9, error="away"), "ready_files": 7, "oldest_ready_seconds": 90_000.0},
            [
                "WAL could not be sent 9 times in a row: away",
                "7 WAL files wait to be sent, the oldest for 25 h 0 min; 180 s are to be expected",
            ],
        ),
    ],
)
def test_problems_are_those_that_somebody_should_look_at(changes, problems):
    assert list(problems_of(parse_status(raw_status(**changes)))) == problems
