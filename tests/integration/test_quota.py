# SPDX-License-Identifier: GPL-3.0-or-later
"""A tenant whose database is full: what goes on, what does not, and what it tries to get around that."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import psycopg
import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.postgresql.plan import plan_databases
from ansible_collections.supalove.platform.plugins.module_utils._engine.describe import storage_of
from ansible_collections.supalove.platform.plugins.module_utils._engine.objects import Desired
from ansible_collections.supalove.platform.plugins.module_utils._engine.render import quota
from fix_container import ROOT
from fix_postgresql import LIMIT, Server, Shared, Tenant, deadline
from fix_proxy import Proxy
from quota_attempts import ATTEMPTS, DENIED, FULL, FUTILE, OBSTACLES, SCHEMA, STILL_WORKS, TOO_LARGE

STATEMENTS = ROOT / "images/postgresql/root/usr/local/share/supalove/quota"
MIB = 1024**2
# Four rounds of the program, and the work that is to be done in them.
WAIT_SECONDS = 15

# Of everything that a block might touch, in the order in which the server has it. An empty list of rights that has no
# dimension looks like one that has, and is an error for whoever reads it; so the dimensions are told with it.
RIGHTS = """
SELECT 'table', oid::regclass::text, relacl::text, relowner::text FROM pg_class WHERE relkind <> 't'
UNION ALL SELECT 'column', attrelid::regclass || '.' || attname, attacl::text, '' FROM pg_attribute
UNION ALL SELECT 'schema', nspname, concat(nspacl::text, ' ', array_ndims(nspacl)), nspowner::text
  FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp'
UNION ALL SELECT 'database', datname, concat(datacl::text, ' ', array_ndims(datacl)), datdba::text
  FROM pg_database WHERE datname = current_database()
UNION ALL SELECT 'default', oid::text, defaclacl::text, '' FROM pg_default_acl
UNION ALL SELECT 'trigger', tgname, tgenabled::text, tgrelid::text FROM pg_trigger
UNION ALL SELECT 'event', evtname, evtenabled::text, '' FROM pg_event_trigger
UNION ALL SELECT 'function', oid::regprocedure::text, CASE WHEN proname !~ '^lo' THEN proacl::text END, '' FROM pg_proc
ORDER BY 1, 2, 3, 4
"""

UNGUARDED = """
SELECT pg_class.oid::regclass FROM pg_class WHERE relkind IN ('r', 'p') AND pg_class.oid >= 16384
AND relnamespace <> 'information_schema'::regnamespace
AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = pg_class.oid AND tgname ~ '^supalove_quota_')
"""
VACUUMED = "SELECT vacuum_count FROM pg_stat_all_tables WHERE relid = 'pg_db_role_setting'::regclass"


@pytest.fixture(scope="module")
def shared(postgresql: Server) -> Iterator[Shared]:
    proxy = Proxy(postgresql.connect_inside)
    yield Shared(server=postgresql, proxy=proxy, secrets={})
    proxy.close()


def limited(tenant: Tenant, limit: int) -> tuple[Desired, ...]:
    """What is wanted of the tenant with another limit."""
    *roles, base = tenant.desired()
    spec = {**base.body["spec"], "storageLimit": limit}
    return (*roles, dataclasses.replace(base, body={**base.body, "spec": spec}))


def made(shared: Shared) -> Tenant:
    tenant = shared.tenant()
    shared.bring(tenant.desired())
    with tenant.connect() as connection:
        connection.execute(SCHEMA.format(probe=tenant.probe))
        connection.execute("SELECT lo_from_bytea(0, 'x')")
    return tenant


def fill(tenant: Tenant, size: int) -> None:
    """Up to so many bytes, with rows that the server cannot compress, or until the program ends it."""
    text = "SELECT string_agg(md5(random()::text || i || j), '') FROM generate_series(1, 50) AS j"
    with contextlib.suppress(psycopg.OperationalError), tenant.connect() as connection:
        while connection.execute("SELECT pg_database_size(current_database())").fetchone() < (size,):
            connection.execute(f"INSERT INTO filler SELECT i, ({text}) FROM generate_series(1, 200) AS i")


def state(tenant: Tenant) -> str:
    """As the program has noted it; with "soon" if it has not yet done what follows from it."""
    soon = "CASE WHEN (state = 'blocked') <> blocked THEN ' soon' ELSE '' END"
    return tenant.shared.server.sql(
        f"SELECT state || {soon} FROM supalove_quota.storage WHERE name = '{tenant.database}'"
    )


def await_state(tenant: Tenant, wanted: str) -> None:
    await_that(lambda: state(tenant) == wanted, lambda: f"{state(tenant)} is not {wanted}")


def await_that(condition: Callable[[], bool], told: Callable[[], str]) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > end:
            pytest.fail(told())
        time.sleep(0.1)


def rights(tenant: Tenant) -> list[str]:
    return tenant.shared.server.sql(RIGHTS, tenant.database).splitlines()


def unguarded(tenant: Tenant) -> str:
    """The tables that take rows."""
    return tenant.shared.server.sql(UNGUARDED, tenant.database)


def waits(tenant: Tenant) -> bool:
    """Whether the program waits for a lock in the tenant's database."""
    asked = "FROM pg_stat_activity WHERE application_name = 'supalove-quota' AND wait_event_type = 'Lock'"
    return tenant.shared.server.sql(f"SELECT count(*) {asked} AND datname = '{tenant.database}'") == "1"


def refusal(tenant: Tenant, text: str) -> str:
    """The SQLSTATE by which a statement of the tenant's is refused, in a session of its own; empty if it is not."""
    with tenant.connect() as connection:
        try:
            if text.startswith("COPY"):
                with connection.cursor().copy(text) as copy:
                    copy.write("1\tx\n") if text.endswith("STDIN") else list(copy)
            else:
                connection.execute(text)
        except psycopg.Error as error:
            return error.sqlstate or str(error)
    return ""


@pytest.fixture(scope="module")
def full(shared: Shared) -> Tenant:
    tenant = made(shared)
    fill(tenant, LIMIT)
    await_state(tenant, "blocked")
    return tenant


@pytest.mark.parametrize(("attempt", "expected"), ATTEMPTS, ids=[text[:60] for text, _expected in ATTEMPTS])
def test_a_tenant_without_room_cannot(full, attempt, expected):
    trigger = full.shared.server.sql(
        "SELECT tgname FROM pg_trigger WHERE tgrelid = 'public.parent'::regclass AND tgname ~ '^supalove_quota_'",
        full.database,
    )
    assert refusal(full, attempt.format(self=full.database, trigger=trigger)) == expected


def test_an_error_says_what_to_do(full):
    with full.connect() as connection, pytest.raises(psycopg.errors.DiskFull, match="INSERT is refused") as caught:
        connection.execute("INSERT INTO parent VALUES (1000)")
    assert "Delete, truncate, drop" in caught.value.diag.message_hint


def test_the_engine_sees_no_drift_in_a_blocked_project(full, shared):
    assert plan_databases(full.desired(), shared.observed()).steps == ()


def test_who_asks_for_the_storage_of_projects_is_told(full, shared):
    placed = {"full": SimpleNamespace(uid=full.uid, placement="shared/main"), "new": None}
    chosen = [SimpleNamespace(ref=ref, status=status) for ref, status in placed.items()]
    with shared.clusters() as clusters:
        told = storage_of(chosen, clusters, deadline())
    assert told.keys() == {"full"}
    assert told["full"]["state"] == "blocked"
    assert told["full"]["bytes"] >= told["full"]["limit"] == LIMIT


# They are in the catalogs that all databases share, and no event trigger is asked.
def test_settings_of_a_role_take_no_room_to_speak_of(full, shared):
    change = "ALTER ROLE CURRENT_USER {where} SET search_path = '{value}'"
    for where in ("", "IN DATABASE postgres"):
        assert refusal(full, change.format(where=where, value="x" * 9000)) == TOO_LARGE
    rewrite = change.format(where="", value="x" * 7000)
    again = "DO $$ BEGIN FOR i IN 1..2000 LOOP EXECUTE $_${}$_$; COMMIT; END LOOP; END $$"
    for count in range(1, 5):
        assert refusal(full, again.format(rewrite)) == ""
        await_that(lambda count=count: int(shared.server.sql(VACUUMED)) >= count, lambda: "no vacuum")
    # Of twice as many rows as were written between two looks.
    assert int(shared.server.sql("SELECT pg_total_relation_size('pg_db_role_setting')")) < 2 * 2000 * 8192
    assert refusal(full, "ALTER ROLE CURRENT_USER RESET ALL") == ""


def test_a_password_that_is_none_is_taken_away(shared):
    tenant = made(shared)
    key = base64.b64encode(bytes(32)).decode()
    with tenant.connect() as connection:
        salt = base64.b64encode(bytes(3 * MIB)).decode()
        connection.execute(f"ALTER ROLE CURRENT_USER PASSWORD 'SCRAM-SHA-256$4096:{salt}${key}:{key}'")
    asked = f"SELECT rolpassword IS NULL FROM pg_authid WHERE rolname = '{tenant.owner}'"
    await_that(lambda: shared.server.sql(asked) == "True", lambda: "it is there")
    # The next run gives it its own again.
    shared.bring(tenant.desired())
    assert refusal(tenant, "SELECT 1") == ""


def test_a_neighbour_goes_on(full, shared):
    tenant = made(shared)
    with tenant.connect() as connection:
        connection.execute("INSERT INTO parent VALUES (99); CREATE TABLE new (id int); SELECT lo_create(0)")
        connection.execute("CREATE TEMP TABLE temporary AS SELECT 1")
    assert state(tenant) in {"", "ok"}
    assert state(full) == "blocked"


def test_what_is_given_back_behind_the_programs_back_is_taken_again(full):
    full.shared.server.sql(f"GRANT TEMPORARY ON DATABASE {full.database} TO {full.owner}")
    await_that(
        lambda: refusal(full, "EXPLAIN ANALYZE CREATE TEMP TABLE t AS SELECT 1") == DENIED,
        lambda: "it can still be made",
    )


@pytest.mark.parametrize("text", [*STILL_WORKS, *FUTILE], ids=lambda text: text[:60])
def test_a_tenant_without_room_can(full, text):
    assert refusal(full, text.format(self=full.database)) in {"", "57P01"}
    assert refusal(full, "INSERT INTO parent VALUES (99)") == FULL
    assert refusal(full, "CREATE TABLE new (id int)") == FULL
    for kind in ("TABLE", "TEMP TABLE"):
        assert refusal(full, f"EXPLAIN ANALYZE CREATE {kind} new AS SELECT 1") == DENIED


def test_after_cleaning_up_everything_is_as_it_was(shared):
    tenant = made(shared)
    fill(tenant, LIMIT * 85 // 100)
    await_state(tenant, "warning")
    before = rights(tenant)
    assert refusal(tenant, "INSERT INTO parent VALUES (98)") == ""
    # What is put back can be taken again.
    for _time in range(2):
        fill(tenant, LIMIT)
        await_state(tenant, "blocked")
        assert rights(tenant) != before
        assert unguarded(tenant) == ""
        with tenant.connect() as connection:
            connection.execute("DELETE FROM filler WHERE id > 20")
            connection.execute("VACUUM FULL filler")
        await_state(tenant, "ok")
        assert rights(tenant) == before
    assert refusal(tenant, "INSERT INTO parent VALUES (99); CREATE TABLE new (id int); SELECT lo_create(0)") == ""
    assert refusal(tenant, "CREATE TEMP TABLE temporary AS SELECT 1") == ""
    assert plan_databases(tenant.desired(), shared.observed()).steps == ()


def test_a_higher_limit_lifts_it_and_a_lower_one_brings_it(shared):
    tenant = made(shared)
    shared.bring(limited(tenant, 4 * MIB))
    await_state(tenant, "blocked")
    steps = shared.bring(limited(tenant, LIMIT))
    assert [step.reason for step in steps] == [f"spec.storageLimit is {4 * MIB}, wanted is {LIMIT}"]
    await_state(tenant, "ok")
    assert refusal(tenant, "INSERT INTO parent VALUES (99)") == ""


def test_a_session_that_was_there_before_ends_and_its_temporary_tables_with_it(shared):
    tenant = made(shared)
    with contextlib.suppress(psycopg.OperationalError), tenant.connect() as connection:
        connection.execute("CREATE TEMP TABLE pg_roles AS SELECT true AS rolsuper, current_user AS rolname")
        connection.execute("PREPARE p AS INSERT INTO parent VALUES (99)")
        connection.execute("BEGIN; CREATE TABLE late (id int); INSERT INTO parent VALUES (98)")
        shared.bring(limited(tenant, 4 * MIB))
        await_state(tenant, "blocked")
        with pytest.raises(psycopg.OperationalError, match="terminat"):
            connection.execute("COMMIT")
    assert shared.server.sql("SELECT to_regclass('public.late')", tenant.database) == ""


def test_whoever_comes_back_and_holds_locks_does_not_hold_up_the_block(shared):
    tenant = made(shared)
    stop = threading.Event()

    def hold(statement: str) -> None:
        while not stop.is_set():
            with contextlib.suppress(psycopg.Error), tenant.connect() as connection:
                connection.execute(f"BEGIN; {statement}; SELECT pg_sleep(20)")

    with ThreadPoolExecutor() as pool:
        for statement in OBSTACLES:
            pool.submit(hold, statement)
        time.sleep(0.5)
        shared.bring(limited(tenant, 4 * MIB))
        try:
            await_state(tenant, "blocked")
        finally:
            stop.set()
    assert refusal(tenant, "INSERT INTO filler VALUES (1)") == FULL
    assert refusal(tenant, "EXPLAIN ANALYZE CREATE TABLE supalove_quota.new AS SELECT 1") == DENIED
    assert unguarded(tenant) == ""


def test_a_table_that_is_made_while_the_block_comes_up_takes_no_rows(shared, postgresql):
    tenant = made(shared)
    with postgresql.superuser(tenant.database) as holder, tenant.connect() as before:
        before.execute("CREATE SCHEMA later")
        # The program waits at one schema, and the next is open yet to what asks no event trigger.
        holder.execute("BEGIN; SELECT FROM pg_namespace WHERE nspname = 'public' FOR UPDATE")
        shared.bring(limited(tenant, 4 * MIB))
        await_that(lambda: waits(tenant), lambda: "the program does not wait")
        assert refusal(tenant, "CREATE TABLE new (id int)") == FULL
        make = "EXPLAIN ANALYZE CREATE TABLE IF NOT EXISTS later.made AS SELECT 1"
        await_that(lambda: refusal(tenant, make) == "", lambda: "it cannot be made")
        with contextlib.suppress(psycopg.OperationalError), tenant.connect() as late:
            late.execute("BEGIN; EXPLAIN ANALYZE CREATE TABLE later.making AS SELECT 1")
            holder.execute("COMMIT")
            await_state(tenant, "blocked")
            with pytest.raises(psycopg.OperationalError, match="terminat"):
                late.execute("INSERT INTO later.making VALUES (1); COMMIT")
    await_state(tenant, "blocked")
    assert shared.server.sql("SELECT to_regclass('later.made')", tenant.database) == "later.made"
    assert unguarded(tenant) == ""


# Commands are refused, or nobody may create either; rows are let in yet.
@pytest.mark.parametrize(
    "begun",
    [lambda text: text.partition("COMMIT;")[0] + "COMMIT;", lambda text: text.rpartition("DO $$")[0]],
    ids=["commands", "rights"],
)
def test_what_a_killed_program_has_begun_the_next_round_finishes(shared, postgresql, begun):
    tenant = made(shared)
    before = rights(tenant)
    with postgresql.without(quota.PROGRAM):
        shared.bring(limited(tenant, 4 * MIB))
        postgresql.run((STATEMENTS / "ask.sql").read_text(), "postgres")
        assert state(tenant) == "blocked soon"
        postgresql.run(begun((STATEMENTS / "block.sql").read_text()), tenant.database)
    await_state(tenant, "blocked")
    assert unguarded(tenant) == ""
    with postgresql.without(quota.PROGRAM):
        shared.bring(limited(tenant, LIMIT))
        # Rows are let in, and commands are not yet.
        lifted, _begin, _rest = (STATEMENTS / "lift.sql").read_text().partition("BEGIN;")
        postgresql.run(lifted, tenant.database)
    await_state(tenant, "ok")
    assert rights(tenant) == before


def test_a_block_that_is_taken_away_for_a_dump_stays_away_until_the_database_is_open(shared, postgresql):
    tenant, ask = made(shared), (STATEMENTS / "ask.sql").read_text()
    shared.bring(limited(tenant, 4 * MIB))
    await_state(tenant, "blocked")
    with postgresql.without(quota.PROGRAM):
        shared.server.sql(f"COMMENT ON DATABASE {tenant.database} IS 'closed'")
        postgresql.run((STATEMENTS / "lift.sql").read_text(), tenant.database)
        assert tenant.database not in postgresql.run(ask, "postgres")
        shared.server.sql(f"COMMENT ON DATABASE {tenant.database} IS NULL")
        assert tenant.database in postgresql.run(ask, "postgres")
        assert unguarded(tenant) != ""
    await_that(lambda: unguarded(tenant) == "", lambda: "it is not blocked again")


def test_nothing_of_a_tenants_is_run_by_the_program(shared):
    tenant = shared.tenant()
    shared.bring(tenant.desired())
    with tenant.connect() as connection:
        connection.execute("CREATE TABLE caught (who text); CREATE TABLE parent (id int)")
        trap = "LANGUAGE sql AS 'INSERT INTO public.caught SELECT current_user; SELECT true'"
        for name in ("starts_with(name, text)", "starts_with(name, unknown)", "supalove_quota_write()", "md5(text)"):
            with contextlib.suppress(psycopg.errors.UndefinedObject, psycopg.errors.InvalidFunctionDefinition):
                connection.execute(f"CREATE FUNCTION public.{name} RETURNS bool {trap}")
        connection.execute(f"CREATE FUNCTION public.same(name, name) RETURNS bool {trap}")
        connection.execute("CREATE OPERATOR public.= (LEFTARG = name, RIGHTARG = name, FUNCTION = public.same)")
        for name in ("pg_trigger", "pg_event_trigger", "pg_namespace", "pg_class", "pg_roles"):
            connection.execute(f"CREATE VIEW public.{name} AS SELECT true AS rolsuper")
        connection.execute(f"ALTER ROLE {tenant.owner} SET search_path = public, pg_catalog")
    shared.bring(limited(tenant, 4 * MIB))
    await_state(tenant, "blocked")
    assert refusal(tenant, "INSERT INTO parent VALUES (1)") == FULL
    assert refusal(tenant, "CREATE TABLE new (id int)") == FULL
    shared.bring(limited(tenant, LIMIT))
    await_state(tenant, "ok")
    assert shared.server.sql("SELECT * FROM public.caught", tenant.database) == ""
