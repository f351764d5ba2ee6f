# SPDX-License-Identifier: BSD-2-Clause
"""The SQL by which a shared PostgreSQL brings itself into shape at every start, and what its reaper repeats.

psql runs both as the platform's superuser over the pod's socket. Projects' roles and databases are not made here: the
engine does that from outside, as ADMIN, who is no superuser and reads no tenant's data.
"""

from __future__ import annotations

from ..databases import ADMIN, ADMIN_KEY, ADMIN_SCHEMA, API_GROUPS, DATABASES, TEMPLATE, TENANT
from ..project.names import UID_PATTERN
from .archive import archive_sql
from .bootstrap import FOREIGN_DATABASES, api_groups, login_role, unless_exists
from .files import identifier, literal
from .quota import admin_sql, settings_sql, storage_sql

ADMIN_CONNECTIONS = 8
LOGINS = f"^p_{UID_PATTERN}_[a-z]+$"

# CREATEROLE (PostgreSQL 16) gives power over the roles that it made itself, and over no other.
ADMIN_RIGHTS = "LOGIN INHERIT NOSUPERUSER CREATEDB CREATEROLE NOREPLICATION NOBYPASSRLS"
# To end sessions before a database goes; to get in when tenants have taken all connections.
ADMIN_GROUPS = ("pg_signal_backend", "pg_use_reserved_connections")
# Verifiers pass through its statements: nothing of them is kept in the log or in pg_stat_activity.
ADMIN_SETTINGS = {
    "search_path": "pg_catalog",
    "log_statement": "none",
    "log_min_error_statement": "panic",
    "log_min_duration_statement": "-1",
    "log_duration": "off",
    "track_activities": "off",
}

# WAL-G cannot be told settings for its session, and waits in a transaction until what a base backup needs is archived.
SUPERUSER_SETTINGS = {"transaction_timeout": "0"}

# What tells of neighbours: sessions with the names of their applications, their load, locks, and the size of the whole
# disk; and what writes to the one WAL without leaving a row. Views such as pg_stat_activity ask these functions.
HIDDEN_FUNCTIONS = (
    "pg_stat_get_activity",
    "pg_stat_get_progress_info",
    "pg_stat_get_wal_senders",
    "pg_lock_status",
    "pg_prepared_xact",
    "pg_get_replication_slots",
    "pg_tablespace_size",
    "pg_tablespace_databases",
    "pg_logical_emit_message",
)
HIDDEN_PATTERNS = (r"pg\_stat\_get\_backend\_%", r"pg\_stat\_get\_db\_%")

REAPER_SECONDS = 5
IDLE_SECONDS = 60
# Advisory locks of one session. They live in a table that all tenants share.
ADVISORY_LOCKS = 1000


def cluster_bootstrap_sql() -> str:
    """Roles, template and the platform's own code; every statement may be repeated.

    1. PUBLIC may connect to no database that is there from the beginning.
    2. The template has all that a project's database needs, so that none has to be entered to make it ready.
    3. The admin gets what it needs and is no superuser; what only a superuser may do, two functions do for it.
    """
    return "\n".join((*_roles(), *_template(), *_own_code(), ""))


def _roles() -> tuple[str, ...]:
    admin, tenant = identifier(ADMIN), identifier(TENANT)
    return (
        *(f"ALTER ROLE postgres SET {name} = {literal(value)};" for name, value in SUPERUSER_SETTINGS.items()),
        *login_role(ADMIN, key=ADMIN_KEY, connections=ADMIN_CONNECTIONS, rights=ADMIN_RIGHTS),
        *(f"ALTER ROLE {admin} SET {name} = {literal(value)};" for name, value in ADMIN_SETTINGS.items()),
        *(f"GRANT {group} TO {admin} WITH ADMIN FALSE, INHERIT TRUE, SET FALSE;" for group in ADMIN_GROUPS),
        *unless_exists(f"CREATE ROLE {tenant}", f"pg_roles WHERE rolname = {literal(TENANT)}"),
        f"ALTER ROLE {tenant} WITH NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;",
        *api_groups(),
        *(
            f"GRANT {identifier(group)} TO {admin} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE;"
            for group in (TENANT, *API_GROUPS)
        ),
    )


def _template() -> tuple[str, ...]:
    """It is open only while this runs: a database that somebody is in cannot be copied."""
    template = identifier(TEMPLATE)
    create = f"CREATE DATABASE {template} WITH IS_TEMPLATE true ALLOW_CONNECTIONS false"
    names = ", ".join(literal(name) for name in HIDDEN_FUNCTIONS)
    patterns = " OR ".join(f"proname LIKE {literal(pattern)}" for pattern in HIDDEN_PATTERNS)
    return (
        *unless_exists(create, f"pg_database WHERE datname = {literal(TEMPLATE)}"),
        *(
            f"REVOKE ALL ON DATABASE {identifier(name)} FROM PUBLIC;"
            for name in (*FOREIGN_DATABASES, "template0", TEMPLATE)
        ),
        f"ALTER DATABASE {template} WITH IS_TEMPLATE true ALLOW_CONNECTIONS true;",
        f"\\connect {template}",
        settings_sql(),
        "REVOKE ALL ON SCHEMA public FROM PUBLIC;",
        f"GRANT USAGE, CREATE ON SCHEMA public TO {identifier(TENANT)};",
        f"GRANT USAGE ON SCHEMA public TO {', '.join(identifier(group) for group in API_GROUPS)};",
        "SELECT pg_catalog.format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', oid::pg_catalog.regprocedure)",
        "  FROM pg_catalog.pg_proc WHERE pronamespace = 'pg_catalog'::pg_catalog.regnamespace",
        f"  AND (proname IN ({names}) OR {patterns})",
        "\\gexec",
        "\\connect postgres",
        f"ALTER DATABASE {template} WITH ALLOW_CONNECTIONS false;",
    )


def _own_code() -> tuple[str, ...]:
    """Code only, so it is made anew each time."""
    admin, schema = identifier(ADMIN), identifier(ADMIN_SCHEMA)
    return (
        f"GRANT CONNECT ON DATABASE postgres TO {admin};",
        *storage_sql(),
        *archive_sql(),
        *admin_sql(),
        "BEGIN;",
        f"DROP SCHEMA IF EXISTS {schema} CASCADE;",
        f"CREATE SCHEMA {schema};",
        *_digests(schema),
        *_adopt_role(schema),
        *_adopt_database(schema),
        f"REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {schema} FROM PUBLIC;",
        f"GRANT USAGE ON SCHEMA {schema} TO {admin};",
        f"GRANT SELECT ON {schema}.digests TO {admin};",
        f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {admin};",
        "COMMIT;",
    )


def _digests(schema: str) -> tuple[str, ...]:
    """By which a verifier can be known again without being read."""
    digest = "left(encode(sha256(convert_to(rolpassword, 'UTF8')), 'hex'), 32)"
    return (
        f"CREATE VIEW {schema}.digests AS",
        f"SELECT oid, {digest} AS digest FROM pg_catalog.pg_authid WHERE rolname ~ {literal(LOGINS)};",  # noqa: S608 (every part is quoted or ours)
    )


def _adopt_role(schema: str) -> tuple[str, ...]:
    """Takes from a project's role what only a superuser can have given it, and puts it into the admin's hands."""
    plain = "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT VALID UNTIL %L"
    return (
        f"CREATE FUNCTION {schema}.adopt_role(role name) RETURNS void LANGUAGE plpgsql SECURITY DEFINER",
        "SET search_path = pg_catalog AS $$",
        "DECLARE held record;",
        "BEGIN",
        *_refuse_others("role", LOGINS),
        f"  EXECUTE format('ALTER ROLE %I WITH {plain}', role, 'infinity');",
        "  FOR held IN SELECT roleid::regrole AS granted, grantor::regrole AS grantor FROM pg_auth_members",
        f"    WHERE member = to_regrole(quote_ident(role)) AND grantor <> {literal(ADMIN)}::regrole",
        "  LOOP",
        "    EXECUTE format('REVOKE %s FROM %I GRANTED BY %s CASCADE', held.granted, role, held.grantor);",
        "  END LOOP;",
        f"  EXECUTE format('GRANT %I TO {ADMIN} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE', role);",
        "END $$;",
    )


def _adopt_database(schema: str) -> tuple[str, ...]:
    return (
        f"CREATE FUNCTION {schema}.adopt_database(database name) RETURNS void LANGUAGE plpgsql SECURITY DEFINER",
        "SET search_path = pg_catalog AS $$",
        "BEGIN",
        *_refuse_others("database", DATABASES),
        "  EXECUTE format('ALTER DATABASE %I WITH IS_TEMPLATE false', database);",
        f"  EXECUTE format('ALTER DATABASE %I OWNER TO {ADMIN}', database);",
        "END $$;",
    )


def _refuse_others(name: str, pattern: str) -> tuple[str, ...]:
    return (
        f"  IF {name} !~ {literal(pattern)} THEN",
        f"    RAISE insufficient_privilege USING MESSAGE = format('%I is no {name} of a project', {name});",
        "  END IF;",
    )


def reaper_sql(*, max_transaction_seconds: int) -> str:
    """Ends tenants' sessions, as every limit in time that PostgreSQL has can be lifted by the session itself.

    1. A transaction, whatever it does, that is older than the cluster allows.
    2. A transaction that has done nothing for a while: it holds locks, and keeps vacuum from cleaning shared tables.
    3. A session with a great many advisory locks.
    """
    tenants = f"backend_type = 'client backend' AND usename ~ {literal(LOGINS)}"
    idle = min(IDLE_SECONDS, max_transaction_seconds)
    return "\n".join(
        (
            "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity",
            f"WHERE {tenants} AND (",
            f"  clock_timestamp() - xact_start > interval '{max_transaction_seconds} seconds'",
            "  OR (state LIKE 'idle in transaction%'",
            f"    AND clock_timestamp() - state_change > interval '{idle} seconds')",
            "  OR pid IN (SELECT pid FROM pg_catalog.pg_locks WHERE locktype = 'advisory'",
            f"    GROUP BY pid HAVING count(*) > {ADVISORY_LOCKS}))",
            f"\\watch interval={REAPER_SECONDS}",
            "",
        )
    )
