# SPDX-License-Identifier: GPL-3.0-or-later
"""One run at a time: who gets the lease, who loses it, and what that does to a run."""

from __future__ import annotations

import functools
import threading
import time

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import SafetyStop
from ansible_collections.supalove.platform.plugins.module_utils._engine.steps import Result
from fix_engine import LEASE, RECORDS, Killed, LosingClient


def test_two_runs_at_once_are_refused(engine, ref):
    first = threading.Thread(
        target=engine.reconcile, args=({f"{ref}-a": {"tier": "free"}},), kwargs={"wait": True, "timeout_seconds": 8.0}
    )
    first.start()
    end = time.monotonic() + 20
    while not engine.server.exists(LEASE) or not engine.server.request("GET", LEASE)["spec"].get("holderIdentity"):
        assert time.monotonic() < end, "nobody holds the lease"
        time.sleep(0.1)
    with pytest.raises(SafetyStop, match="Another run is at work"):
        engine.reconcile({f"{ref}-b": {"tier": "free"}})
    first.join()
    assert not engine.server.exists(f"{RECORDS}/{ref}-b")


def begun(engine, ref, **settings):
    """A run in the background that holds the lease and waits."""
    kwargs = {"wait": True, "timeout_seconds": 12.0, **settings}
    reports = []
    thread = threading.Thread(target=lambda: reports.append(engine.reconcile({ref: {"tier": "free"}}, **kwargs)))
    thread.start()
    end = time.monotonic() + 20
    while not any("waiting for 2 workloads" in line for line in engine.lines):
        assert time.monotonic() < end, engine.lines
        time.sleep(0.05)
    return thread, reports


def test_a_lease_stolen_in_the_middle_of_a_run_stops_its_writes_and_keeps_its_report(engine, ref):
    thread, reports = begun(engine, ref)
    engine.server.merge(LEASE, {"spec": {"holderIdentity": "thief"}})
    time.sleep(1.5)
    with engine.ready_workloads(ref):
        thread.join()
    (outcome,) = reports[0].outcomes
    assert (outcome.result, len(outcome.steps)) == (Result.FAILED, 15)
    assert "was lost: it is held by thief" in outcome.failure.reason
    assert "status" not in engine.record(ref)
    assert engine.server.request("GET", LEASE)["spec"]["holderIdentity"] == "thief"


def test_a_live_run_whose_clock_is_behind_keeps_its_lease(engine, ref):
    """The renewal says long ago, and it moves."""
    stop = threading.Event()

    def renew():
        second = 0
        while not stop.wait(0.5):
            second += 1
            engine.server.merge(LEASE, {"spec": {"renewTime": f"2020-01-01T00:00:{second:02}.000000Z"}})

    lease = {"holderIdentity": "other", "leaseDurationSeconds": 3, "renewTime": "2020-01-01T00:00:00.000000Z"}
    engine.server.merge(LEASE, {"spec": lease})
    thread = threading.Thread(target=renew)
    thread.start()
    try:
        with pytest.raises(SafetyStop, match="Another run is at work on this platform: other"):
            engine.reconcile({ref: {"tier": "free"}})
    finally:
        stop.set()
        thread.join()
    assert not engine.server.exists(f"{RECORDS}/{ref}")


def test_a_claim_whose_answer_was_lost_is_not_waited_for(engine, ref):
    began = time.monotonic()
    report = engine.reconcile({ref: {"tier": "free"}}, client=functools.partial(LosingClient, path=LEASE))
    assert report.succeeded is True
    assert time.monotonic() - began < 3.0


class LosesEveryRenewal(LosingClient):
    """Repeats each write of the lease, as its first answer never comes."""

    def send(self, verb, path, **rest):
        self._losing = LEASE if verb == "PUT" else ""
        return super().send(verb, path, **rest)


def test_renewals_whose_answers_were_lost_keep_the_lease(engine, ref):
    client = functools.partial(LosesEveryRenewal, path=LEASE)
    thread, reports = begun(engine, ref, client=client)
    # Longer than the lease lasts without a renewal.
    time.sleep(4.0)
    with engine.ready_workloads(ref):
        thread.join()
    assert reports[0].succeeded, reports


def test_the_lease_of_a_killed_run_is_waited_for_and_taken(engine, ref):
    projects = {ref: {"tier": "free"}}
    with pytest.raises(Killed):
        engine.reconcile(projects, dies_after=3)
    began = time.monotonic()
    assert engine.settle(projects).succeeded
    assert 2.0 < time.monotonic() - began < 15.0
    assert any("another run holds the lease" in line for line in engine.lines)
