# SPDX-License-Identifier: BSD-2-Clause
"""How large a database may get, and how full the volume: a program beside the server, supalove-quota, sees to it."""

from __future__ import annotations

from ..databases import ADMIN
from ..objects import Body
from ..project.model import Project
from ..project.quantities import MIB
from .files import identifier, literal
from .postgresql import DATA_DIRECTORY, DATA_MOUNT, sidecar

# Of a database, in bytes; only its owner, the platform, can change it. A tenant reads it with SHOW.
LIMIT_SETTING = "supalove.storage_limit"
# In the database postgres, where the program notes what it found and did.
SCHEMA = "supalove_quota"

NAME = "quota"
PROGRAM = "/usr/local/bin/supalove-quota"
CPU = 20
MEMORY = 32 * MIB


def volume_limit(project: Project) -> int:
    """Bytes of a project's own volume that are for rows: the rest is WAL, temporary files, and room to clean up in."""
    return project.storage * 4 // 5


def limit_sql(database: str, limit_bytes: int) -> str:
    """For a PostgreSQL of a project's own, which sets the limit itself."""
    return f"ALTER DATABASE {identifier(database)} SET {LIMIT_SETTING} = {literal(str(limit_bytes))};"


def storage_sql() -> tuple[str, ...]:
    """The tables in which the program notes what it found, decided and did: in the database postgres.

    `storage` has each database, `volume` in its only row whether tenants are stopped because of WAL, and `stopped` in
    which databases that is done already.
    """
    first = f"INSERT INTO {SCHEMA}.volume SELECT 0, 0, false, pg_catalog.now() WHERE NOT EXISTS"
    return (
        f"CREATE SCHEMA IF NOT EXISTS {SCHEMA};",
        f"CREATE TABLE IF NOT EXISTS {SCHEMA}.storage (database oid PRIMARY KEY, name name NOT NULL,",
        "  bytes bigint NOT NULL, limit_bytes bigint, state text NOT NULL, since timestamptz NOT NULL,",
        "  blocked boolean NOT NULL);",
        f"CREATE TABLE IF NOT EXISTS {SCHEMA}.volume (bytes bigint NOT NULL, free_bytes bigint NOT NULL,",
        "  stopped boolean NOT NULL, since timestamptz NOT NULL);",
        f"{first} (SELECT FROM {SCHEMA}.volume);",
        f"CREATE TABLE IF NOT EXISTS {SCHEMA}.stopped (database oid PRIMARY KEY);",
    )


def settings_sql() -> str:
    """In a database of tenants: what a role there sets for itself has to fit into a page.

    Any role may give itself settings, no event trigger is asked, and they are in a catalog that all databases share and
    no database's size has. A column that PostgreSQL may not move out of its row holds 8 KiB at the most.
    """
    return (
        "UPDATE pg_catalog.pg_attribute SET attstorage = 'p' WHERE attname = 'setconfig' AND attstorage <> 'p'"
        " AND attrelid = 'pg_catalog.pg_db_role_setting'::pg_catalog.regclass;"
    )


def admin_sql() -> tuple[str, ...]:
    """What the admin of a shared cluster needs to set limits, and to read what became of them."""
    admin = identifier(ADMIN)
    return (
        # The owner of a database may give it a setting that the server does not know only if it was given that right.
        f"GRANT SET ON PARAMETER {LIMIT_SETTING} TO {admin};",
        f"GRANT USAGE ON SCHEMA {SCHEMA} TO {admin};",
        f"GRANT SELECT ON {SCHEMA}.storage TO {admin};",
    )


def quota_container(image: str) -> Body:
    """The program, in the server's own image; its work is done by the server, over whose socket it asks.

    What is free of the volume the server cannot tell, so the program sees it, too.
    """
    data: Body = {"name": "data", "mountPath": DATA_MOUNT, "readOnly": True}
    container = sidecar(NAME, image=image, program=PROGRAM, cpu=CPU, memory=MEMORY, mounts=[data])
    return {**container, "env": [{"name": "PGDATA", "value": DATA_DIRECTORY}]}
