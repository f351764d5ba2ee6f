# SPDX-License-Identifier: GPL-3.0-or-later
"""A shared cluster in another life: what that changes of it, where it is kept, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from ansible_collections.supalove.platform.plugins.module_utils import _results, _specs
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.segments import Segment
from ansible_collections.supalove.platform.plugins.module_utils._engine.cluster_lives import lives_of, volume_refusal
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import InvalidSpec, SafetyStop
from ansible_collections.supalove.platform.plugins.module_utils._engine.planning import of_kubernetes
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.life import TIME, Life
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Platform
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import LIFE_ANNOTATION
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.placement import Placement
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.cluster import render_cluster
from ansible_collections.supalove.platform.plugins.module_utils._engine.restore import Restored
from ansible_collections.supalove.platform.plugins.module_utils._engine.steps import Report
from builders import a_cluster, live, objects_of, observed, one

ARCHIVED = Platform(object_store_endpoint="https://192.0.2.1:8333")
LIFE = Life(
    number=2,
    archive="s-main",
    incarnation="20261101t000000z-aaaaaaaa",
    engine="wal-g",
    backup="base_1",
    target=TIME,
    value="2026-11-01 06:00:00+00:00",
    last_segment="000000010000000000000007",
)
CLUSTERS = (a_cluster(),)


def cluster(life=None):
    return render_cluster(a_cluster(), ARCHIVED, "uid-of-the-secret", life)


def by_id(objects):
    return {each.id: each.body for each in objects}


def test_a_life_changes_the_volume_and_what_fills_it_and_nothing_else():
    first, second = by_id(cluster()), by_id(cluster(LIFE))
    changed = {(id.kind, id.name) for id in first.keys() | second.keys() if first.get(id) != second.get(id)}
    assert changed == {
        ("Namespace", "s-main"),
        ("ConfigMap", "restore"),
        ("PersistentVolumeClaim", "postgresql-data"),
        ("PersistentVolumeClaim", "postgresql-data-2"),
        ("StatefulSet", "postgresql"),
    }


def test_what_says_from_what_it_is_restored_is_written_before_anything_else():
    objects = cluster(LIFE)
    assert Life.from_text(objects[0].body["metadata"]["annotations"][LIFE_ANNOTATION]) == LIFE
    assert (objects[0].id.kind, objects[-1].id.kind) == ("Namespace", "StatefulSet")


def test_a_cluster_begins_a_life_as_a_postgresql_of_a_projects_own_does():
    own = objects_of(platform=ARCHIVED, placement=Placement(life=LIFE))
    shared = cluster(LIFE)
    assert one("ConfigMap", "restore", shared)["data"] == one("ConfigMap", "restore", own)["data"]
    pods = [one("StatefulSet", "postgresql", each)["spec"]["template"]["spec"] for each in (shared, own)]
    assert pods[0]["initContainers"] == pods[1]["initContainers"]
    assert [each["name"] for each in pods[0]["initContainers"]] == ["restore", "archiver"]
    assert pods[0]["volumes"][0] == {"name": "data", "persistentVolumeClaim": {"claimName": "postgresql-data-2"}}


def seen(*, life=LIFE, has_claim=True, annotation=None):
    """A cluster as it is after a run in this life. `annotation`: what its namespace keeps instead."""
    namespace, *rest = of_kubernetes(cluster(life))
    if annotation is not None:
        meta = {**namespace.body["metadata"], "annotations": {LIFE_ANNOTATION: annotation}}
        namespace = replace(namespace, body={**namespace.body, "metadata": meta})
    objects = (namespace, *rest)
    return observed(*(live(each) for each in objects if has_claim or each.id.kind != "PersistentVolumeClaim"))


def refusal(state):
    return volume_refusal(state, CLUSTERS, lives_of(state, CLUSTERS))


def test_the_namespace_of_a_cluster_keeps_its_life():
    assert lives_of(seen(), CLUSTERS) == {"main": LIFE}
    assert lives_of(seen(life=None), CLUSTERS) == {}
    assert lives_of(observed(), CLUSTERS) == {}


def test_a_life_that_only_a_newer_version_can_read_stops_the_run():
    with pytest.raises(SafetyStop, match=r"cannot read supalove\.cloud/life of Namespace/s-main; use a newer"):
        lives_of(seen(annotation='{"number":2,"what":"else"}'), CLUSTERS)


@pytest.mark.parametrize("life", [None, LIFE])
def test_what_is_as_it_should_be_is_not_refused(life):
    assert refusal(seen(life=life)) is None
    assert refusal(observed()) is None


def test_a_restored_volume_that_is_lost_is_not_filled_again_with_what_was_there_long_ago():
    found = refusal(seen(has_claim=False))
    assert found.object == "PersistentVolumeClaim/s-main/postgresql-data-2"
    assert "it was there and is gone, with all its data. Restore the cluster main" in found.reason


def test_a_run_that_was_killed_before_the_server_changed_is_gone_on_with():
    before = {each.id: live(each) for each in of_kubernetes(cluster())}
    namespace, *_rest = cluster(LIFE)
    assert refusal(observed(*{**before, namespace.id: live(namespace)}.values())) is None


def test_a_server_does_not_go_back_to_the_volume_of_an_earlier_life():
    found = refusal(seen(annotation=""))
    assert "its data are on postgresql-data-2, and supalove.cloud/life of Namespace/s-main is of" in found.reason
    assert refusal(seen(annotation=str(replace(LIFE, number=3)))) is None


def told(**given):
    names = ("ref", "cluster", "source_ref", "source_uid", "source_archive", "point")
    return {**dict.fromkeys(names), **given}


def test_just_one_of_project_and_cluster_is_restored():
    assert _specs.cluster_from(told(ref="acme", source_ref="beta", point="v2")) is None
    assert _specs.cluster_from(told(cluster="free-1")) == "free-1"
    for wrong in (told(), told(ref="acme", cluster="free-1"), told(ref="", cluster="")):
        with pytest.raises(InvalidSpec, match="one of ref, cluster"):
            _specs.cluster_from(wrong)


@pytest.mark.parametrize("name", ["source_ref", "source_uid", "source_archive", "point"])
def test_what_is_of_one_project_is_refused_for_a_cluster(name):
    with pytest.raises(InvalidSpec, match="none with cluster, which goes back as a whole"):
        _specs.cluster_from(told(cluster="free-1", **{name: "x"}))


def test_databases_that_came_back_are_told_and_change_nothing_by_themselves():
    plan = SimpleNamespace(
        archive="s-main",
        incarnation="i",
        backup="b",
        archived_until=datetime.now(UTC),
        is_beyond_archive=False,
        last_segment=Segment(1, 7),
        point=None,
    )
    done = Restored(report=Report(outcomes=()), plan=plan, life=LIFE, is_whole=True, came_back=("p_a", "p_b"))
    result = _results.restored_result_of(done, show_diff=False)
    assert (result["came_back"], result["changed"], result["source"]["archive"]) == (["p_a", "p_b"], False, "s-main")
