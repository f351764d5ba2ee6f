# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract of the PostgreSQL backend, on a real cluster."""

from __future__ import annotations

import threading

import psycopg
import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.postgresql import statements
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.postgresql.client import Session
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.postgresql.plan import (
    plan_databases,
    plan_removal,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.credentials import generate_password
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import NotFound, Rejected
from fix_engine import Killed
from fix_postgresql import CLUSTER, deadline
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def dying_after(statements):
    """Sessions of a process that is killed when it would send one changing statement more than it may."""

    class Dying(Session):
        left = statements

        def change(self, *arguments, **rest):
            if Dying.left <= 0:
                raise Killed
            Dying.left -= 1
            super().change(*arguments, **rest)

    return Dying


def plan_of(shared, desired):
    return plan_databases(desired, shared.observed())


def test_a_new_project_gets_its_roles_and_its_database_and_its_user_gets_in(shared):
    tenant = shared.tenant()
    steps = shared.bring(tenant.desired())
    assert [str(step) for step in steps] == [
        f"create DatabaseRole/main/{tenant.owner}: it does not exist",
        f"create DatabaseRole/main/{tenant.probe}: it does not exist",
        f"create Database/main/{tenant.database}: it does not exist",
    ]
    with tenant.connect() as connection:
        connection.execute("CREATE TABLE notes (id int); INSERT INTO notes VALUES (1)")
        assert connection.execute("SELECT current_user, count(*) FROM notes").fetchone() == (tenant.owner, 1)


def test_an_unchanged_project_costs_no_statement(shared):
    tenant = shared.tenant()
    shared.bring(tenant.desired())
    with shared.clusters() as clusters:
        found = clusters.observe(["main"], deadline=deadline())["main"]
        assert plan_databases(tenant.desired(), found).unchanged == 3
        assert (clusters.reads, clusters.writes) == (1, 0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("ALTER ROLE {owner} CONNECTION LIMIT 99", "spec.connectionLimit is 99, wanted is 4"),
        ("ALTER ROLE {owner} NOLOGIN", "spec.login is False, wanted is True"),
        ("ALTER ROLE {owner} SUPERUSER CREATEDB", "spec.attributes is superuser, createdb, wanted is none"),
        (
            "ALTER ROLE {owner} CREATEROLE REPLICATION BYPASSRLS NOINHERIT",
            "spec.attributes is createrole, replication, bypassrls, noinherit",
        ),
        ("ALTER ROLE {owner} VALID UNTIL '2020-01-01'", "spec.attributes is expires, wanted is none"),
        ("ALTER ROLE {owner} PASSWORD 'x'", "its password is not the one of Secret/p-{uid}/credentials owner.verifier"),
        (
            "ALTER ROLE {owner} PASSWORD NULL",
            "its password is not the one of Secret/p-{uid}/credentials owner.verifier",
        ),
        ("GRANT pg_read_all_data TO {owner}", "spec.memberOf is pg_read_all_data with set option, supalove_tenant"),
        (
            "GRANT supalove_tenant TO {owner} WITH ADMIN OPTION",
            "spec.memberOf differs",
        ),
        ("REVOKE supalove_tenant FROM {owner} GRANTED BY supalove", "spec.memberOf is none, wanted is supalove_tenant"),
        ("REVOKE {owner} FROM supalove", "spec.attributes is foreign, wanted is none"),
        ("ALTER DATABASE {database} CONNECTION LIMIT 99", "spec.connectionLimit is 99, wanted is 6"),
        ("ALTER DATABASE {database} ALLOW_CONNECTIONS false", "spec.allowConnections is False, wanted is True"),
        (
            "ALTER DATABASE {database} OWNER TO {owner}",
            "spec.owner is {owner}, wanted is supalove, spec.grants.{owner} is unset",
        ),
        ("ALTER DATABASE {database} IS_TEMPLATE true", "spec.template is True, wanted is False"),
        ("GRANT CONNECT ON DATABASE {database} TO PUBLIC", "spec.grants.PUBLIC is CONNECT, wanted is unset"),
        (
            "GRANT ALL ON DATABASE {database} TO {probe} WITH GRANT OPTION",
            "spec.grants.{probe} differs",
        ),
        (
            "REVOKE CREATE ON DATABASE {database} FROM {owner}",
            "spec.grants.{owner} is CONNECT, TEMPORARY, wanted is CONNECT, CREATE, TEMPORARY",
        ),
    ],
)
def test_what_somebody_changed_is_found_named_and_set_right(shared, change, reason):
    tenant = shared.tenant()
    shared.bring(tenant.desired())
    words = {"owner": tenant.owner, "probe": tenant.probe, "database": tenant.database, "uid": tenant.uid}
    shared.server.sql(change.format(**words))
    (step,) = shared.bring(tenant.desired())
    assert reason.format(**words) in step.reason
    assert plan_of(shared, tenant.desired()).steps == ()
    tenant.connect().close()


def test_what_others_made_is_adopted_and_its_data_kept(shared):
    """As after a restore of the whole cluster, or by an administrator's hand."""
    tenant = shared.tenant()
    shared.server.sql(f"CREATE ROLE {tenant.owner} SUPERUSER LOGIN")
    shared.server.sql(f"CREATE DATABASE {tenant.database} OWNER {tenant.owner} TEMPLATE supalove_template")
    shared.server.sql("CREATE TABLE public.kept AS SELECT 1 AS id", tenant.database)
    shared.bring(tenant.desired())
    assert plan_of(shared, tenant.desired()).steps == ()
    assert shared.server.sql("SELECT id FROM public.kept", tenant.database) == "1"
    assert shared.server.sql(f"SELECT rolsuper FROM pg_roles WHERE rolname = '{tenant.owner}'") == "False"


def test_a_secret_made_anew_under_the_same_name_brings_its_password_in(shared):
    tenant = shared.tenant()
    shared.bring(tenant.desired(made="a"))
    other = shared.tenant()
    shared.secrets[tenant.secret_key("owner")] = shared.secrets[other.secret_key("owner")]
    assert len(shared.bring(tenant.desired(made="b"))) == 2
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        tenant.connect()
    tenant.passwords["owner"] = other.passwords["owner"]
    tenant.connect().close()


def test_a_stopped_project_has_no_sessions_and_comes_back_with_its_data(shared):
    tenant = shared.tenant()
    shared.bring(tenant.desired())
    with tenant.connect() as connection:
        connection.execute("CREATE TABLE kept (id int)")
        shared.bring(tenant.desired(running=False))
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="is not permitted to log in"):
        tenant.connect()
    assert plan_of(shared, tenant.desired(running=False)).steps == ()
    assert len(shared.bring(tenant.desired())) == 3
    with tenant.connect() as connection:
        connection.execute("SELECT FROM kept")


def test_a_session_that_outlived_a_killed_stop_is_ended_by_the_next_run(shared):
    tenant = shared.tenant()
    shared.bring(tenant.desired())
    with tenant.connect() as connection:
        with pytest.raises(Killed):
            # Two logins and the door; the sessions are still there.
            shared.bring(tenant.desired(running=False), dying_after(3))
        connection.execute("SELECT 1")
        (step,) = plan_of(shared, tenant.desired(running=False)).steps
        assert step.reason == "spec.sessions is 1, wanted is 0"
        shared.bring(tenant.desired(running=False))
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


def test_a_removed_project_leaves_nothing_even_with_its_user_inside(shared):
    tenant = shared.tenant()
    shared.bring(tenant.desired())
    with tenant.connect() as connection:
        connection.execute("CREATE TABLE mine (id int); CREATE SCHEMA own")
        steps = shared.remove(tenant.desired())
    assert [step.id.name for step in steps] == [tenant.database, tenant.owner, tenant.probe]
    assert not [id for id in shared.observed().objects if tenant.uid in id.name]
    assert shared.remove(tenant.desired()) == []


@pytest.mark.parametrize("way", ["create", "stop", "repair", "remove"])
def test_a_kill_between_any_two_statements_is_finished_by_the_next_run(shared, way):
    """The same end after each kill as without one, and never a login or a way in before all is right."""
    statements = 0
    while True:
        tenant = shared.tenant()
        desired, work = tenant.desired(running=way != "stop"), shared.bring
        if way != "create":
            shared.bring(tenant.desired())
        if way == "repair":
            shared.server.sql(f"ALTER ROLE {tenant.owner} SUPERUSER PASSWORD 'x'")
            shared.server.sql(f"ALTER DATABASE {tenant.database} OWNER TO {tenant.owner}")
            shared.server.sql(f"GRANT ALL ON DATABASE {tenant.database} TO PUBLIC, {tenant.probe}")
        if way == "remove":
            work = shared.remove
        try:
            work(desired, dying_after(statements))
        except Killed:
            if way == "create":
                assert_half_made_is_closed(shared, tenant)
            work(desired)
            assert finished(shared, tenant, desired, way)
            statements += 1
        else:
            assert finished(shared, tenant, desired, way)
            break
    assert statements == {"create": 15, "stop": 4, "repair": 8, "remove": 3}[way]


def assert_half_made_is_closed(shared, tenant):
    row = shared.server.sql(f"SELECT datallowconn, datacl IS NULL FROM pg_database WHERE datname = '{tenant.database}'")
    assert row in ("", "False|True", "False|False", "True|False")


def finished(shared, tenant, desired, way):
    if way == "remove":
        return not plan_removal(desired, shared.observed()).steps
    if way != "stop":
        tenant.connect().close()
    return not plan_of(shared, desired).steps


def test_projects_of_many_threads_are_made_one_after_the_other(shared):
    tenants = [shared.tenant() for _number in range(6)]
    with shared.clusters() as clusters:
        steps = [plan_databases(tenant.desired(), shared.observed()).steps for tenant in tenants]
        lanes = [
            threading.Thread(target=lambda some=some: [clusters.apply(s, deadline=deadline()) for s in some])
            for some in steps
        ]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()
    assert all(not plan_of(shared, tenant.desired()).steps for tenant in tenants)


def test_a_value_that_is_no_verifier_is_refused_and_shown_nowhere(shared):
    tenant = shared.tenant()
    word = generate_password()
    shared.secrets[tenant.secret_key("owner")] = word
    with pytest.raises(Rejected, match=r"the value of Secret/p-\w+/credentials owner\.verifier is no SCRAM") as caught:
        shared.bring(tenant.desired())
    assert word.reveal() not in str(caught.value)


def test_no_verifier_is_logged_even_when_its_statement_fails(shared):
    tenant = shared.tenant()
    shared.bring(tenant.desired())
    verifier = shared.secrets[tenant.secret_key("owner")].reveal()
    statement = statements.compose(statements.SET_PASSWORD, role="p_nobody", verifier=statements.value(verifier))
    with shared.session() as session, pytest.raises(NotFound) as caught:
        session.change(statement, subject="it", verb="ALTER", deadline=deadline(), is_secret=True)
    assert verifier not in str(caught.value)
    log = shared.server.log()
    assert 'role "p_nobody" does not exist' in log
    assert "SCRAM" not in log


def test_the_admin_is_no_superuser_and_cannot_enter_a_tenants_database(shared):
    tenant = shared.tenant()
    shared.bring(tenant.desired())
    assert (
        shared.server.sql("SELECT rolsuper, rolbypassrls, rolreplication FROM pg_roles WHERE rolname = 'supalove'")
        == "False|False|False"
    )
    with pytest.raises(psycopg.OperationalError, match="rejects connection"):
        psycopg.connect(
            host="127.0.0.1",
            port=shared.proxy.port,
            user="supalove",
            password=shared.server.secret["admin.password"],
            dbname=tenant.database,
            sslmode="disable",
        )


def test_names_that_are_no_projects_cannot_be_adopted(shared):
    with shared.session() as session:
        for name in ("postgres", "supalove", "pg_monitor", "p_short", 'p_abcdefgh2345_owner"; --'):
            with pytest.raises(psycopg.Error, match="is no role of a project"):
                session._connection.execute("SELECT supalove.adopt_role(%s)", [name])
            with pytest.raises(psycopg.Error, match="is no database of a project"):
                session._connection.execute("SELECT supalove.adopt_database(%s)", [name])


def test_a_cluster_restarted_brings_itself_into_shape_and_keeps_its_tenants(shared):
    tenant = shared.tenant()
    shared.bring(tenant.desired())
    shared.server.stop()
    shared.server.start()
    assert plan_of(shared, tenant.desired()).steps == ()
    tenant.connect().close()


def test_the_cluster_is_the_one_that_was_rendered(shared):
    assert shared.server.sql("SHOW max_connections") == str(CLUSTER.max_connections + 10 + 8)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=15))
def test_any_text_comes_back_from_the_server_as_name_and_as_value(session, text):
    template = "SELECT {value} AS {name}"
    cursor = session._connection.execute(statements.compose(template, value=statements.value(text), name=text))
    # A name may have 63 bytes.
    assert cursor.description[0].name == text
    assert cursor.fetchall() == [(text,)]


@pytest.fixture
def session(shared):
    with shared.session() as made:
        yield made
