# SPDX-License-Identifier: GPL-3.0-or-later
"""What PostgREST knows of the database: tables and functions of the exposed schemas, as they were when it looked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .database import Connection

TABLES = """
SELECT n.nspname, c.relname, array_agg(a.attname::text ORDER BY a.attnum)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname = ANY(%s) AND c.relkind IN ('r', 'v', 'm', 'f', 'p')
GROUP BY 1, 2
"""
ROUTINES = """
SELECT n.nspname, p.proname, p.proretset, pg_catalog.format_type(p.prorettype, NULL), p.provolatile::text,
  coalesce((SELECT array_agg(name ORDER BY place) FROM unnest(p.proargnames, p.proargmodes)
    WITH ORDINALITY AS _(name, mode, place) WHERE coalesce(mode, 'i') IN ('i', 'b')), '{}'),
  coalesce((SELECT array_agg(pg_catalog.format_type(type, NULL) ORDER BY place)
    FROM unnest(p.proargtypes) WITH ORDINALITY AS _(type, place)), '{}')
FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = ANY(%s) AND p.prokind = 'f'
"""
Name = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Routine:
    """`arguments`: names with their types."""

    is_set: bool
    returns: str
    is_volatile: bool
    arguments: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """Columns of tables, and routines, by schema and name. Of overloaded ones only one is known."""

    tables: Mapping[Name, tuple[str, ...]]
    routines: Mapping[Name, Routine]

    @classmethod
    def load(cls, connection: Connection, schemas: Sequence[str]) -> Cache:
        """Raises psycopg.Error."""
        with connection.transaction():
            tables = connection.execute(TABLES, (list(schemas),)).fetchall()
            routines = connection.execute(ROUTINES, (list(schemas),)).fetchall()
        return cls(
            tables={(schema, name): tuple(columns) for schema, name, columns in tables},
            routines={
                (schema, name): Routine(
                    is_set=is_set,
                    returns=returns,
                    is_volatile=volatility == "v",
                    arguments=dict(zip(names, types, strict=False)),
                )
                for schema, name, is_set, returns, volatility, names, types in routines
            },
        )

    def as_json(self) -> dict[str, list[dict[str, object]]]:
        return {
            "dbTables": [{"schema": s, "name": n, "columns": list(c)} for (s, n), c in sorted(self.tables.items())],
            "dbRoutines": [{"schema": s, "name": n} for s, n in sorted(self.routines)],
        }
