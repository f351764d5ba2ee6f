# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.kinds import PROJECT_KINDS
from ansible_collections.supalove.platform.plugins.module_utils._engine.databases import (
    DATABASES,
    LOADED_DATABASES,
    LOADERS,
    READERS,
    loader_of,
    reader_of,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Inventory, Platform
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import Uid
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.cluster import (
    REAPER_PROGRAM,
    cluster_files,
    cluster_settings,
    process_memory,
    render_cluster,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.cluster_sql import LOGINS
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.platform import render_platform
from builders import UID, a_cluster, a_project, objects_of, one

GOLDEN = Path(__file__).parent / "golden/cluster.json"
IMAGES = Path(__file__).parents[3] / "images"
GIB = 1024**3
OBJECTS = render_cluster(a_cluster(), Platform(), "uid-of-the-secret")


def test_the_objects_of_a_shared_cluster_are_the_reviewed_ones():
    """To accept a wanted change: write the text of the failure's left side to the file, and review the diff."""
    text = json.dumps([desired.body for desired in OBJECTS], indent=1, sort_keys=True) + "\n"
    assert text == GOLDEN.read_text()


def test_every_object_carries_the_labels_of_platform_and_cluster():
    for desired in OBJECTS:
        labels = desired.body["metadata"]["labels"]
        assert labels["supalove.cloud/platform"] == "supalove-system"
        assert labels["supalove.cloud/shared-cluster"] == "main"
        assert desired.id.kind in PROJECT_KINDS


def test_nothing_of_a_cluster_is_found_by_the_label_of_projects():
    assert '"supalove.cloud/project":' not in json.dumps([desired.body for desired in OBJECTS])


def test_the_pod_is_restricted_guaranteed_and_without_a_token():
    pod = one("StatefulSet", "postgresql", OBJECTS)["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["nodeSelector"] == {"node.supalove.cloud/data-plane": "true"}
    assert pod["securityContext"]["runAsNonRoot"] is True
    for container in pod["containers"]:
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["requests"] == container["resources"]["limits"]


def test_the_pod_has_a_verifier_and_no_password():
    (volume,) = [
        each
        for each in one("StatefulSet", "postgresql", OBJECTS)["spec"]["template"]["spec"]["volumes"]
        if "secret" in each
    ]
    assert [item["key"] for item in volume["secret"]["items"]] == ["admin.verifier"]


def test_only_poolers_of_projects_reach_the_port_and_nothing_goes_out():
    policy = one("NetworkPolicy", "cluster", OBJECTS)["spec"]
    assert policy["podSelector"] == {}
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in policy
    (rule,) = policy["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 5432}]
    assert rule["from"] == [
        {
            "namespaceSelector": {"matchExpressions": [{"key": "supalove.cloud/project", "operator": "Exists"}]},
            "podSelector": {"matchLabels": {"supalove.cloud/component": "pooler"}},
        }
    ]


@pytest.mark.parametrize("change", [{"max_transaction_seconds": 60}, {"max_connections": 100}])
def test_a_changed_setting_makes_the_pod_anew(change):
    def annotations(objects):
        return one("StatefulSet", "postgresql", objects)["spec"]["template"]["metadata"]["annotations"]

    changed = render_cluster(a_cluster(**change), Platform(), "uid-of-the-secret")
    assert annotations(changed) != annotations(OBJECTS)
    assert annotations(render_cluster(a_cluster(), Platform(), "another")) != annotations(OBJECTS)


@pytest.mark.parametrize("memory", [GIB // 2, GIB, 4 * GIB, 64 * GIB])
def test_memory_is_shared_so_that_sorting_in_all_sessions_fits(memory):
    settings = cluster_settings(a_cluster(memory=memory, max_connections=20), Platform())
    shared = int(settings["shared_buffers"].removesuffix("MB")) * 1024**2
    work = int(settings["work_mem"].removesuffix("kB")) * 1024
    assert shared + 20 * work <= memory
    assert shared < process_memory(a_cluster(memory=memory, max_connections=20)) < shared + memory


def test_the_places_of_admin_and_superuser_come_on_top_of_the_tenants():
    settings = cluster_settings(a_cluster(max_connections=300), Platform())
    reserved = settings["reserved_connections"] + settings["superuser_reserved_connections"]
    assert settings["max_connections"] - reserved == 300


def test_the_first_rule_for_tenants_names_databases_and_logins_of_projects_only():
    lines = cluster_files(a_cluster(), Platform())["pg_hba.conf"].splitlines()[1:]
    loads = f'local "/{LOADED_DATABASES}" "/{LOADERS}" peer map=load'
    reads = f'local "/{DATABASES}" "/{READERS}" peer map=load'
    assert lines[:4] == ['local all "postgres" peer', loads, reads, "local all all reject"]
    rules = [re.findall(r'"(.*?)"', line) for line in lines if "scram" in line]
    assert rules[:2] == [["postgres", "supalove"]] * 2
    for database, login in rules[2:]:
        assert re.search(database[1:], "p_abcdefgh2345")
        assert re.search(login[1:], "p_abcdefgh2345_owner")
        for other in ("postgres", "supalove", "supalove_template", "template1", "p_abcdefgh2345x", "xp_abcdefgh2345"):
            assert not re.search(database[1:], other)
            assert not re.search(login[1:], other)
    assert lines[-2:] == ["host all all 0.0.0.0/0 reject", "host all all ::/0 reject"]


def test_who_loads_a_dump_or_makes_one_is_the_archiver_alone_and_no_login_of_a_tenant():
    dedicated = one("ConfigMap", "postgresql", objects_of(a_project()))["data"]
    for files in (cluster_files(a_cluster(), Platform()), dedicated):
        logins = [f'load "postgres" "/{one}"' for one in (LOADERS, READERS)]
        assert files["pg_ident.conf"].splitlines()[1:] == logins
        assert "ident_file = '/etc/supalove/postgresql/pg_ident.conf'" in files["postgresql.conf"]
        rules = [line for line in files["pg_hba.conf"].splitlines() if "map=load" in line]
        expected = [(f"p_{UID}_new", loader_of(Uid(UID))), (f"p_{UID}", reader_of(Uid(UID)))]
        for rule, (database, login) in zip(rules, expected, strict=True):
            may_enter, may_come = (name.strip("^$") for name in re.findall(r'"/?(.*?)"', rule))
            assert re.fullmatch(may_come, login)
            assert not re.search(LOGINS, login)
            others = {"postgres", f"p_{UID}_20261126t034450z", *(name for name, _login in expected)} - {database}
            assert [name for name in (database, *others) if re.fullmatch(may_enter, name)] == [database]


def test_the_reaper_is_in_the_image_and_reads_a_file_that_is_mounted():
    program = IMAGES / "postgresql/root" / REAPER_PROGRAM.lstrip("/")
    assert program.stat().st_mode & 0o100
    assert "$config/reaper.sql" in program.read_text()
    assert "interval '300 seconds'" in cluster_files(a_cluster(), Platform())["reaper.sql"]


def test_shared_clusters_have_a_priority_above_every_tier_and_no_class_without_them():
    def classes(platform):
        objects = render_platform(Inventory(platform=platform, tiers={}, projects=()))
        return {each.id.name: each.body["value"] for each in objects if each.id.kind == "PriorityClass"}

    assert classes(Platform()) == {}
    platform = dataclasses.replace(Platform(), shared_clusters=(a_cluster(),))
    assert classes(platform) == {"supalove.shared": 1_000_001}
    pod = one("StatefulSet", "postgresql", OBJECTS)["spec"]["template"]["spec"]
    assert pod["priorityClassName"] == "supalove.shared"


def test_the_platforms_own_namespace_is_closed_both_ways():
    objects = render_platform(Inventory(platform=Platform(), tiers={}, projects=()))
    (policy,) = [each.body for each in objects if each.id.kind == "NetworkPolicy"]
    assert policy["metadata"]["namespace"] == "supalove-system"
    assert policy["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
