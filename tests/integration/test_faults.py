# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to the API server fails in the middle of a run."""

from __future__ import annotations

import threading
import time

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.client import Client
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import Denied, EngineError, Unreachable
from ansible_collections.supalove.platform.plugins.module_utils._engine.steps import Result


class Running(threading.Thread):
    """A run in the background and what came of it."""

    def __init__(self, engine, ref, **settings):
        super().__init__()
        self._call = lambda: engine.reconcile({ref: {"tier": "free"}}, **settings)
        self.report = None
        self.error = None
        self.start()

    def run(self):
        try:
            self.report = self._call()
        except EngineError as error:
            self.error = error

    def outcome(self):
        self.join()
        assert self.error is None, self.error
        return self.report.outcomes[0]


def await_line(engine, text):
    end = time.monotonic() + 20
    while not any(text in line for line in engine.lines):
        assert time.monotonic() < end, engine.lines
        time.sleep(0.05)


def test_connections_cut_while_waiting_lose_no_news(proxied, ref):
    engine, proxy = proxied
    running = Running(engine, ref, wait=True)
    await_line(engine, "waiting for 2 workloads")
    time.sleep(1)
    proxy.cut()
    with engine.ready_workloads(ref):
        assert running.outcome().result is Result.CHANGED


def test_a_server_gone_while_waiting_and_back_in_time_is_not_noticed(proxied, ref):
    engine, proxy = proxied
    running = Running(engine, ref, wait=True)
    await_line(engine, "waiting for 2 workloads")
    proxy.stop()
    time.sleep(2)
    proxy.start()
    with engine.ready_workloads(ref):
        assert running.outcome().result is Result.CHANGED


def test_a_server_gone_for_good_leaves_a_report_and_work_for_the_next_run(proxied, ref):
    engine, proxy = proxied
    # The last words of a run are tried for as long as it has the lease.
    running = Running(engine, ref, wait=True, timeout_seconds=10.0, lease_seconds=9.0)
    await_line(engine, "waiting for 2 workloads")
    proxy.stop()
    outcome = running.outcome()
    assert outcome.result is Result.FAILED
    assert len(outcome.steps) == 15
    proxy.start()
    engine.free_lease()
    assert "status" not in engine.record(ref)
    assert engine.settle({ref: {"tier": "free"}}).succeeded


def test_a_server_that_cannot_be_reached_ends_the_run_with_its_address(proxied, ref):
    engine, proxy = proxied
    proxy.stop()
    with pytest.raises(Unreachable, match=r"GET SupaloveProject/supalove-system"):
        engine.reconcile({ref: {"tier": "free"}}, timeout_seconds=2.0)


class WithoutStatus(Client):
    """A client that may not write the status of anything."""

    def send(self, verb, path, **rest):
        if path.endswith("/status"):
            raise Denied(subject=rest["subject"], verb=verb, reason="forbidden", status=403)
        return super().send(verb, path, **rest)


def test_a_mark_that_is_refused_does_not_hide_that_the_record_was_changed(engine, ref):
    engine.settle({ref: {"tier": "free"}})
    report = engine.reconcile({ref: {"tier": "free", "memory": "512Mi"}}, client=WithoutStatus)
    (outcome,) = report.outcomes
    assert outcome.failure.step == "mark"
    assert ([step.id.kind for step in outcome.steps], report.changed) == (["SupaloveProject"], True)
    assert engine.settle({ref: {"tier": "free", "memory": "512Mi"}}).succeeded
