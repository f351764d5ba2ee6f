# SPDX-License-Identifier: GPL-3.0-or-later
"""A shared cluster with its archiver beside it goes back to a moment: each of its databases to exactly that one."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine import lives
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.recovery import AtTime, plan_recovery
from ansible_collections.supalove.platform.plugins.module_utils._engine.archives import archive_of_cluster
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.postgresql.client import Target
from ansible_collections.supalove.platform.plugins.module_utils._engine.credentials import (
    SALT_BYTES,
    Secret,
    generate_password,
    scram_verifier,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.life import Life
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Archiving
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import new_uid
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.parse import parse
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.cluster import render_cluster
from fix_archive import FIRST_IN_CI, START_SECONDS, Archived, inherit, restoring, start, write
from fix_container import podman
from fix_object_store import ObjectStore
from fix_ports import free_port
from fix_postgresql import CLUSTER, Server, Shared, Tenant

# Before the platform's rules: there is no network, and passwords are to be asked for.
RULES = "local postgres supalove scram-sha-256\nlocal all /^p_ scram-sha-256\n"


class Cluster(Archived):
    """The pair of a shared cluster. `secret`: what the engine knows of its Secret."""

    secret: dict[str, str]

    @property
    def database(self) -> str:
        return "postgres"

    @property
    def archive(self) -> str:
        return archive_of_cluster(CLUSTER.name)

    def shared(self, verifiers: Shared | None = None) -> Shared:
        """The way of the engine. `verifiers`: tenants' Secrets outlive a restore."""
        server = Server(id=self.server, directory=self.directory, secret=self.secret)
        return BySocket(server=server, proxy=cast("Any", None), secrets=verifiers.secrets if verifiers else {})

    def rows(self, tenant: Tenant) -> list[int]:
        return [int(one) for one in self.sql("SELECT id FROM rows ORDER BY id", tenant.database).splitlines()]


@dataclasses.dataclass(frozen=True)
class BySocket(Shared):
    """As the engine comes by a port-forward, through the pod's socket."""

    def target(self) -> Target:
        password = Secret(self.server.secret["admin.password"])
        return Target(cluster=CLUSTER.name, host=str(self.server.directory / "run"), port=5432, password=password)


def as_user(cluster: Cluster, tenant: Tenant) -> psycopg.Connection[Any]:
    """The tenant's own user, with the password that its Secret has now."""
    return psycopg.connect(
        host=str(cluster.directory / "run"),
        user=tenant.owner,
        password=tenant.passwords["owner"].reveal(),
        dbname=tenant.database,
        autocommit=True,
    )


@contextlib.contextmanager
def running(
    store: ObjectStore, engine: str, *, life: Life | None = None, before: Cluster | None = None
) -> Iterator[Cluster]:
    """The pair from nothing, or in a `life` that begins with a restore of the one `before` it."""
    platform = {
        "object_store_endpoint": store.address,
        "object_store_bucket": store.bucket,
        "object_store_ca": store.ca_file.read_text(),
    }
    declared = dataclasses.replace(CLUSTER, archiving=Archiving(archive_engine=engine, rpo_seconds=10))
    objects = render_cluster(declared, parse(projects={}, tiers={}, platform=platform).platform, "uid", life)
    with contextlib.ExitStack() as stack:
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="supalove-test-", dir=memory)))
        directory.chmod(0o711)
        made = Cluster(directory=directory, uid=new_uid(), store=store, port=free_port(), stack=stack)
        made.secret = write(made, objects, first_rule=RULES)
        if before is not None:
            inherit(made, before)
            made.secret = before.secret
        made.make_identity()
        if life is not None:
            first = restoring(made)
            assert podman("wait", first) == "0", podman("logs", first)
        start(made)
        made.await_(made.is_up, "PostgreSQL did not get ready", START_SECONDS)
        yield made


def life_at(cluster: Cluster, moment: str) -> Life:
    """As the engine plans it."""
    target, catalogs = AtTime(time=datetime.fromisoformat(moment)), cluster.catalogs()
    return lives.life_of(None, catalogs, plan_recovery(catalogs, target, now=datetime.now(UTC)), target)


def new_login(tenant: Tenant) -> Tenant:
    """Its Secret was made anew, with other passwords."""
    renewed = dataclasses.replace(tenant, passwords={key: generate_password() for key in tenant.passwords})
    for key, password in renewed.passwords.items():
        verifier = scram_verifier(password, salt=secrets.token_bytes(SALT_BYTES))
        tenant.shared.secrets[tenant.secret_key(key)] = Secret(verifier)
    return renewed


@pytest.mark.parametrize("engine", FIRST_IN_CI)
def test_every_database_of_a_shared_cluster_has_what_was_committed_in_it_by_the_moment(
    object_store: ObjectStore, engine: str
) -> None:
    with running(object_store, engine) as before:
        shared = before.shared()
        first, second, going, late = (shared.tenant() for _ in range(4))
        for tenant in (first, second, going):
            shared.bring(tenant.desired())
            with as_user(before, tenant) as session:
                session.execute("CREATE TABLE rows (id int PRIMARY KEY)")
        before.await_(lambda: before.status()["backup"]["done"] == 1, "no base backup was made")

        for number in range(1, 21):
            with as_user(before, (first, second)[number % 2]) as session:
                session.execute("INSERT INTO rows VALUES (%s)", [number])
        moment = before.sql("SELECT clock_timestamp()")
        for number in range(21, 31):
            with as_user(before, (first, second)[number % 2]) as session:
                session.execute("INSERT INTO rows VALUES (%s)", [number])
        shared.remove(going.desired())
        shared.bring(late.desired())
        first = new_login(first)
        shared.bring(first.desired(made="b"))
        before.stop()

        life = life_at(before, moment)
        old = set(object_store.keys(f"{before.prefix}/"))
        with running(object_store, engine, life=life, before=before) as after:
            assert after.rows(first) == [number for number in range(1, 21) if number % 2 == 0]
            assert after.rows(second) == [number for number in range(1, 21) if number % 2 == 1]
            there = set(after.sql("SELECT datname FROM pg_database WHERE datname ~ '^p_'").splitlines())
            assert there == {first.database, second.database, going.database}, "neither more nor less than then"

            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                as_user(after, first)
            now = after.shared(shared)
            assert {step.id.name for step in now.bring(first.desired(made="b"))} == {first.owner, first.probe}
            assert now.bring(second.desired()) == []
            for tenant in (first, second):
                with as_user(after, tenant) as session:
                    session.execute("INSERT INTO rows VALUES (100)")
            assert after.incarnation != before.incarnation
            after.await_(lambda: after.status()["backup"]["done"] == 1, "no base backup of the new life was made")
        assert {key for key in object_store.keys(f"{before.prefix}/") if key not in old} == set()
