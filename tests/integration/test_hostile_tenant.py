# SPDX-License-Identifier: GPL-3.0-or-later
"""A tenant of a shared cluster who wants to read, see, slow down or damage its neighbour or the platform."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.postgresql.clusters import LOCK_KEY
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.postgresql.plan import plan_databases
from ansible_collections.supalove.platform.plugins.module_utils._engine.databases import API_GROUPS
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import UID_PATTERN
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.cluster_sql import ADVISORY_LOCKS
from fix_postgresql import CLUSTER, Server, Shared, Tenant
from fix_proxy import Proxy

DENIED = "42501"
ABSENT = "0A000"
DOCUMENTATION = Path(__file__).parents[2] / "docs/shared-clusters.md"

ATTEMPTS = [
    # Secrets and files.
    ("SELECT rolpassword FROM pg_authid", DENIED),
    ("SELECT * FROM pg_shadow", DENIED),
    ("SELECT * FROM pg_largeobject", DENIED),
    ("SELECT * FROM pg_hba_file_rules", DENIED),
    ("SELECT * FROM pg_subscription", DENIED),
    ("SHOW data_directory", DENIED),
    ("SELECT pg_read_file('/etc/supalove/credentials/admin.verifier')", DENIED),
    ("SELECT pg_ls_dir('.')", DENIED),
    ("SELECT pg_stat_file('base')", DENIED),
    ("SELECT pg_ls_waldir()", DENIED),
    ("SELECT lo_import('/etc/passwd')", DENIED),
    ("SELECT lo_export(1, '/tmp/x')", DENIED),
    ("CREATE TABLE stolen (line text); COPY stolen FROM '/etc/passwd'", DENIED),
    ("COPY (SELECT 1) TO '/var/lib/postgresql/data/pgdata/postgresql.auto.conf'", DENIED),
    ("COPY (SELECT 1) TO PROGRAM 'id'", DENIED),
    # What neighbours do: sessions with the names of their applications, load, locks, sizes.
    ("SELECT * FROM pg_stat_activity", DENIED),
    ("SELECT pg_stat_get_backend_idset()", DENIED),
    ("SELECT * FROM pg_stat_database", DENIED),
    ("SELECT * FROM pg_stat_ssl", DENIED),
    ("SELECT * FROM pg_stat_progress_create_index", DENIED),
    ("SELECT * FROM pg_stat_replication", DENIED),
    ("SELECT * FROM pg_replication_slots", DENIED),
    ("SELECT * FROM pg_locks", DENIED),
    ("SELECT pg_database_size('{neighbour}')", DENIED),
    ("SELECT pg_tablespace_size('pg_default')", DENIED),
    ("SELECT pg_tablespace_databases(1663)", DENIED),
    # Other identities.
    ("SET ROLE {neighbour}_owner", DENIED),
    ("SET ROLE supalove", DENIED),
    ("SET ROLE supalove_tenant", DENIED),
    ("SET ROLE service_role", DENIED),
    ("GRANT service_role TO {neighbour}_owner", DENIED),
    ("ALTER ROLE anon SET statement_timeout = 0", DENIED),
    ("SET ROLE pg_read_all_data", DENIED),
    ("SET SESSION AUTHORIZATION postgres", DENIED),
    ("GRANT pg_monitor TO {self}_owner", DENIED),
    ("GRANT {neighbour}_owner TO {self}_owner", DENIED),
    ("GRANT supalove_tenant TO {neighbour}_owner WITH ADMIN OPTION", DENIED),
    ("CREATE ROLE mine SUPERUSER", DENIED),
    ("ALTER ROLE {self}_owner SUPERUSER", DENIED),
    ("ALTER ROLE {self}_owner CREATEDB", DENIED),
    ("ALTER ROLE {self}_owner REPLICATION", DENIED),
    ("ALTER ROLE {self}_owner BYPASSRLS", DENIED),
    ("ALTER ROLE {self}_owner CONNECTION LIMIT -1", DENIED),
    ("ALTER ROLE {self}_owner VALID UNTIL 'infinity'", DENIED),
    ("ALTER ROLE {neighbour}_owner PASSWORD 'x'", DENIED),
    ("ALTER ROLE supalove NOLOGIN", DENIED),
    ("ALTER ROLE ALL SET search_path = evil", DENIED),
    ("COMMENT ON ROLE {self}_owner IS 'supalove'", DENIED),
    ("REASSIGN OWNED BY {neighbour}_owner TO {self}_owner", DENIED),
    ("DROP OWNED BY {neighbour}_owner", DENIED),
    ("ALTER DEFAULT PRIVILEGES FOR ROLE {neighbour}_owner GRANT ALL ON TABLES TO PUBLIC", DENIED),
    # Its own limits.
    ("ALTER DATABASE {self} CONNECTION LIMIT -1", DENIED),
    ("ALTER DATABASE {self} SET temp_file_limit = -1", DENIED),
    ("ALTER DATABASE {self} RENAME TO mine", DENIED),
    ("ALTER DATABASE {self} OWNER TO {self}_owner", DENIED),
    ("DROP DATABASE {self}", DENIED),
    ("DROP DATABASE {neighbour} WITH (FORCE)", DENIED),
    ("CREATE DATABASE mine", DENIED),
    ("COMMENT ON DATABASE {self} IS 'mine'", DENIED),
    ("SET temp_file_limit = -1", DENIED),
    ("ALTER ROLE {self}_owner SET temp_file_limit = -1", DENIED),
    # The server as a whole.
    ("ALTER SYSTEM SET work_mem = '1GB'", DENIED),
    ("SET session_replication_role = replica", DENIED),
    ("SET track_activities = off", DENIED),
    ("SET log_min_error_statement = debug5", DENIED),
    ("SET zero_damaged_pages = on", DENIED),
    ("SELECT pg_reload_conf()", DENIED),
    ("SELECT pg_switch_wal()", DENIED),
    ("SELECT pg_create_restore_point('x')", DENIED),
    ("SELECT pg_backup_start('x')", DENIED),
    ("SELECT pg_stat_reset()", DENIED),
    ("CHECKPOINT", DENIED),
    ("SELECT pg_logical_emit_message(false, 'x', repeat('x', 1000))", DENIED),
    ("SELECT pg_create_logical_replication_slot('x', 'pgoutput')", DENIED),
    ("SELECT pg_create_physical_replication_slot('x')", DENIED),
    ("SELECT pg_replication_origin_create('x')", DENIED),
    ("CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1' PUBLICATION p WITH (connect = false)", DENIED),
    ("CREATE PUBLICATION p FOR ALL TABLES", DENIED),
    ("CREATE TABLESPACE t LOCATION '/tmp'", DENIED),
    ("BEGIN; PREPARE TRANSACTION 'x'", "55000"),
    # Shared catalogs, which are in every database.
    ("UPDATE pg_database SET datconnlimit = -1", DENIED),
    ("BEGIN; LOCK TABLE pg_database IN ACCESS EXCLUSIVE MODE", DENIED),
    ("BEGIN; SELECT FROM pg_database FOR UPDATE", DENIED),
    ("REINDEX TABLE pg_database", DENIED),
    ("CREATE TABLE pg_catalog.mine (id int)", DENIED),
    ("CREATE FUNCTION pg_catalog.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'", DENIED),
    # Code of another kind, and ways out.
    ("CREATE EXTENSION dblink", ABSENT),
    ("CREATE EXTENSION postgres_fdw", ABSENT),
    ("CREATE EXTENSION file_fdw", ABSENT),
    ("CREATE EXTENSION plpython3u", ABSENT),
    ("CREATE EXTENSION pg_stat_statements", DENIED),
    ("CREATE EXTENSION amcheck", DENIED),
    ("CREATE LANGUAGE plpython3u", ABSENT),
    ("LOAD 'auto_explain'", DENIED),
    ("SET session_preload_libraries = 'auto_explain'", DENIED),
    ("CREATE FUNCTION f() RETURNS int LANGUAGE c AS '$libdir/pgcrypto', 'f'", DENIED),
    ("CREATE FUNCTION f(text) RETURNS text LANGUAGE internal AS 'pg_read_file'", DENIED),
    ("CREATE FOREIGN DATA WRAPPER w", DENIED),
    ("CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw", "42704"),
    ("CREATE EVENT TRIGGER t ON ddl_command_end EXECUTE FUNCTION f()", DENIED),
    ("DROP SCHEMA public", DENIED),
    ("ALTER SCHEMA public OWNER TO {self}_owner", DENIED),
    ("SELECT supalove.adopt_role('{self}_owner')", "3F000"),
]


@pytest.fixture(scope="module")
def shared(postgresql: Server) -> Iterator[Shared]:
    proxy = Proxy(postgresql.connect_inside)
    yield Shared(server=postgresql, proxy=proxy, secrets={})
    proxy.close()


@pytest.fixture(scope="module")
def pair(shared: Shared) -> tuple[Tenant, Tenant]:
    """The attacker and its neighbour."""
    tenants = shared.tenant(), shared.tenant()
    for tenant in tenants:
        shared.bring(tenant.desired())
    return tenants


@pytest.fixture
def attacker(pair) -> Iterator[psycopg.Connection]:
    with pair[0].connect() as connection:
        yield connection


@pytest.mark.parametrize(("attempt", "refusal"), ATTEMPTS, ids=[text[:60] for text, _refusal in ATTEMPTS])
def test_an_attempt_is_refused(attacker, pair, attempt, refusal):
    text = attempt.format(self=pair[0].database, neighbour=pair[1].database)
    with pytest.raises(psycopg.Error) as caught:
        attacker.execute(text)
    assert caught.value.sqlstate == refusal, caught.value


def test_nothing_of_that_has_changed_anything(attacker, shared, pair):
    for tenant in pair:
        assert plan_databases(tenant.desired(), shared.observed()).steps == ()
    # Else the refusals above would have had another reason.
    attacker.execute("CREATE TABLE still_mine (id int); CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'")


def test_what_a_tenant_may_do_as_one_of_its_group_does_nothing(attacker, shared, pair):
    """PostgreSQL lets a member say these; the group owns nothing, and its rights were given by somebody else."""
    attacker.execute(f"REASSIGN OWNED BY supalove_tenant TO {pair[0].owner}")
    attacker.execute("DROP OWNED BY supalove_tenant CASCADE")
    fresh = shared.tenant()
    shared.bring(fresh.desired())
    for tenant in (*pair, fresh):
        with tenant.connect() as connection:
            connection.execute("CREATE TABLE public.new (id int)")


@pytest.mark.parametrize(
    ("database", "text"),
    [
        ("neighbour", "permission denied for database"),
        ("postgres", "rejects connection"),
        ("template1", "rejects connection"),
        ("supalove_template", "rejects connection"),
    ],
)
def test_no_other_database_can_be_entered(pair, database, text):
    name = pair[1].database if database == "neighbour" else database
    with pytest.raises(psycopg.OperationalError, match=text):
        pair[0].connect(name)


@pytest.mark.parametrize("role", ["postgres", "supalove_tenant", "pg_monitor"])
def test_no_role_of_the_platform_can_log_in_from_outside(pair, role):
    with pytest.raises(psycopg.OperationalError, match="rejects connection"):
        pair[0].connect(role=role)


def test_the_admin_comes_only_from_the_pods_own_loopback(shared):
    def from_elsewhere():
        return shared.server.connect_inside(source="127.0.0.2")

    with contextlib.closing(Proxy(from_elsewhere)) as proxy, pytest.raises(psycopg.OperationalError, match="rejects"):
        psycopg.connect(
            host="127.0.0.1",
            port=proxy.port,
            user="supalove",
            password=shared.server.secret["admin.password"],
            dbname="postgres",
            sslmode="disable",
        )


@pytest.mark.parametrize("replication", ["true", "database"])
def test_the_stream_of_all_tenants_changes_cannot_be_read(pair, replication):
    with pytest.raises(psycopg.OperationalError, match="max_wal_senders"):
        pair[0].connect(replication=replication)


@pytest.mark.parametrize("setting", ["local_preload_libraries=auto_explain", "session_preload_libraries=auto_explain"])
def test_no_library_can_be_loaded_at_the_start_of_a_session(pair, setting):
    with pytest.raises(psycopg.OperationalError, match=r"could not access file|permission denied"):
        pair[0].connect(options=f"-c {setting}")


@pytest.mark.usefixtures("pair")
def test_all_that_can_be_seen_of_others_are_opaque_names(attacker):
    """PostgreSQL shows databases, roles and comments on them to everybody."""
    databases = attacker.execute("SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'")
    assert all(re.fullmatch(f"p_{UID_PATTERN}", name) for (name,) in databases)
    roles = attacker.execute("SELECT rolname FROM pg_roles WHERE rolname !~ '^(pg_|supalove|postgres$)'")
    assert all(
        re.fullmatch(f"p_{UID_PATTERN}_(owner|probe|rest|auth)|{'|'.join(API_GROUPS)}", name) for (name,) in roles
    )
    comments = attacker.execute(
        "SELECT description FROM pg_shdescription WHERE description LIKE 'supalove%'"
    ).fetchall()
    assert comments
    assert all(re.fullmatch(r"supalove [0-9a-f]{24} [0-9a-f]{32}", text) for (text,) in comments)
    settings = attacker.execute("SELECT setconfig FROM pg_db_role_setting").fetchall()
    assert all("SCRAM" not in str(one) and "p-" not in str(one) for one in settings)


def test_the_extensions_that_a_tenant_can_have_are_the_documented_ones(attacker):
    available = [name for (name,) in attacker.execute("SELECT name FROM pg_available_extensions")]
    had = set()
    for name in available:
        with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
            attacker.execute(f'CREATE EXTENSION IF NOT EXISTS "{name}"')
            had.add(name)
    (listed,) = re.findall(r"^`btree_gin`.*$", DOCUMENTATION.read_text(), re.MULTILINE)
    assert had == {*re.findall(r"`(\S+?)`", listed)}


def test_a_neighbours_or_the_platforms_session_cannot_be_ended(attacker, shared, pair):
    with pair[1].connect() as neighbour, shared.session() as session:
        for pid in (neighbour.info.backend_pid, session._connection.info.backend_pid):
            for function in ("pg_terminate_backend", "pg_cancel_backend"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    attacker.execute(f"SELECT {function}({pid})")
        neighbour.execute("SELECT 1")


def test_a_neighbours_notifications_are_not_heard(attacker, pair):
    attacker.execute("LISTEN news")
    with pair[1].connect() as neighbour:
        neighbour.execute("NOTIFY news, 'private'")
    attacker.execute("SELECT 1")
    assert list(attacker.notifies(timeout=0.2)) == []


def test_a_lock_of_the_platforms_number_holds_nobody_up(attacker, shared):
    attacker.execute(f"SELECT pg_advisory_lock({LOCK_KEY})")
    tenant = shared.tenant()
    assert len(shared.bring(tenant.desired())) == 3


def test_functions_and_tables_that_look_like_the_servers_are_never_asked_by_the_platform(attacker, shared, pair):
    attacker.execute("CREATE TABLE seen (who text)")
    trap = "LANGUAGE sql SECURITY INVOKER AS 'INSERT INTO public.seen SELECT current_user'"
    for name in ("now()", "clock_timestamp()", "pg_backend_pid()", "count(int)", "version()"):
        attacker.execute(f"CREATE FUNCTION public.{name} RETURNS void {trap}")
    for name in ("pg_roles", "pg_database", "pg_stat_activity"):
        attacker.execute(f"CREATE TABLE public.{name} (id int)")
    attacker.execute(f"ALTER ROLE {pair[0].owner} SET search_path = public, pg_catalog")
    shared.bring(pair[0].desired(connections=5))
    shared.bring(pair[0].desired())
    shared.server.sql("SELECT now(), version(), (SELECT count(*) FROM pg_roles)", pair[0].database)
    assert shared.server.sql("SELECT * FROM public.seen", pair[0].database) == ""


def take(stack, tenant, connections):
    for _number in range(connections):
        stack.enter_context(tenant.connect())


def test_connections_end_at_the_limit_and_the_neighbour_and_the_platform_still_get_in(shared, pair):
    with contextlib.ExitStack() as stack:
        with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
            take(stack, pair[0], 20)
        pair[1].connect().close()
        assert shared.observed().objects


def test_places_are_kept_for_the_platform_when_tenants_have_taken_all_others(shared):
    """Limits of roles are the engine's to add up; this is what holds if it is wrong."""
    greedy = shared.tenant()
    shared.bring(greedy.desired(connections=200))
    with contextlib.ExitStack() as stack:
        with pytest.raises(psycopg.OperationalError, match="remaining connection slots are reserved"):
            take(stack, greedy, CLUSTER.max_connections + 1)
        shared.bring(greedy.desired(connections=2))
        assert shared.server.sql("SELECT 1") == "1"


def test_memory_beyond_its_share_is_an_error_of_the_tenants_own(attacker, pair):
    with pair[1].connect() as neighbour:
        attacker.execute("SET work_mem = '2GB'")
        with pytest.raises(psycopg.errors.OutOfMemory):
            attacker.execute("SELECT array_agg(repeat('x', 1000) || i) FROM generate_series(1, 2000000) AS i")
        neighbour.execute("SELECT 1")


def test_temporary_files_end_at_the_limit(attacker):
    with pytest.raises(psycopg.errors.ConfigurationLimitExceeded, match="temp_file_limit"):
        attacker.execute("SELECT DISTINCT repeat('x', 500) || i FROM generate_series(1, 1000000) AS i")


def flood(connection):
    """Some 300 MB."""
    for number in range(40):
        numbers = f"generate_series({number}000, {number}999) AS i"
        connection.execute(f"SELECT pg_notify('news', repeat('x', 7900) || i) FROM {numbers}")


def test_a_flood_of_notifications_is_bounded(pair):
    with pair[0].connect() as listener, pair[0].connect() as flooder:
        listener.execute("LISTEN news")
        # A listener in a transaction holds the queue, which is one for all.
        listener.execute("BEGIN")
        with pytest.raises(psycopg.Error) as caught:
            flood(flooder)
        assert caught.value.sqlstate == "54000", caught.value


OFFENCES = {
    "a transaction that never ends": "BEGIN; SELECT pg_sleep(60)",
    "a transaction that does nothing": "BEGIN; SELECT 1",
    "a statement that never ends": "DO $$ BEGIN LOOP PERFORM 1; END LOOP; END $$",
    "a great many locks": f"SELECT pg_advisory_lock(i) FROM generate_series(1, {ADVISORY_LOCKS + 1}) AS i",
}
# A session that is ended; not a statement that fails. Who waits for a notification sees no more than the end.
BY_OTHERS = re.compile("due to administrator command|server closed the connection")
LIFTED = ("statement_timeout", "transaction_timeout", "idle_in_transaction_session_timeout", "lock_timeout")


def test_who_lifts_all_limits_is_ended_by_the_reaper_and_nobody_else_is(pair):
    ended: dict[str, str] = {}

    def offend(name: str, statement: str) -> None:
        try:
            with pair[0].connect() as connection:
                for setting in LIFTED:
                    connection.execute(f"SET {setting} = 0")
                connection.execute(statement)
                # Blocks until something comes from the server, which can only be the end.
                next(connection.notifies(timeout=60), None)
        except psycopg.OperationalError as error:
            ended[name] = str(error)

    with pair[1].connect() as neighbour:
        threads = [threading.Thread(target=offend, args=pair_) for pair_ in OFFENCES.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(ended) == set(OFFENCES)
        assert [one for one in ended.items() if not BY_OTHERS.search(one[1])] == []
        assert neighbour.execute("SELECT 1").fetchone() == (1,)
