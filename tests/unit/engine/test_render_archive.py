# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.objects import Desired
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Platform
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import Uid
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.placement import Placement
from ansible_collections.supalove.platform.plugins.module_utils._engine.render import render, secrets_of
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.cluster import render_cluster
from builders import PRO, UID, a_cluster, a_project, a_shared_project, one

GOLDEN = Path(__file__).parent / "golden"
ENDPOINT = "https://192.0.2.7:8333"
ARCHIVED = Platform(object_store_endpoint=ENDPOINT)


def of_project(platform: Platform = ARCHIVED) -> tuple[Desired, ...]:
    return render(a_project(tier=PRO), platform, Placement(), Uid(UID))


def pod_of(objects: tuple[Desired, ...]) -> dict:
    return one("StatefulSet", "postgresql", objects)["spec"]["template"]["spec"]


def test_what_the_archive_adds_to_a_project_is_the_reviewed_one():
    """To accept a wanted change: write the text of the failure's left side to the file, and review the diff."""
    without = {desired.id: desired.body for desired in of_project(Platform())}
    changed = [one.body for one in of_project() if without.get(one.id) != one.body]
    text = json.dumps(changed, indent=1, sort_keys=True) + "\n"
    assert text == (GOLDEN / "archived.json").read_text()


def test_without_an_object_store_nothing_is_archived():
    assert "archive_mode" not in one("ConfigMap", "postgresql", of_project(Platform()))["data"]["postgresql.conf"]
    assert "initContainers" not in pod_of(of_project(Platform()))


@pytest.mark.parametrize("objects", [of_project(), render_cluster(a_cluster(), ARCHIVED, "uid")])
def test_the_keys_of_the_archive_are_mounted_by_the_archiver_alone(objects):
    pod = pod_of(objects)
    mounts = {
        container["name"]: {mount["name"] for mount in container["volumeMounts"]}
        for container in (*pod["containers"], *pod["initContainers"])
    }
    assert {name for name, names in mounts.items() if "archive-credentials" in names} == {"archiver"}
    assert pod["initContainers"][0]["restartPolicy"] == "Always", "started before the server and ended after it"


@pytest.mark.parametrize("objects", [of_project(), render_cluster(a_cluster(), ARCHIVED, "uid")])
def test_every_container_of_an_archived_postgresql_is_guaranteed(objects):
    pod = pod_of(objects)
    for container in (*pod["containers"], *pod["initContainers"]):
        assert container["resources"]["requests"] == container["resources"]["limits"]


def test_the_quota_of_a_namespace_has_room_for_the_archiver():
    with_one, without = (
        one("ResourceQuota", "project", of_project(platform))["spec"]["hard"] for platform in (ARCHIVED, Platform())
    )
    assert int(with_one["limits.cpu"].removesuffix("m")) - int(without["limits.cpu"].removesuffix("m")) == 250


def test_a_shared_cluster_asks_dns_only_if_its_object_store_has_a_name():
    named = Platform(object_store_endpoint="https://s3.example.org", object_store_networks=("192.0.2.0/24",))
    names, store = one("NetworkPolicy", "cluster", render_cluster(a_cluster(), named, ""))["spec"]["egress"]
    assert {port["port"] for port in names["ports"]} == {53}
    assert store["ports"] == [{"protocol": "TCP", "port": 443}]


def test_the_only_way_out_of_a_shared_cluster_is_to_the_object_store():
    (store,) = one("NetworkPolicy", "cluster", render_cluster(a_cluster(), ARCHIVED, ""))["spec"]["egress"]
    assert store == {"to": [{"ipBlock": {"cidr": "192.0.2.7/32"}}], "ports": [{"protocol": "TCP", "port": 8333}]}


def test_a_project_on_a_shared_cluster_has_no_archive_of_its_own():
    objects = render(a_shared_project(), ARCHIVED, Placement(cluster="one"), Uid(UID))
    assert not [desired for desired in objects if "archive" in desired.id.name]
    assert len(secrets_of(a_shared_project(), ARCHIVED)) == 1


def test_given_keys_are_taken_over_and_need_no_identity():
    objects = of_project(Platform(object_store_endpoint=ENDPOINT, object_store_identities="shared"))
    assert "ArchiveIdentity" not in {desired.id.kind for desired in objects}
    (secret,) = (desired for desired in objects if desired.id.name == "archive" and desired.id.kind == "Secret")
    assert [type(each).__name__ for each in secret.generates] == ["GeneratedAccess", "GeneratedText"]
    assert secret.generates[0].is_given


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, ("", "")),
        ({"object_store_encryption": "AES256"}, ("AES256", "")),
        ({"object_store_encryption": "aws:kms", "object_store_kms_key": "alias/a"}, ("aws:kms", "alias/a")),
    ],
)
def test_the_archiver_is_told_how_the_store_is_to_encrypt(asked, told):
    config = one("ConfigMap", "archiver", of_project(Platform(object_store_endpoint=ENDPOINT, **asked)))
    found = json.loads(config["data"]["archive.json"])
    assert (found["encryption"], found["kms_key"]) == told
