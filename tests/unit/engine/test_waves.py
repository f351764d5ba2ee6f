# SPDX-License-Identifier: GPL-3.0-or-later
"""Every project is in one wave, and no wave restarts more than it may."""

from __future__ import annotations

from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.records import Record
from ansible_collections.supalove.platform.plugins.module_utils._engine.observed import NOTHING
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Platform
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.record import render_record
from ansible_collections.supalove.platform.plugins.module_utils._engine.sight import Sight
from ansible_collections.supalove.platform.plugins.module_utils._engine.steps import Action, Failure, Plan, Step
from ansible_collections.supalove.platform.plugins.module_utils._engine.waves import restarts, waves_of
from builders import DEDICATED, UID, a_project, live, objects_of
from hypothesis import given
from hypothesis import strategies as st

CHANGES = ("nothing", "config", "restart", "new", "stopped", "refused")


def a_sight(number: int, change: str, *, canary: bool) -> Sight:
    """A project that differs in one way from what is there."""
    state = {"state": "absent"} if change == "stopped" else {}
    project = a_project(f"r{number}", canary=canary, **state)
    record_wanted = render_record(project, Platform(), DEDICATED, UID)
    kind = {"config": "ConfigMap", "nothing": None}.get(change, "StatefulSet")
    changed = [one for one in objects_of(project) if one.id.kind == kind]
    action = Action.CREATE if change == "new" else Action.UPDATE
    steps = tuple(Step(action=action, id=one.id, reason="it differs", desired=one, before=None) for one in changed)
    record = Record(ref=project.ref, managed_by="inventory", spec={}, status=None, live=live(record_wanted))
    return Sight(
        project=project,
        placement=DEDICATED,
        uid=UID,
        record=None if change == "new" else record,
        record_wanted=record_wanted,
        desired=objects_of(project),
        observed=NOTHING,
        plan=Plan(steps=steps),
        is_certain=False,
        refused=Failure(step="plan", object="it", reason="because") if change == "refused" else None,
    )


SIGHTS = {
    (number, change, canary): a_sight(number, change, canary=canary)
    for number in range(12)
    for change in CHANGES
    for canary in (False, True)
}
sights = st.lists(st.tuples(st.just("restart") | st.sampled_from(CHANGES), st.booleans()), max_size=12).map(
    lambda some: tuple(SIGHTS[number, *one] for number, one in enumerate(some))
)


@given(sights=sights, size=st.integers(1, 13))
def test_every_project_is_in_exactly_one_wave_and_no_wave_restarts_too_many(sights, size):
    waves = waves_of(sights, size=size)
    refs = [sight.project.ref for wave in waves for sight in wave]
    assert sorted(refs) == sorted(sight.project.ref for sight in sights)
    assert all(waves)
    assert all(sum(restarts(sight) for sight in wave) <= size for wave in waves)


@given(sights=sights, size=st.integers(1, 13))
def test_canaries_are_restarted_before_all_others_and_what_restarts_nothing_waits_for_nobody(sights, size):
    waves = waves_of(sights, size=size)
    restarted = [sight for wave in waves for sight in wave if restarts(sight)]
    if len(waves) > 1:
        canaries = [sight.project.is_canary for sight in restarted]
        assert canaries == sorted(canaries, reverse=True)
        assert not any(not restarts(sight) for wave in waves[1:] for sight in wave)


def test_only_what_runs_is_restarted():
    found = {change: restarts(SIGHTS[0, change, False]) for change in CHANGES}
    assert found == {change: change == "restart" for change in CHANGES}
