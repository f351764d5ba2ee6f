# SPDX-License-Identifier: GPL-3.0-or-later
"""A shared cluster goes away and comes back: a real PostgreSQL, stopped with half of the projects on it."""

from __future__ import annotations

import dataclasses

import fix_postgresql
import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.secrets import read_secret
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.postgresql.client import Session
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.postgresql.clusters import Clusters
from ansible_collections.supalove.platform.plugins.module_utils._engine.credentials import Secret
from ansible_collections.supalove.platform.plugins.module_utils._engine.steps import Result
from fix_fifty import CLUSTER, WITH_SHARED
from fix_postgresql import Shared, Tenant
from standin_databases import MemoryDatabases

REAL = fix_postgresql.CLUSTER.name


@dataclasses.dataclass
class Mixed:
    """The real cluster under its name, a stand-in for any other."""

    real: Clusters
    others: MemoryDatabases

    @property
    def reads(self):
        return self.real.reads + self.others.reads

    @property
    def writes(self):
        return self.real.writes + self.others.writes

    def observe(self, clusters, *, deadline):
        names = list(clusters)
        real, others = ([name for name in names if (name == REAL) is is_real] for is_real in (True, False))
        return {**self.real.observe(real, deadline=deadline), **self.others.observe(others, deadline=deadline)}

    def apply(self, step, *, deadline):
        return (self.real if step.id.namespace == REAL else self.others).apply(step, deadline=deadline)


@dataclasses.dataclass(frozen=True)
class Halves:
    """Projects by letter, every other one on the real cluster."""

    engine: object
    shared: Shared
    ref: str
    others: MemoryDatabases = dataclasses.field(default_factory=MemoryDatabases)

    def run(self, letters, session=Session):
        projects = {f"{self.ref}{letter}": {"tier": "shared"} for letter in letters}
        platform = {"shared_clusters": {REAL: CLUSTER, f"{self.ref}-two": CLUSTER}}
        with self.engine.client() as client:

            def read_key(key, deadline):
                return read_secret(client, key, deadline=deadline)

            with Clusters(lambda _name, _deadline: self.shared.session(session), read_key) as real:
                engine = dataclasses.replace(self.engine, databases=Mixed(real=real, others=self.others))
                with engine.ready_workloads(*projects):
                    report = engine.reconcile(projects, tiers=WITH_SHARED, platform=platform, wait=True)
        return {one.ref.removeprefix(self.ref): one for one in report.outcomes}

    def assert_all_get_in(self, letters):
        for letter in letters:
            ref = f"{self.ref}{letter}"
            password = Secret(self.engine.secret(ref)["server.password"])
            uid = self.engine.record(ref)["status"]["uid"]
            Tenant(shared=self.shared, uid=uid, passwords={"owner": password}).connect().close()


@pytest.fixture
def halves(own_engine, shared, ref):
    yield Halves(engine=own_engine, shared=shared, ref=ref)
    start(shared)


def stop(shared):
    shared.server.stop()


def start(shared):
    shared.server.start()


def results(outcomes):
    return {letter: one.result for letter, one in outcomes.items()}


def test_a_stopped_cluster_fails_its_own_half_and_the_run_after_its_return_heals(halves):
    assert set(results(halves.run("abcd")).values()) == {Result.CHANGED}
    stop(halves.shared)
    down = halves.run("abcdef")
    assert {letter for letter, result in results(down).items() if result is Result.FAILED} == set("ace")
    assert {down[letter].failure.object for letter in "ace"} == {f"PostgreSQL/{REAL}"}
    assert (down["b"].result, down["f"].result) == (Result.UNCHANGED, Result.CHANGED)
    start(halves.shared)
    healed = halves.run("abcdef")
    changed = {letter for letter, result in results(healed).items() if result is Result.CHANGED}
    assert (changed, set(results(healed).values())) == ({"e"}, {Result.CHANGED, Result.UNCHANGED})
    halves.assert_all_get_in("ace")
    assert set(results(halves.run("abcdef")).values()) == {Result.UNCHANGED}


def test_a_cluster_that_stops_in_the_middle_of_a_run_is_finished_by_the_next(halves):
    class Stopping(Session):
        left = 20

        def change(self, *arguments, **rest):
            Stopping.left -= 1
            if Stopping.left == 0:
                stop(halves.shared)
            super().change(*arguments, **rest)

    amid = halves.run("abcdef", Stopping)
    assert {amid[letter].result for letter in "bdf"} == {Result.CHANGED}
    failed = [amid[letter].failure for letter in "ace" if amid[letter].result is Result.FAILED]
    assert len(failed) >= 2
    assert all(f"/{REAL}/" in one.object and one.reason for one in failed)
    start(halves.shared)
    assert set(results(halves.run("abcdef")).values()) <= {Result.CHANGED, Result.UNCHANGED}
    halves.assert_all_get_in("ace")
    assert set(results(halves.run("abcdef")).values()) == {Result.UNCHANGED}
