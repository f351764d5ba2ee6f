# SPDX-License-Identifier: BSD-2-Clause
"""The SQL by which a dedicated PostgreSQL brings itself into shape at every start, over its own socket.

psql runs it as the platform's superuser. Verifiers come from mounted files, so no statement here holds a secret. Every
name is qualified or looked up in pg_catalog alone: the session's search_path is pinned before it begins.
"""

from __future__ import annotations

from ..project.names import Names
from .archive import archive_sql
from .context import Context
from .files import identifier, literal
from .postgresql import CREDENTIALS_DIRECTORY
from .quota import limit_sql, settings_sql, storage_sql

# Databases that every cluster has. No tenant has business in them.
FOREIGN_DATABASES = ("postgres", "template1")
TENANT_RIGHTS = "LOGIN INHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"


def bootstrap_sql(names: Names, *, connections: int, probe_connections: int, storage_limit: int) -> str:
    """Roles, database and grants; every statement may be repeated.

    1. The tenant's login is no superuser and cannot make roles, databases or replicas.
    2. It does not own its database, so that it can neither drop it nor lift its limits; it may create schemas in it.
    3. PUBLIC may connect to no database.
    4. The database has a limit in bytes, which only its owner, the platform, can change.
    """
    owner, probe, database = (identifier(name) for name in (names.owner, names.probe, names.database))
    return "\n".join(
        (
            *login_role(names.owner, key=Context.SERVER_KEY, connections=connections),
            *login_role(names.probe, key=Context.PROBE_KEY, connections=probe_connections),
            *unless_exists(f"CREATE DATABASE {database}", f"pg_database WHERE datname = {literal(names.database)}"),
            *(
                f"REVOKE ALL ON DATABASE {identifier(name)} FROM PUBLIC;"
                for name in (names.database, *FOREIGN_DATABASES)
            ),
            f"GRANT CONNECT, TEMPORARY, CREATE ON DATABASE {database} TO {owner};",
            f"GRANT CONNECT ON DATABASE {database} TO {probe};",
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
