# SPDX-License-Identifier: GPL-3.0-or-later
"""From where a target is reached, and by which name it is refused. It is hour 30."""

from __future__ import annotations

from datetime import timedelta

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.catalog import Engine, Parent
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.recovery import (
    AtLsn,
    AtPoint,
    AtTime,
    Latest,
    plan_recovery,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.segments import (
    SEGMENT_BYTES,
    Lsn,
    Segment,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import Lost, Unrecoverable
from ansible_collections.supalove.platform.plugins.module_utils._engine.lives import life_of
from archives import ARCHIVE, Life, at, catalogs


def plan(*lives, target, now=30.0):
    return plan_recovery(catalogs(*lives), target, now=at(now))


def to(hours):
    return AtTime(time=at(hours))


def lost(*lives, target, now=30.0):
    with pytest.raises(Unrecoverable) as caught:
        plan(*lives, target=target, now=now)
    return caught.value.reason, str(caught.value)


def middle_of(number):
    return Lsn(number * SEGMENT_BYTES + 0x800000)


@pytest.mark.parametrize("engine", Engine)
def test_the_newest_backup_that_finished_before_the_target_is_taken(engine):
    life = Life(engine=engine).segments(range(1, 20))
    first, second = life.backup(2, 2), life.backup(8, 9)
    found = plan(life, target=to(8.99))
    assert (found.backup, found.first_segment.number, found.needed_segment.number) == (first, 2, 9)
    found = plan(life, target=to(9))
    assert (found.archive, found.incarnation, found.backup) == (ARCHIVE, life.id, second)
    assert (found.first_segment, found.needed_segment, found.last_segment) == (
        Segment(1, 8),
        Segment(1, 10),
        Segment(1, 19),
    )
    assert (found.timeline, found.archived_until, found.is_beyond_archive) == (1, at(19), False)


def test_what_is_needed_reaches_to_where_the_backup_is_consistent():
    """The backup finished before the target, and its last segment is uploaded long after it."""
    life = Life().segments(range(1, 20))
    life.backup(4, 6, 4.5)
    assert plan(life, target=to(4.6)).needed_segment == Segment(1, 6)


def test_a_target_later_than_the_archive_goes_to_its_end_and_says_so():
    life = Life().segments(range(1, 20))
    life.backup(2, 2)
    found = plan(life, target=to(25))
    assert (found.needed_segment, found.is_beyond_archive) == (Segment(1, 19), True)


def test_a_target_within_the_second_of_the_last_upload_is_not_passed():
    """A listing tells whole seconds: what was uploaded at 19.9 is listed at 19, and its commits may be after 19.5."""
    life = Life().segments(range(1, 20))
    life.backup(2, 2)
    target = AtTime(time=at(19) + timedelta(seconds=0.5))
    found = plan(life, target=target)
    assert (found.needed_segment, found.is_beyond_archive) == (Segment(1, 19), False)
    told = life_of(None, catalogs(life), found, target)
    assert (told.target, told.value) == ("time", target.time.isoformat(sep=" "))


def test_a_target_in_the_future_is_refused():
    life = Life().segments(range(1, 20))
    life.backup(2, 2)
    reason, sentence = lost(life, target=to(31))
    assert reason is Lost.FUTURE
    assert "2026-11-02T07:00:00Z is in the future" in sentence


def test_a_target_before_the_oldest_backup_is_refused_with_the_time_of_that():
    life = Life().segments(range(1, 20))
    life.backup(4, 5)
    reason, sentence = lost(life, target=to(3))
    assert reason is Lost.BEFORE_WINDOW
    assert "2026-11-01T05:00:00Z" in sentence


def test_a_target_before_everything_is_refused_and_names_the_archive_it_came_from():
    parent = Parent(archive="p-origin", incarnation="x", timeline=1, lsn=Lsn(0), time=at(4))
    life = Life(began=5, parent=parent).segments(range(1, 20))
    life.backup(1, 1)
    reason, sentence = lost(life, target=to(3))
    assert reason is Lost.BEFORE_WINDOW
    assert "restored from archive p-origin" in sentence


def test_an_empty_archive_and_one_without_backups_have_nothing():
    assert lost(target=Latest())[0] is Lost.NO_BACKUP
    life = Life().segments(range(1, 4))
    life.backup(2, 2, unfinished=True)
    for target in (Latest(), to(3), AtLsn(lsn=middle_of(3))):
        assert lost(life, target=target)[0] is Lost.NO_BACKUP


def test_a_gap_before_the_target_is_named():
    life = Life().segments([1, 2, 3, 4, 6, 7])
    life.backup(2, 2)
    assert plan(life, target=to(3.9)).needed_segment == Segment(1, 4)
    for target in (to(4), to(6.5), to(29), Latest(), AtLsn(lsn=middle_of(6))):
        reason, sentence = lost(life, target=target)
        assert reason is Lost.GAP
        assert "Segment 000000010000000000000005" in sentence
        assert "reaches 2026-11-01T04:00:00Z at most" in sentence


@pytest.mark.parametrize("missing", [4, 5, 6])
def test_a_gap_before_a_backup_is_consistent_is_named(missing):
    life = Life().segments(number for number in range(1, 7) if number != missing)
    life.backup(4, 6)
    reason, sentence = lost(life, target=Latest())
    assert reason is Lost.GAP
    assert Segment(1, missing).name in sentence


def test_a_gap_before_the_backup_does_not_matter():
    life = Life().segments([1, 3, 4, 5])
    life.backup(2, 2)
    life.backup(4, 4)
    assert plan(life, target=Latest()).first_segment == Segment(1, 4)


def test_a_delta_whose_base_is_gone_is_not_taken():
    life = Life().segments(range(1, 20))
    full = life.backup(2, 2)
    life.backup(5, 5, base="base_000000010000000000000004")
    assert plan(life, target=to(10)).backup == full


def test_a_position_is_reached_from_the_newest_backup_before_it():
    life = Life().segments(range(1, 20))
    first, second = life.backup(2, 3), life.backup(8, 9)
    found = plan(life, target=AtLsn(lsn=middle_of(8)))
    assert (found.backup, found.needed_segment) == (first, Segment(1, 8))
    assert plan(life, target=AtLsn(lsn=middle_of(9))).backup == second


def test_a_position_outside_of_the_archive_is_refused():
    life = Life().segments(range(1, 20))
    life.backup(2, 3)
    reason, sentence = lost(life, target=AtLsn(lsn=middle_of(20)))
    assert reason is Lost.AFTER_ARCHIVE
    assert "000000010000000000000013" in sentence
    assert lost(life, target=AtLsn(lsn=middle_of(2)))[0] is Lost.BEFORE_WINDOW


def test_a_position_is_that_of_the_newest_incarnation_unless_another_is_named():
    old, new = Life().segments(range(1, 10)), Life(began=10, letters="bbbbbbbb").segments(range(1, 10))
    old.backup(2, 2)
    new.backup(3, 3)
    assert plan(old, new, target=AtLsn(lsn=middle_of(5))).incarnation == new.id
    assert plan(old, new, target=AtLsn(lsn=middle_of(5), incarnation=old.id)).incarnation == old.id
    reason, sentence = lost(old, new, target=AtLsn(lsn=middle_of(5), incarnation="x"))
    assert reason is Lost.UNKNOWN_INCARNATION
    assert old.id in sentence


def test_a_restore_point_needs_the_time_it_was_made():
    life = Life().segments(range(1, 20))
    life.backup(2, 2)
    assert plan(life, target=AtPoint(name="before", made=at(10))).needed_segment == Segment(1, 11)
    reason, sentence = lost(life, target=AtPoint(name="before"))
    assert reason is Lost.UNKNOWN_POINT
    assert "'before'" in sentence


def test_a_restore_point_is_not_looked_for_across_a_gap():
    life = Life().segments([1, 2, 3, 4, 6])
    life.backup(2, 2)
    assert lost(life, target=AtPoint(name="before", made=at(3.5)))[0] is Lost.GAP


def two_lives(fork=9.0, began=10.0, first=12.0):
    old = Life().segments(range(1, 10))
    old.backup(2, 2)
    parent = Parent(archive=ARCHIVE, incarnation=old.id, timeline=1, lsn=middle_of(8), time=at(fork))
    new = Life(began=began, letters="bbbbbbbb", timeline=2, parent=parent).segments(range(1, 15))
    new.backup(1, 1, first)
    return old, new


def test_a_moment_belongs_to_the_incarnation_that_lived_then():
    old, new = two_lives()
    assert plan(old, new, target=to(9.9)).incarnation == old.id
    assert plan(old, new, target=to(12)).incarnation == new.id
    assert plan(old, new, target=Latest()).incarnation == new.id
    assert plan(new, old, target=to(12)) == plan(old, new, target=to(12))


def test_a_moment_between_a_beginning_and_its_first_backup_is_refused():
    reason, sentence = lost(*two_lives(), target=to(11))
    assert reason is Lost.BEFORE_FIRST_BACKUP
    assert "2026-11-01T12:00:00Z" in sentence


def test_a_moment_before_the_fork_is_the_parents_even_if_the_child_had_begun():
    old, new = two_lives(fork=11)
    assert plan(old, new, target=to(10.5)).incarnation == old.id
    assert lost(old, new, target=to(11))[0] is Lost.BEFORE_FIRST_BACKUP


def test_an_incarnation_that_cannot_be_read_refuses_its_own_moments_only():
    old, new = two_lives()
    new.put("incarnation.json", b"{}", 10)
    assert plan(old, new, target=to(9)).incarnation == old.id
    reason, sentence = lost(old, new, target=to(12))
    assert reason is Lost.UNREADABLE
    assert "incarnation.json" in sentence


def test_a_damaged_backup_does_not_stand_in_the_way_of_another():
    life = Life().segments(range(1, 20))
    name = life.backup(2, 2)
    life.backup(8, 8)
    life.put("basebackups_005/base_000000010000000000000008_backup_stop_sentinel.json", b"{", 8)
    assert plan(life, target=to(15)).backup == name


def switched(*, last_of_old=5, first_of_new=5):
    """Left timeline 1 in the middle of segment 5."""
    life = Life().segments(range(1, last_of_old + 1))
    life.backup(2, 2)
    life.timeline = 2
    life.history(2, (1, 5))
    return life.segments(range(first_of_new, 10))


@pytest.mark.parametrize("last_of_old", [4, 5, 8])
def test_recovery_follows_the_newest_timeline(last_of_old):
    """Whether the old one stopped before the switch, in its segment, or went on for a while."""
    found = plan(switched(last_of_old=last_of_old), target=Latest())
    assert (found.timeline, found.first_segment, found.last_segment) == (2, Segment(1, 2), Segment(2, 9))


def test_the_first_segment_of_a_new_timeline_cannot_be_missing():
    life = switched(first_of_new=6)
    reason, sentence = lost(life, target=Latest())
    assert reason is Lost.GAP
    assert "000000020000000000000005" in sentence
    assert plan(life, target=to(4.5)).needed_segment == Segment(1, 5)


def test_a_timeline_that_has_only_just_begun_is_no_gap():
    found = plan(switched(first_of_new=10), target=to(20))
    assert (found.timeline, found.last_segment, found.is_beyond_archive) == (2, Segment(1, 5), True)


def test_a_backup_beyond_the_switch_of_its_timeline_is_not_taken():
    life = Life().segments(range(1, 9))
    first = life.backup(2, 2)
    life.backup(7, 7)
    life.timeline = 2
    life.history(2, (1, 5))
    life.segments(range(5, 12))
    assert plan(life, target=to(11)).backup == first


def test_timelines_without_a_history_are_refused():
    life = switched()
    del life.objects[life.key("wal_005/00000002.history")]
    assert lost(life, target=Latest())[0] is Lost.UNREADABLE
