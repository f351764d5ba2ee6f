# SPDX-License-Identifier: GPL-3.0-or-later
"""One run at a time: who gets the lease, who loses it, and what that does to a run."""

from __future__ import annotations

import functools
import threading
import time

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import SafetyStop
from ansible_collections.supalove.platform.plugins.module_utils._engine.settings import Settings
from ansible_collections.supalove.platform.plugins.module_utils._engine.steps import Result
from fix_engine import LEASE, RECORDS, Killed, LosingClient


def test_two_runs_at_once_are_refused(engine, ref):
    thread, reports = begun(engine, f"{ref}-a")
    with pytest.raises(SafetyStop, match="Another run is at work"):
        engine.reconcile({f"{ref}-b": {"tier": "free"}})
    with engine.ready_workloads(f"{ref}-a"):
        thread.join()
    assert reports[0].succeeded, reports
    assert not engine.server.exists(f"{RECORDS}/{ref}-b")


def begun(engine, ref, **settings):
    """A run in the background that holds the lease, renews it every two seconds, and waits."""
    kwargs = {"wait": True, "timeout_seconds": 60.0, "lease_seconds": 6.0, **settings}
    reports = []
    thread = threading.Thread(target=lambda: reports.append(engine.reconcile({ref: {"tier": "free"}}, **kwargs)))
    thread.start()
    until(lambda: any("waiting for 2 workloads" in line for line in engine.lines), engine.lines)
    return thread, reports


def until(is_so, what):
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def is_kept():
    """True while a run in this process renews its lease: that ends when it is found to be another's."""
    return any(thread.name == "lease" for thread in threading.enumerate())


def test_a_lease_stolen_in_the_middle_of_a_run_stops_its_writes_and_keeps_its_report(engine, ref):
    thread, reports = begun(engine, ref)
    assert is_kept()
    engine.server.merge(LEASE, {"spec": {"holderIdentity": "thief"}})
    until(lambda: not is_kept(), "the theft is not seen")
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

    lease = {"holderIdentity": "other", "leaseDurationSeconds": 30, "renewTime": "2020-01-01T00:00:00.000000Z"}
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
    report = engine.reconcile({ref: {"tier": "free"}}, client=functools.partial(LosingClient, path=LEASE))
    assert report.succeeded is True
    assert not any("another run holds the lease" in line for line in engine.lines)


class LosesEveryRenewal(LosingClient):
    """Repeats each write of the lease, as its first answer never comes."""

    def send(self, verb, path, **rest):
        self._losing = LEASE if verb == "PUT" else ""
        return super().send(verb, path, **rest)


def test_renewals_whose_answers_were_lost_keep_the_lease(engine, ref):
    client = functools.partial(LosesEveryRenewal, path=LEASE)
    thread, reports = begun(engine, ref, client=client)
    # Longer than the lease lasts without a renewal.
    time.sleep(7.0)
    with engine.ready_workloads(ref):
        thread.join()
    assert reports[0].succeeded, reports


def test_the_lease_of_a_killed_run_is_waited_for_and_taken(engine, ref):
    projects = {ref: {"tier": "free"}}
    with pytest.raises(Killed):
        engine.reconcile(projects, dies_after=3)
    lease = engine.server.request("GET", LEASE)["spec"]
    assert lease["leaseDurationSeconds"] == Settings().lease_seconds
    engine.shorten_lease()
    began = time.monotonic()
    assert engine.settle(projects).succeeded
    assert time.monotonic() - began > 3.0
    said = f"another run holds the lease: {lease['holderIdentity']}; taking over if it gives no sign of life for 3 s"
    assert said in engine.lines
