# SPDX-License-Identifier: GPL-3.0-or-later
"""Before a purge destroys a project, what is left of it is made sure of; and databases that restores kept go in time.

API server and kubelet are those of the other tests, in the pods there is the web server of an archiver alone, and the
object store is a stand-in.
"""

from __future__ import annotations

import dataclasses
import socket
import sys
import time
from types import SimpleNamespace

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.kept_databases import let_go
from ansible_collections.supalove.platform.plugins.module_utils._engine.progress import Silent
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.parse import parse
from ansible_collections.supalove.platform.plugins.module_utils._engine.restore_points import make_points
from ansible_collections.supalove.platform.plugins.module_utils._engine.retained import Choice
from ansible_collections.supalove.platform.plugins.module_utils._engine.settings import Settings
from archives import Life
from fix_container import ROOT
from fix_engine import FREE, Killed
from fix_kubelet import NODE
from standin_archives import MemoryArchives
from test_life import CLUSTER, WITH_SHARED, DyingDatabases, namespaces_that_go

STORE = {"object_store_endpoint": "https://127.0.0.1:8333"}
DAY = 24 * 3600.0


@pytest.fixture
def archiver(kubelet, monkeypatch):
    """Every pod's. It notes what it is asked, and dumps at once what it has; `databases` are closed or open."""
    monkeypatch.syspath_prepend(str(ROOT / "images/archiver/root/usr/local/lib/supalove"))
    from archiver import web
    from archiver.state import State
    from archiver.work import Refused

    state, asked, archives = State(), [], MemoryArchives()
    state.note(archive="s-a", incarnation="i", rpo_seconds=60, backup_hours=24, newest_backup_at=time.time())

    def note(path):
        def answer(told):
            asked.append((path, told))
            return 200, "token\n" if path == "/close" else "done\n"

        return answer

    def dump(told):
        asked.append(("/dump", told))
        archives.objects[told["key"].removeprefix("platform/")] = b"PGDMP"
        state.succeeded("dump", f"{told['database']} {told['key']}")
        return 202, "begun\n"

    def point(told):
        if told["name"] == "taken":
            raise Refused(409, "there is a restore point taken already")
        noted = {"incarnation": "i", "made": time.time(), "lsn": "0/7800000", **told}
        state.note(points=[noted, *state.read().points])
        state.succeeded("point", "")
        return 202, "begun\n"

    answers = {path: note(path) for path in ("/close", "/open", "/drop")}
    server = web.serve(state, {**answers, "/dump": dump, "/point": point}, port=0)
    monkeypatch.setattr(kubelet, "connect", lambda _port: socket.create_connection(("127.0.0.1", server.server_port)))
    yield SimpleNamespace(state=state, asked=asked, archives=archives)
    server.shutdown()
    server.server_close()
    for name in [name for name in sys.modules if name.partition(".")[0] == "archiver"]:
        monkeypatch.delitem(sys.modules, name)


@pytest.fixture
def store(engine, archiver):
    """Runs with the object store."""
    return dataclasses.replace(engine, archives=archiver.archives)


def add_pod(engine, namespace):
    request = engine.server.request
    if not engine.server.exists(f"/api/v1/namespaces/{namespace}"):
        request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    one = {"name": "archiver", "image": "none", "restartPolicy": "Always"}
    spec = {"nodeName": NODE, "containers": [{"name": "postgresql", "image": "none"}], "initContainers": [one]}
    request("POST", f"/api/v1/namespaces/{namespace}/pods", {"metadata": {"name": "postgresql-0"}, "spec": spec})


def options(ref):
    # Nobody has made the cluster, and so no login of its archive.
    platform = {**STORE, "object_store_identities": "shared", "shared_clusters": {f"{ref}-one": CLUSTER}}
    return {"tiers": WITH_SHARED, "platform": platform}


def stopped(engine, ref):
    """A project on a cluster of its own test, which was stopped; what a purge of it is told."""
    add_pod(engine, f"s-{ref}-one")
    with engine.ready_workloads(ref):
        engine.reconcile({ref: {"tier": "shared"}}, wait=True, **options(ref))
        engine.reconcile({ref: {"tier": "shared", "state": "absent"}}, wait=True, **options(ref))
    return {**options(ref), "purge": {ref: engine.record(ref)["status"]["uid"]}}


def paths(archiver):
    return [path for path, _told in archiver.asked]


def test_a_shared_database_is_dumped_before_it_is_dropped_and_the_outcome_says_where_it_is(store, ref, archiver):
    told = stopped(store, ref)
    (uid,) = told["purge"].values()
    checked = store.reconcile({}, check=True, **told).outcomes[0]
    kinds = [step.id.kind for step in checked.steps]
    assert (kinds[0], kinds.count("Database")) == ("FinalBackup", 1)
    assert (archiver.asked, archiver.archives.objects) == ([], {})
    with namespaces_that_go(store):
        (outcome,) = store.reconcile({}, **told).outcomes
    assert outcome.failure is None
    assert outcome.final_backup == checked.final_backup
    assert archiver.archives.objects == {outcome.final_backup: b"PGDMP"}
    assert outcome.final_backup.startswith(f"exports/{uid}/final/")
    assert paths(archiver)[:3] == ["/close", "/dump", "/open"]
    assert archiver.asked[1][1]["token"] == "token"
    assert store.databases.bodies == {}


def test_a_run_that_was_killed_between_dump_and_drop_is_finished_without_another_dump(store, ref, archiver):
    store = dataclasses.replace(store, databases=DyingDatabases())
    told = stopped(store, ref)
    store.databases.may_write = 0
    with namespaces_that_go(store):
        with pytest.raises(Killed):
            store.reconcile({}, **told)
        assert len(archiver.archives.objects) == 1
        store.databases.may_write = 10**9
        store.free_lease()
        (outcome,) = store.reconcile({}, **told).outcomes
    assert (outcome.failure, [*archiver.archives.objects]) == (None, [outcome.final_backup])
    assert paths(archiver).count("/dump") == 1
    assert "FinalBackup" not in {step.id.kind for step in outcome.steps}


def test_a_run_that_was_killed_after_the_drop_does_not_ask_for_a_dump_of_nothing(store, ref, archiver):
    store = dataclasses.replace(store, databases=DyingDatabases())
    told = stopped(store, ref)
    store.databases.may_write = 1
    with namespaces_that_go(store):
        with pytest.raises(Killed):
            store.reconcile({}, **told)
        store.databases.may_write = 10**9
        store.free_lease()
        assert store.reconcile({}, **told).succeeded
    assert paths(archiver).count("/dump") == 1


def test_a_project_that_stops_and_is_purged_in_one_run_has_a_final_backup_too(store, ref, archiver):
    add_pod(store, f"s-{ref}-one")
    with store.ready_workloads(ref), namespaces_that_go(store):
        store.reconcile({ref: {"tier": "shared"}}, wait=True, **options(ref))
        told = {**options(ref), "purge": {ref: store.record(ref)["status"]["uid"]}}
        (outcome,) = store.reconcile({ref: {"tier": "shared", "state": "absent"}}, wait=True, **told).outcomes
    assert outcome.failure is None
    assert [*archiver.archives.objects] == [outcome.final_backup]


def test_while_the_store_is_away_nothing_is_destroyed_unless_that_is_said(store, ref, archiver):
    told = stopped(store, ref)
    archiver.archives.is_down = True
    (outcome,) = store.reconcile({}, **told).outcomes
    assert outcome.failure.reason.startswith("the stand-in is down; to purge it without one")
    assert len(store.databases.bodies) == 3
    with namespaces_that_go(store):
        (outcome,) = store.reconcile({}, purge_without_final_backup=frozenset({ref}), **told).outcomes
    assert (outcome.failure, outcome.final_backup, paths(archiver)) == (None, "", ["/drop"])


def test_a_dedicated_project_goes_when_its_archive_is_whole(store, ref, archiver):
    projects = {ref: {"tier": "pro"}}
    told = {"tiers": {"pro": FREE}, "platform": STORE}
    with store.ready_workloads(ref):
        assert store.reconcile(projects, wait=True, **told).succeeded
        assert store.reconcile({ref: {"tier": "pro", "state": "absent"}}, wait=True, **told).succeeded
    uid = store.record(ref)["status"]["uid"]
    life = Life(archive=f"p-{uid}").segments(range(1, 10))
    life.backup(2, 2)
    archiver.archives.lives = [life]
    told = {**told, "purge": {ref: uid}}
    (refused,) = store.reconcile({}, **told).outcomes
    assert "has not noted that all is archived" in refused.failure.reason
    assert store.server.exists(f"/api/v1/namespaces/p-{ref}")
    life.end(9)
    with namespaces_that_go(store):
        (outcome,) = store.reconcile({}, **told).outcomes
    assert (outcome.failure, outcome.final_backup) == (None, f"p-{uid}/{life.id}/")


def test_databases_that_restores_have_kept_go_when_their_days_are_over(store, ref, archiver):
    told = stopped(store, ref)
    (uid,) = told["purge"].values()
    now = time.time()
    kept = [{"name": f"p_{uid}_{stamp}", "bytes": 7, "at": now - days * DAY} for stamp, days in (("a", 6), ("b", 8))]
    archiver.state.note(kept=kept)
    platform = parse(projects={}, tiers={}, platform={**told["platform"], "namespace": store.namespace}).platform

    def run(**settings):
        choice = Choice(clusters=(f"{ref}-one",))
        with store.client() as client:
            return let_go(client, platform, choice=choice, settings=Settings(**settings), progress=Silent())

    assert [(one.name[-1], one.fate) for one in run(check=True).databases] == [("a", "kept"), ("b", "removed")]
    assert archiver.asked == []
    assert [(one.ref, one.fate) for one in run().databases] == [(ref, "kept"), (ref, "removed")]
    assert archiver.asked == [("/drop", {"database": f"p_{uid}_b"})]


def test_one_moment_is_named_for_several_projects_and_a_taken_name_is_told(store, ref, archiver):
    told = stopped(store, ref)
    with store.ready_workloads(ref):
        store.reconcile({ref: {"tier": "shared"}}, wait=True, **options(ref))
    platform = parse(projects={}, tiers={}, platform={**told["platform"], "namespace": store.namespace}).platform

    def name(text, **settings):
        with store.client() as client:
            return make_points(
                client, platform, refs=[ref], name=text, settings=Settings(**settings), progress=Silent()
            ).outcomes[0]

    assert name("before-v2", check=True).point is None
    assert archiver.state.read().points == []
    assert name("before-v2").point.lsn == "0/7800000"
    assert "already" in name("before-v2", check=True).failure.reason
    assert "there is a restore point taken already" in name("taken").failure.reason
