# SPDX-License-Identifier: GPL-3.0-or-later
"""Moments with a name: how they are noted, found again, reached, and how they go. It is hour 30."""

from __future__ import annotations

import json
import struct
from types import SimpleNamespace

import pytest
from ansible_collections.supalove.platform.plugins.module_utils import _results, _specs
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive import notes
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.catalog import Engine, Parent
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.ends import plan_to_end
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.recovery import AtPoint, plan_recovery
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.retention import plan_retention
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.segments import Lsn, Segment
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.records import _record
from ansible_collections.supalove.platform.plugins.module_utils._engine.deadline import Deadline
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import InvalidSpec, Lost, Unrecoverable
from ansible_collections.supalove.platform.plugins.module_utils._engine.lives import life_of
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.parse import parse
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.placement import Past, Placement
from ansible_collections.supalove.platform.plugins.module_utils._engine.restore import _located
from ansible_collections.supalove.platform.plugins.module_utils._engine.restore_database import Party
from ansible_collections.supalove.platform.plugins.module_utils._engine.restore_points import (
    Pointed,
    PointReport,
    choose,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.retained import points_of
from ansible_collections.supalove.platform.plugins.module_utils._engine.scratch import Source
from ansible_collections.supalove.platform.plugins.module_utils._engine.steps import Failure
from archives import ARCHIVE, HOUR, Life, at, catalogs, catalogs_from
from builders import CLUSTER, FREE, UID

OTHER = "zzzzzzzzzzzz"


def plan(*lives, name="before", project=UID, incarnation=None):
    target = AtPoint(name=name, project=project, incarnation=incarnation)
    return plan_recovery(catalogs(*lives), target, now=at(30))


def lost(*lives, **target):
    with pytest.raises(Unrecoverable) as caught:
        plan(*lives, **target)
    return caught.value.reason, str(caught.value)


def a_life(**rest):
    life = Life(**rest).segments(range(1, 20))
    life.backup(2, 2)
    return life


@pytest.mark.parametrize("engine", Engine)
def test_a_point_is_reached_from_the_backup_before_it_by_its_position(engine):
    life = a_life(engine=engine)
    later = life.backup(8, 9)
    life.point("before", 7)
    life.point("after", 12)
    found = plan(life)
    assert (found.backup != later, found.needed_segment, found.is_beyond_archive) == (True, Segment(1, 7), False)
    assert (found.point.name, found.point.made) == ("before", at(6.5))
    assert plan(life, name="after").backup == later


def test_a_store_whose_clock_is_behind_does_not_make_a_point_the_end_of_the_archive():
    """Its segment seems to have been uploaded hours before the point was made."""
    life = a_life()
    life.point("before", 19, made=29)
    found = plan(life)
    assert (found.needed_segment, found.is_beyond_archive) == (Segment(1, 19), False)


def test_recovery_is_told_the_record_of_a_point_and_not_its_name():
    """A try that was killed left a record in WAL that is noted nowhere, and PostgreSQL stops at the first of a name."""
    life = a_life()
    life.point("before", 7)
    target = AtPoint(name="before", project=UID)
    found = life_of(None, catalogs(life), plan(life), target)
    assert (found.target, found.value) == ("name", f"p_{UID}.before.abcdef")


def test_a_point_of_another_project_is_neither_found_nor_shown():
    life = a_life()
    life.point("before", 7, project=OTHER)
    life.point("mine", 8)
    reason, sentence = lost(life)
    assert reason is Lost.UNKNOWN_POINT
    assert f"There is: mine of 2026-11-01T07:30:00Z in {life.id}." in sentence
    assert OTHER not in sentence


def test_an_unknown_name_is_refused_with_those_there_are_newest_first():
    life = a_life()
    for number in range(3, 6):
        life.point(f"p{number}", number)
    assert "There are: p5 of 2026-11-01T04:30:00Z" in lost(life)[1]
    for number in range(100, 130):
        life.point(f"p{number}", number)
    assert "and 13 older ones." in lost(life)[1]
    assert "There are: none." in lost(a_life())[1]


def two_lives():
    old = Life().segments(range(1, 10))
    old.backup(2, 2)
    parent = Parent(archive=ARCHIVE, incarnation=old.id, timeline=1, lsn=Lsn(0), time=at(9))
    new = Life(began=10, letters="bbbbbbbb", timeline=2, parent=parent).segments(range(9, 20))
    new.backup(9, 9)
    return old, new


def test_a_point_of_an_earlier_incarnation_is_reached_there():
    old, new = two_lives()
    old.point("before", 5)
    assert plan(old, new).incarnation == old.id


def test_of_a_name_that_two_incarnations_have_the_newest_counts_unless_another_is_named():
    old, new = two_lives()
    old.point("before", 5)
    new.point("before", 12)
    assert (plan(old, new).incarnation, plan(old, new).timeline) == (new.id, 2)
    assert plan(old, new, incarnation=old.id).incarnation == old.id
    assert lost(old, new, incarnation="x")[0] is Lost.UNKNOWN_POINT


def test_a_point_before_every_backup_that_is_left_is_refused():
    life = Life().segments(range(1, 20))
    life.backup(8, 9)
    life.point("before", 7)
    reason, sentence = lost(life)
    assert reason is Lost.BEFORE_WINDOW
    assert "before (0/7800000)" in sentence


def test_a_gap_before_a_point_is_named():
    life = Life().segments([1, 2, 3, 5, 6, 7])
    life.backup(2, 2)
    life.point("before", 6)
    assert lost(life)[0] is Lost.GAP


@pytest.mark.parametrize("content", [b"", b"{}", b'{"version": 1, "name": "before"}'])
def test_a_damaged_note_is_told_and_stands_in_the_way_of_nothing_else(content):
    life = a_life()
    key = life.point("before", 7)
    life.point("other", 8)
    life.put(key.removeprefix(life.key("")), content, 7)
    (found,) = catalogs(life)
    assert [one.name for one in found.points] == ["other"]
    assert (found.others, len(found.problems)) == ((), 1)
    assert found.problems[0].startswith(key)
    assert plan(life, name="other").needed_segment == Segment(1, 8)


def thinned(*lives, now=20.0):
    return plan_retention(catalogs(*lives), window=7 * HOUR, now=at(now))


def test_points_older_than_the_window_go_before_what_led_to_them():
    life = Life().segments(range(1, 20))
    for number in (2, 7, 11, 16):
        life.backup(number, number)
    old, young = life.point("old", 10), life.point("young", 14)
    (removal,) = thinned(life).removals
    assert removal.points == (old,)
    assert removal.keys[0] == old
    assert young not in removal.keys
    assert points_of(catalogs(life), frozenset(removal.keys)) == (f"{UID}.old",)


def test_all_notes_of_an_incarnation_go_with_it():
    old, new = two_lives()
    point = old.point("before", 5)
    old.end(9)
    (removal,) = thinned(old, new, now=40).removals
    assert (removal.incarnation, removal.keys[0], set(removal.keys)) == (old.id, point, set(old.objects))
    assert removal.keys[-1].endswith("incarnation.json")


def test_an_archive_that_was_ended_is_whole_up_to_the_shutdown():
    life = a_life()
    life.end(19)
    found = plan_to_end(catalogs(life), now=at(30))
    assert (found.last_segment.number, found.incarnation) == (19, life.id)


@pytest.mark.parametrize(
    ("end", "reason", "said"),
    [
        (None, Lost.NOT_ENDED, "has not noted that all is archived"),
        (20, Lost.GAP, "ends before that, with segment 000000010000000000000013"),
        (18, Lost.NOT_ENDED, "of after 0/13000028, where its server shut down"),
    ],
)
def test_an_archive_that_does_not_reach_the_shutdown_is_told_why(end, reason, said):
    life = a_life()
    if end:
        life.end(end)
    with pytest.raises(Unrecoverable, match=said) as caught:
        plan_to_end(catalogs(life), now=at(30))
    assert caught.value.reason is reason


def test_an_archive_without_a_base_backup_or_with_a_gap_is_not_whole():
    life = Life().segments(range(1, 20))
    life.end(19)
    with pytest.raises(Unrecoverable) as caught:
        plan_to_end(catalogs(life), now=at(30))
    assert caught.value.reason is Lost.NO_BACKUP
    life = Life().segments([*range(1, 10), *range(11, 20)])
    life.backup(2, 2)
    life.end(19)
    with pytest.raises(Unrecoverable) as caught:
        plan_to_end(catalogs(life), now=at(30))
    assert caught.value.reason is Lost.GAP


def test_the_end_of_an_earlier_incarnation_is_not_that_of_the_archive():
    old, new = two_lives()
    old.end(9)
    with pytest.raises(Unrecoverable, match=new.id):
        plan_to_end(catalogs(old, new), now=at(30))


def test_archiver_and_engine_call_notes_alike(archiver_package):
    assert archiver_package.points.NAME.pattern == notes.NAME.pattern
    assert archiver_package.store.POINTS == notes.POINTS
    assert archiver_package.ends.NAME == notes.END
    assert archiver_package.ends.note_of("0/3000028")["version"] == notes.VERSION


@pytest.mark.parametrize("name", ["a", "before-v2", "2026-11-25_v2.1", "a" * 40])
def test_a_name_fits_into_a_record_with_its_project(archiver_package, name):
    assert _specs.point_name_from("name", name) == name
    letters = "x" * archiver_package.points.LETTERS_COUNT
    assert len(f"p_{UID}.{name}.{letters}") <= 63


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a b", "a/b", "../x", "a" * 41, "a\n", "ä"])
def test_what_cannot_be_a_name_is_refused_with_what_can(name):
    with pytest.raises(InvalidSpec, match="before-v2"):
        _specs.point_name_from("name", name)


def test_a_note_becomes_a_figure_and_what_is_none_is_left_out(archiver_package):
    life = a_life()
    key = life.point("before", 7)
    (found,) = archiver_package.points.told("i", json.loads(life.objects[key][0]))
    assert (found["name"], found["made"], found["lsn"]) == ("before", at(6.5).timestamp(), "0/7800000")
    for wrong in ({}, {"made": "never"}, {"made": at(1).isoformat()}):
        assert archiver_package.points.told("i", wrong) == []


@pytest.mark.parametrize(
    ("files", "archived"),
    [
        (["S", "archive_status/S.ready"], False),
        (["S", "archive_status/S.done"], True),
        (["archive_status/S.done"], True),
        (["S"], False),
        ([], True),
    ],
)
def test_a_segment_is_archived_when_the_server_knows_it(archiver_package, tmp_path, files, archived):
    (tmp_path / "archive_status").mkdir()
    for name in files:
        (tmp_path / name).touch()
    assert archiver_package.points.is_archived(tmp_path, "S") is archived


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({"refused": "the bucket does not exist"}, "the bucket does not exist"),
        ({}, "has just begun"),
        ({"incarnation": "i", "writes_stopped": True}, "tenants are stopped"),
        ({"incarnation": "i"}, "no base backup has finished yet"),
    ],
)
def test_a_name_that_would_lead_nowhere_is_refused(archiver_package, tmp_path, figures, said):
    state = archiver_package.state.State()
    state.note(**figures)
    points = archiver_package.points.Points(tmp_path, state, print)
    with pytest.raises(archiver_package.work.Refused, match=said) as caught:
        points.make({"project": str(UID), "name": "before"})
    assert caught.value.status == 409


def test_a_point_that_is_made_while_something_is_loaded_does_not_hide_that(archiver_package):
    state = archiver_package.state.State()
    state.begin("load p_x")
    state.begin("point x before")
    state.end("point x before")
    assert state.read().busy == "load p_x"


def control(state, lsn):
    """The beginning of pg_control (ControlFileData)."""
    return struct.pack("<QIIi4xqQ", 7, 1700, 202406281, state, 1_790_000_000, lsn)


@pytest.mark.parametrize(("state", "told"), [(1, "1/2000028"), (6, ""), (2, "")])
def test_only_a_server_that_has_shut_down_has_an_end(archiver_package, tmp_path, state, told):
    (tmp_path / "global").mkdir()
    (tmp_path / "global/pg_control").write_bytes(control(state, 0x102000028))
    assert archiver_package.ends.shutdown_of(tmp_path) == told


def test_a_torn_control_file_is_no_end(archiver_package, tmp_path):
    assert archiver_package.ends.shutdown_of(tmp_path) == ""
    (tmp_path / "global").mkdir()
    (tmp_path / "global/pg_control").write_bytes(b"\x01" * 20)
    assert archiver_package.ends.shutdown_of(tmp_path) == ""


class Archives:
    """Archives by name."""

    def __init__(self, **lives):
        self._lives = {name.replace("_", "-"): life for name, life in lives.items()}

    def catalogs(self, archive, **_rest):
        return catalogs_from(self._lives[archive].objects, archive)


@pytest.mark.parametrize(("name", "archive"), [("before", "s-free-1"), ("since", f"p-{UID}"), ("never", f"p-{UID}")])
def test_a_moment_that_was_named_before_the_project_moved_is_found_where_it_was(name, archive):
    found = parse(
        projects={"acme": {"tier": "t"}}, tiers={"t": FREE}, platform={"shared_clusters": {"free-1": CLUSTER}}
    )
    (project,) = found.projects
    placement = Placement(past=(Past(archive="s-free-1", until=at(9), storage=5),))
    party = Party(project=project, uid=UID, placement=placement, source=Source.of_project(project, UID))
    old, new = a_life(archive="s-free-1"), a_life(began=10, archive=f"p-{UID}")
    old.point("before", 5)
    new.point("since", 12)
    archives, target = Archives(s_free_1=old, **{f"p_{UID}": new}), AtPoint(name=name, project=UID)
    source, there = _located(archives, found, party, target, Deadline(limit_seconds=5))
    assert (source.source.archive, there[0].archive) == (archive, archive)
    assert (source.source.storage == 5) is (archive == "s-free-1")


def a_record(ref, *, phase="Ready", placement="dedicated", uid=UID):
    status = {"uid": uid, "placement": placement, "phase": phase}
    meta = {"name": ref, "namespace": "supalove-system", "uid": "u", "generation": 1}
    return _record({"metadata": meta, "spec": {}, "status": status})


def test_projects_on_one_server_follow_one_another_and_one_that_is_stopped_fails_alone():
    known = {
        one.ref: one
        for one in (
            a_record("acme"),
            a_record("blog", placement="shared/free-1"),
            a_record("cafe", phase="Stopped"),
            a_record("shop", placement="shared/free-1"),
        )
    }
    chosen, failed = choose(known, ["shop", "acme", "blog", "cafe", "acme"])
    assert [(one.namespace, one.ref) for one in chosen] == [
        ("p-acme", "acme"),
        ("s-free-1", "blog"),
        ("s-free-1", "shop"),
    ]
    assert [(one.ref, one.failure.reason.partition(",")[0]) for one in failed] == [("cafe", "it is stopped")]
    with pytest.raises(InvalidSpec, match="acne"):
        choose(known, ["acne"])


def test_a_project_without_a_point_fails_the_task_and_is_shown_first():
    made = SimpleNamespace(name="v2", made=at(6.5), lsn="0/7800000", incarnation="i")
    failure = Failure(step="name", object="Pod/p-beta/postgresql-0", reason="there is a restore point v2 already")
    outcomes = (Pointed(ref="acme", uid=UID, point=made), Pointed(ref="beta", uid=OTHER, failure=failure))
    result = _results.points_result_of(PointReport(name="v2", outcomes=outcomes))
    assert (result["changed"], result["failed"]) == (True, True)
    assert result["counts"] == {"named": 1, "failed": 1}
    assert [one["ref"] for one in result["points"]] == ["beta", "acme"]
    assert result["points"][1]["made"] == "2026-11-01T06:30:00+00:00"
    assert "there is a restore point v2 already" in result["msg"]


def told(**given):
    names = ("point", "target_time", "target_lsn", "target_incarnation", "latest")
    return {**dict.fromkeys(names), **given}


def test_a_name_is_a_target_like_any_other():
    assert _specs.target_from(told(point="v2")) == AtPoint(name="v2")
    assert _specs.target_from(told(point="v2", target_incarnation="i")) == AtPoint(name="v2", incarnation="i")
    for wrong in (told(point="v2", latest=True), told()):
        with pytest.raises(InvalidSpec, match="one of point, target_time"):
            _specs.target_from(wrong)
