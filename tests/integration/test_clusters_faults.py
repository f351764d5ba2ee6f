# SPDX-License-Identifier: GPL-3.0-or-later
"""A shared cluster, or the way to it, fails in the middle of a run."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.postgresql import statements
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.postgresql.client import Session
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.postgresql.clusters import (
    LOCK_KEY,
    Clusters,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.postgresql.plan import plan_databases
from ansible_collections.supalove.platform.plugins.module_utils._engine.credentials import Secret
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import (
    DeadlineExceeded,
    Denied,
    ServerFailed,
    Throttled,
    Unreachable,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.observed import Observed
from fix_postgresql import connect, deadline


def apply_all(clusters, desired, observed):
    return [clusters.apply(step, deadline=deadline()).changed for step in plan_databases(desired, observed).steps]


def test_a_connection_cut_between_two_steps_is_made_again(shared):
    tenant = shared.tenant()
    with shared.clusters() as clusters:
        first, *rest = plan_databases(tenant.desired(), shared.observed()).steps
        clusters.apply(first, deadline=deadline())
        shared.proxy.cut()
        for step in rest:
            assert clusters.apply(step, deadline=deadline()).changed
    assert not plan_databases(tenant.desired(), shared.observed()).steps


@pytest.mark.parametrize("after", [0, 2, 4, 9, 10, 13])
def test_a_connection_cut_within_a_step_loses_nothing(shared, after):
    """The server may have done the statement whose answer was lost."""
    cuts = [after]

    class Cut(Session):
        def change(self, *arguments, **rest):
            super().change(*arguments, **rest)
            cuts[0] -= 1
            if cuts[0] == -1:
                shared.proxy.cut()
                raise Unreachable(subject="it", verb="READ", reason="the answer was lost")

    tenant = shared.tenant()
    with shared.clusters(Cut) as clusters:
        apply_all(clusters, tenant.desired(), shared.observed())
    assert not plan_databases(tenant.desired(), shared.observed()).steps


def test_a_server_that_recovers_from_a_crash_in_the_middle_is_waited_for_by_the_next_run(shared):
    tenant = shared.tenant()
    with shared.clusters() as clusters:
        first, second, *_rest = plan_databases(tenant.desired(), shared.observed()).steps
        clusters.apply(first, deadline=deadline())
        shared.server.kill_a_process()
        # Either the new session falls into the recovery, or it comes after it.
        with contextlib.suppress(Unreachable):
            clusters.apply(second, deadline=deadline())
        shared.server.await_ready()
        apply_all(clusters, tenant.desired(), shared.observed())
    assert not plan_databases(tenant.desired(), shared.observed()).steps
    tenant.connect().close()


def test_a_broken_cluster_is_an_answer_of_its_own_and_the_others_are_read(shared):
    @contextlib.contextmanager
    def open_some(name, _deadline):
        if name == "broken":
            raise Unreachable(subject="PostgreSQL/broken", verb="CONNECT", reason="nobody is there")
        with shared.session() as session:
            yield session

    with Clusters(open_some, lambda _key, _deadline: Secret("")) as clusters:
        found = clusters.observe(["broken", "main"], deadline=deadline())
    assert isinstance(found["broken"], Unreachable)
    assert isinstance(found["main"], Observed)


def test_a_server_that_is_gone_is_unreachable_with_its_address(shared):
    shared.proxy.stop()
    with shared.clusters() as clusters:
        error = clusters.observe(["main"], deadline=deadline())["main"]
    assert isinstance(error, Unreachable)
    assert "127.0.0.1" in str(error)


def test_a_wrong_password_is_denied_and_not_shown(shared):
    target = shared.target()
    wrong = Secret("wrong-password")
    with pytest.raises(Denied, match=r"password authentication failed.*SQLSTATE 28P01") as caught:
        log_in(target, wrong)
    assert "wrong-password" not in f"{caught.value!r} {caught.value.__cause__!r}"


def log_in(target, password):
    changed = type(target)(cluster=target.cluster, host=target.host, port=target.port, password=password)
    with connect(changed, deadline=deadline()):
        pass


def test_a_server_that_has_become_read_only_changes_nothing_and_says_so(shared):
    tenant = shared.tenant()
    shared.server.sql("ALTER ROLE supalove SET default_transaction_read_only = on")
    try:
        with pytest.raises(ServerFailed, match=r"read-only transaction.*SQLSTATE 25006"):
            shared.bring(tenant.desired())
    finally:
        shared.server.sql("ALTER ROLE supalove RESET default_transaction_read_only")
    assert len(shared.bring(tenant.desired())) == 3


def test_the_admins_own_limit_of_connections_asks_for_patience(shared):
    with contextlib.ExitStack() as stack, pytest.raises(Throttled) as caught:
        open_many(shared, stack)
    assert caught.value.status == "53300"


def open_many(shared, stack):
    for _number in range(20):
        stack.enter_context(shared.session())


def test_a_silent_server_is_left_at_the_deadline(shared):
    with shared.session() as session:
        answered = time.monotonic() + 50
        with pytest.raises(DeadlineExceeded):
            session.query("SELECT pg_catalog.pg_sleep(50)", subject="it", deadline=deadline(0.5))
        assert time.monotonic() < answered, "it was waited for"
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("deadline")]


def test_what_a_killed_run_still_does_in_the_server_is_waited_for(shared):
    """Its backend holds the lock as long as it works, and dies with its statement."""
    tenant = shared.tenant()
    with shared.session() as old, shared.clusters() as clusters:
        old.query(statements.LOCK, {"key": LOCK_KEY}, subject="it", deadline=deadline())
        (step, *_rest) = plan_databases(tenant.desired(), shared.observed()).steps
        lane = threading.Thread(target=clusters.apply, args=(step,), kwargs={"deadline": deadline()})
        lane.start()
        await_waiting(shared)
        assert step.id not in shared.observed().objects
        old._connection.close()
        lane.join()
    assert step.id in shared.observed().objects


def await_waiting(shared):
    limit = deadline(10)
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    while shared.server.sql(waiting) != "1":
        limit.require("the second run's lock")


def test_a_database_that_was_half_dropped_is_refused_and_can_be_removed(shared):
    tenant = shared.tenant()
    shared.bring(tenant.desired())
    shared.server.sql(f"UPDATE pg_database SET datconnlimit = -2 WHERE datname = '{tenant.database}'")
    (step,) = plan_databases(tenant.desired(), shared.observed()).steps
    assert str(step).startswith(f"refuse Database/main/{tenant.database}: dropping it was interrupted")
    assert len(shared.remove(tenant.desired())) == 3


def test_a_role_that_owns_something_elsewhere_is_not_dropped_and_the_reason_is_the_servers(shared):
    tenant, other = shared.tenant(), shared.tenant()
    for one in (tenant, other):
        shared.bring(one.desired())
    shared.server.sql(f"CREATE SCHEMA astray AUTHORIZATION {tenant.owner}", other.database)
    with pytest.raises(Exception, match=r"cannot be dropped because some objects depend on it.*SQLSTATE 2BP01"):
        shared.remove(tenant.desired())
    shared.server.sql("DROP SCHEMA astray", other.database)
    assert len(shared.remove(tenant.desired())) == 2


def test_the_reaper_comes_back_after_the_server_did(shared):
    shared.server.stop()
    shared.server.start()
    limit = deadline(15)
    reaper = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'supalove-reaper'"
    while shared.server.sql(reaper) != "1":
        limit.require("the reaper")


def test_the_admins_secret_made_anew_works_after_the_restart_that_it_causes(shared):
    """The pod's template carries the Secret's uid, so a new Secret is a new pod."""
    shared.server.sql("ALTER ROLE supalove PASSWORD 'lost'")
    try:
        with pytest.raises(Denied):
            shared.observed()
    finally:
        shared.server.stop()
        shared.server.start()
    assert shared.observed() is not None


def test_nothing_of_a_session_is_taken_from_the_environment(shared, monkeypatch, tmp_path):
    monkeypatch.setenv("PGOPTIONS", "-c search_path=evil")
    monkeypatch.setenv("PGSSLMODE", "require")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "none"))
    monkeypatch.setenv("PGTARGETSESSIONATTRS", "standby")
    with shared.session() as session:
        rows = session.query("SHOW search_path", subject="it", deadline=deadline())
    assert rows == [("pg_catalog",)]
