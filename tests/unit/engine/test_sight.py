# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run makes of what it sees: who is elsewhere, or whom another run has begun to restore, is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.records import Record
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import SafetyStop
from ansible_collections.supalove.platform.plugins.module_utils._engine.lives import revived
from ansible_collections.supalove.platform.plugins.module_utils._engine.observed import NOTHING
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.life import Life
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Platform, Project
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.placement import Placement
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.record import render_record
from ansible_collections.supalove.platform.plugins.module_utils._engine.rendering import Rendering
from ansible_collections.supalove.platform.plugins.module_utils._engine.settings import Settings
from ansible_collections.supalove.platform.plugins.module_utils._engine.sight import Sight, View, sights_of
from builders import DEDICATED, UID, a_cluster, a_project, a_shared_project, live

ON_MAIN = Placement(cluster="main")
PLATFORM = replace(Platform(), shared_clusters=(a_cluster(),))


def seen(project: Project, placement: Placement) -> Sight:
    """A project that was brought to life there."""
    record_wanted = render_record(project, PLATFORM, placement, UID)
    record = Record(ref=project.ref, managed_by="inventory", spec={}, status=None, live=live(record_wanted))
    view = View(
        known={project.ref: record},
        observed=NOTHING,
        places={project.ref: placement},
        unreadable={},
        rendering=Rendering(PLATFORM),
    )
    (sight,) = sights_of(view, (project,), PLATFORM)
    return sight


@pytest.mark.parametrize(
    ("project", "placement", "there", "wanted"),
    [
        (a_shared_project(), DEDICATED, "dedicated", "shared"),
        (a_project(), ON_MAIN, "shared/main", "dedicated"),
    ],
)
def test_a_tier_of_the_other_placement_is_refused_and_its_size_is_not_asked(project, placement, there, wanted):
    sight = seen(project, placement)
    assert sight.refused is not None
    assert f"its database is {there}, and the tier t wants it {wanted}: move it" in sight.refused.reason
    assert not sight.plan.steps


@pytest.mark.parametrize(("project", "placement"), [(a_shared_project(), ON_MAIN), (a_project(), DEDICATED)])
def test_where_its_tier_wants_it_a_project_is_worked_out(project, placement):
    sight = seen(project, placement)
    assert sight.refused is None
    assert sight.plan.steps


@pytest.mark.parametrize("before", [None, Life.anew(2), Life.anew(3)], ids=["the first", "an earlier one", "the same"])
def test_a_life_that_a_run_begins_is_the_projects(before):
    settings = Settings(lives={"acme": Life.anew(3)})
    assert revived({"acme": Placement(life=before)}, settings) == {"acme": Placement(life=Life.anew(3))}


@pytest.mark.parametrize("begun", [replace(Life.anew(2), value="another moment"), Life.anew(3)])
def test_a_restore_that_another_one_has_overtaken_does_not_go_to_its_own_moment_on_the_others_volume(begun):
    settings = Settings(lives={"acme": Life.anew(2)})
    with pytest.raises(SafetyStop, match="another run has begun to restore acme"):
        revived({"acme": Placement(life=begun)}, settings)
