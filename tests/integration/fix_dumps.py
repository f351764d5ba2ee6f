# SPDX-License-Identifier: GPL-3.0-or-later
"""Dumps in the object store and how they come into a database; what databases are compared by."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
from fix_archive import Archived
from fix_container import podman
from fix_object_store import ObjectStore
from nasty_schema import SCHEMA


def make_nasty(session: Callable[[], psycopg.Connection], database: str) -> None:
    owner, probe = f"{database}_owner", f"{database}_probe"
    with session() as connection:
        connection.execute(f"SET SESSION AUTHORIZATION {owner}")
        connection.execute(SCHEMA.replace("{probe}", probe).encode())
        connection.execute(f'ALTER ROLE {owner} IN DATABASE {database} SET search_path = own, "odd, name", public')


def link(store: ObjectStore, key: str) -> str:
    told = {"Bucket": store.bucket, "Key": key}
    return str(store.client().generate_presigned_url("get_object", Params=told, ExpiresIn=600))


def load(pair: Archived, database: str, key: str, *, same_project: bool = True) -> dict:
    url = link(pair.store, key)
    return pair.work("/load", database=database, owner=f"{database}_owner", url=url, same_project=same_project)


def dump_of(pair: Archived, text: str, key: str) -> str:
    """A dump of a database that is made of these statements, as anybody could bring it."""
    pair.sql("DROP DATABASE IF EXISTS other", "postgres")
    pair.sql("CREATE DATABASE other", "postgres")
    pair.sql(text, "other")
    folder = pair.directory / "data"
    podman("exec", pair.server, "pg_dump", "-U", "postgres", "-h", "/run/postgresql", "-Fc", "-f",
           "/var/lib/postgresql/data/other.dump", "other")  # fmt: skip
    pair.store.put(key, (folder / "other.dump").read_bytes())
    return key


def answers(ask: Callable[[str], str], questions: tuple[str, ...]) -> list[str]:
    return [ask(question) for question in questions]


def names(pair: Archived) -> set[str]:
    """Of databases and of roles that only a load needs."""
    found = pair.sql(
        "SELECT datname FROM pg_database UNION SELECT rolname FROM pg_roles WHERE rolname ~ '^supa'", "postgres"
    )
    return {*found.split()}
