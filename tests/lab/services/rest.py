# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests as SQL: a statement for each, made of the schema cache's names and of parameters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from .schema import Cache, Name, Routine
from .settings import contract
from .web import Request

RESERVED = ("select", "order", "limit", "offset", "columns", "on_conflict")
DIRECTIONS = {"asc": sql.SQL("ASC"), "desc": sql.SQL("DESC")}
READING = ("GET", "HEAD")


class Refused(Exception):
    """One of PostgREST's own answers, by its code."""

    def __init__(self, code: str, *, details: str | None = None, **values: object) -> None:
        super().__init__(code)
        line = contract("postgrest")["answers"][code]
        self.code, self.status, self.details = code, int(line["status"]), details
        self.text = line["text"].format(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One that answers with one value in JSON, or with none at all if `is_mute`."""

    text: sql.Composed
    values: Sequence[Any]
    status: int
    is_mute: bool = False
    is_reading: bool = False
    is_list: bool = True


def schema_of(request: Request, schemas: Sequence[str]) -> str:
    """The one that the client names, or the first."""
    header = "accept-profile" if request.method in READING else "content-profile"
    named = request.headers.get(header) or schemas[0]
    if named not in schemas:
        raise Refused("PGRST106", schema=named)
    return named


def statement_of(request: Request, cache: Cache, schema: str, max_rows: int | None) -> Statement:
    """Raises Refused."""
    parts = request.path.strip("/").split("/")
    if parts[0] == "rpc" and len(parts) == 2:
        return _call(request, cache, (schema, parts[1]))
    if len(parts) != 1:
        raise Refused("PGRST125")
    name = (schema, parts[0])
    makers = {"GET": _select, "HEAD": _select, "POST": _insert, "PATCH": _update, "DELETE": _delete}
    if request.method not in makers:
        raise Refused("PGRST117", method=request.method)
    if name not in cache.tables:
        raise Refused("PGRST205", schema=schema, table=name[1])
    return makers[request.method](request, cache, name, max_rows)


def _select(request: Request, _cache: Cache, name: Name, max_rows: int | None) -> Statement:
    where, values = _filters(request)
    order = request.parameter("order")
    by = sql.SQL(" ORDER BY {}").format(_order(order)) if order else sql.SQL("")
    limit = _number(request, "limit")
    limits = [one for one in (limit, max_rows) if one is not None]
    text = sql.SQL(
        "SELECT coalesce(json_agg(r), '[]') FROM (SELECT {} FROM {} AS t{}{} LIMIT %s OFFSET %s) AS r"
    ).format(_columns(request), sql.Identifier(*name), where, by)
    bounds = [min(limits, default=None), _number(request, "offset") or 0]
    return Statement(text=text, values=[*values, *bounds], status=200, is_reading=True)


def _insert(request: Request, cache: Cache, name: Name, _max_rows: int | None) -> Statement:
    rows = _json(request)
    rows = rows if isinstance(rows, list) else [rows]
    columns = _known(rows, cache, name)
    listed = sql.SQL(", ").join(map(sql.Identifier, columns))
    text = (
        sql.SQL("INSERT INTO {0} ({1}) SELECT {1} FROM json_populate_recordset(NULL::{0}, %s::json)").format(
            sql.Identifier(*name), listed
        )
        if columns
        else sql.SQL("INSERT INTO {} SELECT FROM json_array_elements(%s::json)").format(sql.Identifier(*name))
    )
    return _writing(request, text, [json.dumps(rows)], mute_status=201, status=201)


def _update(request: Request, cache: Cache, name: Name, _max_rows: int | None) -> Statement:
    row = _json(request)
    columns = _known([row], cache, name)
    where, values = _filters(request)
    pairs = [sql.SQL("{0} = given.{0}").format(sql.Identifier(column)) for column in columns]
    text = sql.SQL("UPDATE {0} AS t SET {1} FROM json_populate_record(NULL::{0}, %s::json) AS given{2}").format(
        sql.Identifier(*name), sql.SQL(", ").join(pairs), where
    )
    return _writing(request, text, [json.dumps(row), *values], mute_status=204, status=200)


def _delete(request: Request, _cache: Cache, name: Name, _max_rows: int | None) -> Statement:
    where, values = _filters(request)
    text = sql.SQL("DELETE FROM {} AS t{}").format(sql.Identifier(*name), where)
    return _writing(request, text, values, mute_status=204, status=200)


def _writing(
    request: Request, text: sql.Composed, values: Sequence[Any], *, mute_status: int, status: int
) -> Statement:
    """With the rows in the answer if the client prefers so; to read them takes a right of its own."""
    if "return=representation" not in request.headers.get("prefer", ""):
        return Statement(text=text, values=values, status=mute_status, is_mute=True)
    table = "t" if request.method != "POST" else ""
    returned = sql.SQL("{}.*").format(sql.Identifier(table)) if table else sql.SQL("*")
    whole = sql.SQL(
        "WITH made AS ({} RETURNING {}) SELECT coalesce(json_agg(r), '[]') FROM (SELECT {} FROM made AS t) AS r"
    ).format(text, returned, _columns(request))
    return Statement(text=whole, values=values, status=status)


def _call(request: Request, cache: Cache, name: Name) -> Statement:
    if request.method != "POST":
        raise Refused("PGRST101", method=request.method)
    given = _json(request) if request.body else {}
    routine = cache.routines.get(name)
    if routine is None or not set(given) <= set(routine.arguments):
        raise Refused("PGRST202", schema=name[0], name=name[1])
    text = _invocation(name, routine, sorted(given))
    return Statement(
        text=text,
        values=[json.dumps(given)] if given else [],
        status=204 if routine.returns == "void" else 200,
        is_mute=routine.returns == "void",
        is_reading=not routine.is_volatile,
        is_list=routine.is_set,
    )


def _invocation(name: Name, routine: Routine, given: Sequence[str]) -> sql.Composed:
    """The types are PostgreSQL's own words for them."""
    types = [sql.SQL("{} ").format(sql.Identifier(one)) + _type(routine.arguments[one]) for one in given]
    pairs = [sql.SQL("{0} => given.{0}").format(sql.Identifier(one)) for one in given]
    source = sql.SQL("json_to_record(%s::json) AS given({}), LATERAL ").format(sql.SQL(", ").join(types))
    return sql.SQL("SELECT coalesce(json_agg(r), '[]') FROM {}{}({}) AS r").format(
        source if given else sql.SQL(""), sql.Identifier(*name), sql.SQL(", ").join(pairs)
    )


def _type(name: str) -> sql.Composable:
    return sql.SQL(name)


def _filters(request: Request) -> tuple[sql.Composable, list[str]]:
    wanted, values = [], []
    for column, condition in request.query:
        if column not in RESERVED:
            operator, dot, value = condition.partition(".")
            if operator != "eq" or not dot:
                raise Refused("PGRST100", what=f"filter ({condition})", details="only eq. is in the stand-in")
            wanted.append(sql.SQL("t.{} = %s").format(sql.Identifier(column)))
            values.append(value)
    return sql.SQL(" WHERE {}").format(sql.SQL(" AND ").join(wanted)) if wanted else sql.SQL(""), values


def _columns(request: Request) -> sql.Composable:
    named = [one for one in request.parameter("select").split(",") if one not in ("", "*")]
    return sql.SQL(", ").join(sql.Identifier("t", one) for one in named) if named else sql.SQL("t.*")


def _order(text: str) -> sql.Composable:
    terms = []
    for term in text.split(","):
        column, _, direction = term.partition(".")
        if direction not in ("", *DIRECTIONS):
            raise Refused("PGRST100", what=f"order ({term})")
        terms.append(sql.Identifier("t", column) + sql.SQL(" ") + DIRECTIONS[direction or "asc"])
    return sql.SQL(", ").join(terms)


def _number(request: Request, name: str) -> int | None:
    text = request.parameter(name)
    if text and not text.isdigit():
        raise Refused("PGRST100", what=f"{name} ({text})")
    return int(text) if text else None


def _json(request: Request) -> Any:
    try:
        found = json.loads(request.body)
    except ValueError:
        raise Refused("PGRST102") from None
    if not isinstance(found, dict | list) or (isinstance(found, list) and request.method != "POST"):
        raise Refused("PGRST102")
    return found


def _known(rows: Sequence[Any], cache: Cache, name: Name) -> list[str]:
    """The columns that rows name. Raises Refused for one that the cache does not know."""
    columns = dict.fromkeys(column for row in rows for column in row)
    for column in columns:
        if column not in cache.tables[name]:
            raise Refused("PGRST204", column=column, table=name[1])
    return list(columns)
