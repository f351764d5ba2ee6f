# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may reach whom, and what an answer proves."""

from __future__ import annotations

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.isolation import (
    UDP,
    Expected,
    Home,
    Part,
    Source,
    Target,
    Verdict,
    expectation,
    home_of_cluster,
    home_of_project,
    judge,
    listener,
    pairs_of,
    rounds_of,
)

ACME = home_of_project("p-acme", None)
BETA = home_of_project("p-beta", "free-1")
CLUSTER = home_of_cluster("free-1")
OTHER_CLUSTER = home_of_cluster("free-2")
SYSTEM = Home(namespace="supalove-system", parts=(Part.SYSTEM,))
NOBODY = Home(namespace="probe", parts=(Part.OUTSIDER,))
HOMES = (ACME, BETA, CLUSTER, OTHER_CLUSTER, SYSTEM, NOBODY)
DNS = Target(what="DNS", part=Part.DNS, address="10.43.0.10", port=53)
NODE = Target(what="the node one", part=Part.ELSEWHERE, address="192.0.2.1", port=22)
METADATA = Target(what="metadata", part=Part.ELSEWHERE, address="169.254.169.254", port=80, is_optional=True)


def a_source(home: Home, part: Part | None = None, node: str = "one") -> Source:
    part = part or home.parts[0]
    return Source(home=home, part=part, node=node, address=f"{home.namespace}/{part}/{node}")


EVERYBODY = [a_source(home, part, node) for home in HOMES for part in home.parts for node in ("one", "two")]


def sources_that_may_reach(target: Target) -> set[str]:
    """But for itself, and those that are asked only to show that it answers."""
    return {f"{one.home.namespace} {one.part}" for one in EVERYBODY if expectation(one, target)[0] is Expected.OPEN}


@pytest.mark.parametrize(
    ("home", "part", "port", "may"),
    [
        (ACME, Part.POOLER, 6432, {"p-acme client", "p-acme pooler", "p-acme postgresql"}),
        (BETA, Part.POOLER, 6432, {"p-beta client", "p-beta pooler"}),
        (ACME, Part.DATABASE, 5432, {"p-acme pooler"}),
        (CLUSTER, Part.DATABASE, 5432, {"p-beta pooler"}),
        (OTHER_CLUSTER, Part.DATABASE, 5432, set()),
        (ACME, Part.CLIENT, 6432, set()),
        (ACME, Part.POOLER, 5432, set()),
        (ACME, Part.DATABASE, 6432, set()),
        (SYSTEM, Part.SYSTEM, 8080, set()),
        (NOBODY, Part.OUTSIDER, 8080, set()),
    ],
)
def test_a_pod_is_reached_only_by_those_that_the_documentation_lists(
    home: Home, part: Part, port: int, may: set[str]
) -> None:
    assert sources_that_may_reach(listener(a_source(home, part, "three"), port)) == may


def test_a_pooler_is_reached_by_tcp_only() -> None:
    assert sources_that_may_reach(listener(a_source(ACME, Part.POOLER), 6432, UDP)) == set()


def test_pods_of_projects_ask_dns_and_those_of_clusters_and_the_platform_do_not() -> None:
    assert {name.split()[0] for name in sources_that_may_reach(DNS)} == {"p-acme", "p-beta"}


def test_a_cluster_whose_object_store_has_a_name_asks_dns() -> None:
    assert expectation(a_source(home_of_cluster("free-1", asks_names=True)), DNS)[0] is Expected.OPEN


def test_nobody_reaches_a_node_but_who_only_shows_that_it_answers() -> None:
    assert sources_that_may_reach(NODE) == set()
    controls = {one.home for one in EVERYBODY if expectation(one, NODE)[0] is Expected.CONTROL}
    assert controls == {NOBODY}


def verdict_of(source: Source, target: Target, opened: set[tuple[Source, Target]]) -> Verdict:
    """Of this pair, when these are open of all pairs."""
    own = [listener(one, 8080) for one in EVERYBODY]
    pairs = pairs_of(EVERYBODY, [*own, NODE, METADATA, DNS])
    judged = judge(pairs, [(pair.source, pair.target) in opened for pair in pairs])
    (found,) = [one for one in judged if (one.pair.source, one.pair.target) == (source, target)]
    return found.verdict


TENANT, ON_TWO = a_source(ACME), a_source(BETA, node="two")
CONTROL, CONTROL_ON_TWO = a_source(NOBODY), a_source(NOBODY, node="two")


@pytest.mark.parametrize(
    ("opened", "verdict"),
    [
        ({(TENANT, NODE)}, Verdict.LEAK),
        ({(CONTROL, NODE)}, Verdict.AS_EXPECTED),
        ({(CONTROL_ON_TWO, NODE)}, Verdict.UNPROVEN),
        (set(), Verdict.UNPROVEN),
    ],
)
def test_closed_counts_only_if_the_target_answered_somebody_on_the_same_node(
    opened: set[tuple[Source, Target]], verdict: Verdict
) -> None:
    assert verdict_of(TENANT, NODE, opened) is verdict


def test_a_pod_is_proven_closed_if_it_listens_and_there_is_a_way_between_the_nodes() -> None:
    target = listener(ON_TWO, 8080)
    listens, way = (ON_TWO, target), (CONTROL, listener(CONTROL_ON_TWO, 8080))
    assert verdict_of(TENANT, target, {listens, way}) is Verdict.AS_EXPECTED
    assert verdict_of(TENANT, target, {listens}) is Verdict.UNPROVEN
    assert verdict_of(TENANT, target, {way}) is Verdict.UNPROVEN


def test_an_allowed_path_that_is_closed_is_broken() -> None:
    assert verdict_of(TENANT, DNS, set()) is Verdict.BROKEN


def test_an_optional_address_where_nobody_is_is_absent_and_otherwise_counts_as_any() -> None:
    assert verdict_of(TENANT, METADATA, set()) is Verdict.ABSENT
    assert verdict_of(TENANT, METADATA, {(CONTROL, METADATA)}) is Verdict.AS_EXPECTED
    assert verdict_of(TENANT, METADATA, {(CONTROL_ON_TWO, METADATA)}) is Verdict.UNPROVEN
    assert verdict_of(TENANT, METADATA, {(TENANT, METADATA)}) is Verdict.LEAK


def test_a_control_without_an_answer_is_no_fault_by_itself() -> None:
    assert verdict_of(CONTROL, NODE, set()) is Verdict.AS_EXPECTED


@pytest.mark.parametrize(
    ("nodes", "rounds"),
    [
        (["a"], (("a",),)),
        (["a", "b"], (("a", "b"),)),
        (["a", "b", "c", "d", "e"], (("a", "b"), ("c", "d"), ("e", "a"))),
    ],
)
def test_every_node_has_its_turn_with_another(nodes: list[str], rounds: tuple[tuple[str, ...], ...]) -> None:
    assert rounds_of(nodes) == rounds
