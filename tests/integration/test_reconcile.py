# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import functools
import json
import re
from collections import Counter

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.client import Client
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.kinds import (
    KINDS,
    LISTED_KINDS,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import UID_PATTERN
from ansible_collections.supalove.platform.plugins.module_utils._engine.settings import Drift
from ansible_collections.supalove.platform.plugins.module_utils._engine.steps import Result
from fix_engine import RECORDS, Killed, LosingClient

POLICIES = "/apis/networking.k8s.io/v1/namespaces/p-{}/networkpolicies"
WORKLOADS = "/apis/apps/v1/namespaces/p-{}"
POOLER_PORT = {"protocol": "TCP", "port": 6432}
NEIGHBOURS = {"from": [{"podSelector": {}}], "ports": [POOLER_PORT]}
EVERYBODY = {"podSelector": {}, "namespaceSelector": {}}


def containers(*some):
    return {"spec": {"template": {"spec": {"containers": list(some)}}}}


SIDECAR = containers({"name": "spy", "image": "x:1"})
ENVIRONMENT = containers({"name": "pooler", "env": [{"name": "PGHOST", "value": "/tmp"}]})


def the(report, ref):
    return next(outcome for outcome in report.outcomes if outcome.ref == ref)


def test_a_new_project_is_created_awaited_and_recorded(engine, ref):
    report = engine.settle({ref: {"tier": "free"}})
    assert the(report, ref).result is Result.CHANGED
    record = engine.record(ref)
    assert record["spec"] == {"tier": "free", "managedBy": "inventory"}
    assert record["status"]["phase"] == "Ready"
    assert re.fullmatch(UID_PATTERN, record["status"]["uid"])


def test_a_second_run_writes_nothing_at_all(engine, ref):
    engine.settle({ref: {"tier": "free"}})
    again = engine.reconcile({ref: {"tier": "free"}}, wait=True)
    assert (again.changed, the(again, ref).result, again.writes) == (False, Result.UNCHANGED, 0)


def test_the_steady_run_reads_each_kind_once_whatever_the_number_of_projects(engine, ref):
    projects = {f"{ref}-{number}": {"tier": "free"} for number in range(3)}
    engine.settle(projects)
    each_once = Counter(("list", KINDS[kind].plural) for kind in (*LISTED_KINDS, "SupaloveProject"))
    assert asked(engine, projects) == asked(engine, {}) == each_once


def asked(engine, projects):
    """What a run asks the server for; a list may come in several pages, as other tests have projects, too."""
    with engine.server.audited() as events:
        engine.reconcile(projects, wait=True)
    return Counter(
        (event["verb"], event["objectRef"]["resource"]) for event in events if "continue=" not in event["requestURI"]
    )


def test_every_object_is_exactly_as_rendered_when_all_is_read(engine, ref):
    engine.settle({ref: {"tier": "free"}})
    report = engine.reconcile({ref: {"tier": "free"}}, drift=Drift.FULL, wait=True)
    assert (report.changed, report.writes) == (False, 0)


def test_check_mode_names_what_the_run_then_does_and_writes_nothing(engine, ref):
    check = engine.reconcile({ref: {"tier": "free"}}, check=True)
    assert check.writes == 0
    assert not engine.server.exists(f"{RECORDS}/{ref}")
    run = engine.settle({ref: {"tier": "free"}})
    planned = [(step.action, step.id) for step in the(check, ref).steps]
    assert planned == [(step.action, step.id) for step in the(run, ref).steps]


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("/apis/apps/v1/namespaces/p-{}/deployments/pooler", {"spec": {"replicas": 3}}),
        ("/api/v1/namespaces/p-{}/configmaps/pooler", {"data": {"pgbouncer.ini": "[pgbouncer]"}}),
        ("/api/v1/namespaces/p-{}/services/pooler", {"spec": {"selector": {"supalove.cloud/component": "x"}}}),
        ("/api/v1/namespaces/p-{}/resourcequotas/project", {"spec": {"hard": {"pods": "100"}}}),
        ("/api/v1/namespaces/p-{}", {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}),
        (f"{POLICIES}/project", {"spec": {"ingress": [{}]}}),
        (f"{POLICIES}/project", {"spec": {"podSelector": {"matchLabels": {"a": "b"}}}}),
        (f"{POLICIES}/project", {"spec": {"ingress": [{**NEIGHBOURS, "from": [EVERYBODY]}]}}),
        (f"{POLICIES}/project", {"spec": {"ingress": [{**NEIGHBOURS, "ports": [{**POOLER_PORT, "endPort": 65535}]}]}}),
        ("/api/v1/namespaces/p-{}/resourcequotas/project", {"spec": {"hard": {"count/secrets": "9"}}}),
        ("/api/v1/namespaces/p-{}/services/postgresql", {"spec": {"externalIPs": ["10.0.0.1"]}}),
        ("/api/v1/namespaces/p-{}/configmaps/postgresql", {"data": {"more.conf": ""}}),
        (f"{WORKLOADS}/statefulsets/postgresql", {"spec": {"template": {"spec": {"hostNetwork": True}}}}),
        (f"{WORKLOADS}/deployments/pooler", SIDECAR),
        (f"{WORKLOADS}/deployments/pooler", ENVIRONMENT),
    ],
)
def test_what_somebody_changed_by_hand_is_the_one_thing_repaired(engine, ref, path, change):
    projects = {ref: {"tier": "free"}, f"{ref}-b": {"tier": "free"}}
    engine.settle(projects)
    engine.server.merge(path.format(ref), change, strategic=True)
    check = engine.reconcile(projects, check=True)
    (step,) = the(check, ref).steps
    assert "(changed by others)" in step.reason
    repaired = engine.settle(projects)
    assert [one.id for one in the(repaired, ref).steps] == [step.id]
    assert the(repaired, f"{ref}-b").result is Result.UNCHANGED
    assert engine.reconcile(projects, wait=True).writes == 0


def test_a_run_without_drift_does_not_certify_what_it_has_not_read(engine, ref):
    projects = {ref: {"tier": "free"}}
    engine.settle(projects)
    engine.server.merge(f"{WORKLOADS}/deployments/pooler".format(ref), {"spec": {"replicas": 3}})
    off = engine.reconcile({**projects, f"{ref}-b": {"tier": "free"}}, drift=Drift.OFF)
    assert the(off, ref).result is Result.UNCHANGED
    assert [str(step.id) for step in the(engine.settle(projects), ref).steps] == [f"Deployment/p-{ref}/pooler"]


def test_a_run_that_does_not_wait_takes_nothing_from_what_is_ready(engine, ref):
    settled, waiting = f"{ref}-a", f"{ref}-b"
    engine.settle({settled: {"tier": "free"}})
    engine.reconcile({waiting: {"tier": "free"}})
    projects = {settled: {"tier": "free"}, waiting: {"tier": "free"}}
    assert engine.reconcile(projects).writes == 0
    # Lease, the new project's 16, lease: nothing for the others.
    assert engine.reconcile({**projects, f"{ref}-c": {"tier": "free"}}).writes == FIRST_RUN_WRITES
    assert engine.record(settled)["status"]["phase"] == "Ready"


def test_an_object_that_somebody_removed_comes_back(engine, ref):
    engine.settle({ref: {"tier": "free"}})
    engine.server.request("DELETE", f"/api/v1/namespaces/p-{ref}/services/pooler")
    report = engine.settle({ref: {"tier": "free"}})
    assert [str(step) for step in the(report, ref).steps] == [f"create Service/p-{ref}/pooler: it does not exist"]


def test_what_others_add_beside_ours_stays_and_is_read_once(engine, ref):
    engine.settle({ref: {"tier": "free"}})
    path = f"/apis/apps/v1/namespaces/p-{ref}/deployments/pooler"
    engine.server.merge(path, {"metadata": {"labels": {"team": "blue"}}})
    assert not engine.settle({ref: {"tier": "free"}}).changed
    assert engine.reconcile({ref: {"tier": "free"}}, wait=True).writes == 0
    assert engine.server.request("GET", path)["metadata"]["labels"]["team"] == "blue"


def test_a_changed_limit_touches_only_what_depends_on_it(engine, ref):
    engine.settle({ref: {"tier": "free"}})
    report = engine.settle({ref: {"tier": "free", "memory": "512Mi"}})
    changed = {str(step.id).removeprefix(f"/p-{ref}") for step in the(report, ref).steps}
    assert changed == {
        f"SupaloveProject/supalove-system/{ref}",
        f"ResourceQuota/p-{ref}/project",
        f"ConfigMap/p-{ref}/postgresql",
        f"StatefulSet/p-{ref}/postgresql",
    }
    assert engine.record(ref)["spec"]["memory"] == "512Mi"


def test_a_run_killed_between_any_two_writes_is_finished_by_the_next(engine, ref):
    """Each run dies after a few writes of its own, until one needs no more; secrets and uid never change."""
    projects = {ref: {"tier": "free"}}
    deaths, uids, passwords = 0, set(), set()
    while deaths < 40:
        try:
            engine.reconcile(projects, dies_after=3)
        except Killed:
            deaths += 1
            engine.free_lease()
        else:
            break
        if engine.server.exists(f"{RECORDS}/{ref}"):
            uids.add(engine.record(ref)["metadata"]["labels"]["supalove.cloud/uid"])
        if engine.server.exists(f"/api/v1/namespaces/p-{ref}/secrets/credentials"):
            passwords.add(engine.secret(ref)["owner.password"])
    report = engine.settle(projects)
    assert deaths > 5
    assert the(report, ref).result in (Result.CHANGED, Result.UNCHANGED)
    assert engine.record(ref)["status"]["phase"] == "Ready"
    assert uids == {engine.record(ref)["status"]["uid"]}
    assert len(passwords) == 1
    assert engine.reconcile(projects, drift=Drift.FULL, wait=True).writes == 0


# Lease, record, 14 objects, outcome, lease given back.
FIRST_RUN_WRITES = 18


def test_a_first_run_writes_each_object_once(engine, ref):
    assert engine.reconcile({ref: {"tier": "free"}}).writes == FIRST_RUN_WRITES


@pytest.mark.parametrize("writes", range(1, FIRST_RUN_WRITES))
def test_a_first_run_killed_at_any_write_is_finished_by_one_more(engine, ref, writes):
    projects = {ref: {"tier": "free"}}
    with pytest.raises(Killed):
        engine.reconcile(projects, dies_after=writes)
    engine.free_lease()
    assert engine.settle(projects).succeeded
    assert engine.reconcile(projects, drift=Drift.FULL, wait=True).writes == 0


def test_a_project_that_does_not_get_ready_is_waiting_and_the_next_run_takes_it_up(engine, ref):
    projects = {ref: {"tier": "free"}}
    report = engine.reconcile(projects, wait=True, timeout_seconds=8.0)
    assert the(report, ref).result is Result.WAITING
    assert len(the(report, ref).waiting_for) == 2
    assert "has not seen it yet" in the(report, ref).waiting_for[0]
    assert engine.record(ref)["status"]["phase"] == "Waiting"
    assert the(engine.settle(projects), ref).result is Result.UNCHANGED
    assert engine.record(ref)["status"]["phase"] == "Ready"


def test_the_failure_of_one_project_is_its_own(engine, ref):
    foreign, good = f"{ref}-foreign", f"{ref}-good"
    engine.server.request("POST", "/api/v1/namespaces", {"metadata": {"name": f"p-{foreign}"}})
    projects = {foreign: {"tier": "free"}, good: {"tier": "free"}}
    check = engine.reconcile(projects, check=True)
    report = engine.settle(projects)
    for failure in (the(check, foreign).failure, the(report, foreign).failure):
        assert (failure.step, failure.object) == ("plan", f"Namespace/p-{foreign}")
        assert "does not carry the label" in failure.reason
    assert the(report, good).result is Result.CHANGED
    assert not engine.server.exists(f"{RECORDS}/{foreign}")


def test_credentials_that_somebody_removed_come_back_with_pods_that_know_them(engine, ref):
    projects = {ref: {"tier": "free"}}
    engine.settle(projects)
    engine.server.request("DELETE", f"/api/v1/namespaces/p-{ref}/secrets/credentials")
    with pytest.raises(Killed):
        # Lease, mark, the Secret: killed before any pod knows of it.
        engine.reconcile(projects, dies_after=3, drift=Drift.FULL)
    engine.free_lease()
    assert {str(step.id) for step in the(engine.settle(projects), ref).steps} == {
        f"StatefulSet/p-{ref}/postgresql",
        f"Deployment/p-{ref}/pooler",
    }
    secret = engine.server.request("GET", f"/api/v1/namespaces/p-{ref}/secrets/credentials")
    for path in ("statefulsets/postgresql", "deployments/pooler"):
        template = engine.server.request("GET", f"{WORKLOADS}/{path}".format(ref))["spec"]["template"]
        assert template["metadata"]["annotations"]["supalove.cloud/credentials"] == secret["metadata"]["uid"]
    assert engine.reconcile(projects, wait=True, drift=Drift.FULL).writes == 0


def test_a_removed_secret_and_its_workloads_are_one_run(engine, ref):
    projects = {ref: {"tier": "free"}}
    engine.settle(projects)
    engine.server.request("DELETE", f"/api/v1/namespaces/p-{ref}/secrets/credentials")
    assert engine.reconcile(projects).writes == 0, "Secrets are not listed"
    check = engine.reconcile(projects, check=True, drift=Drift.FULL)
    run = engine.settle(projects, drift=Drift.FULL)
    ids = [f"Secret/p-{ref}/credentials", f"StatefulSet/p-{ref}/postgresql", f"Deployment/p-{ref}/pooler"]
    assert [str(step.id) for step in the(check, ref).steps] == [str(step.id) for step in the(run, ref).steps] == ids
    assert engine.reconcile(projects, wait=True).writes == 0


def test_a_created_secret_counts_as_changed_even_if_the_answer_was_lost(engine, ref):
    path = f"/api/v1/namespaces/p-{ref}/secrets/credentials"
    report = engine.reconcile({ref: {"tier": "free"}}, client=functools.partial(LosingClient, path=path))
    assert f"Secret/p-{ref}/credentials" in [str(step.id) for step in the(report, ref).steps]


def test_reading_everything_reads_no_password(engine, ref):
    engine.settle({ref: {"tier": "free"}})
    bodies = []

    class Listening(Client):
        def send(self, *args, **rest):
            answer = super().send(*args, **rest)
            bodies.append(json.dumps(answer.body))
            return answer

    engine.reconcile({ref: {"tier": "free"}}, drift=Drift.FULL, client=Listening)
    encoded = base64.b64encode(engine.secret(ref)["owner.password"].encode()).decode()
    assert any("supalove-reconcile" in body or "postgresql.conf" in body for body in bodies)
    assert not any(encoded in body for body in bodies)


def test_a_volume_that_cannot_grow_stops_its_project_before_any_write(engine, ref):
    engine.settle({ref: {"tier": "free"}})
    report = engine.reconcile({ref: {"tier": "free", "storage": "2Gi"}})
    assert the(report, ref).result is Result.FAILED
    assert "storage is 1Gi, wanted is 2Gi" in the(report, ref).failure.reason
    assert report.writes == 0


def test_a_ref_whose_record_is_gone_inherits_no_database(engine, ref):
    engine.settle({ref: {"tier": "free"}})
    engine.server.request("DELETE", f"{RECORDS}/{ref}")
    report = engine.reconcile({ref: {"tier": "free"}})
    assert "an earlier project of this name" in the(report, ref).failure.reason
    assert report.writes == 0


def test_a_project_of_the_other_door_is_refused(engine, ref):
    record = {
        "apiVersion": "supalove.cloud/v1alpha1",
        "kind": "SupaloveProject",
        "metadata": {"name": ref},
        "spec": {"tier": "free", "managedBy": "api"},
    }
    engine.server.request("POST", RECORDS, record)
    report = engine.reconcile({ref: {"tier": "free"}})
    assert "managed by api" in the(report, ref).failure.reason
    assert not engine.server.exists(f"/api/v1/namespaces/p-{ref}")


def test_a_project_taken_off_the_list_is_left_alone_and_said_so(engine, ref):
    engine.settle({ref: {"tier": "free"}})
    report = engine.reconcile({})
    assert ref in report.left_alone
    assert engine.server.exists(f"/api/v1/namespaces/p-{ref}")


@pytest.mark.parametrize("status", [{"uid": "abcdefgh2345"}, {"uid": None}, None], ids=["other", "none", "no-status"])
def test_a_uid_can_neither_change_nor_go(engine, ref, status):
    engine.settle({ref: {"tier": "free"}})
    with pytest.raises(OSError, match="422"):
        engine.server.merge(f"{RECORDS}/{ref}/status", {"status": status})
