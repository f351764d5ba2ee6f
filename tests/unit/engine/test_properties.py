# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for every inventory that is accepted, and for every one that is not."""

from __future__ import annotations

import configparser
import re
from collections import Counter
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.kinds import KINDS
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.plan import plan_objects
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.postgresql.plan import (
    plan_databases,
    wanted_spec,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import InvalidSpec, Problem, SafetyStop
from ansible_collections.supalove.platform.plugins.module_utils._engine.guard import (
    refuse_empty_prune,
    refuse_filtered_prune,
    refuse_mass_prune,
    refuse_unknown_choice,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.objects import Desired
from ansible_collections.supalove.platform.plugins.module_utils._engine.observed import Live, Observed
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Inventory
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import Ref, Uid, is_dns_label
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.parse import parse
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.placement import (
    Placed,
    Placement,
    place,
    sessions_of,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.render import render
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.cluster import render_cluster
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.platform import render_platform
from ansible_collections.supalove.platform.plugins.module_utils._engine.settings import Settings
from builders import live
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

# Rendering whole platforms takes its time. Much of what is drawn has no place, at times most of the first fifty.
FEWER = settings(max_examples=40, suppress_health_check=[HealthCheck.filter_too_much])
names = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?", fullmatch=True)
uids = st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=12, max_size=12).map(Uid)
sizes = st.sampled_from(["512Mi", "1Gi", "1536Mi", "64Gi", "999999Mi", "2Ti"])
cores = st.sampled_from(["250m", "0.5", 1, 64, "1500m"])
limits = {
    "connections": st.integers(1, 1000),
    "clients": st.integers(1, 20_000),
    "transaction_seconds": st.integers(1, 600_000),
}
dedicated_tiers = st.fixed_dictionaries(
    {"cpu": cores, "memory": sizes, "storage": sizes},
    optional={**limits, "runtime_class": names, "priority": st.integers(0, 1_000_000)},
)
shared_tiers = st.fixed_dictionaries(
    {"placement": st.just("shared"), "storage": sizes},
    optional={**limits, "connections": st.integers(1, 20), "runtime_class": names},
)
runtimes = st.fixed_dictionaries({"handler": names}, optional={"cpu": cores, "memory": sizes})
clusters = st.fixed_dictionaries(
    {"cpu": cores, "memory": sizes, "storage": st.just("10Gi")},
    optional={
        "max_databases": st.integers(1, 8),
        "max_connections": st.integers(10, 200),
        "max_transaction_seconds": st.integers(1, 600_000),
        "cordoned": st.booleans(),
    },
)


@st.composite
def written(draw: st.DrawFn, *, most: int = 6) -> dict[str, Any]:
    """The three inputs as a user might write them; not all of them can be kept."""
    tiers = draw(st.dictionaries(names, dedicated_tiers | shared_tiers, min_size=1, max_size=3))
    classes = {tier["runtime_class"]: draw(runtimes) for tier in tiers.values() if "runtime_class" in tier}
    found = draw(st.dictionaries(names, clusters, max_size=3))
    projects = st.fixed_dictionaries(
        {"tier": st.sampled_from(sorted(tiers))},
        optional={"state": st.sampled_from(["present", "absent"]), "canary": st.booleans()},
    )
    chosen = draw(st.dictionaries(names, projects, max_size=most))
    own = ["supalove-system", *(f"p-{ref}" for ref in chosen), *(f"s-{name}" for name in found)]
    platform = {"namespace": draw(st.sampled_from(own)), "shared_clusters": found, "runtime_classes": classes}
    return {"projects": chosen, "tiers": tiers, "platform": platform}


def accepted(given_: dict[str, Any]) -> Inventory:
    try:
        return parse(**given_)
    except InvalidSpec:
        reject()


def desired_of(inventory: Inventory, chosen: list[Uid]) -> dict[str, tuple[Desired, ...]]:
    """Everything of each project, and under the empty ref what is the platform's."""
    try:
        places = place(inventory.projects, {}, inventory.platform)
    except InvalidSpec:
        reject()
    platform = inventory.platform
    shared = chain.from_iterable(render_cluster(one, platform, "of-the-secret") for one in platform.shared_clusters)
    found: dict[str, tuple[Desired, ...]] = {"": (*render_platform(inventory), *shared)}
    for project, uid in zip(inventory.projects, chosen, strict=False):
        found[project.ref] = render(project, platform, places[project.ref], uid, f"of-{uid}")
    return found


odd = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=8)
    | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=6,
)


def places_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = value.items() if isinstance(value, dict) else ()
    return [path, *(found for key, each in below for found in places_in(each, (*path, key)))]


def with_odd(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    return {**value, path[0]: with_odd(value[path[0]], path[1:], new)} if path else new


@given(st.data())
def test_one_odd_value_anywhere_is_accepted_or_told_and_nothing_else(data):
    given_ = data.draw(written(most=2))
    path = data.draw(st.sampled_from([path for path in places_in(given_) if path]))
    given_ = with_odd(given_, path, data.draw(odd))
    problems: tuple[Problem, ...] | None = None
    text = ""
    try:
        inventory = parse(**given_)
    except InvalidSpec as error:
        problems, text = error.problems, str(error)
    else:
        desired_of(inventory, [Uid("abcdefgh2345"), Uid("2345abcdefgh")])
    assert problems != ()
    # The longest lists the keys of a platform.
    assert len(text) < 600 * (1 + len(problems or ()))


@FEWER
@given(given_=written(), chosen=st.lists(uids, unique=True, min_size=6, max_size=6))
def test_no_two_objects_of_a_platform_have_one_name_and_every_name_is_valid(given_, chosen):
    found = list(chain.from_iterable(desired_of(accepted(given_), chosen).values()))
    twice = [id for id, count in Counter(one.id for one in found).items() if count > 1]
    assert twice == []
    for one in found:
        if one.id.kind in KINDS:
            assert all(is_dns_label(part) for part in one.id.name.split("."))
            assert not one.id.namespace or is_dns_label(one.id.namespace)
        else:
            assert re.fullmatch(r"p_[a-z2-7]{12}(_[a-z]+)?", one.id.name)
        labels = one.body["metadata"].get("labels") or {}
        assert all(re.fullmatch(r"([a-zA-Z0-9]([-\w.]{0,61}[a-zA-Z0-9])?)?", text) for text in labels.values())


@FEWER
@given(given_=written(), chosen=st.lists(uids, unique=True, min_size=6, max_size=6))
def test_the_plan_right_after_apply_is_empty_in_every_backend(given_, chosen):
    desired = list(chain.from_iterable(desired_of(accepted(given_), chosen).values()))
    here = [one for one in desired if one.id.kind in KINDS]
    there = [one for one in desired if one.id.kind not in KINDS]
    assert plan_objects(here, Observed(objects={one.id: live(one) for one in here})).steps == ()
    assert plan_databases(there, Observed(objects={one.id: as_observed(one) for one in there})).steps == ()
    assert len(plan_databases(there, Observed(objects={})).steps) == len(there)


def as_observed(desired: Desired) -> Live:
    """A role or database right after it was brought in, as the catalog tells of it."""
    body = {**desired.body, "spec": wanted_spec(desired)}
    return Live(id=desired.id, uid="1", version="1", fingerprint="", labels={}, body=body)


@FEWER
@given(given_=written(), chosen=st.lists(uids, unique=True, min_size=6, max_size=6), random=st.randoms())
def test_the_order_in_which_the_user_wrote_does_not_matter(given_, chosen, random):
    def shuffled(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        keys = list(value)
        random.shuffle(keys)
        return {key: shuffled(value[key]) for key in keys}

    assert desired_of(accepted(shuffled(given_)), chosen) == desired_of(accepted(given_), chosen)


# Of PostgreSQL's documentation (and guc_tables.c): in the unit in which the server counts.
KIB = {"kB": 1, "MB": 1024, "GB": 1024**2}
LARGEST_KIB = {
    "shared_buffers": 8 * (2**30 - 1),
    "effective_cache_size": 8 * (2**31 - 1),
    "work_mem": 2**31 - 1,
    "maintenance_work_mem": 2**31 - 1,
    "autovacuum_work_mem": 2**31 - 1,
    "temp_file_limit": 2**31 - 1,
    "max_wal_size": (2**31 - 1) * 1024,
    "min_wal_size": (2**31 - 1) * 1024,
}
SIZES = st.integers(512, 999_999).flatmap(lambda number: st.sampled_from([f"{number}Mi", f"{number}Gi", f"{number}Ti"]))


@given(
    tier=dedicated_tiers.flatmap(
        lambda one: st.fixed_dictionaries({"memory": SIZES, "storage": SIZES}).map(one.__or__)
    ),
    cluster=st.fixed_dictionaries(
        {"cpu": cores, "memory": SIZES, "storage": SIZES.filter(lambda one: "Mi" not in one)}
    ),
)
def test_every_setting_is_one_that_the_server_starts_with(tier, cluster):
    given_ = {
        "projects": {"a": {"tier": "t"}},
        "tiers": {"t": tier},
        "platform": {"shared_clusters": {"one": cluster}},
    }
    for text in files_of(desired_of(accepted(given_), [Uid("abcdefgh2345")]), "postgresql.conf"):
        settings = dict(re.findall(r"^(\w+) = '((?:[^']|'')*)'$", text, re.MULTILINE))
        assert len(settings) == text.count("\n") - 1
        for key, largest in LARGEST_KIB.items():
            number, unit = re.fullmatch(r"([0-9]+)(kB|MB|GB)", settings.get(key, "1kB")).groups()
            assert 0 < int(number) * KIB[unit] <= largest, (key, settings[key])


def files_of(found: dict[str, tuple[Desired, ...]], name: str) -> list[str]:
    maps = [one.body["data"] for one in chain.from_iterable(found.values()) if one.id.kind == "ConfigMap"]
    return [files[name] for files in maps if name in files]


QUOTED = re.compile(r"""E?'(?:[^']|'')*'|"(?:[^"]|"")*"|^\\.*$|--.*$""", re.MULTILINE)


@FEWER
@given(given_=written(), chosen=st.lists(uids, unique=True, min_size=6, max_size=6))
def test_no_name_of_a_project_stands_unquoted_in_any_file(given_, chosen):
    inventory = accepted(given_)
    found = desired_of(inventory, chosen)
    for text in files_of(found, "bootstrap.sql"):
        bare = QUOTED.sub("", text)
        assert not re.search(r"p_[a-z2-7]{12}", bare), bare
    for text in files_of(found, "pg_hba.conf"):
        rules = [line.split() for line in text.splitlines() if not line.startswith(("#", ";"))]
        assert all(re.fullmatch(r'all|"[^"]+"', word) for rule in rules for word in rule[1:3])
    places = place(inventory.projects, {}, inventory.platform)
    for project, uid in zip(inventory.projects, chosen, strict=False):
        (text,) = files_of({"": found[project.ref]}, "pgbouncer.ini")
        read = configparser.RawConfigParser()
        read.read_string(text)
        cluster = places[project.ref].cluster
        host = f"postgresql.{f'p-{project.ref}' if cluster is None else f's-{cluster}'}.svc.cluster.local"
        for alias, role in (("postgres", "owner"), ("probe", "probe")):
            wanted = f"host='{host}' port='5432' dbname='p_{uid}' user='p_{uid}_{role}'"
            assert read["databases"][alias] == wanted
        assert int(read["pgbouncer"]["default_pool_size"]) == project.connections


small_clusters = st.fixed_dictionaries(
    {
        "cpu": st.just(1),
        "memory": st.just("1Gi"),
        "storage": st.just("10Gi"),
        "max_databases": st.integers(1, 4),
        "max_connections": st.integers(10, 60),
        "cordoned": st.booleans(),
    }
)
recorded_places = st.builds(
    lambda cluster, sessions: Placed(placement=Placement(cluster=cluster), sessions=sessions),
    st.sampled_from([None, "one", "two", "gone"]),
    st.integers(0, 12),
)


@given(
    refs=st.sets(names, max_size=6),
    elsewhere=st.dictionaries(names, recorded_places, max_size=4),
    found=st.fixed_dictionaries({"one": small_clusters, "two": small_clusters}),
    connections=st.integers(1, 6),
)
def test_a_new_project_never_makes_a_cluster_too_full(refs, elsewhere, found, connections):
    refs = {ref for ref in refs if ref not in elsewhere}
    tier = {"placement": "shared", "storage": "1Gi", "connections": connections}
    given_ = {
        "projects": {ref: {"tier": "t"} for ref in refs},
        "tiers": {"t": tier},
        "platform": {"shared_clusters": found},
    }
    inventory = accepted(given_)
    known = {Ref(ref): one for ref, one in elsewhere.items()}
    try:
        places = place(inventory.projects, known, inventory.platform)
    except InvalidSpec:
        return
    for cluster in inventory.platform.shared_clusters:
        new = [project for project in inventory.projects if places[project.ref].cluster == cluster.name]
        old = [one for one in known.values() if one.placement.cluster == cluster.name]
        assert not new or not cluster.cordoned
        assert not new or len(new) + len(old) <= cluster.max_databases
        sessions = sum(sessions_of(project) for project in new) + sum(one.sessions for one in old)
        assert sessions <= cluster.max_connections


@FEWER
@given(given_=written(), limit=st.integers(0, 6))
def test_prune_goes_through_only_within_its_limit_and_with_something_left(given_, limit):
    inventory = accepted(given_)
    settings = Settings(prune=True, prune_limit=limit)
    for guard, refused in (
        (lambda: refuse_mass_prune(inventory.projects, settings), len(inventory.projects) > limit),
        (lambda: refuse_empty_prune(inventory, settings), not inventory.projects),
        (lambda: refuse_filtered_prune(replace(settings, only=frozenset())), True),
        (lambda: refuse_filtered_prune(settings), False),
        (lambda: refuse_unknown_choice(inventory, given_["projects"]), False),
    ):
        if refused:
            with pytest.raises(SafetyStop):
                guard()
        else:
            guard()
