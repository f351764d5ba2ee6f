# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from fix_engine import TIERS

PRIORITY_CLASS = "/apis/scheduling.k8s.io/v1/priorityclasses/supalove-free"
STORAGE_CLASS = "/apis/storage.k8s.io/v1/storageclasses/supalove-retain"


def steps(report):
    return [f"{step.action} {step.id}" for step in report.outcomes[0].steps]


def test_a_prepared_platform_is_left_alone(engine):
    report = engine.prepare()
    assert (report.changed, report.writes) == (False, 0)


def test_volumes_of_tenants_outlive_their_claims(engine):
    assert engine.server.request("GET", STORAGE_CLASS)["reclaimPolicy"] == "Retain"


def test_a_new_tier_is_one_new_priority_class(engine):
    tiers = {**TIERS, "extra": {**TIERS["free"], "priority": 7}}
    check = engine.prepare(tiers=tiers, check=True)
    assert check.writes == 0
    assert steps(check) == steps(engine.prepare(tiers=tiers)) == ["create PriorityClass/supalove-extra"]


def test_a_priority_that_cannot_change_is_refused_before_any_write(engine):
    report = engine.prepare(tiers={"free": {**TIERS["free"], "priority": 9}})
    assert "value is 0, wanted is 9; this cannot be changed in place" in report.outcomes[0].failure.reason
    assert report.writes == 0


def test_what_somebody_changed_on_the_platform_is_repaired(engine):
    engine.server.merge(PRIORITY_CLASS, {"description": "mine"})
    assert steps(engine.prepare()) == ["update PriorityClass/supalove-free"]
    assert engine.prepare().writes == 0


def test_a_definition_edited_by_hand_is_repaired(engine):
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/supaloveprojects.supalove.cloud"
    engine.server.merge(path, {"spec": {"names": {"shortNames": ["x"]}}})
    assert steps(engine.prepare()) == ["update CustomResourceDefinition/supaloveprojects.supalove.cloud"]


def test_what_somebody_else_made_under_a_name_of_ours_is_not_taken_over(engine):
    theirs = {"metadata": {"name": "supalove-theirs"}, "value": 1, "description": "theirs"}
    path = "/apis/scheduling.k8s.io/v1/priorityclasses"
    engine.server.request("POST", path, theirs)
    report = engine.prepare(tiers={**TIERS, "theirs": {**TIERS["free"], "priority": 1}})
    assert "does not carry the label supalove.cloud/platform" in report.outcomes[0].failure.reason
    assert report.writes == 0
    assert engine.server.request("GET", f"{path}/supalove-theirs")["description"] == "theirs"


def two_clusters(ref, **more):
    names = (f"{ref}-a", f"{ref}-b")
    cluster = {"cpu": 1, "memory": "1Gi", "storage": "20Gi"}
    return {"shared_clusters": {name: {**cluster, **more} for name in names}}


def generation(engine, name):
    path = f"/apis/apps/v1/namespaces/s-{name}/statefulsets/postgresql"
    return engine.server.request("GET", path)["metadata"]["generation"]


def test_shared_clusters_are_made_and_left_alone_by_the_next_run(engine, ref):
    with engine.ready_workloads(f"s-{ref}-a", f"s-{ref}-b"):
        made = engine.prepare(platform=two_clusters(ref))
        assert made.succeeded
        again = engine.prepare(platform=two_clusters(ref))
    assert (again.changed, again.writes) == (False, 0)


def test_a_shared_cluster_that_does_not_get_ready_is_named(engine, ref):
    report = engine.prepare(platform=two_clusters(ref), timeout_seconds=8.0)
    assert f"StatefulSet/s-{ref}-a/postgresql" in report.outcomes[0].failure.object
    assert engine.prepare(platform=two_clusters(ref), wait=False).succeeded


def test_shared_clusters_restart_one_after_the_other_and_no_further_after_a_failure(engine, ref):
    names = (f"{ref}-a", f"{ref}-b")
    with engine.ready_workloads(*(f"s-{name}" for name in names)):
        engine.prepare(platform=two_clusters(ref))
    before = [generation(engine, name) for name in names]
    report = engine.prepare(platform=two_clusters(ref, memory="2Gi"), timeout_seconds=8.0)
    assert report.outcomes[0].failure.object == f"StatefulSet/s-{names[0]}/postgresql"
    assert [generation(engine, name) for name in names] == [before[0] + 1, before[1]]
    with engine.ready_workloads(*(f"s-{name}" for name in names)):
        assert engine.prepare(platform=two_clusters(ref, memory="2Gi")).succeeded
    assert [generation(engine, name) for name in names] == [before[0] + 1, before[1] + 1]
