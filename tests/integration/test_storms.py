# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults that meet many projects at once: the server restarts, throttles, hangs up; a shared cluster goes away."""

from __future__ import annotations

import datetime
import itertools
import threading
import time
from collections import Counter

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.settings import Drift
from ansible_collections.supalove.platform.plugins.module_utils._engine.steps import Result
from fix_fifty import a_platform_of_fifty
from standin_files import FileDatabases

FLOW = "/apis/flowcontrol.apiserver.k8s.io/v1"


class Background(threading.Thread):
    """What a call returns that is made beside the test."""

    def __init__(self, call):
        super().__init__(name="background")
        self._call = call
        self._answer = None
        self.start()

    def run(self):
        self._answer = self._call()

    def answer(self):
        self.join()
        assert self._answer is not None, "it ended with an exception"
        return self._answer


def until(is_so, what):
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def assert_same(fifty, undisturbed):
    state = fifty.state()
    assert state.keys() == undisturbed.state.keys()
    assert {name: one for name, one in state.items() if one != undisturbed.state[name]} == {}
    fifty.assert_certain()


def test_a_server_that_restarts_in_the_middle_of_a_run_costs_one_more_run_at_most(prepared, undisturbed, tmp_path):
    fifty = a_platform_of_fifty(prepared, "restarted", tmp_path / "databases")
    server = fifty.engine.server
    run = Background(lambda: fifty.reconcile(lease_seconds=30.0))
    until(lambda: server.exists("/api/v1/namespaces/p-restarted-s1"), "the run does not begin")
    server.program.stop(how=15)
    server.start()
    report = run.answer()
    # Of failures only that nobody answered for too long; not what a server says that does not know its rules yet.
    assert {one.failure.status for one in report.outcomes if one.failure} <= {None}, report
    assert fifty.reconcile().succeeded
    assert_same(fifty, undisturbed)


class Falling(FileDatabases):
    """Of two clusters the first one goes away after some writes to it."""

    left = 20

    def apply(self, step, *, deadline):
        if step.id.namespace.endswith("-one"):
            self.left -= 1
            if self.left < 0:
                self.down.add(step.id.namespace)
        return super().apply(step, deadline=deadline)


def test_a_cluster_that_goes_away_in_the_middle_of_a_run_fails_its_own_projects_and_the_next_run_heals(
    prepared, undisturbed, tmp_path
):
    fifty = a_platform_of_fifty(prepared, "fallen", tmp_path / "databases")
    report = fifty.reconcile(databases=Falling(fifty.directory))
    failed = [one for one in report.outcomes if one.result is Result.FAILED]
    assert 20 - 7 <= len(failed) <= 20
    assert {one.failure.reason for one in failed} == {"the stand-in is down"}
    assert all("/fallen-one/" in one.failure.object for one in failed)
    assert Counter(one.result for one in report.outcomes)[Result.CHANGED] == 50 - len(failed)
    assert fifty.reconcile().succeeded
    assert_same(fifty, undisturbed)


def test_connections_that_are_cut_again_and_again_cost_one_more_run_at_most(proxied, ref):
    engine, proxy = proxied
    projects = {f"{ref}-{number}": {"tier": "free"} for number in range(12)}
    with engine.ready_workloads(*projects):
        run = Background(lambda: engine.reconcile(projects, wait=True, lease_seconds=5.0, timeout_seconds=60.0))
        for _cut in range(12):
            time.sleep(0.25)
            proxy.cut()
        report = run.answer()
        assert len(report.outcomes) == len(projects)
        assert engine.reconcile(projects, wait=True).succeeded
    check = engine.reconcile(projects, check=True, drift=Drift.FULL)
    assert (check.succeeded, check.changed) == (True, False)


@pytest.fixture
def throttled(engine):
    """The engine's identity alone at a server that works on three of its requests at once and refuses what is more."""
    server, name = engine.server, "few"
    level = {"nominalConcurrencyShares": 1, "lendablePercent": 0, "borrowingLimitPercent": 0}
    spec = {"type": "Limited", "limited": {**level, "limitResponse": {"type": "Reject"}}}
    account = {"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": "engine"}}
    all_of_it = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
    schema = {
        "priorityLevelConfiguration": {"name": name},
        "matchingPrecedence": 50,
        "rules": [{"subjects": [account], "resourceRules": [all_of_it]}],
    }
    made = server.request("POST", f"{FLOW}/prioritylevelconfigurations", {"metadata": {"name": name}, "spec": spec})
    server.request("POST", f"{FLOW}/flowschemas", {"metadata": {"name": name}, "spec": schema})
    path, uid = "/api/v1/namespaces?limit=1", made["metadata"]["uid"]
    until(lambda: server.status_of(path)[1] == uid, "the throttle has no effect")
    yield engine
    server.request("DELETE", f"{FLOW}/flowschemas/{name}")
    server.request("DELETE", f"{FLOW}/prioritylevelconfigurations/{name}")
    until(lambda: server.status_of(path)[1] != uid, "the throttle is not lifted")


def test_a_server_that_throttles_gets_the_time_it_asks_for_and_answers_every_request_in_the_end(throttled, ref):
    """It asks for one second, and for more the longer it has to refuse."""
    engine, projects = throttled, {f"{ref}-{number}": {"tier": "free"} for number in range(4)}
    with engine.server.audited() as events:
        report = engine.reconcile(projects, timeout_seconds=120.0, lease_seconds=30.0)
    assert report.succeeded, report
    sent = [event for event in events if event["userAgent"].startswith("supalove")]
    assert len(sent) == report.reads + report.writes
    assert Counter(event["responseStatus"]["code"] for event in sent)[429] > 0
    for tries in grouped(sent).values():
        assert tries[-1][1] != 429
        assert all(later - sooner >= 1.0 for (sooner, code), (later, _code) in itertools.pairwise(tries) if code == 429)


def grouped(events):
    """When each request was tried, in seconds, and how it was answered."""
    found = {}
    for event in sorted(events, key=lambda one: one["requestReceivedTimestamp"]):
        at = datetime.datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp()
        found.setdefault((event["verb"], event["requestURI"]), []).append((at, event["responseStatus"]["code"]))
    return found
