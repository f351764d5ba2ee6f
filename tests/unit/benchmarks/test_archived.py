# SPDX-License-Identifier: GPL-3.0-or-later
"""The cases on archives: lags are those of the commits, archives are what retention can read, and the page says it."""

from __future__ import annotations

import dataclasses
import datetime

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.catalog import Engine
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.layout import catalogs_of, documents_of
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.retention import Choice, plan_retention
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.segments import SEGMENT_BYTES, Segment

from benchmarks import __main__ as program
from benchmarks import archived
from benchmarks.catalogs import Archive
from benchmarks.lag import lags, quantile, turned
from benchmarks.retention import ENDING, WINDOW_DAYS
from benchmarks.sizes import Sizes, sizes_of

NOW = datetime.datetime(2026, 11, 26, 12, tzinfo=datetime.UTC)
WINDOW = datetime.timedelta(days=WINDOW_DAYS)
LOADED = {"tps": 100.0, "seconds": 2.0, "wal_bytes": 2**25, "lags": [1.0, 3.0]}
FIGURES = {
    "lag": {
        "postgresql": "17.7",
        "full": {"none": [{**LOADED, "tps": 200.0, "lags": []}], "wal-g": [LOADED], "by hand": [LOADED]},
        "quiet": {"wal-g": {**LOADED, "lags": [4.0, 10.5]}, "by hand": {**LOADED, "lags": [7.0]}},
    },
    "backups": {
        "bytes": 2**30,
        "backup": {"pg_basebackup": [4.0], "cp -a": [2.0], "wal-g": [8.0, 10.0, 9.0]},
        "restore": {"wal-g": [16.0], "tar and zstd": [8.0], "cp -a back": [4.0]},
        "stored": {"wal-g": 2**29},
        "answers": {"wal-g": [20.0]},
    },
    "one_database": {
        "databases": 200,
        "cluster_bytes": 2**31,
        "database_bytes": 2**27,
        "segments": 9,
        "engine": {"fetch": 10.0, "recover": 5.0, "dump": 2.0, "load": 2.5, "swap": 0.5},
        "by_hand": {"fetch": 10.0, "recover": 5.0, "load": 4.0, "swap": 1.0},
    },
    "retention": {
        "planned": {
            "wal-g": {
                "seconds": 2.0,
                "reading_seconds": 100.0,
                "backups": 9000,
                "objects": 13_000_000,
                "removed": 5,
                "lists": 13_000,
                "gets": 19_000,
            }
        },
        "stored": {
            "wal-g": {
                "objects": 1500,
                "ours": {"seconds": 0.5, "requests": {"LIST": 2, "GET": 31}, "removed": 203},
                "theirs": {"seconds": 1.0, "requests": {"LIST": 3, "GET": 30}, "removed": 203},
            }
        },
    },
}


def a_run(**changed):
    machine = dict.fromkeys(("date", "processor", "memory", "kernel", "load before"), "x")
    run = {"machine": machine, "archives": {"WAL-G": "the lab's stand-in"}, "sizes": dataclasses.asdict(Sizes())}
    return {**run, "figures": FIGURES, "minutes": 12.0, "load_after": [0.1], "beside_lab": False, **changed}


def archive(engine, number=0, day=24):
    return Archive(name="p-abc", engine=engine, number=number, now=NOW, segments_a_day=day)


def at(segment, rest=100):
    return segment * SEGMENT_BYTES + rest


def test_a_lag_ends_when_the_segment_that_holds_the_end_of_the_commit_is_there():
    seen = {Segment(1, 5).name: 20.0, Segment(1, 6).name: 31.0}
    found = lags([(10.0, at(5)), (15.0, at(6, 0)), (30.0, at(6, 1))], seen, but=Segment(1, 7).name)
    assert found == [10.0, 5.0, 1.0]


def test_a_commit_in_the_segment_that_was_ended_by_hand_tells_nothing():
    assert lags([(10.0, at(5))], {Segment(1, 5).name: 10.1}, but=Segment(1, 5).name) == []


def test_quantiles_are_values_that_were_found():
    assert [quantile(list(range(1, 101)), share) for share in (0.5, 0.99, 1.0)] == [50, 99, 100]
    assert quantile([4.0], 0.5) == 4.0


def test_every_way_begins_a_round_before_one_does_again():
    assert [turned("abc", number)[0] for number in range(4)] == ["a", "b", "c", "a"]
    assert all(sorted(turned("abc", number)) == ["a", "b", "c"] for number in range(3))


@pytest.mark.parametrize("engine", Engine)
@pytest.mark.parametrize("number", range(7))
def test_an_archive_can_be_read_whole_and_serves_the_window(engine, number):
    listing, documents = archive(engine, number).listing()
    assert set(documents_of(listing)) == documents.keys()
    (catalog,) = catalogs_of("p-abc", listing, documents)
    assert (catalog.problems, catalog.others, catalog.unfinished) == ((), (), ())
    assert all(catalog.chain(one) for one in catalog.backups)
    plan = plan_retention([catalog], window=WINDOW, now=NOW)
    first = next(one for one in catalog.backups if one.name in {
        verdict.backup for verdict in plan.verdicts if verdict.choice is Choice.KEEP})  # fmt: skip
    assert first.finished <= NOW - WINDOW
    assert len(catalog.segments) == 24 * archive(engine, number).days


@pytest.mark.parametrize("engine", Engine)
def test_of_the_archives_that_lie_in_a_store_something_goes(engine):
    listing, documents = archive(engine, ENDING).listing()
    catalogs = catalogs_of("p-abc", listing, documents)
    assert plan_retention(catalogs, window=WINDOW, now=NOW).removals


def test_sizes_are_the_same_out_of_a_report():
    import json

    assert sizes_of(json.loads(json.dumps(dataclasses.asdict(Sizes())))) == Sizes()


@pytest.mark.parametrize(
    "line",
    [
        "| RPO, few commits, `rpo_seconds` 10, wal-g: the longest lag | 10.5 | by hand: 7.0 | 1.50 |",
        "| RTO, an instance of 1024 MiB, wal-g: until it answers | 20.0 | `cp -a` alone: 4.0 | 5.00 |",
        "| RTO, one database of 200: from the request to the swap | 20.0 | by hand: 20.0 | 1.00 |",
        "| wal-g | 100 | 0.50 | 16.0 | 1.00 | 3.00 | 3.00 | 2 |",
        "| wal-g | 114 | 8.0, 10.0, 9.0 | 2.2 | 4.5 | 512 |",
        "| wal-g | 64 | 16.0 | 2.0 | 4.0 | 20.0 |",
        "| **all** | 20.0 | 20.0 | 1.00 |",
        "| wal-g | us | 1500, 203 | 0.50 | 33: 31 GET, 2 LIST | 1 | 33000 | 500 |",
        "| wal-g | `wal-g delete` | 1500, 203 | 1.00 | 33: 30 GET, 3 LIST | 1000 | 33000 | 1000 |",
    ],
)
def test_the_page_says_what_was_found(line):
    assert line in archived.document(a_run()).splitlines()


def test_a_stand_in_is_called_one_and_a_real_one_is_not():
    assert "**WAL-G is the stand-in**" in archived.document(a_run())
    assert "stand-in" not in archived.document(a_run(archives={"WAL-G": "/opt/wal-g"}))


def test_a_run_beside_the_lab_says_that_it_is_to_be_repeated():
    assert "**To be repeated:**" in archived.document(a_run(beside_lab=True))
    assert "To be repeated" not in archived.document(a_run())


def test_a_case_that_did_not_run_says_nothing():
    assert "\n## 8" not in archived.document(a_run(figures={"lag": FIGURES["lag"]}))
    assert "| RTO" not in archived.document(a_run(figures={"lag": FIGURES["lag"]}))
    assert "Not in this run: `backups`, `one_database`, `retention`." in archived.document(
        a_run(figures={"lag": FIGURES["lag"]})
    )
    assert "Not in this run" not in archived.document(a_run())


@pytest.mark.parametrize(
    ("changed", "is_kept"),
    [
        ({}, True),
        ({"beside_lab": True}, False),
        ({"figures": {"lag": FIGURES["lag"]}}, False),
        ({"sizes": dataclasses.asdict(Sizes(backup_mib=1))}, False),
    ],
)
def test_only_a_whole_run_of_the_cases_on_archives_replaces_their_part_and_only_that(
    changed, is_kept, tmp_path, monkeypatch
):
    page = tmp_path / "benchmarks.md"
    page.write_text(f"# Benchmarks\n{program.SEAM}old\n")
    monkeypatch.setattr(program, "DOCUMENT", page)
    program._publish(a_run(**changed))
    engine, _seam, archives = page.read_text().partition(program.SEAM)
    assert engine == "# Benchmarks\n"
    assert (archives != "old\n") is is_kept
