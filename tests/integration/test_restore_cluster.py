# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole shared cluster is restored: by a run against a real API server, and in containers as in its pod."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.access import Access
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.catalog import Engine
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.recovery import AtTime, Latest
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.client import Client
from ansible_collections.supalove.platform.plugins.module_utils._engine.cluster_lives import restoring
from ansible_collections.supalove.platform.plugins.module_utils._engine.deadline import Deadline
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import (
    InvalidSpec,
    Unrecoverable,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.prepare import prepare
from ansible_collections.supalove.platform.plugins.module_utils._engine.progress import Lines
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.life import Life
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import LIFE_ANNOTATION
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.parse import parse
from ansible_collections.supalove.platform.plugins.module_utils._engine.restore_cluster import restore_cluster
from ansible_collections.supalove.platform.plugins.module_utils._engine.settings import Settings
from archives import Life as Written
from archives import at
from fix_engine import TIERS, DyingClient, Killed
from standin_archives import MemoryArchives

STORE = {"object_store_endpoint": "https://127.0.0.1:8333"}
CLUSTER = {"cpu": 1, "memory": "1Gi", "storage": "20Gi", "max_databases": 3}
WITH_SHARED = {**TIERS, "small": {"placement": "shared", "storage": "500Mi"}}
HOURS = 20
MOMENT = AtTime(time=at(12.5))


@dataclasses.dataclass(frozen=True)
class Site:
    """A platform with one shared cluster, `name`, and projects `a` and `b` on it."""

    engine: object
    name: str
    archives: MemoryArchives

    @property
    def platform(self):
        return {**STORE, "shared_clusters": {self.name: CLUSTER}}

    @property
    def refs(self):
        return (f"{self.name}-a", f"{self.name}-b")

    @property
    def projects(self):
        return {ref: {"tier": "small"} for ref in self.refs}

    def access(self, client):
        return Access(client=client, databases=self.engine.databases, archives=self.archives)

    def prepare(self, **settings):
        inventory = parse(projects={}, tiers=WITH_SHARED, platform=self.platform)
        with self.engine.client() as client, self.engine.ready_workloads(f"s-{self.name}"):
            return prepare(self.access(client), inventory, settings=Settings(**settings), progress=self.progress)

    def reconcile(self):
        engine = dataclasses.replace(self.engine, archives=self.archives)
        return engine.settle(self.projects, tiers=WITH_SHARED, platform=self.platform)

    def restore(self, target=MOMENT, *, projects=None, dies_after=None, cluster="", **settings):
        inventory = parse(projects=projects or self.projects, tiers=WITH_SHARED, platform=self.platform)
        wanted = Settings(**{"timeout_seconds": 30.0, **settings})
        with (
            self.engine.client(Client if dies_after is None else DyingClient) as client,
            self.engine.ready_workloads(f"s-{self.name}"),
            self.engine.ready_workloads(*self.refs),
        ):
            if isinstance(client, DyingClient):
                client.may_write = dies_after
            return restore_cluster(
                self.access(client),
                inventory,
                cluster=cluster or self.name,
                target=target,
                settings=wanted,
                progress=self.progress,
            )

    @property
    def progress(self):
        return Lines(self.engine.lines.append)

    def get(self, path):
        return self.engine.server.request("GET", path)

    @property
    def life(self):
        meta = self.get(f"/api/v1/namespaces/s-{self.name}")["metadata"]
        return Life.from_text((meta.get("annotations") or {}).get(LIFE_ANNOTATION, ""))

    @property
    def held(self):
        with self.engine.client() as client:
            return restoring(client, self.name, deadline=Deadline(limit_seconds=10))

    @property
    def claims(self):
        found = self.get(f"/api/v1/namespaces/s-{self.name}/persistentvolumeclaims")["items"]
        return {one["metadata"]["name"] for one in found}

    @property
    def pod(self):
        found = self.get(f"/apis/apps/v1/namespaces/s-{self.name}/statefulsets/postgresql")
        return found["spec"]["template"]["spec"]

    @property
    def mounted(self):
        (claim,) = (one["persistentVolumeClaim"] for one in self.pod["volumes"] if "persistentVolumeClaim" in one)
        return claim["claimName"]


def written(name, **rest):
    life = Written(archive=f"s-{name}", engine=Engine.WALG, **rest).segments(range(1, HOURS))
    life.backup(2, 3)
    return life


@pytest.fixture
def site(engine, ref):
    """It serves, and its archive has twenty hours."""
    made = Site(engine=engine, name=ref, archives=MemoryArchives(lives=[written(ref)]))
    assert made.prepare().succeeded
    assert made.reconcile().succeeded
    return made


def test_a_shared_cluster_begins_another_life_and_its_projects_stay(site):
    done = site.restore()
    assert done.report.succeeded, done.report
    assert site.life == done.life
    assert (site.life.number, site.life.archive, site.life.target) == (2, f"s-{site.name}", "time")
    assert site.claims == {"postgresql-data", "postgresql-data-2"}
    assert site.mounted == "postgresql-data-2"
    assert [one["name"] for one in site.pod["initContainers"]] == ["restore", "archiver"]
    assert {one.ref for one in done.report.outcomes} == {site.engine.namespace, *site.refs}
    assert done.came_back == ()
    assert not site.prepare().changed, "the life survives every run"
    assert not site.reconcile().changed


def test_check_mode_says_what_it_would_restore_from_and_writes_nothing(site):
    done = site.restore(check=True)
    assert done.report.changed
    assert (done.plan.archive, done.life.number) == (f"s-{site.name}", 2)
    assert done.report.writes == site.engine.databases.writes, "those of the runs before"
    assert (site.life, site.claims) == (None, {"postgresql-data"})


def test_another_restore_is_another_life_on_another_volume(site):
    site.restore()
    done = site.restore(Latest())
    assert done.report.succeeded, done.report
    assert (site.life.number, site.life.target, site.mounted) == (3, "latest", "postgresql-data-3")
    assert site.claims == {"postgresql-data", "postgresql-data-2", "postgresql-data-3"}


def test_what_cannot_be_reached_is_refused_before_anything_changes(site):
    for target, said in (
        (AtTime(time=at(0.5)), "before"),
        (AtTime(time=datetime.now(UTC) + timedelta(days=1)), "in the future"),
    ):
        with pytest.raises(Unrecoverable, match=said):
            site.restore(target)
    with pytest.raises(InvalidSpec, match="shared clusters of the platform"):
        site.restore(cluster="another")
    assert (site.life, site.claims) == (None, {"postgresql-data"})


def test_a_run_that_is_killed_anywhere_is_gone_on_with_by_the_next_of_the_platform(site):
    killed = set()
    for writes in range(1, 20):
        number = site.life.number if site.life else 1
        try:
            site.restore(dies_after=writes)
        except Killed:
            killed.add(writes)
            site.engine.free_lease()
        else:
            break
        begun = site.life.number if site.life else 1
        assert site.prepare().succeeded
        expected = "postgresql-data" if begun == 1 else f"postgresql-data-{begun}"
        assert (site.mounted, begun in (number, number + 1)) == (expected, True)
    else:
        pytest.fail("it is killed again and again")
    assert killed >= {1, 2, 3, 4}, "before life, configuration, volume and server"


def test_its_archive_is_held_until_the_server_of_the_new_life_is_ready(site):
    with pytest.raises(Killed):
        site.restore(dies_after=4)
    site.engine.free_lease()
    assert (site.life.number, site.mounted) == (2, "postgresql-data"), "killed before the server was changed"
    assert site.held == f"s-{site.name}"
    assert site.prepare().succeeded
    assert site.held == ""


def test_projects_that_have_no_place_are_told_before_anything_changes(site):
    more = {f"{site.name}-{number}": {"tier": "small"} for number in range(CLUSTER["max_databases"])}
    with pytest.raises(InvalidSpec, match="max_databases"):
        site.restore(projects={**site.projects, **more})
    assert site.life is None


def test_a_database_that_was_made_after_the_moment_fails_its_project_alone(site):
    lost, other = site.refs
    uid = site.engine.record(lost)["status"]["uid"]
    for id in [id for id in site.engine.databases.bodies if uid in id.name]:
        del site.engine.databases.bodies[id]
    done = site.restore()
    failed = {one.ref: one.failure for one in done.report.outcomes}
    assert "it was there and is gone, with all its data" in failed[lost].reason
    assert failed[other] is None
    assert not done.report.succeeded


def test_logins_that_are_older_on_the_restored_server_get_their_passwords_of_now(site):
    bodies = site.engine.databases.bodies
    now = dict(bodies)
    for id in [id for id in bodies if id.kind == "DatabaseRole"]:
        bodies[id] = {**bodies[id], "spec": {**bodies[id]["spec"], "verifier": "old"}}
    assert site.restore().report.succeeded
    assert bodies == now


def test_databases_that_no_project_has_there_are_told(site):
    (id,) = (id for id in site.engine.databases.bodies if id.kind == "Database" and owns(site, site.refs[0], id))
    stranger = dataclasses.replace(id, name="p_zzzzzzzzzzzz")
    body = site.engine.databases.bodies[id]
    site.engine.databases.bodies[stranger] = {**body, "metadata": {**body["metadata"], "name": stranger.name}}
    done = site.restore()
    assert (done.came_back, done.report.succeeded) == (("p_zzzzzzzzzzzz",), True)


def owns(site, ref, id):
    return site.engine.record(ref)["status"]["uid"] in id.name


def test_a_project_that_is_not_listed_is_left_alone(site):
    listed, other = site.refs
    done = site.restore(projects={listed: {"tier": "small"}})
    assert {one.ref for one in done.report.outcomes} == {site.engine.namespace, listed}
    assert other in done.report.left_alone
    assert done.came_back == (), "its database is its own"


def test_a_restored_volume_that_is_lost_is_not_filled_again_by_itself(site):
    site.restore()
    claim = f"/api/v1/namespaces/s-{site.name}/persistentvolumeclaims/postgresql-data-2"
    site.engine.server.merge(claim, {"metadata": {"finalizers": None}})
    site.engine.server.request("DELETE", claim)
    failure = site.prepare().outcomes[0].failure
    assert "it was there and is gone, with all its data. Restore the cluster" in failure.reason
    assert site.restore(Latest()).report.succeeded
    assert (site.mounted, "postgresql-data-2" in site.claims) == ("postgresql-data-3", False)
