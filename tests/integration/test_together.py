# SPDX-License-Identifier: GPL-3.0-or-later
"""Others at work on the same objects: managers that take fields, runs that begin at once, hands that edit records."""

from __future__ import annotations

import threading

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import (
    EngineError,
    InvalidSpec,
    SafetyStop,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.settings import Drift
from fix_engine import RECORDS
from fix_fifty import CLUSTER, WITH_SHARED


def take(engine, path, body):
    """What another server-side-apply manager does that insists on its values."""
    meta = {"name": path.rsplit("/", 1)[1], "labels": {"team": "blue"}}
    patch = {**body, "metadata": meta}
    engine.server.request("PATCH", f"{path}?fieldManager=other&force=true", patch, "application/apply-patch+yaml")


DEPLOYMENT = {"apiVersion": "apps/v1", "kind": "Deployment"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/apis/apps/v1/namespaces/p-{}/deployments/pooler", {**DEPLOYMENT, "spec": {"replicas": 3}}),
        (
            "/apis/apps/v1/namespaces/p-{}/deployments/pooler",
            {**DEPLOYMENT, "spec": {"template": {"spec": {"containers": [{"name": "spy", "image": "x:1"}]}}}},
        ),
        (
            "/api/v1/namespaces/p-{}/configmaps/pooler",
            {"apiVersion": "v1", "kind": "ConfigMap", "data": {"pgbouncer.ini": "[pgbouncer]", "more": ""}},
        ),
        (
            "/apis/networking.k8s.io/v1/namespaces/p-{}/networkpolicies/project",
            {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {"ingress": [{}]}},
        ),
    ],
    ids=["replicas", "sidecar", "config", "policy"],
)
def test_fields_that_another_manager_took_are_taken_back_and_the_rest_of_its_own_is_left(engine, ref, path, body):
    projects, path = {ref: {"tier": "free"}}, path.format(ref)
    engine.settle(projects)
    take(engine, path, body)
    (outcome,) = engine.settle(projects).outcomes
    assert [step.id.kind for step in outcome.steps] == [body["kind"]]
    assert "(changed by others)" in outcome.steps[0].reason
    assert engine.server.request("GET", path)["metadata"]["labels"]["team"] == "blue"
    assert engine.reconcile(projects, wait=True, drift=Drift.FULL).writes == 0


@pytest.mark.parametrize(
    "change", [{"memory": "512Mi"}, {"tier": "other"}, {"state": "absent", "canary": True}], ids=str
)
def test_a_record_that_somebody_edits_says_again_what_the_inventory_says(engine, ref, change):
    projects = {ref: {"tier": "free"}}
    engine.settle(projects)
    uid = engine.record(ref)["status"]["uid"]
    engine.server.merge(f"{RECORDS}/{ref}", {"spec": change})
    engine.settle(projects)
    record = engine.record(ref)
    assert record["spec"] == {"tier": "free", "managedBy": "inventory"}
    assert (record["status"]["uid"], record["status"]["phase"]) == (uid, "Ready")
    assert engine.reconcile(projects, wait=True).writes == 0


def test_a_record_that_certifies_what_is_no_object_is_no_harm_to_any_project(engine, ref):
    projects = {f"{ref}-{letter}": {"tier": "free"} for letter in "ab"}
    engine.settle(projects)
    stamps = {key: {"uid": "a", "version": "b"} for key in ("nonsense", "a/b/c/d", "/", "")}
    engine.server.merge(f"{RECORDS}/{ref}-a/status", {"status": {"stamps": stamps}})
    assert engine.settle(projects).succeeded
    assert not stamps.keys() & engine.record(f"{ref}-a")["status"]["stamps"].keys()
    assert engine.reconcile(projects, wait=True).writes == 0


def test_of_runs_that_begin_at_once_one_works_and_the_others_are_refused_or_find_nothing_to_do(engine, ref):
    projects = {f"{ref}-{number}": {"tier": "free"} for number in range(4)}
    answers = []

    def run():
        try:
            answers.append(engine.reconcile(projects, lease_seconds=10.0))
        except EngineError as error:
            answers.append(error)

    threads = [threading.Thread(target=run) for _run in range(4)]
    with engine.server.audited() as events:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    refused = [one for one in answers if isinstance(one, EngineError)]
    reports = [one for one in answers if not isinstance(one, EngineError)]
    assert all(isinstance(one, SafetyStop) and "Another run is at work" in str(one) for one in refused), refused
    assert sum(report.changed for report in reports) == 1
    assert len(reports) + len(refused) == 4
    made = [event["requestURI"] for event in events if event["verb"] == "create" and "/secrets" in event["requestURI"]]
    assert len(made) == len(set(made)) == len(projects)
    assert engine.settle(projects).succeeded


def test_a_cluster_that_is_declared_no_more_while_projects_are_on_it_stops_the_run_beforehand(engine, ref):
    clusters = {f"{ref}-one": CLUSTER, f"{ref}-two": CLUSTER}
    projects = {f"{ref}{letter}": {"tier": "shared"} for letter in "abc"}
    engine.reconcile(projects, tiers=WITH_SHARED, platform={"shared_clusters": clusters})
    del clusters[f"{ref}-one"]
    told = f"shared_clusters.{ref}-one: found nothing, allowed is the declaration of the cluster on which"
    with engine.server.audited() as events, pytest.raises(InvalidSpec, match=told) as caught:
        engine.reconcile(
            {**projects, f"{ref}d": {"tier": "free"}}, tiers=WITH_SHARED, platform={"shared_clusters": clusters}
        )
    assert len(caught.value.problems) == 2
    assert {event["verb"] for event in events} == {"list"}
