# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for every archive: retention takes nothing from what recovery could give before."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.catalog import Engine, Parent
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.recovery import (
    AtPoint,
    AtTime,
    RecoveryPlan,
    Target,
    plan_recovery,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.retention import Choice, plan_retention
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.segments import Lsn
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import Unrecoverable
from archives import ARCHIVE, HOUR, Life, at, catalogs_from
from hypothesis import given, settings
from hypothesis import strategies as st

# Of segments in one incarnation.
MOST = 10


@dataclass(frozen=True)
class Case:
    objects: dict[str, tuple[bytes, datetime]]
    now: datetime
    window: timedelta

    @property
    def catalogs(self):
        return catalogs_from(self.objects)

    def plan(self):
        return plan_retention(self.catalogs, window=self.window, now=self.now, unfinished_age=3 * HOUR)

    def targets(self):
        """Every quarter of an hour in the window."""
        count = int(self.window / HOUR * 4)
        return [self.now - number * HOUR / 4 for number in range(count + 1)]

    def left(self):
        """What there is after the removals that are planned for it."""
        return sorted(self.without(self.plan().keys).objects)

    def without(self, keys):
        left = {key: one for key, one in self.objects.items() if key not in keys}
        return Case(objects=left, now=self.now, window=self.window)


def recovered(found, time, now) -> RecoveryPlan | None:
    return reached(found, AtTime(time=time), now)


def reached(found, target: Target, now) -> RecoveryPlan | None:
    try:
        return plan_recovery(found, target, now=now)
    except Unrecoverable:
        return None


@st.composite
def lives(draw, began: float, letters: str, parent: Parent | None) -> Life:
    engine = draw(st.sampled_from(Engine))
    life = Life(began=began, letters=letters, engine=engine, parent=parent)
    length = draw(st.integers(0, MOST))
    switches: list[tuple[int, int]] = []
    full: list[str] = []
    for number in range(1, length + 1):
        if draw(st.integers(0, 9)) > 0:
            life.segment(number, began + number + draw(st.sampled_from([0, 0, 0.5, 2])))
        if draw(st.integers(0, 11)) == 0:
            switches.append((life.timeline, number))
            life.timeline += 1
            life.history(life.timeline, *switches)
            life.segment(number)
        if draw(st.integers(0, 2)) == 0:
            base = draw(st.sampled_from(full)) if full and engine is Engine.WALG and draw(st.booleans()) else None
            last = min(length, number + draw(st.integers(0, 1)))
            finished = began + last + draw(st.sampled_from([0.1, 0.6, 0.6, 40]))
            unfinished = draw(st.integers(0, 5)) == 0
            permanent = draw(st.integers(0, 5)) == 0
            name = life.backup(number, last, finished, base=base, permanent=permanent, unfinished=unfinished)
            if not unfinished or draw(st.integers(0, 3)) == 0:
                full.append(name)
    for number in draw(st.sets(st.integers(1, MOST), max_size=2)):
        life.point(f"point-{number}", number)
    if draw(st.integers(0, 15)) == 0:
        life.put("incarnation.json", b"{}", began)
    if draw(st.integers(0, 15)) == 0:
        life.put("basebackups_005/base_x_backup_stop_sentinel.json", b"", began)
    return life


@st.composite
def cases(draw) -> Case:
    objects: dict[str, tuple[bytes, datetime]] = {}
    began, parent = 0.0, None
    for number in range(draw(st.integers(1, 3))):
        life = draw(lives(began, "abc"[number] * 8, parent))
        objects |= life.objects
        began += draw(st.integers(1, MOST + 4))
        fork = at(began + draw(st.sampled_from([-3, -0.5, 0.25])))
        parent = Parent(archive=ARCHIVE, incarnation=life.id, timeline=1, lsn=Lsn(0), time=fork)
    now = at(began + draw(st.integers(-4, 6)))
    return Case(objects=objects, now=now, window=draw(st.integers(0, 20)) * HOUR)


@settings(max_examples=400)
@given(case=cases())
def test_every_moment_in_the_window_that_could_be_restored_still_can(case):
    before = case.catalogs
    after = case.without(case.plan().keys).catalogs
    for time in case.targets():
        found = recovered(before, time, case.now)
        if found is not None:
            assert recovered(after, time, case.now) == found, time


@settings(max_examples=400)
@given(case=cases())
def test_every_point_in_the_window_that_could_be_restored_still_can(case):
    before = case.catalogs
    after = case.without(case.plan().keys).catalogs
    for catalog in before:
        # As with moments without a name, those of a life are those until the next one began.
        end = min((one.began for one in before if one.began > catalog.began), default=case.now)
        for point in catalog.points:
            target = AtPoint(name=point.name, project=point.project, incarnation=catalog.id)
            found = reached(before, target, case.now)
            if found is not None and case.now - case.window <= point.made <= end:
                assert reached(after, target, case.now) == found, point


@given(case=cases())
def test_after_its_removals_a_plan_removes_nothing_more(case):
    assert case.without(case.plan().keys).plan().keys == ()


@given(case=cases(), seed=st.integers(0, 99))
def test_the_order_of_a_listing_does_not_matter(case, seed):
    items = list(case.objects.items())
    random.Random(seed).shuffle(items)  # noqa: S311 (nothing secret)
    shuffled = Case(objects=dict(items), now=case.now, window=case.window)
    assert shuffled.plan() == case.plan()
    backwards = plan_retention(case.catalogs[::-1], window=case.window, now=case.now, unfinished_age=3 * HOUR)
    assert backwards.verdicts == case.plan().verdicts


@given(case=cases())
def test_every_backup_has_one_verdict_and_the_newest_is_kept(case):
    found = case.plan()
    backups = [(one.id, backup.name, backup.finished) for one in case.catalogs for backup in one.backups]
    assert sorted((one.incarnation, one.backup) for one in found.verdicts) == sorted(one[:2] for one in backups)
    assert all(one.reason for one in found.verdicts)
    if backups:
        newest = max(backups, key=lambda one: (one[2], one[0], one[1]))
        kept = [(one.incarnation, one.backup) for one in found.verdicts if one.choice is Choice.KEEP]
        assert newest[:2] in kept


@given(case=cases())
def test_what_is_kept_is_whole(case):
    """No key of a kept backup, no base of a kept delta and no permanent backup goes."""
    found = case.plan()
    going = set(found.keys)
    assert len(going) == len(found.keys)
    kept = {(one.incarnation, one.backup) for one in found.verdicts if one.choice is Choice.KEEP}
    for catalog in case.catalogs:
        for backup in catalog.backups:
            if (catalog.id, backup.name) in kept:
                assert not going & set(backup.keys)
                assert {(catalog.id, one.name) for one in catalog.chain(backup) or ()} <= kept
            else:
                assert not backup.is_permanent
                assert going >= set(backup.keys)
        if catalog.problems:
            assert not [one for one in found.removals if one.incarnation == catalog.id]


@settings(max_examples=150)
@given(case=cases(), data=st.data())
def test_a_removal_that_is_broken_off_anywhere_takes_no_moment_and_is_finished_by_the_next(case, data):
    keys = case.plan().keys
    broken = case.without(keys[: data.draw(st.integers(0, len(keys)))])
    before = case.catalogs
    for time in case.targets():
        found = recovered(before, time, case.now)
        assert found is None or recovered(broken.catalogs, time, case.now) == found, time
    for catalog in broken.catalogs:
        for backup in catalog.backups:
            whole = next(one for each in before for one in each.backups if one.marker == backup.marker)
            assert backup.keys == whole.keys
    # Once the parts without a marker are old enough.
    later = Case(objects=broken.objects, now=case.now + 60 * HOUR, window=case.window + 60 * HOUR)
    undisturbed = Case(objects=case.objects, now=later.now, window=later.window)
    assert later.left() == undisturbed.left()
