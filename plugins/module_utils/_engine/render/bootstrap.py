# SPDX-License-Identifier: BSD-2-Clause
"""The SQL by which a dedicated PostgreSQL brings itself into shape at every start, over its own socket.

psql runs it as the platform's superuser. Verifiers come from mounted files, so no statement here holds a secret. Every
name is qualified or looked up in pg_catalog alone: the session's search_path is pinned before it begins.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..databases import API_GROUPS, SERVICE
from ..project.names import Names
from ..service_keys import AUTH, REST
from .archive import archive_sql
from .context import Context
from .files import identifier, literal
from .postgresql import CREDENTIALS_DIRECTORY
from .quota import limit_sql, settings_sql, storage_sql

# Databases that every cluster has. No tenant has business in them.
FOREIGN_DATABASES = ("postgres", "template1")
# Not what the group may, but only the way to become it.
GROUP_OPTIONS = "WITH ADMIN FALSE, INHERIT FALSE, SET TRUE"
TENANT_RIGHTS = "LOGIN INHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"


def bootstrap_sql(
    names: Names,
    *,
    connections: int,
    probe_connections: int,
    storage_limit: int,
    service_connections: tuple[int, int] = (0, 0),
) -> str:
    """Roles, database and grants; every statement may be repeated.

    1. The tenant's login is no superuser and cannot make roles, databases or replicas.
    2. It does not own its database, so that it can neither drop it nor lift its limits; it may create schemas in it.
    3. PUBLIC may connect to no database.
    4. The database has a limit in bytes, which only its owner, the platform, can change.
    5. Services, if there are any, log in as roles of their own: PostgREST may become one of three groups, and Auth is
       the tenant, so that all that is in the database has one owner.
    """
    owner, probe, database = (identifier(name) for name in (names.owner, names.probe, names.database))
    return "\n".join(
        (
            *login_role(names.owner, key=Context.SERVER_KEY, connections=connections),
            *login_role(names.probe, key=Context.PROBE_KEY, connections=probe_connections),
            *(_service_logins(names, service_connections) if any(service_connections) else ()),
            *unless_exists(f"CREATE DATABASE {database}", f"pg_database WHERE datname = {literal(names.database)}"),
            *(
                f"REVOKE ALL ON DATABASE {identifier(name)} FROM PUBLIC;"
                for name in (names.database, *FOREIGN_DATABASES)
            ),
            f"GRANT CONNECT, TEMPORARY, CREATE ON DATABASE {database} TO {owner};",
            f"GRANT CONNECT ON DATABASE {database} TO {probe};",
            *(
                f"GRANT CONNECT ON DATABASE {database} TO {identifier(name)};"
                for name in (names.rest, names.auth)
                if any(service_connections)
            ),
            *storage_sql(),
            *archive_sql(),
            limit_sql(names.database, storage_limit),
            f"\\connect {database}",
            settings_sql(),
            # A tenant may have dropped or replaced it; then it is already the tenant's own.
            *when_exists(
                f"ALTER SCHEMA public OWNER TO {owner}",
                "pg_namespace WHERE nspname = 'public' AND nspowner = 'pg_database_owner'::pg_catalog.regrole",
            ),
            "",
        )
    )


def _service_logins(names: Names, connections: tuple[int, int]) -> Iterator[str]:
    rest, auth = connections
    yield from api_groups()
    yield from login_role(names.rest, key=REST, connections=rest)
    yield from login_role(names.auth, key=AUTH, connections=auth)
    yield from (f"GRANT {identifier(one)} TO {identifier(names.rest)} {GROUP_OPTIONS};" for one in API_GROUPS)
    yield f"GRANT {identifier(names.owner)} TO {identifier(names.auth)} {GROUP_OPTIONS};"
    for name, settings in role_settings(names).items():
        for key, value in settings.items():
            yield f"ALTER ROLE {identifier(name)} SET {key} = {literal(value)};"


def role_settings(names: Names) -> dict[str, dict[str, str]]:
    """What the services' sessions begin with. Auth's become the tenant's, and find its schema first."""
    rest = {"statement_timeout": "8s", "lock_timeout": "8s", "idle_in_transaction_session_timeout": "60s"}
    return {names.rest: rest, names.auth: {"role": names.owner, "search_path": AUTH}}


def api_groups() -> Iterator[str]:
    """The groups that PostgREST becomes; only the last passes by policies of rows."""
    for name in API_GROUPS:
        role = identifier(name)
        bypass = "BYPASSRLS" if name == SERVICE else "NOBYPASSRLS"
        yield from unless_exists(f"CREATE ROLE {role}", f"pg_roles WHERE rolname = {literal(name)}")
        yield f"ALTER ROLE {role} WITH NOLOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION {bypass};"


def login_role(name: str, *, key: str, connections: int, rights: str = TENANT_RIGHTS) -> tuple[str, ...]:
    """A login with the verifier of a key in the mounted Secret."""
    role = identifier(name)
    return (
        f"\\set verifier `cat {CREDENTIALS_DIRECTORY}/{key}.verifier`",
        *unless_exists(f"CREATE ROLE {role}", f"pg_roles WHERE rolname = {literal(name)}"),
        f"ALTER ROLE {role} WITH {rights} CONNECTION LIMIT {connections} PASSWORD :'verifier';",
    )


def unless_exists(statement: str, condition: str) -> tuple[str, str]:
    """Run a statement that cannot be repeated, unless the catalog has such a row."""
    return (f"SELECT {literal(statement)} WHERE NOT EXISTS (SELECT FROM pg_catalog.{condition})", "\\gexec")  # noqa: S608 (every part is quoted or ours)


def when_exists(statement: str, condition: str) -> tuple[str, str]:
    """Run a statement only if the catalog has such a row."""
    return (f"SELECT {literal(statement)} WHERE EXISTS (SELECT FROM pg_catalog.{condition})", "\\gexec")  # noqa: S608 (every part is quoted or ours)
