# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of projects: stopped and back, no longer listed, destroyed, changed in waves; and what is refused."""

from __future__ import annotations

import contextlib
import dataclasses
import threading

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.kinds import (
    PROJECT_KINDS,
    collection_path,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import InvalidSpec, SafetyStop
from ansible_collections.supalove.platform.plugins.module_utils._engine.steps import Result
from fix_apiserver import unless_outdated
from fix_engine import FREE, TIERS, Killed
from standin_databases import MemoryDatabases

WITH_SHARED = {**TIERS, "shared": {"placement": "shared", "storage": "500Mi"}}
CLUSTER = {"cpu": 1, "memory": "1Gi", "storage": "20Gi"}


def clusters(ref):
    """Two clusters that no other test has."""
    return {"shared_clusters": {f"{ref}-{name}": CLUSTER for name in ("one", "two")}}


def results(report):
    return {outcome.ref: outcome.result.value for outcome in report.outcomes}


def replicas(engine, ref):
    deployment = engine.server.request("GET", f"/apis/apps/v1/namespaces/p-{ref}/deployments/pooler")
    return deployment["spec"]["replicas"]


def empty(engine, namespace):
    empty_of_claims(engine, namespace)
    for kind in PROJECT_KINDS.keys() - {"Namespace"}:
        engine.server.request("DELETE", collection_path(kind, namespace))


def empty_of_claims(engine, namespace):
    claims = collection_path("PersistentVolumeClaim", namespace)
    for claim in engine.server.request("GET", claims)["items"]:
        # What protects a claim in use; no pod runs here.
        engine.server.merge(f"{claims}/{claim['metadata']['name']}", {"metadata": {"finalizers": None}})
    engine.server.request("DELETE", claims)


@contextlib.contextmanager
def namespaces_that_go(engine):
    """Does the namespace controller's part: what is in a deleted namespace goes, then the namespace itself."""
    stop = threading.Event()

    def work():
        while not stop.wait(0.1):
            for item in engine.server.request("GET", "/api/v1/namespaces")["items"]:
                if item["metadata"].get("deletionTimestamp") and item["spec"].get("finalizers"):
                    with unless_outdated():
                        empty(engine, item["metadata"]["name"])
                        item["spec"]["finalizers"] = []
                        engine.server.request("PUT", f"/api/v1/namespaces/{item['metadata']['name']}/finalize", item)

    thread = threading.Thread(target=work, name="namespace controller")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def purge_of(ref, uid):
    """On a platform that archives nothing, so that there is no final backup (test_final_backup.py has those)."""
    return {"purge": {ref: uid}, "purge_without_final_backup": frozenset({ref})}


def shared(engine, ref, letters="a", **more):
    """Projects named after a test on clusters of its own, and more projects as they are given."""
    projects = {f"{ref}{letter}": {"tier": "shared"} for letter in letters} | more
    with engine.ready_workloads(*projects):
        return engine.reconcile(projects, tiers=WITH_SHARED, platform=clusters(ref), wait=True)


def doors(engine):
    """Whether each login may log in and each database be connected to."""
    specs = [body["spec"] for body in engine.databases.bodies.values()]
    return [spec.get("login", spec.get("allowConnections")) for spec in specs]


def test_absent_stops_and_keeps_everything_and_present_starts_it_again(engine, ref):
    engine.settle({ref: {"tier": "free"}})
    secret = engine.secret(ref)
    stopped = engine.settle({ref: {"tier": "free", "state": "absent"}})
    assert results(stopped) == {ref: "changed"}
    assert engine.record(ref)["status"]["phase"] == "Stopped"
    assert replicas(engine, ref) == 0
    assert engine.settle({ref: {"tier": "free", "state": "absent"}}).writes == 0
    engine.settle({ref: {"tier": "free"}})
    assert engine.record(ref)["status"]["phase"] == "Ready"
    assert replicas(engine, ref) == 1
    assert engine.secret(ref) == secret


def test_a_project_that_never_was_is_not_made_to_be_stopped(engine, ref):
    report = engine.reconcile({ref: {"tier": "free", "state": "absent"}})
    assert (results(report), report.writes) == ({ref: "unchanged"}, 0)


def test_a_project_that_never_was_takes_no_room_from_others(own_engine, ref):
    projects = {f"{ref}a": {"tier": "shared", "state": "absent"}, f"{ref}b": {"tier": "shared"}}
    platform = {"shared_clusters": {f"{ref}-one": {**CLUSTER, "max_databases": 1}}}
    report = own_engine.reconcile(projects, tiers=WITH_SHARED, platform=platform)
    assert results(report) == {f"{ref}a": "unchanged", f"{ref}b": "changed"}
    del projects[f"{ref}b"]
    assert own_engine.reconcile(projects, tiers=WITH_SHARED).writes == own_engine.databases.writes


def test_shared_projects_spread_over_the_clusters_and_stay_there(engine, ref):
    assert shared(engine, ref, "abcd").succeeded
    places = [engine.record(f"{ref}{letter}")["status"]["placement"] for letter in "abcd"]
    assert places == [f"shared/{ref}-{name}" for name in ("one", "two", "one", "two")]
    assert len(engine.databases.bodies) == 3 * 4
    again = shared(engine, ref, "abcd")
    assert (again.changed, again.writes) == (False, engine.databases.writes)


def test_a_cluster_that_is_down_fails_its_own_projects_and_no_other(engine, ref):
    shared(engine, ref, "ab")
    engine.databases.down.add(f"{ref}-one")
    report = shared(engine, ref, "ab", **{f"{ref}d": {"tier": "free"}})
    assert results(report) == {f"{ref}a": "failed", f"{ref}b": "unchanged", f"{ref}d": "changed"}
    assert "the stand-in is down" in report.outcomes[0].failure.reason


def test_a_stopped_shared_project_lets_nobody_in_and_comes_back(engine, ref):
    shared(engine, ref)
    shared(engine, ref, "", **{f"{ref}a": {"tier": "shared", "state": "absent"}})
    assert doors(engine) == [False, False, False]
    shared(engine, ref)
    assert doors(engine) == [True, True, True]


def test_a_project_that_is_no_longer_listed_is_left_alone(engine, ref):
    engine.settle({ref: {"tier": "free"}, f"{ref}b": {"tier": "free"}})
    report = engine.reconcile({ref: {"tier": "free"}})
    assert f"{ref}b" in report.left_alone
    assert replicas(engine, f"{ref}b") == 1


def test_prune_stops_what_is_no_longer_listed(own_engine, ref):
    engine = own_engine
    engine.settle({ref: {"tier": "free"}, f"{ref}b": {"tier": "free"}})
    with engine.ready_workloads(f"{ref}b"):
        report = engine.reconcile({ref: {"tier": "free"}}, prune=True, wait=True)
    assert results(report) == {ref: "unchanged", f"{ref}b": "changed"}
    assert replicas(engine, f"{ref}b") == 0
    assert engine.record(f"{ref}b")["spec"]["state"] == "absent"
    assert engine.reconcile({ref: {"tier": "free"}}, prune=True, wait=True).writes == 0


@pytest.mark.parametrize(
    ("listed", "settings", "told"),
    [
        ({}, {}, "lists no project"),
        ({"other": {"tier": "free"}}, {"only": frozenset({"other"})}, "prune with projects_only"),
        ({"other": {"tier": "free"}}, {"prune_limit": 0}, "would stop 1 projects"),
    ],
)
def test_prune_refuses_what_looks_like_an_accident(own_engine, ref, listed, settings, told):
    own_engine.settle({ref: {"tier": "free"}})
    with pytest.raises(SafetyStop, match=told):
        own_engine.reconcile(listed, prune=True, **settings)
    assert replicas(own_engine, ref) == 1


def test_prune_of_a_project_whose_tier_has_gone_fails_that_project_only(own_engine, ref):
    own_engine.settle({ref: {"tier": "free"}, f"{ref}b": {"tier": "free"}})
    report = own_engine.settle({ref: {"tier": "other"}}, tiers={"other": FREE}, prune=True)
    assert results(report)[f"{ref}b"] == "failed"
    assert "no longer fits the tiers" in report.outcomes[-1].failure.reason


def test_only_the_chosen_projects_are_worked_on(engine, ref):
    projects = {f"{ref}{letter}": {"tier": "free"} for letter in "ab"}
    report = engine.reconcile(projects, only=frozenset({f"{ref}a"}))
    assert results(report) == {f"{ref}a": "changed"}
    assert not engine.server.exists(f"/api/v1/namespaces/p-{ref}b")
    with pytest.raises(InvalidSpec, match="projects_only"):
        engine.reconcile(projects, only=frozenset({"unheard-of"}))


def test_a_purge_destroys_the_stopped_project_and_its_record_last(engine, ref):
    gone = f"{ref}a"
    shared(engine, ref, "ab")
    shared(engine, ref, "b", **{gone: {"tier": "shared", "state": "absent"}})
    uid = engine.record(gone)["status"]["uid"]
    kept = {id for id in engine.databases.bodies if uid not in id.name}
    options = {"tiers": WITH_SHARED, "platform": clusters(ref), **purge_of(gone, uid)}
    with namespaces_that_go(engine):
        report = engine.reconcile({}, **options)
    assert results(report) == {gone: "changed"}
    assert [step.id.kind for step in report.outcomes[0].steps] == [
        "Database", "DatabaseRole", "DatabaseRole", "Namespace", "SupaloveProject",
    ]  # fmt: skip
    assert not engine.server.exists(f"/api/v1/namespaces/p-{gone}")
    assert set(engine.databases.bodies) == kept
    assert engine.reconcile({}, **options).changed is False


class DyingDatabases(MemoryDatabases):
    """Their process is killed when it would change one thing more than it may."""

    may_write = 10**9

    def apply(self, step, *, deadline):
        if self.may_write == 0:
            raise Killed
        self.may_write -= 1
        return super().apply(step, deadline=deadline)


@pytest.mark.parametrize(("dies_after", "in_postgresql"), [(2, True), (2, False), (3, False)])
def test_a_purge_killed_between_two_of_its_steps_is_finished_by_the_next(engine, ref, dies_after, in_postgresql):
    """With the database gone and its roles left; with the namespace on its way; with the record gone."""
    engine = dataclasses.replace(engine, databases=DyingDatabases())
    shared(engine, ref)
    shared(engine, ref, "", **{f"{ref}a": {"tier": "shared", "state": "absent"}})
    uid = engine.record(f"{ref}a")["status"]["uid"]
    options = {"tiers": WITH_SHARED, "platform": clusters(ref), **purge_of(f"{ref}a", uid)}
    if in_postgresql:
        engine.databases.may_write = dies_after - 1
    with namespaces_that_go(engine):
        with pytest.raises(Killed):
            engine.reconcile({}, dies_after=None if in_postgresql else dies_after, **options)
        engine.databases.may_write = 10**9
        engine.free_lease()
        assert engine.reconcile({}, **options).succeeded
    assert engine.databases.bodies == {}
    assert not engine.server.exists(f"/api/v1/namespaces/p-{ref}a")
    assert engine.reconcile({}, **options).writes == engine.databases.writes


def test_a_ref_used_again_after_a_purge_is_another_project(engine, ref):
    engine.settle({ref: {"tier": "free"}})
    uid, secret = engine.record(ref)["status"]["uid"], engine.secret(ref)
    engine.settle({ref: {"tier": "free", "state": "absent"}})
    with namespaces_that_go(engine):
        assert engine.reconcile({}, **purge_of(ref, uid)).succeeded
    assert engine.settle({ref: {"tier": "free"}}).succeeded
    assert engine.record(ref)["status"]["uid"] != uid
    assert engine.secret(ref) != secret


def test_a_purge_wants_the_uid_and_a_project_that_is_not_wanted(engine, ref):
    engine.settle({ref: {"tier": "free"}})
    uid = engine.record(ref)["status"]["uid"]
    with pytest.raises(InvalidSpec, match="a project that is not wanted"):
        engine.reconcile({ref: {"tier": "free"}}, purge={ref: uid})
    with pytest.raises(InvalidSpec, match=f"the uid of the project, {uid}"):
        engine.reconcile({}, purge={ref: "abcdefgh2345"})
    report = engine.reconcile({}, purge={ref: uid})
    assert report.outcomes[0].result is Result.FAILED
    assert "only a project that has stopped is purged" in report.outcomes[0].failure.reason
    assert engine.server.exists(f"/api/v1/namespaces/p-{ref}")


def test_a_namespace_stuck_in_its_deletion_is_told_and_the_next_run_goes_on(engine, ref):
    engine.settle({ref: {"tier": "free"}})
    uid = engine.record(ref)["status"]["uid"]
    engine.settle({ref: {"tier": "free", "state": "absent"}})
    stuck = engine.reconcile({}, **purge_of(ref, uid), timeout_seconds=8.0)
    assert "is being deleted and still there" in stuck.outcomes[0].failure.reason
    assert engine.record(ref)["status"]["uid"] == uid
    refused = engine.reconcile({ref: {"tier": "free"}})
    assert "it is being deleted" in refused.outcomes[0].failure.reason
    with namespaces_that_go(engine):
        assert engine.reconcile({}, **purge_of(ref, uid)).succeeded


def test_a_check_of_a_purge_destroys_nothing_and_names_all_of_it(engine, ref):
    engine.settle({ref: {"tier": "free"}})
    uid = engine.record(ref)["status"]["uid"]
    engine.settle({ref: {"tier": "free", "state": "absent"}})
    report = engine.reconcile({}, **purge_of(ref, uid), check=True)
    assert str(report.outcomes[0].steps[0].id) == f"Namespace/p-{ref}"
    assert report.writes == 0


def many(ref, **spec):
    return {f"{ref}{letter}": {"tier": "free", **spec} for letter in "abcde"}


def test_a_change_that_restarts_many_goes_to_the_canary_first_and_then_in_waves(engine, ref):
    engine.settle(many(ref))
    changed = many(ref, memory="512Mi")
    changed[f"{ref}c"]["canary"] = True
    with engine.ready_workloads(*changed):
        report = engine.reconcile(changed, wave_size=2, wait=True)
    assert set(results(report).values()) == {"changed"}
    assert [line for line in engine.lines if line.startswith("wave ")] == [
        "wave 1 of 3: 1 projects",
        "wave 2 of 3: 2 projects",
        "wave 3 of 3: 2 projects",
    ]


def test_a_change_that_fails_on_the_canary_is_held_back_and_the_next_run_resumes(engine, ref):
    engine.settle(many(ref))
    changed = many(ref, memory="512Mi")
    with engine.ready_workloads(*changed, jobs_only=True):
        report = engine.reconcile(changed, wave_size=2, wait=True, timeout_seconds=12.0)
    assert results(report) == {f"{ref}a": "waiting", **{f"{ref}{letter}": "held" for letter in "bcde"}}
    assert "held back" in report.outcomes[1].held
    quota = engine.server.request("GET", f"/api/v1/namespaces/p-{ref}e/resourcequotas/project")
    with engine.ready_workloads(*changed):
        resumed = engine.reconcile(changed, wave_size=2, wait=True)
    assert resumed.succeeded
    after = engine.server.request("GET", f"/api/v1/namespaces/p-{ref}e/resourcequotas/project")
    assert after["spec"] != quota["spec"]


def test_new_projects_are_not_held_back_by_a_change_of_others(engine, ref):
    engine.settle(many(ref))
    report = engine.reconcile(
        {**many(ref, memory="512Mi"), f"{ref}z": {"tier": "free"}}, wave_size=2, wait=True, timeout_seconds=8.0
    )
    assert results(report)[f"{ref}z"] == "waiting"
    assert engine.server.exists(f"/api/v1/namespaces/p-{ref}z")


def test_projects_that_the_nodes_cannot_run_are_refused_before_anything_is_changed(engine, ref):
    tiers = {"huge": {**FREE, "cpu": 9999, "memory": "999Ti", "overrides": {}}}
    with pytest.raises(InvalidSpec, match="a pod that fits on no node"):
        engine.reconcile({f"{ref}a": {"tier": "huge"}}, tiers=tiers)
    assert not engine.server.exists(f"/api/v1/namespaces/p-{ref}a")
    assert engine.reconcile({f"{ref}a": {"tier": "huge"}}, tiers=tiers, check_capacity=False).writes > 0


def test_binding_a_volume_is_nobodys_change_and_its_growth_is_one_write(engine, ref):
    """The volume controller writes into the claim, which is no drift; only a bound claim may grow."""
    size = {"tier": "free", "storage": "2Gi"}
    platform = {"storage_class": f"class-{ref}", "storage_expandable": True}
    make_class(engine, platform["storage_class"])
    with engine.ready_workloads(ref):
        engine.reconcile({ref: {"tier": "free"}}, platform=platform, wait=True)
    bind(engine, ref)
    assert engine.reconcile({ref: {"tier": "free"}}, platform=platform, wait=True).writes == 0
    with engine.ready_workloads(ref):
        report = engine.reconcile({ref: size}, platform=platform, wait=True)
    assert [str(step.id) for step in report.outcomes[0].steps if "Claim" in step.id.kind] == [CLAIM.format(ref)]
    claim = engine.server.request("GET", f"/api/v1/namespaces/p-{ref}/persistentvolumeclaims/postgresql-data")
    assert claim["spec"]["resources"]["requests"]["storage"] == "2Gi"


CLAIM = "PersistentVolumeClaim/p-{}/postgresql-data"


def make_class(engine, name):
    body = {"metadata": {"name": name}, "provisioner": "example.com/grows", "allowVolumeExpansion": True}
    engine.server.request("POST", "/apis/storage.k8s.io/v1/storageclasses", body)


def bind(engine, ref):
    """What the volume controller does."""
    path = f"/api/v1/namespaces/p-{ref}/persistentvolumeclaims/postgresql-data"
    bound = {"pv.kubernetes.io/bind-completed": "yes"}
    engine.server.merge(path, {"metadata": {"annotations": bound}, "spec": {"volumeName": f"pv-{ref}"}})
    engine.server.merge(f"{path}/status", {"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}})


def test_a_volume_that_is_gone_is_not_replaced_by_an_empty_one_in_silence(engine, ref):
    projects = {ref: {"tier": "free"}}
    engine.reconcile(projects)
    empty_of_claims(engine, f"p-{ref}")
    report = engine.reconcile(projects)
    assert results(report) == {ref: "failed"}
    assert "it was there and is gone" in report.outcomes[0].failure.reason
    assert engine.server.request("GET", collection_path("PersistentVolumeClaim", f"p-{ref}"))["items"] == []
    assert results(engine.reconcile(projects, data_lost=frozenset({ref}))) == {ref: "changed"}
    assert results(engine.reconcile(projects)) == {ref: "unchanged"}
