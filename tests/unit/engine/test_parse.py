# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import InvalidSpec
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.parse import parse
from builders import CLUSTER, FREE, OVERRIDES, PRO, SHARED, a_project
from hypothesis import given
from hypothesis import strategies as st

LONG = "a" * 41


@pytest.mark.parametrize(
    ("projects", "tiers", "platform", "path", "allowed"),
    [
        ({"acme": {"tier": "gold"}}, {"free": FREE}, {}, "supalove_projects.acme.tier", "one of free"),
        ({"acme": {}}, {"free": FREE}, {}, "supalove_projects.acme.tier", "one of free"),
        ({"acme": {"tier": "x"}}, {}, {}, "supalove_projects.acme.tier", "nothing, as none is defined"),
        ({"Acme": {"tier": "free"}}, {"free": FREE}, {}, "supalove_projects.Acme", "a DNS label of at most 40"),
        ({"a_b": {"tier": "free"}}, {"free": FREE}, {}, "supalove_projects.a_b", "a DNS label"),
        ({"-a": {"tier": "free"}}, {"free": FREE}, {}, "supalove_projects.-a", "a DNS label"),
        ({LONG: {"tier": "free"}}, {"free": FREE}, {}, f"supalove_projects.{LONG}", "at most 40"),
        ({"www": {"tier": "free"}}, {"free": FREE}, {}, "supalove_projects.www", "reserved are"),
        ({12: {"tier": "free"}}, {"free": FREE}, {}, "supalove_projects", "put it in quotes"),
        ({"acme": {"tier": "free", "disk": 1}}, {"free": FREE}, {}, "supalove_projects.acme", "a key out of"),
        (["acme"], {"free": FREE}, {}, "supalove_projects", "a mapping"),
        ({}, {"free": {**FREE, "cpu": "2 cores"}}, {}, "supalove_tiers.free.cpu", "millicores such as 500m"),
        ({}, {"free": {**FREE, "cpu": "10m"}}, {}, "supalove_tiers.free.cpu", "at least 100m"),
        ({}, {"free": {**FREE, "memory": "4GB"}}, {}, "supalove_tiers.free.memory", "Mi, Gi or Ti"),
        ({}, {"free": {**FREE, "memory": "64Mi"}}, {}, "supalove_tiers.free.memory", "at least 192Mi"),
        ({}, {"free": {**FREE, "storage": "1.5Gi"}}, {}, "supalove_tiers.free.storage", "a whole number with"),
        ({}, {"free": {**FREE, "connections": True}}, {}, "supalove_tiers.free.connections", "from 1 to 1000"),
        ({}, {"free": {**FREE, "placement": "here"}}, {}, "supalove_tiers.free.placement", "one of dedicated, shared"),
        ({}, {"free": {**SHARED, "memory": "1Gi"}}, {}, "supalove_tiers.free.memory", "sized where it is declared"),
        ({}, {"free": {**SHARED, "storage": "1Mi"}}, {}, "supalove_tiers.free.storage", "at least 64Mi"),
        ({}, {"free": {**FREE, "storage": "64Mi"}}, {}, "supalove_tiers.free.storage", "at least 512Mi"),
        (
            {},
            {"free": {**FREE, "overrides": {"storage": "512Mi"}}},
            {},
            "supalove_tiers.free.overrides.storage",
            "at least 1Gi, which is what the tier itself gives",
        ),
        (
            {},
            {"free": {**SHARED, "overrides": {"cpu": 1}}},
            {},
            "supalove_tiers.free.overrides.cpu",
            "nothing for shared placement",
        ),
        (
            {"acme": {"tier": "free", "cpu": 1}},
            {"free": FREE},
            {},
            "supalove_projects.acme.cpu",
            "nothing, as supalove_tiers.free.overrides does not name cpu",
        ),
        (
            {"acme": {"tier": "free", "cpu": 3}},
            {"free": {**FREE, "overrides": {"cpu": 2}}},
            {},
            "supalove_projects.acme.cpu",
            "at most 2 (supalove_tiers.free.overrides.cpu)",
        ),
        ({"acme": {"tier": "free", "state": "gone"}}, {"free": FREE}, {}, "supalove_projects.acme.state", "absent"),
        ({"acme": {"tier": "free", "canary": 2}}, {"free": FREE}, {}, "supalove_projects.acme.canary", "true or false"),
        (
            {},
            {},
            {"shared_clusters": {"one": {**CLUSTER, "max_databases": 0}}},
            "supalove_platform.shared_clusters.one.max_databases",
            "from 1 to 1000",
        ),
        (
            {},
            {},
            {"shared_clusters": {"One": CLUSTER}},
            "supalove_platform.shared_clusters.One",
            "a DNS label",
        ),
        (
            {},
            {"free": {k: v for k, v in FREE.items() if k != "cpu"}},
            {},
            "supalove_tiers.free.cpu",
            "a number of cores",
        ),
        ({}, {}, {"namespace": "kube-system"}, "supalove_platform.namespace", "neither default nor begins with kube-"),
        ({}, {}, {"namespace": "default"}, "supalove_platform.namespace", "neither default nor begins with kube-"),
        ({}, {}, {"namespace": "p-acme"}, "supalove_platform.namespace", "nor with p- or s-, as those of projects and"),
        (
            {},
            {},
            {"object_store_encryption": "sse"},
            "supalove_platform.object_store_encryption",
            "one of AES256, aws:kms, none",
        ),
        (
            {},
            {},
            {"object_store_encryption": "aws:kms"},
            "supalove_platform.object_store_kms_key",
            "the key to encrypt with, as object_store_encryption is aws:kms",
        ),
        (
            {},
            {},
            {"object_store_encryption": "AES256", "object_store_kms_key": "alias/archives"},
            "supalove_platform.object_store_kms_key",
            "nothing, as object_store_encryption is AES256; it goes with aws:kms",
        ),
        (
            {},
            {},
            {"object_store_kms_key": "--acl"},
            "supalove_platform.object_store_kms_key",
            "the id, the alias or the ARN of a key",
        ),
        (
            {},
            {},
            {"object_store_lock_days": 6},
            "supalove_platform.object_store_lock_days",
            "0, or at least 7 as recovery_window_days is",
        ),
        ({}, {}, {"domain": "not a name"}, "supalove_platform.domain", "a DNS name"),
        (
            {},
            {},
            {"gateway_kind": "gateway"},
            "supalove_platform.domain",
            "the domain of projects' host names, as gateway_kind is gateway",
        ),
        ({}, {}, {"gateway_kind": "ingress"}, "supalove_platform.gateway_kind", "one of gateway, none, route"),
        (
            {},
            {},
            {"gateway_kind": "route", "gateway_unchecked_keys_accepted": True},
            "supalove_platform.domain",
            "the domain of projects' host names, as gateway_kind is route",
        ),
        (
            {},
            {},
            {"gateway_kind": "route", "domain": "example.com"},
            "supalove_platform.gateway_unchecked_keys_accepted",
            "true, to accept that with gateway_kind route nobody checks the keys of projects",
        ),
        (
            {},
            {},
            {"gateway_kind": "gateway", "domain": "example.com", "gateway_unchecked_keys_accepted": True},
            "supalove_platform.gateway_unchecked_keys_accepted",
            "nothing, as gateway_kind is gateway; it goes with route",
        ),
        (
            {},
            {},
            {"images": {"postgresql": "x:latest"}},
            "supalove_platform.images.postgresql",
            "a tag other than latest",
        ),
        (
            {},
            {},
            {"images": {"mysql": "x:1"}},
            "supalove_platform.images",
            "a key out of archiver, auth, pgbouncer, postgresql, rest, traefik, verifier",
        ),
    ],
)
def test_wrong_input_names_the_place_and_what_is_allowed(projects, tiers, platform, path, allowed):
    with pytest.raises(InvalidSpec) as caught:
        parse(projects=projects, tiers=tiers, platform=platform)
    (problem,) = caught.value.problems
    assert problem.path == path
    assert allowed in problem.allowed


def test_all_problems_of_all_projects_are_reported_at_once():
    projects = {"www": {"tier": "gold"}, "beta": {"tier": "free", "memory": "4GB", "cpu": "2 cores"}}
    with pytest.raises(InvalidSpec) as caught:
        parse(projects=projects, tiers={"free": {**FREE, "overrides": OVERRIDES}}, platform={"namespace": "A"})
    assert [problem.path for problem in caught.value.problems] == [
        "supalove_platform.namespace",
        "supalove_projects.www",
        "supalove_projects.www.tier",
        "supalove_projects.beta.cpu",
        "supalove_projects.beta.memory",
    ]
    assert "5 problems; nothing was changed" in str(caught.value)


def test_a_problem_says_what_was_found():
    with pytest.raises(InvalidSpec) as caught:
        parse(projects={}, tiers={"free": {**FREE, "memory": "4GB"}}, platform={})
    assert "supalove_tiers.free.memory: found '4GB', allowed is a whole number" in str(caught.value)


@pytest.mark.parametrize("value", [16**6000, [16**6000], "x" * 10_000], ids=["number", "list", "text"])
@pytest.mark.parametrize("key", ["cpu", "memory", "connections", "placement", "runtime_class"])
def test_what_is_too_long_to_be_shown_is_a_problem_like_any_other(key, value):
    with pytest.raises(InvalidSpec) as caught:
        parse(projects={}, tiers={"free": {**FREE, key: value}}, platform={})
    (problem,) = caught.value.problems
    assert problem.path == f"supalove_tiers.free.{key}"
    assert "Exceeds the limit" not in problem.allowed
    assert len(str(caught.value)) < 500


def test_projects_of_a_wrong_tier_are_not_blamed_too():
    with pytest.raises(InvalidSpec) as caught:
        parse(projects={"acme": {"tier": "free"}}, tiers={"free": {**FREE, "memory": "4GB"}}, platform={})
    assert [problem.path for problem in caught.value.problems] == ["supalove_tiers.free.memory"]


def test_what_a_project_does_not_say_comes_from_its_tier():
    project = a_project(tier=PRO, storage="40Gi")
    assert (project.cpu, project.memory, project.storage) == (2000, 4 * 1024**3, 40 * 1024**3)
    assert (project.connections, project.clients) == (100, 1000)


GATEWAY = {"domain": "example.com", "gateway_kind": "gateway"}


@pytest.mark.parametrize(
    ("domains", "platform", "value", "allowed"),
    [
        (["API.example.org"], GATEWAY, ["API.example.org"], "host names in lower case such as api.example.org"),
        (["localhost"], GATEWAY, ["localhost"], "a list of at most 16 host names"),
        (["*.example.org"], GATEWAY, ["*.example.org"], "a list of at most 16 host names"),
        (["192.0.2.1"], GATEWAY, ["192.0.2.1"], "a list of at most 16 host names"),
        (["a.example.org."], GATEWAY, ["a.example.org."], "a list of at most 16 host names"),
        ([f"{'a' * 64}.org"], GATEWAY, [f"{'a' * 64}.org"], "a list of at most 16 host names"),
        (["a.org", "a.org"], GATEWAY, ["a.org", "a.org"], "each once"),
        ("a.org", GATEWAY, "a.org", "a list of at most 16 host names"),
        ([f"a{n}.org" for n in range(17)], GATEWAY, [f"a{n}.org" for n in range(17)], "at most 16"),
        (["other.example.com"], GATEWAY, "other.example.com", "neither example.com nor below it"),
        (["example.com"], GATEWAY, "example.com", "neither example.com nor below it"),
        (["b.org"], GATEWAY, "b.org", "a name that no other project has; blog has it"),
        (["a.org"], {"domain": "example.com"}, "a.org", "none, as gateway_kind is none; they go with gateway"),
    ],
)
def test_a_domain_that_a_project_cannot_have_is_told(domains, platform, value, allowed):
    projects = {"acme": {"tier": "free", "domains": domains}}
    if "blog" in allowed:
        projects = {"blog": {"tier": "free", "domains": ["b.org"], "state": "absent"}, **projects}
    with pytest.raises(InvalidSpec) as refused:
        parse(projects=projects, tiers={"free": FREE}, platform=platform)
    (problem,) = refused.value.problems
    assert (problem.path, problem.value) == ("supalove_projects.acme.domains", value)
    assert allowed in problem.allowed


def test_all_that_is_wrong_with_domains_is_told_at_once():
    projects = {
        "acme": {"tier": "free", "domains": ["a.org", "x.example.com"]},
        "blog": {"tier": "free", "domains": ["a.org", "Y.org"]},
        "shop": {"tier": "free", "domains": ["a.org"]},
    }
    with pytest.raises(InvalidSpec) as refused:
        parse(projects=projects, tiers={"free": FREE}, platform=GATEWAY)
    assert [one.path.split(".")[1] for one in refused.value.problems] == ["blog", "acme", "shop"]


def test_a_projects_domains_are_kept_in_one_order():
    given = {"tier": "free", "domains": ["b.example.org", "a.example.org", "example.org", "notexample.com"]}
    (project,) = parse(projects={"acme": given}, tiers={"free": FREE}, platform=GATEWAY).projects
    wanted = ["a.example.org", "b.example.org", "example.org", "notexample.com"]
    assert (list(project.domains), project.spec["domains"]) == (wanted, wanted)


def test_clients_default_to_twenty_times_the_connections():
    assert a_project(tier={"connections": 30}).clients == 600


@pytest.mark.parametrize(("memory", "connections"), [("192Mi", 12), ("256Mi", 16), ("64Gi", 100)])
def test_connections_default_to_what_the_memory_allows(memory, connections):
    assert a_project(tier={"memory": memory, "connections": None}).connections == connections


def test_numbers_that_templates_made_into_text_are_numbers():
    assert a_project(tier={"connections": "30", "cpu": 0.5}).connections == 30


def test_the_record_keeps_only_what_was_written():
    assert a_project(storage="2048Mi").spec == {"tier": "t", "storage": "2Gi"}
    assert a_project(state="absent", canary="yes").spec == {"tier": "t", "state": "absent", "canary": True}


def test_a_shared_project_has_no_cpu_and_memory_of_its_own_and_few_sessions():
    (project,) = parse(projects={"acme": {"tier": "t"}}, tiers={"t": SHARED}, platform={}).projects
    assert (project.cpu, project.memory, project.connections, project.clients) == (0, 0, 3, 60)
    assert project.transaction_seconds == 300


def test_a_shared_cluster_takes_two_hundred_projects_unless_told_otherwise():
    platform = parse(projects={}, tiers={}, platform={"shared_clusters": {"one": CLUSTER}}).platform
    (cluster,) = platform.shared_clusters
    assert (cluster.max_databases, cluster.max_connections, cluster.cordoned) == (200, 1600, False)


@given(st.permutations(["a", "b", "c", "d"]))
def test_the_order_of_input_does_not_matter(refs):
    inventory = parse(projects={ref: {"tier": "t"} for ref in refs}, tiers={"t": FREE}, platform={})
    assert [project.ref for project in inventory.projects] == ["a", "b", "c", "d"]


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@given(projects=json_like, tiers=json_like, platform=json_like)
def test_no_input_whatever_ends_in_another_error(projects, tiers, platform):
    try:
        parse(projects=projects, tiers=tiers, platform=platform)
    except InvalidSpec as error:
        problems = error.problems
    else:
        problems = None
    assert problems != ()
