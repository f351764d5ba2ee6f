# SPDX-License-Identifier: GPL-3.0-or-later
"""A project that is not where its tier wants it is refused, whichever way, and nothing is worked out for it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.records import Record
from ansible_collections.supalove.platform.plugins.module_utils._engine.observed import NOTHING
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Platform, Project
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.placement import Placement
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.record import render_record
from ansible_collections.supalove.platform.plugins.module_utils._engine.rendering import Rendering
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
