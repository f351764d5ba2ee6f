# SPDX-License-Identifier: GPL-3.0-or-later
"""What a listing and a few documents say about an archive, and what is made of damaged ones."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.catalog import Engine, Kind, Parent
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.layout import (
    catalogs_of,
    describe,
    documents_of,
    parse_description,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.segments import (
    SEGMENT_BYTES,
    Lsn,
    Segment,
)
from archives import ARCHIVE, Life, at, catalogs, stored
from hypothesis import given
from hypothesis import strategies as st

SENTINEL = "basebackups_005/base_000000010000000000000002_backup_stop_sentinel.json"
METADATA = "basebackups_005/base_000000010000000000000002/metadata.json"


def only(*lives):
    (found,) = catalogs(*lives)
    return found


def changed(life, path, **fields):
    """A document with other fields."""
    content, time = life.objects[life.key(path)]
    life.objects[life.key(path)] = (json.dumps({**json.loads(content), **fields}).encode(), time)


@pytest.mark.parametrize("engine", Engine)
def test_a_backup_has_what_its_documents_say_and_all_of_its_objects(engine):
    life = Life(engine=engine)
    name = life.backup(2, 3, permanent=True)
    (backup,) = only(life).backups
    assert (backup.name, backup.kind, backup.base, backup.is_permanent) == (name, Kind.FULL, None, True)
    assert (backup.began, backup.finished, backup.timeline) == (at(2.5), at(3), 1)
    assert (backup.start_lsn, backup.finish_lsn) == (2 * SEGMENT_BYTES + 0x28, 3 * SEGMENT_BYTES + 0x100)
    assert (backup.first_segment, backup.last_segment) == (Segment(1, 2), Segment(1, 3))
    ours = {key for key in life.objects if not key.endswith("incarnation.json")}
    assert set(backup.keys) == ours
    assert backup.bytes == sum(len(life.objects[key][0]) for key in ours)


def test_a_delta_names_what_it_builds_upon():
    life = Life()
    base = life.backup(2, 3)
    delta = life.backup(5, 6, base=base)
    found = only(life)
    assert [(one.kind, one.base) for one in found.backups] == [(Kind.FULL, None), (Kind.DELTA, base)]
    assert [one.name for one in found.chain(found.backups[1])] == [delta, base]


@pytest.mark.parametrize("engine", Engine)
def test_parts_without_a_marker_are_leftovers_and_no_backup(engine):
    life = Life(engine=engine)
    name = life.backup(2, 3, unfinished=True)
    found = only(life)
    assert (found.backups, found.problems) == ((), ())
    assert [one.name for one in found.unfinished] == [name]
    assert found.unfinished[0].start == (Segment(1, 2) if engine is Engine.WALG else None)


@pytest.mark.parametrize("status", ["FAILED", "STARTED", "EMPTY"])
def test_a_barman_backup_of_another_status_is_a_leftover(status):
    life = Life(engine=Engine.BARMAN)
    life.backup(2, 3)
    key = next(key for key in life.objects if key.endswith("backup.info"))
    content, time = life.objects[key]
    life.objects[key] = (content.replace(b"DONE", status.encode()), time)
    found = only(life)
    assert (found.backups, found.problems) == ((), ())
    assert found.unfinished[0].start == Segment(1, 2)


def test_a_marker_that_goes_away_while_it_is_read_is_a_backup_that_is_being_removed():
    life = Life()
    life.backup(2, 3)
    listing = stored(life.objects)
    documents = {key: life.objects[key][0] for key in documents_of(listing) if not key.endswith("sentinel.json")}
    (found,) = catalogs_of(ARCHIVE, listing, documents)
    assert (found.backups, found.problems) == ((), ())
    assert len(found.unfinished[0].keys) == 3


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"LSN": 1}', b"\xff\xfe", b"[" * 100_000],
    ids=["empty", "torn", "list", "null", "poor", "binary", "deep"],
)
@pytest.mark.parametrize("path", [SENTINEL, METADATA])
def test_a_damaged_document_is_a_problem_and_the_other_backups_are_there(path, content):
    life = Life()
    life.backup(2, 3)
    other = life.backup(6, 7)
    life.put(path, content, 3)
    found = only(life)
    assert [one.name for one in found.backups] == [other]
    assert len(found.problems) == 1
    assert "base_000000010000000000000002" in found.problems[0]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("LSN", None),
        ("LSN", "0/2000028"),
        ("LSN", -1),
        ("FinishLSN", 2**64),
        ("Timeline", None),
        ("DeltaFrom", 7),
        ("SystemIdentifier", 1),
    ],
)
def test_a_sentinel_with_a_wrong_field_is_a_problem(field, value):
    life = Life()
    life.backup(2, 3)
    changed(life, SENTINEL, **{field: value})
    found = only(life)
    assert found.backups == ()
    assert len(found.problems) == 1


def test_times_without_an_offset_are_a_problem():
    life = Life()
    life.backup(2, 3)
    changed(life, METADATA, finish_time="2026-11-01T03:00:00")
    assert "has no offset from UTC" in only(life).problems[0]


def test_without_metadata_the_sentinel_tells_the_times():
    life = Life()
    life.backup(2, 3)
    del life.objects[life.key(METADATA)]
    changed(
        life, SENTINEL, StartTime="2026-11-01T02:00:00.123456Z", FinishTime="2026-11-01T03:00:00Z", IsPermanent=True
    )
    (backup,) = only(life).backups
    assert backup.finished == datetime(2026, 11, 1, 3, tzinfo=UTC)
    assert backup.is_permanent


def test_a_mark_that_was_taken_back_is_that_of_the_metadata():
    life = Life()
    life.backup(2, 3, permanent=False)
    changed(life, SENTINEL, IsPermanent=True)
    assert not only(life).backups[0].is_permanent


@pytest.mark.parametrize("line", ["nonsense", "end_time=never", "timeline=x", "begin_xlog=7", "systemid=1"])
def test_a_damaged_backup_info_is_a_problem(line):
    life = Life(engine=Engine.BARMAN)
    life.backup(2, 3)
    key = next(key for key in life.objects if key.endswith("backup.info"))
    life.objects[key] = (life.objects[key][0] + line.encode() + b"\n", at(3))
    found = only(life)
    assert (found.backups, len(found.problems)) == ((), 1)


def test_segments_of_another_size_are_a_problem():
    life = Life(engine=Engine.BARMAN)
    life.backup(2, 3)
    key = next(key for key in life.objects if key.endswith("backup.info"))
    life.objects[key] = (life.objects[key][0] + b"xlog_segment_size=67108864\n", at(3))
    assert "its segments have 67108864 bytes" in only(life).problems[0]


@pytest.mark.parametrize("suffix", ["", ".zst", ".lz4", ".lzma", ".br", ".gz"])
@pytest.mark.parametrize("engine", Engine)
def test_segments_are_known_by_their_names_whatever_compressed_them(engine, suffix):
    life = Life(engine=engine)
    life.segment(7, suffix=suffix)
    found = only(life)
    assert [(one.segment, one.modified) for one in found.segments] == [(Segment(1, 7), at(7))]
    assert found.others == ()


@pytest.mark.parametrize("rest", [".00000028.backup.zst", ".partial", ".partial.zst", "_delta.zst"])
def test_what_stands_beside_a_segment_is_no_segment(rest):
    life = Life()
    life.segment(7, suffix=rest)
    found = only(life)
    assert found.segments == ()
    assert [one.segment for one in found.companions] == [Segment(1, 7)]


@pytest.mark.parametrize(
    "path", ["wal_005/garbage", "wal_005/000000010000000000000007.tmp", "notes.txt", "basebackups_005/x"]
)
def test_what_nobody_knows_is_kept_apart(path):
    life = Life()
    life.put(path, b"", 1)
    assert only(life).others == (life.key(path),)


def test_a_segment_of_another_size_is_a_problem():
    life = Life()
    life.put("wal_005/000000010000000000000100", b"", 1)
    assert "is no segment of 16 MiB" in only(life).problems[0]


def test_one_timeline_needs_no_history():
    life = Life(timeline=2).segments([7])
    life.put("wal_005/00000002.history.zst", b"\x28\xb5\x2f\xfd", 1)
    found = only(life)
    assert found.problems == ()
    assert (found.lineage.timeline, found.lineage.before) == (2, ())


def test_two_timelines_without_a_readable_history_are_a_problem():
    life = Life().segments([1, 2])
    life.segment(2, timeline=2)
    life.put("wal_005/00000002.history.zst", b"\x28\xb5\x2f\xfd", 1)
    found = only(life)
    assert "00000002.history cannot be read" in found.problems[0]
    assert found.lineage is None


@pytest.mark.parametrize(
    ("path", "pack"), [("wal_005/00000002.history.gz", gzip.compress), ("history/00000002.history", bytes)]
)
def test_a_history_is_read_that_python_can_read_or_that_the_archiver_put_beside(path, pack):
    life = Life().segments([1, 2])
    life.segment(2, timeline=2)
    life.put("wal_005/00000002.history.zst", b"\x28\xb5\x2f\xfd", 1)
    life.put(path, pack(b"1\t0/2800000\tpromoted\n"), 1)
    found = only(life)
    assert found.problems == ()
    assert [one.timeline for one in found.lineage.before] == [1]
    assert len(found.history_keys[2]) == 2


def test_a_description_is_read_as_it_is_written():
    parent = Parent(archive="p-x", incarnation="i", timeline=1, lsn=Lsn(0x5000028), time=at(3))
    for life in (Life(), Life(engine=Engine.BARMAN, parent=parent)):
        assert parse_description(describe(life.incarnation)) == life.incarnation


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"version": 2}, "version is 2"),
        ({"engine": "pgbackrest"}, "engine is 'pgbackrest'"),
        ({"began": "yesterday"}, "began is 'yesterday'"),
        ({"postgresql": "17"}, "postgresql is '17'"),
        ({"parent": "x"}, "parent is neither"),
        ({"incarnation": "20261101t000000z-bbbbbbbb"}, "description of p-abc/20261101t000000z-bbbbbbbb"),
        ({"archive": "p-other"}, "description of p-other/"),
    ],
)
def test_a_description_that_is_wrong_leaves_an_incarnation_of_which_nothing_is_known(fields, why):
    life = Life()
    life.backup(2, 3)
    changed(life, "incarnation.json", **fields)
    found = only(life)
    assert why in found.problems[0]
    assert (found.incarnation, found.backups, found.began) == (None, (), at(0))
    assert len(found.others) == len(life.objects) - 1


def test_a_missing_description_is_told():
    life = Life()
    life.backup(2, 3)
    del life.objects[life.key("incarnation.json")]
    found = only(life)
    assert "incarnation.json: it is not there" in found.problems[0]
    assert found.description_key is None


def test_what_lies_beside_the_incarnations_is_not_ours():
    life = Life()
    life.objects[f"{ARCHIVE}/notes.txt"] = (b"", at(0))
    life.objects[f"{ARCHIVE}/20261399t000000z-aaaaaaaa/x"] = (b"", at(0))
    life.objects[f"{ARCHIVE}d/{life.id}/incarnation.json"] = (b"", at(0))
    assert [one.id for one in catalogs(life)] == [life.id]


@given(
    content=st.binary(max_size=200),
    path=st.sampled_from([SENTINEL, METADATA, "incarnation.json", "wal_005/00000002.history.gz"]),
)
def test_no_bytes_in_a_document_are_more_than_a_problem(content, path):
    life = Life().segments([1, 2])
    life.backup(2, 3)
    life.put(path, content, 3)
    assert len(catalogs(life)) == 1


@pytest.mark.parametrize("fraction", ["", ".5", ".68453", ".684534", ".684534123"])
def test_times_are_read_as_go_writes_them(fraction):
    """Trailing zeros left out, and up to nine digits."""
    life = Life()
    life.backup(2, 3)
    changed(life, METADATA, finish_time=f"2026-11-01T03:00:00{fraction}Z")
    assert only(life).backups[0].finished.replace(microsecond=0) == at(3)
