# SPDX-License-Identifier: GPL-3.0-or-later
"""Where databases go, what stays where it is, and what has no place."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import InvalidSpec
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import RESERVED_REFS, Ref
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.parse import parse
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.placement import (
    Move,
    Past,
    Placed,
    Placement,
    misplaced,
    past_as_text,
    past_from_text,
    place,
    place_anew,
    sessions_at,
    sessions_of,
)
from builders import CLUSTER, FREE, SHARED
from hypothesis import given
from hypothesis import strategies as st


def placed_on(cluster: str | None, sessions: int = 8) -> Placed:
    return Placed(placement=Placement(cluster=cluster), sessions=sessions)


def places(
    refs: list[str],
    clusters: dict[str, dict[str, Any]],
    *,
    recorded: dict[str, Placed] | None = None,
    tier: str = "free",
) -> dict[str, str]:
    inventory = parse(
        projects={ref: {"tier": tier} for ref in refs},
        tiers={"free": SHARED, "pro": FREE},
        platform={"shared_clusters": {name: {**CLUSTER, **more} for name, more in clusters.items()}},
    )
    known = {Ref(ref): one for ref, one in (recorded or {}).items()}
    found = place(inventory.projects, known, inventory.platform)
    return {ref: str(one) for ref, one in found.items()}


def problems_of(*args: Any, **rest: Any) -> list[str]:
    with pytest.raises(InvalidSpec) as caught:
        places(*args, **rest)
    return [str(problem) for problem in caught.value.problems]


def test_new_projects_fill_the_emptiest_open_cluster_in_the_order_of_their_refs():
    assert places(["c", "a", "b"], {"one": {}, "two": {}}, recorded={"x": placed_on("one")}) == {
        "a": "shared/two",
        "b": "shared/one",
        "c": "shared/two",
    }


def test_a_recorded_project_stays_where_it_is_even_on_a_cordoned_cluster():
    found = places(["a", "b"], {"one": {"cordoned": True}, "two": {}}, recorded={"a": placed_on("one")})
    assert found == {"a": "shared/one", "b": "shared/two"}


def test_a_dedicated_project_needs_no_cluster():
    assert places(["a"], {}, tier="pro") == {"a": "dedicated"}


@pytest.mark.parametrize(
    ("clusters", "recorded", "told"),
    [
        ({}, {}, "no shared cluster is declared; add a cluster to supalove_platform.shared_clusters"),
        ({"one": {"max_databases": 1}}, {"x": placed_on("one")}, "one has 1 of 1 projects"),
        ({"one": {"max_connections": 15}}, {"x": placed_on("one")}, "8 of 15 sessions"),
        ({"one": {"cordoned": True}}, {}, "and is cordoned"),
        ({"one": {}}, {"a": placed_on("two")}, "the declaration of the cluster on which the project a is"),
        ({"one": {"max_connections": 10}}, {"a": placed_on("one"), "x": placed_on("one")}, "at least 16"),
    ],
)
def test_what_has_no_place_is_said_beforehand_with_the_variable_to_change(clusters, recorded, told):
    (problem,) = problems_of(["a"], clusters, recorded=recorded)
    assert told in problem


def test_every_project_without_a_place_is_named():
    assert len(problems_of(["a", "b", "c"], {"one": {"max_databases": 1}})) == 2


refs = st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True)


@given(
    refs=st.sets(refs.filter(lambda ref: ref not in RESERVED_REFS), max_size=12),
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=4),
)
def test_placing_again_what_was_placed_moves_nothing_and_no_cluster_holds_too_much(refs, sizes):
    clusters = {f"c{number}": {"max_databases": size} for number, size in enumerate(sizes)}
    if len(refs) > sum(sizes):
        assert len(problems_of(sorted(refs), clusters)) == len(refs) - sum(sizes)
        return
    first = places(sorted(refs), clusters)
    for name, more in clusters.items():
        assert list(first.values()).count(f"shared/{name}") <= more["max_databases"]
    recorded = {
        ref: Placed(placement=Placement.from_text(text) or Placement(), sessions=8) for ref, text in first.items()
    }
    assert places(sorted(refs, reverse=True), clusters, recorded=recorded) == first


def test_sessions_count_two_full_pools_and_the_probes():
    (project,) = parse(projects={"a": {"tier": "t"}}, tiers={"t": SHARED}, platform={}).projects
    assert sessions_of(project) == 2 * 3 + 2


GOING = Move(cluster=None, kept="p_abcdefgh2345_20261126t000000z", sessions=8)


@pytest.mark.parametrize(
    ("placement", "text"),
    [
        (Placement(), "dedicated"),
        (Placement(cluster="one", move=GOING), "shared/one>dedicated"),
        (Placement(move=replace(GOING, cluster="one")), "dedicated>shared/one"),
    ],
)
def test_a_placement_is_read_as_it_was_written(placement, text):
    assert str(placement) == text
    found = Placement.from_text(text)
    assert replace(found, move=found.move and found.move.with_details(str(placement.move))) == placement


@pytest.mark.parametrize(
    "text", ["", "shared", "shared/", "elsewhere", "dedicated>", "dedicated>x", "x>dedicated", "dedicated>dedicated>x"]
)
def test_what_is_no_placement_is_none(text):
    assert Placement.from_text(text) is None


def test_the_past_is_read_as_it_was_written_and_what_is_none_is_told_apart_from_none():
    past = (Past(archive="s-one", until=datetime(2026, 11, 26, tzinfo=UTC), storage=1024),)
    assert past_from_text(past_as_text(past)) == past
    assert past_from_text("") == ()
    for text in ("{}x", '[{"archive": "s-one"}]', '[{"archive": "s", "until": "yesterday", "storage": 1}]', "[1]"):
        assert past_from_text(text) is None


def project_of(tier: str, clusters: dict[str, dict[str, Any]]) -> tuple[Any, Any]:
    inventory = parse(
        projects={"a": {"tier": tier}},
        tiers={"free": SHARED, "pro": FREE},
        platform={"shared_clusters": {name: {**CLUSTER, **more} for name, more in clusters.items()}},
    )
    return inventory.projects[0], inventory.platform


def test_only_a_project_that_is_not_where_its_tier_wants_it_is_told_to_move():
    project, _platform = project_of("pro", {"one": {}})
    assert misplaced(project, Placement()) == ""
    assert "the tier pro wants it dedicated: move it (playbook move.yml)" in misplaced(
        project, Placement(cluster="one")
    )
    assert "that has not ended" in misplaced(project, Placement(cluster="one", move=GOING))


def test_another_tier_leaves_a_project_where_it_is_and_its_room_there_taken():
    recorded = {"a": placed_on("one"), "x": placed_on("one")}
    assert places(["a"], {"one": {}}, recorded=recorded, tier="pro") == {"a": "shared/one"}
    (problem,) = problems_of(["a", "b"], {"one": {"max_databases": 1}}, recorded={"a": placed_on("one")})
    assert "one has 1 of 1 projects" in problem


def test_what_moves_goes_where_there_is_room_and_takes_it_before_it_arrives():
    project, platform = project_of("free", {"one": {"max_databases": 1}, "two": {}})
    full = {Ref("a"): placed_on(None), Ref("x"): placed_on("one")}
    assert place_anew(project, [project], full, platform) == Placement(cluster="two")
    going = Placed(placement=Placement(move=replace(GOING, cluster="two")), sessions=0)
    (problem,) = problems_of(["a", "b"], {"two": {"max_databases": 1}}, recorded={"a": going})
    assert "two has 1 of 1 projects" in problem
    with pytest.raises(InvalidSpec, match="one has 1 of 1 projects"):
        place_anew(project, [project], full, replace(platform, shared_clusters=platform.shared_clusters[:1]))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kept": "p", "has_gone": true, "sessions": "many"}'])
def test_details_of_a_move_that_cannot_be_read_are_none(text):
    assert GOING.with_details(text) is None


def test_what_leaves_a_full_cluster_takes_no_more_sessions_there_than_before():
    """Those of its new tier did not fit, and after its database had gone no run could go on."""
    project, _platform = project_of("pro", {"one": {}})
    going = Placement(cluster="one", move=GOING)
    assert sessions_at(going, project) == GOING.sessions < sessions_of(project)
    recorded = {"a": Placed(placement=going, sessions=sessions_at(going, project))}
    assert places(["a"], {"one": {"max_connections": 10}}, recorded=recorded, tier="pro") == {
        "a": "shared/one>dedicated"
    }
