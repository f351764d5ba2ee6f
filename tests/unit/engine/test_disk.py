# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of the disk: who may have some, and what a pod says of them."""

from __future__ import annotations

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import InvalidSpec
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.disk import (
    disk_class,
    disk_classes,
    figures_of,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.parse import parse
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.database import DISK_CLASS_ANNOTATION
from builders import FREE, RUNTIMES, SHARED, a_project, objects_of, one
from hypothesis import given
from hypothesis import strategies as st

FIGURES = st.one_of(st.just(0), st.integers(100, 1_000_000))


def annotations(kind: str = "StatefulSet", name: str = "postgresql", **tier: object) -> dict[str, str]:
    template = one(kind, name, objects_of(a_project(tier=tier)))["spec"]["template"]
    found: dict[str, str] = template["metadata"]["annotations"]
    return found


@pytest.mark.parametrize(
    ("tier", "path", "allowed"),
    [
        ({**SHARED, "read_iops": 500}, "read_iops", "nothing, as the server of a shared cluster reads and writes for"),
        ({**SHARED, "write_iops": 500}, "write_iops", "nothing, as the server of a shared cluster"),
        ({**FREE, "read_iops": 500, "runtime_class": "gvisor"}, "read_iops", "no limit reaches what reads and writes"),
        ({**FREE, "write_iops": 10}, "write_iops", "a whole number from 100 to 1000000"),
    ],
)
def test_a_limit_that_could_not_hold_is_refused(tier: dict[str, object], path: str, allowed: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse(projects={}, tiers={"t": tier}, platform={"runtime_classes": RUNTIMES})
    (problem,) = caught.value.problems
    assert problem.path == f"supalove_tiers.t.{path}"
    assert allowed in problem.allowed


def test_the_pod_of_postgresql_names_the_class_of_its_tiers_figures() -> None:
    assert annotations(read_iops=500, write_iops=200)[DISK_CLASS_ANNOTATION] == "supalove-r500-w200"
    assert annotations(write_iops="200")[DISK_CLASS_ANNOTATION] == "supalove-w200"


def test_other_figures_make_a_new_pod_as_a_container_keeps_those_it_began_with() -> None:
    assert annotations(read_iops=500) != annotations(read_iops=800)


def test_pods_that_nothing_limits_name_no_class() -> None:
    assert DISK_CLASS_ANNOTATION not in annotations()
    assert DISK_CLASS_ANNOTATION not in annotations("Deployment", "pooler", read_iops=500)


@given(FIGURES, FIGURES)
def test_a_class_is_read_as_it_is_named(read: int, write: int) -> None:
    name = disk_class(read, write)
    assert (figures_of(name) if name else (0, 0)) == (read, write)


@pytest.mark.parametrize("name", ["supalove", "LowPrio", "supalove-w1-r1", "supalove-r0", "xsupalove-r1", ""])
def test_a_class_of_somebody_elses_is_none_of_ours(name: str) -> None:
    assert figures_of(name) is None


def test_tiers_with_the_same_figures_share_a_class() -> None:
    tiers = {"a": {**FREE, "read_iops": 500}, "b": {**FREE, "read_iops": 500}, "c": FREE, "d": SHARED}
    assert disk_classes(parse(projects={}, tiers=tiers, platform={}).tiers.values()) == ("supalove-r500",)
