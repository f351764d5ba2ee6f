# SPDX-License-Identifier: GPL-3.0-or-later
"""What a database that moves needs where it is going, and that nothing which serves clients changes for it."""

from __future__ import annotations

from ansible_collections.supalove.platform.plugins.module_utils._engine.project.life import Life
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Platform
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.placement import Move, Placement
from builders import objects_of, one

ARCHIVED = Platform(object_store_endpoint="https://192.0.2.1:8333")
TO_OWN = Placement(cluster="free-1", move=Move(cluster=None))
TO_SHARED = Placement(move=Move(cluster="free-1"))


def test_a_postgresql_of_its_own_comes_beside_what_serves():
    coming = {each.id: each.body for each in objects_of(platform=ARCHIVED, placement=TO_OWN)}
    after = {each.id: each.body for each in objects_of(platform=ARCHIVED, placement=Placement())}
    extra = {id for id in coming if id not in after}
    assert {(id.kind, id.name) for id in extra} == {("NetworkPolicy", "arrival")}
    assert all(coming[id] == after[id] for id in coming if id not in extra), "when it has arrived nothing restarts"
    missing = {(id.kind, id.name) for id in after if id not in coming}
    assert missing == {
        ("ConfigMap", "pooler"),
        ("Deployment", "pooler"),
        ("NetworkPolicy", "database"),
        ("NetworkPolicy", "project"),
        ("Service", "pooler"),
    }


def test_nobody_gets_to_what_has_not_arrived_and_it_gets_to_its_archive_alone():
    policy = one("NetworkPolicy", "arrival", objects_of(platform=ARCHIVED, placement=TO_OWN))["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy
    (rule,) = policy["egress"]
    assert rule["to"] == [{"ipBlock": {"cidr": "192.0.2.1/32"}}]


def test_on_a_shared_cluster_the_database_and_its_logins_are_all_that_comes():
    coming = objects_of(platform=ARCHIVED, placement=TO_SHARED)
    assert [each.id.kind for each in coming] == ["DatabaseRole", "DatabaseRole", "Database"]
    assert {each.id.namespace for each in coming} == {"free-1"}


def test_a_life_that_begins_with_nothing_has_a_volume_of_its_own_and_restores_nothing():
    objects = objects_of(platform=ARCHIVED, placement=Placement(life=Life.anew(3)))
    assert one("PersistentVolumeClaim", "postgresql-data-3", objects)
    first = one("StatefulSet", "postgresql", objects_of(platform=ARCHIVED))
    third = one("StatefulSet", "postgresql", objects)
    assert container_names(third) == container_names(first)
    assert not [each for each in objects if each.id.name == "restore"]


def container_names(workload):
    return [each["name"] for each in workload["spec"]["template"]["spec"]["initContainers"]]
