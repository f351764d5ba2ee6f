# SPDX-License-Identifier: BSD-2-Clause
"""Every statement that is sent to a shared cluster. psycopg quotes the names and values in it, nothing is pasted.

DDL takes no bound parameters, so values in it are literals, made by the client library for this connection.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

from ...databases import ADMIN_SCHEMA, DATABASES, TEMPLATE

# Where it is missing `connect` says so, and nothing is composed without a session.
with contextlib.suppress(ImportError):
    from psycopg.sql import SQL, Identifier, Literal

# Privileges of a database by the words of pg_catalog.aclexplode.
PRIVILEGES = ("CONNECT", "CREATE", "TEMPORARY")

# Roles and databases of projects, or one of them. `attributes` are what no project's role may be; `comment` and
# `digest` tell which verifier a role has. A database that nobody may enter should have no sessions left.
# A database that is loaded beside a project's, or kept of it, is none.
# While a database is at its limit of storage its user may make no temporary tables; that is no drift.
STATE = """
SELECT 'DatabaseRole', role.oid, role.rolname, pg_catalog.json_build_object(
    'login', role.rolcanlogin,
    'connectionLimit', role.rolconnlimit,
    'attributes', pg_catalog.array_remove(ARRAY[
      CASE WHEN role.rolsuper THEN 'superuser' END,
      CASE WHEN role.rolcreatedb THEN 'createdb' END,
      CASE WHEN role.rolcreaterole THEN 'createrole' END,
      CASE WHEN role.rolreplication THEN 'replication' END,
      CASE WHEN role.rolbypassrls THEN 'bypassrls' END,
      CASE WHEN NOT role.rolinherit THEN 'noinherit' END,
      CASE WHEN role.rolvaliduntil < 'infinity' THEN 'expires' END,
      CASE WHEN NOT EXISTS (
        SELECT FROM pg_catalog.pg_auth_members AS held
        WHERE held.roleid = role.oid AND held.admin_option AND held.member = CURRENT_USER::pg_catalog.regrole
      ) THEN 'foreign' END
    ], NULL),
    'memberOf', ARRAY(
      SELECT pg_catalog.pg_get_userbyid(held.roleid)
        || CASE WHEN held.admin_option THEN ' with admin option' ELSE '' END
        || CASE WHEN held.set_option THEN ' with set option' ELSE '' END
        || CASE WHEN held.inherit_option THEN '' ELSE ' without inheritance' END
      FROM pg_catalog.pg_auth_members AS held WHERE held.member = role.oid
    ),
    'settings', COALESCE((
      SELECT pg_catalog.to_json(own.setconfig) FROM pg_catalog.pg_db_role_setting AS own
      WHERE own.setrole = role.oid AND own.setdatabase = 0
    ), '[]'),
    'comment', pg_catalog.shobj_description(role.oid, 'pg_authid'),
    'digest', digests.digest
  )
FROM pg_catalog.pg_roles AS role LEFT JOIN {schema}.digests ON digests.oid = role.oid
WHERE role.rolname LIKE 'p\\_%%' AND (%(role)s::pg_catalog.text IS NULL OR role.rolname = %(role)s)
UNION ALL
SELECT 'Database', base.oid, base.datname, pg_catalog.json_build_object(
    'connectionLimit', base.datconnlimit,
    'allowConnections', base.datallowconn,
    'owner', pg_catalog.pg_get_userbyid(base.datdba),
    'template', base.datistemplate,
    'storageLimit', (
      SELECT pg_catalog.split_part(setting, '=', 2)
      FROM pg_catalog.pg_db_role_setting AS own, pg_catalog.unnest(own.setconfig) AS setting
      WHERE own.setdatabase = base.oid AND own.setrole = 0
        AND pg_catalog.split_part(setting, '=', 1) = 'supalove.storage_limit'
    ),
    'grants', ARRAY(
      SELECT pg_catalog.jsonb_build_array(
        CASE grantee WHEN 0 THEN '' ELSE pg_catalog.pg_get_userbyid(grantee) END,
        privilege_type || CASE WHEN is_grantable THEN ' with grant option' ELSE '' END
      )
      FROM pg_catalog.aclexplode(COALESCE(base.datacl, pg_catalog.acldefault('d', base.datdba)))
      WHERE grantee <> base.datdba
      UNION
      SELECT pg_catalog.jsonb_build_array(base.datname || '_owner', 'TEMPORARY') FROM supalove_quota.storage AS held
      WHERE held.database = base.oid AND (held.state = 'blocked' OR held.blocked)
    ),
    'sessions', CASE WHEN base.datallowconn THEN 0 ELSE (
      SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity AS one
      WHERE one.datid = base.oid AND one.usesysid IS NOT NULL
    ) END
  )
FROM pg_catalog.pg_database AS base
WHERE base.datname ~ {databases} AND (%(database)s::pg_catalog.text IS NULL OR base.datname = %(database)s)
"""

STORAGE = "SELECT name, bytes, limit_bytes, state, since FROM supalove_quota.storage"
LOCK = "SELECT pg_catalog.pg_advisory_lock(%(key)s)"
ADOPT_ROLE = "SELECT {schema}.adopt_role(%(name)s)"
ADOPT_DATABASE = "SELECT {schema}.adopt_database(%(name)s)"
CREATE_ROLE = "CREATE ROLE {role} WITH NOLOGIN"
ALTER_ROLE = "ALTER ROLE {role} WITH {login} CONNECTION LIMIT {limit}"
SET_PASSWORD = "ALTER ROLE {role} WITH PASSWORD {verifier}"
COMMENT_ROLE = "COMMENT ON ROLE {role} IS {comment}"
GRANT_ROLE = "GRANT {group} TO {role} WITH ADMIN FALSE, INHERIT TRUE, SET FALSE"
LET_BECOME = "GRANT {group} TO {role} WITH ADMIN FALSE, INHERIT FALSE, SET TRUE"
RESET_ROLE = "ALTER ROLE {role} RESET ALL"
SET_ROLE = "ALTER ROLE {role} SET {setting} = {value}"
REVOKE_ROLE = "REVOKE {group} FROM {role}"
DROP_ROLE = "DROP ROLE IF EXISTS {role}"
CREATE_DATABASE = "CREATE DATABASE {database} WITH TEMPLATE {template} ALLOW_CONNECTIONS false"
ALTER_DATABASE = "ALTER DATABASE {database} WITH ALLOW_CONNECTIONS {allowed} CONNECTION LIMIT {limit}"
LIMIT_DATABASE = "ALTER DATABASE {database} SET supalove.storage_limit = {limit}"
GRANT_DATABASE = "GRANT {privileges} ON DATABASE {database} TO {role}"
REVOKE_DATABASE = "REVOKE ALL ON DATABASE {database} FROM {role} CASCADE"
DROP_DATABASE = "DROP DATABASE IF EXISTS {database} WITH (FORCE)"
# Waits for each, in milliseconds.
END_SESSIONS = """
SELECT pg_catalog.pg_terminate_backend(one.pid, 5000) FROM pg_catalog.pg_stat_activity AS one
WHERE one.datname = %(name)s AND one.usesysid IS NOT NULL AND one.pid <> pg_catalog.pg_backend_pid()
"""


def compose(template: Any, **parts: Any) -> Any:
    """A statement out of one of the templates above. Text is a name; what is no name is given as what it is."""
    quoted = {key: Identifier(part) if isinstance(part, str) else part for key, part in parts.items()}
    ours = {
        "schema": Identifier(ADMIN_SCHEMA),
        "template": Identifier(TEMPLATE),
        "databases": Literal(DATABASES),
    }
    return SQL(template).format(**ours, **quoted)


def grantee(name: str) -> Any:
    """A role, or PUBLIC for the empty name."""
    return Identifier(name) if name else SQL("PUBLIC")


def value(text: str | int | bool) -> Any:  # noqa: FBT001 (any of the three is a value)
    """A value in DDL."""
    return Literal(text)


def login(can: bool) -> Any:  # noqa: FBT001 (the word for it)
    """Whether a role may log in."""
    return SQL("LOGIN") if can else SQL("NOLOGIN")


def privileges(names: Iterable[str]) -> Any:
    """Privileges of a database. Raises ValueError for a word that is none."""
    wanted = tuple(names)
    unknown = {*wanted} - {*PRIVILEGES}
    if unknown:
        raise ValueError(f"no privileges of a database: {', '.join(sorted(unknown))}; known: {', '.join(PRIVILEGES)}")
    return SQL(", ").join(SQL(name) for name in wanted)
