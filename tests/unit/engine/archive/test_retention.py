# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backups and which WAL go, and what each verdict says. The window is seven hours, and it is hour 20."""

from __future__ import annotations

from datetime import timedelta

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.catalog import Engine, Parent
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.retention import Choice, plan_retention
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.segments import Lsn
from archives import ARCHIVE, HOUR, Life, at, catalogs, catalogs_from

WINDOW = 7 * HOUR


def plan(*lives, now=20.0, window=WINDOW, unfinished_age=3 * HOUR):
    return plan_retention(catalogs(*lives), window=window, now=at(now), unfinished_age=unfinished_age)


def kept(found):
    return {one.backup for one in found.verdicts if one.choice is Choice.KEEP}


def reasons(found):
    return {one.backup: one.reason for one in found.verdicts}


def wal_of(found):
    """Numbers of the segments that go."""
    return [int(key[-6:-4], 16) for removal in found.removals for key in removal.wal]


@pytest.mark.parametrize("engine", Engine)
def test_the_newest_backup_before_the_window_and_all_after_it_stay(engine):
    life = Life(engine=engine).segments(range(1, 20))
    first, second, third, fourth = (life.backup(n, n, n + 0.5) for n in (2, 7, 11, 16))
    found = plan(life)
    assert kept(found) == {third, fourth}
    assert reasons(found) == {
        first: f"it finished before the window, and {third} is newer",
        second: f"it finished before the window, and {third} is newer",
        third: "it is the newest that finished before the window, whose first moments need it",
        fourth: "it finished inside of the window",
    }
    assert wal_of(found) == list(range(1, 11))
    assert found.removals[0].wal_before.number == 11


def test_a_backup_that_began_before_the_window_and_finished_in_it_does_not_serve_its_start():
    life = Life().segments(range(1, 20))
    first, second = life.backup(5, 6, 6), life.backup(12, 13, 13.5)
    assert kept(plan(life)) == {first, second}


def test_a_backup_that_finished_as_the_window_starts_serves_all_of_it():
    life = Life().segments(range(1, 20))
    life.backup(5, 6, 6)
    second = life.backup(12, 13, 13)
    assert kept(plan(life)) == {second}


def test_what_a_kept_delta_builds_upon_stays_with_its_wal():
    life = Life().segments(range(1, 20))
    old = life.backup(1, 1)
    full = life.backup(3, 3)
    delta = life.backup(5, 5, base=full)
    last = life.backup(11, 11, base=delta)
    found = plan(life)
    assert kept(found) == {full, delta, last}
    assert reasons(found)[full].endswith("builds upon it")
    assert reasons(found)[old] == f"it finished before the window, and {last} is newer"
    assert wal_of(found) == [1, 2]


def test_a_delta_without_its_base_serves_nothing_and_the_backup_before_it_stays():
    life = Life().segments(range(1, 20))
    full = life.backup(3, 3)
    broken = life.backup(11, 11, base="base_000000010000000000000009")
    newest = life.backup(15, 15)
    found = plan(life)
    assert kept(found) == {full, newest}
    assert "is missing" in reasons(found)[broken]


def test_the_only_backup_stays_however_old_it_is():
    life = Life().segments(range(1, 4))
    name = life.backup(2, 2)
    assert kept(plan(life, now=9999)) == {name}


def test_a_permanent_backup_stays_with_the_wal_that_makes_it_consistent_and_no_more():
    life = Life().segments(range(1, 20))
    permanent = life.backup(3, 5, permanent=True)
    anchor = life.backup(11, 11)
    found = plan(life)
    assert kept(found) == {permanent, anchor}
    assert reasons(found)[permanent] == "it is permanent"
    assert wal_of(found) == [1, 2, 6, 7, 8, 9, 10]


def test_wal_before_the_first_backup_goes_but_none_goes_without_a_backup():
    life = Life().segments(range(1, 20))
    assert plan(life).keys == ()
    life.backup(5, 5, 19, unfinished=True)
    assert plan(life).keys == ()
    life.backup(3, 3)
    assert wal_of(plan(life)) == [1, 2]


def test_a_backup_in_the_making_keeps_its_wal_and_what_it_builds_upon():
    life = Life().segments(range(1, 25))
    base = life.backup(3, 3)
    life.backup(5, 5, 19, base=base, unfinished=True)
    anchor = life.backup(11, 11)
    found = plan(life)
    assert kept(found) == {base, anchor}
    assert reasons(found)[base] == "a backup in the making builds upon it"
    assert wal_of(found) == [1, 2]
    assert found.removals[0].leftovers == ()


def test_a_barman_backup_in_the_making_keeps_all_wal_as_nobody_knows_where_it_began():
    life = Life(engine=Engine.BARMAN).segments(range(1, 20))
    life.backup(11, 11)
    life.backup(18, 18, 19, unfinished=True)
    assert wal_of(plan(life)) == []
    assert wal_of(plan(life, now=23)) == list(range(1, 11))


def test_parts_that_nobody_finished_go_after_their_time():
    life = Life().segments(range(1, 20))
    life.backup(11, 11)
    name = life.backup(8, 8, 16, unfinished=True)
    assert plan(life, now=19).removals[0].leftovers == ()
    (leftover,) = plan(life, now=19.1).removals[0].leftovers
    assert name in leftover


def test_parts_from_the_future_are_not_old():
    life = Life().segments(range(1, 20))
    life.backup(11, 11)
    life.backup(18, 18, 99, unfinished=True)
    assert plan(life).removals[0].leftovers == ()


def test_a_backup_from_the_future_stays_and_lets_nothing_go():
    life = Life().segments(range(1, 20))
    names = {life.backup(2, 2), life.backup(15, 15, 15), life.backup(18, 18, 99)}
    assert kept(plan(life)) == names


def test_a_planner_whose_clock_is_behind_removes_less():
    life = Life().segments(range(1, 20))
    names = {life.backup(n, n) for n in (2, 7, 11, 16)}
    assert kept(plan(life, now=8)) == names


def successor(life, began, *, fork=None, **rest):
    parent = Parent(
        archive=ARCHIVE, incarnation=life.id, timeline=1, lsn=Lsn(0), time=at(began - 1 if fork is None else fork)
    )
    return Life(began=began, letters="bbbbbbbb", parent=parent, **rest)


def test_an_older_incarnation_stays_until_a_newer_one_serves_the_whole_window():
    old = Life().segments(range(1, 10))
    name = old.backup(2, 2)
    new = successor(old, 10).segments(range(1, 9))
    later = new.backup(1, 1, 13.5)
    found = plan(old, new)
    assert (kept(found), [one.rest for one in found.removals]) == ({name, later}, [()])
    found = plan(old, new, now=20.5)
    assert kept(found) == {later}
    assert reasons(found)[name] == f"the newer incarnation {new.id} serves the whole window"
    assert set(old.objects) == set(found.removals[0].keys)
    assert found.removals[0].keys[-1].endswith("incarnation.json")


def test_an_older_incarnation_with_a_permanent_backup_keeps_that_and_its_description():
    old = Life().segments(range(1, 10))
    old.backup(2, 2)
    permanent = old.backup(4, 5, permanent=True)
    new = successor(old, 10).segments(range(1, 9))
    later = new.backup(1, 1)
    found = plan(old, new)
    assert kept(found) == {permanent, later}
    assert found.removals[0].rest == ()
    assert wal_of(found) == [1, 2, 3, 6, 7, 8, 9]


def test_an_older_incarnation_with_something_unknown_keeps_that_and_its_description():
    old = Life().segments(range(1, 10))
    old.backup(2, 2)
    old.put("notes.txt", b"", 1)
    new = successor(old, 10).segments(range(1, 9))
    new.backup(1, 1)
    assert set(old.objects) - set(plan(old, new).removals[0].keys) == {
        old.key("notes.txt"),
        old.key("incarnation.json"),
    }


def test_an_older_incarnation_stays_while_the_fork_from_it_is_in_the_window():
    """A time before the fork is the parent's, even if the newer one says that it began before."""
    old = Life().segments(range(1, 10))
    name = old.backup(2, 2)
    new = successor(old, 10, fork=14).segments(range(1, 9))
    new.backup(1, 1)
    assert name in kept(plan(old, new))


@pytest.mark.parametrize("damage", ["incarnation.json", "basebackups_005/base_000000010000000000000003/metadata.json"])
def test_an_incarnation_that_cannot_be_read_is_kept_whole_and_serves_nobody(damage):
    old = Life().segments(range(1, 10))
    name = old.backup(2, 2)
    new = successor(old, 10).segments(range(1, 9))
    new.backup(1, 1)
    new.backup(3, 3)
    new.put(damage, b"{", 1)
    found = plan(old, new)
    assert name in kept(found)
    assert [one.incarnation for one in found.removals] == [old.id]
    assert wal_of(found) == [1]
    assert damage in found.problems[0] or "metadata.json" in found.problems[0]
    assert all("cannot be judged" in one.reason for one in found.verdicts if one.incarnation == new.id)


def test_markers_go_before_parts_and_deltas_before_what_they_build_upon():
    life = Life().segments(range(1, 20))
    full = life.backup(2, 2)
    one = life.backup(3, 3, base=full)
    two = life.backup(4, 4, base=one)
    other = life.backup(5, 5)
    life.backup(11, 11)
    (removal,) = plan(life).removals
    marked = [[key.split("/")[-1].removesuffix("_backup_stop_sentinel.json") for key in one] for one in removal.markers]
    assert marked == [[two], [one], [full, other]]
    assert not [key for key in removal.parts if "sentinel" in key]
    assert list(removal.wal) == sorted(removal.wal)


def test_backups_on_a_branch_that_was_left_do_not_serve_the_window():
    """The cluster went back to the middle of segment 5, while a backup of the other branch had been made in 8."""
    life = Life().segments(range(1, 11))
    before, beside = life.backup(3, 3), life.backup(8, 8)
    life.timeline = 2
    life.history(2, (1, 5))
    for number in range(5, 19):
        life.segment(number)
    after = life.backup(17, 17)
    found = plan(life, window=9 * HOUR)
    assert kept(found) == {before, after}
    assert beside in reasons(found)


@pytest.mark.parametrize("wrong", [{"window": timedelta(-1)}, {"unfinished_age": timedelta(-1)}])
def test_a_negative_window_or_age_is_refused(wrong):
    with pytest.raises(ValueError, match="not negative"):
        plan(Life(), **wrong)


def test_two_archives_are_not_planned_together():
    other = catalogs_from(Life(archive="p-other").objects, "p-other")
    with pytest.raises(ValueError, match="one archive"):
        plan_retention((*catalogs(Life()), *other), window=WINDOW, now=at(20))


def test_an_empty_archive_has_an_empty_plan():
    found = plan_retention((), window=WINDOW, now=at(20))
    assert (found.verdicts, found.removals, found.keys) == ((), (), ())
