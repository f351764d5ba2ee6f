# SPDX-License-Identifier: GPL-3.0-or-later
"""Which databases that restores have replaced go, and how that is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.status import parse_status
from ansible_collections.supalove.platform.plugins.module_utils._engine.archiving import _of_project
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.records import _record
from ansible_collections.supalove.platform.plugins.module_utils._engine.kept_databases import _servers, due
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import PAST_ANNOTATION
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.parse import parse
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.placement import Past, past_as_text
from ansible_collections.supalove.platform.plugins.module_utils._engine.retained import (
    Choice,
    KeptDatabase,
    KeptReport,
    Report,
    result_of,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.steps import Failure
from archiver_status import HOUR, NOW, raw_status
from builders import UID

OTHER = "zzzzzzzzzzzz"
DAY = 24 * HOUR
CLUSTER = {"cpu": 2, "memory": "4Gi", "storage": "50Gi"}
PLATFORM = parse(
    projects={}, tiers={}, platform={"shared_clusters": {"free-1": CLUSTER}, "kept_database_days": 3}
).platform
MINE, THEIRS = f"p_{UID}_20260901t000000z", f"p_{OTHER}_20260901t000000z"


def a_status(days=3.0, **changes):
    """Both were replaced so many days ago, by the archiver's clock."""
    kept = [{"name": name, "bytes": 7, "at": NOW - days * DAY} for name in (MINE, THEIRS)]
    return parse_status(raw_status(**{"kept": kept, **changes}))


def found(status, *, now=NOW):
    clock = datetime.fromtimestamp(now, UTC)
    return {one.name: one for one in due(status, {f"p_{UID}": "blog"}, PLATFORM, clock, server="s-free-1")}


@pytest.mark.parametrize(("days", "is_due"), [(2.99, False), (3.0, True), (30.0, True)])
def test_a_database_goes_when_its_days_are_over(days, is_due):
    one = found(a_status(days))[MINE]
    assert (one.is_due, one.ref, one.bytes) == (is_due, "blog", 7)
    assert one.goes_at - one.until == timedelta(days=3)


@pytest.mark.parametrize(("ours", "theirs"), [(NOW - DAY, NOW), (NOW, NOW - DAY)])
def test_the_clock_that_is_behind_counts(ours, theirs):
    assert not found(a_status(3.5, now=theirs), now=ours)[MINE].is_due


def test_a_database_of_a_project_that_is_gone_goes_too():
    assert (found(a_status())[THEIRS].ref, found(a_status())[THEIRS].is_due) == ("", True)


def a_record(ref, placement, *, phase="Ready", uid=UID, past=""):
    status = {"uid": uid, "placement": placement, "phase": phase}
    meta = {"name": ref, "namespace": "supalove-system", "uid": "u", "generation": 1}
    meta["annotations"] = {PAST_ANNOTATION: past} if past else {}
    return _record({"metadata": meta, "spec": {}, "status": status})


def went():
    """A project that has moved from the shared cluster to a PostgreSQL of its own, and back and forth before."""
    archives = ("p-wwwwwwwwwwww", "s-free-1")
    past = past_as_text(Past(archive=one, until=datetime(2026, 9, 1, tzinfo=UTC), storage=1) for one in archives)
    return a_record("went", "dedicated", uid="wwwwwwwwwwww", past=past)


KNOWN = {
    "acme": a_record("acme", "dedicated", uid="aaaaaaaaaaaa"),
    "blog": a_record("blog", "shared/free-1"),
    "cafe": a_record("cafe", "dedicated", phase="Stopped", uid="cccccccccccc"),
    "shop": a_record("shop", "shared/gone", uid=OTHER),
}


@pytest.mark.parametrize(
    ("choice", "asked"),
    [
        ({}, {"p-acme": None, "s-free-1": None, "s-gone": None}),
        ({"refs": ("blog", "acme")}, {"p-acme": {"p_aaaaaaaaaaaa"}, "s-free-1": {f"p_{UID}"}}),
        ({"clusters": ("free-1",)}, {"s-free-1": None}),
        ({"refs": ("blog",), "clusters": ("free-1",)}, {"s-free-1": None}),
        ({"refs": ("cafe",)}, {}),
        ({"refs": ("went",)}, {"p-went": {"p_wwwwwwwwwwww"}, "s-free-1": {"p_wwwwwwwwwwww"}}),
    ],
)
def test_servers_that_run_are_asked_for_all_or_for_what_is_chosen(choice, asked):
    known = {**KNOWN, **({"went": went()} if "went" in choice.get("refs", ()) else {})}
    assert {one.namespace: one.only for one in _servers(known, PLATFORM, Choice(**choice))} == asked


def test_of_a_server_only_what_is_meant_goes():
    (server,) = _servers(KNOWN, PLATFORM, Choice(refs=("blog",)))
    assert [name for name, one in found(a_status()).items() if server.has(one)] == [MINE]


def test_a_project_is_told_its_own_points_and_databases_with_when_they_go():
    points = [
        {"name": name, "project": project, "made": NOW - DAY, "lsn": "0/7800000", "incarnation": "i"}
        for name, project in (("mine", UID), ("theirs", OTHER))
    ]
    status = a_status(1, points=points)
    shown = _of_project(KNOWN["blog"], status, [status], PLATFORM)
    assert [one["name"] for one in shown["points"]] == ["mine"]
    (kept,) = shown["kept_databases"]
    assert (kept["name"], kept["bytes"]) == (MINE, 7)
    until, goes = (datetime.fromisoformat(kept[name]) for name in ("until", "goes_at"))
    assert goes - until == timedelta(days=3)


def a_database(name=MINE, **rest):
    until = datetime(2026, 9, 1, tzinfo=UTC)
    base = {"ref": "blog", "server": "s-free-1", "bytes": 7, "until": until, "goes_at": until, "is_due": True}
    return KeptDatabase(name=name, **{**base, **rest})


def shown(*databases, failures=(), **rest):
    report = Report(choice=Choice(), kept=KeptReport(databases=databases, failures=failures))
    return result_of(report, **{"show_diff": False, **rest})


def test_what_went_is_a_change_with_its_bytes_and_what_stays_is_shown():
    result = shown(a_database("p_a_1", is_due=False), a_database("p_a_2", is_gone=True), show_diff=True)
    assert result["changed"]
    assert (result["totals"]["databases_removed"], result["totals"]["database_bytes_freed"]) == (1, 7)
    assert [(one["database"], one["fate"]) for one in result["databases"]] == [("p_a_2", "removed"), ("p_a_1", "kept")]
    (diff,) = result["diff"]
    assert diff["prepared"] == "- removed database p_a_2 (blog): 7 bytes, replaced at 2026-09-01 00:00:00 UTC\n"
    assert "failed" not in result
    assert not shown(a_database(is_due=False))["changed"]


def test_a_database_that_could_not_be_dropped_fails_the_task():
    failure = Failure(step="drop", object=MINE, reason="load p_x runs", status=409)
    result = shown(a_database(failure=failure))
    assert (result["changed"], result["failed"], result["databases"][0]["fate"]) == (False, True, "left")
    assert result["msg"] == (
        f"1 databases or servers are not as they should be:\n  - drop {MINE}: load p_x runs (HTTP 409)"
    )


def test_a_server_that_does_not_answer_fails_the_task():
    failure = Failure(
        step="look at the kept databases of", object="Pod/s-free-1/postgresql-0", reason="connection reset"
    )
    assert "connection reset" in shown(failures=(failure,))["msg"]
