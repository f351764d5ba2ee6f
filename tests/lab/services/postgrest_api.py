# SPDX-License-Identifier: GPL-3.0-or-later
"""What the stand-in for PostgREST answers: who asks, as whom that is done, and how an error is told."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from http.cookies import CookieError, SimpleCookie
from typing import Any, Protocol

import psycopg

from . import tokens, web
from .database import Connection, NoneFree, Pool
from .rest import READING, Refused, Statement, schema_of, statement_of
from .schema import Cache
from .settings import contract
from .web import Answer, Request, as_json

SKEW_SECONDS = 30
TOKEN_CODES = ("PGRST301", "PGRST303")


class Host(Protocol):
    """The process as its answers need it."""

    pool: Pool
    cache: Cache | None
    keys: list[tokens.Key]

    def failed(self, error: psycopg.Error) -> None: ...
    def reload(self) -> None: ...


class Api:
    def __init__(self, told: Mapping[str, str], schemas: Sequence[str], host: Host) -> None:
        self._told, self._schemas, self._host = told, schemas, host
        self._anon = told["PGRST_DB_ANON_ROLE"]
        self._max_rows = int(told["PGRST_DB_MAX_ROWS"]) if told.get("PGRST_DB_MAX_ROWS") else None
        extra = [one.strip() for one in told["PGRST_DB_EXTRA_SEARCH_PATH"].split(",") if one.strip()]
        self._extra = extra
        prefix = "PGRST_APP_SETTINGS_"
        self._app = {
            f"app.settings.{n.removeprefix(prefix).lower()}": v for n, v in told.items() if n.startswith(prefix)
        }

    def answer(self, request: Request) -> Answer:
        """Whatever happens, in PostgREST's form."""
        asked = web.preflight(request, contract("postgrest")["preflight"])
        if asked is not None:
            return asked
        role = self._anon
        try:
            claims = self._claims(request)
            role = str(claims.get("role") or self._anon)
            return self._answer(request, {**claims, "role": role})
        except Refused as refused:
            return _refusal(refused)
        except NoneFree:
            return _refusal(Refused("PGRST003"))
        except psycopg.Error as error:
            return self._failure(error, is_authenticated=role != self._anon)

    def _answer(self, request: Request, claims: Mapping[str, Any]) -> Answer:
        if not claims["role"]:
            raise Refused("PGRST302")
        cache = self._host.cache
        if cache is None:
            raise Refused("PGRST002")
        schema = schema_of(request, self._schemas)
        if request.path == "/":
            return self._openapi(request, cache, schema, claims)
        return self._done(request, statement_of(request, cache, schema, self._max_rows), schema, claims)

    def _claims(self, request: Request) -> dict[str, Any]:
        token = web.bearer_of(request)
        if token is None:
            return {}
        if not token:
            raise Refused("PGRST301", reason="Empty JWT is sent in Authorization header")
        try:
            claims = tokens.verified(token, self._host.keys)
        except tokens.BadToken as error:
            raise Refused("PGRST301", reason=error) from None
        if fault := claims_fault(claims, self._told["PGRST_JWT_AUD"], time.time()):
            raise Refused("PGRST303", reason=fault)
        return claims

    def _done(self, request: Request, statement: Statement, schema: str, claims: Mapping[str, Any]) -> Answer:
        with self._host.pool.connection() as connection, connection.transaction():
            self._become(connection, request, schema, claims, is_reading=statement.is_reading)
            cursor = connection.execute(statement.text, statement.values)
            if statement.is_mute:
                return Answer(status=statement.status)
            row = cursor.fetchone()
        found = row[0] if row else []
        if not statement.is_list:
            return as_json(statement.status, found[0] if found else None)
        last = f"0-{len(found) - 1}" if found else "*"
        return as_json(statement.status, found, Content_Range=f"{last}/*")

    def _openapi(self, request: Request, cache: Cache, schema: str, claims: Mapping[str, Any]) -> Answer:
        """What the role may read."""
        if request.method not in READING:
            raise Refused("PGRST117", method=request.method)
        if self._told["PGRST_OPENAPI_MODE"] == "disabled":
            raise Refused("PGRST126")
        names = [name for owner, name in sorted(cache.tables) if owner == schema]
        with self._host.pool.connection() as connection, connection.transaction():
            self._become(connection, request, schema, claims, is_reading=True)
            seen = connection.execute(
                "SELECT name FROM unnest(%s::text[]) AS name"
                " WHERE has_table_privilege(format('%%I.%%I', %s::text, name), 'SELECT')",
                (names, schema),
            ).fetchall()
        shown = [row[0] for row in seen]
        return as_json(
            200,
            {
                "swagger": "2.0",
                "info": {"title": "PostgREST API", "version": contract("postgrest")["version"]},
                "paths": {f"/{name}": {"get": {}} for name in shown},
                "definitions": {
                    name: {"properties": {column: {} for column in cache.tables[schema, name]}} for name in shown
                },
            },
        )

    def _become(
        self, connection: Connection, request: Request, schema: str, claims: Mapping[str, Any], *, is_reading: bool
    ) -> None:
        """For the rest of the transaction."""
        if is_reading:
            connection.execute("SET TRANSACTION READ ONLY")
        path = dict.fromkeys([schema, *self._extra])
        given = {
            "search_path": ", ".join('"' + one.replace('"', '""') + '"' for one in path),
            "role": claims["role"],
            "request.jwt.claims": json.dumps(claims),
            "request.method": request.method,
            "request.path": request.path,
            "request.headers": json.dumps({n: v for n, v in request.headers.items() if n != "cookie"}),
            "request.cookies": json.dumps(_cookies(request)),
            **self._app,
        }
        text = "SELECT " + ", ".join(["pg_catalog.set_config(%s, %s, true)"] * len(given))
        connection.execute(text.encode(), [part for pair in given.items() for part in pair])

    def _failure(self, error: psycopg.Error, *, is_authenticated: bool) -> Answer:
        self._host.failed(error)
        if error.sqlstate is None or error.sqlstate.startswith("08"):
            self._host.reload()
            return _refusal(Refused("PGRST000", details=" ".join(str(error).split())))
        status = status_of(error.sqlstate, error.diag.message_primary or "", is_authenticated=is_authenticated)
        diagnosis = {
            "code": error.sqlstate,
            "message": error.diag.message_primary,
            "details": error.diag.message_detail,
            "hint": error.diag.message_hint,
        }
        more = {} if is_authenticated or status != 401 else {"WWW_Authenticate": "Bearer"}
        if status == 503:
            self._host.reload()
        return as_json(status, diagnosis, **more)


def claims_fault(claims: Mapping[str, Any], audience: str, now: float) -> str:
    """What is wrong with them at a time; nothing if they hold."""
    for name in ("exp", "nbf", "iat"):
        if name in claims and (isinstance(claims[name], bool) or not isinstance(claims[name], int | float)):
            return f"The JWT '{name}' claim must be a number"
    if "exp" in claims and now > claims["exp"] + SKEW_SECONDS:
        return "JWT expired"
    if "nbf" in claims and now < claims["nbf"] - SKEW_SECONDS:
        return "JWT not yet valid"
    if "iat" in claims and now < claims["iat"] - SKEW_SECONDS:
        return "JWT issued at future"
    named = claims.get("aud")
    named = [named] if isinstance(named, str) else named
    if audience and named and audience not in named:
        return "JWT not in audience"
    return ""


def status_of(sqlstate: str, message: str, *, is_authenticated: bool) -> int:
    """What a client is told of an SQLSTATE.

    >>> status_of("42501", "permission denied", is_authenticated=False)
    401
    """
    if sqlstate == "42501" and not is_authenticated:
        return 401
    if sqlstate == "22023" and message.startswith("role ") and message.endswith(" does not exist"):
        return 401
    if sqlstate.startswith("PT") and sqlstate[2:].isdigit():
        return int(sqlstate[2:])
    states: Mapping[str, int] = contract("postgrest")["sqlstates"]
    return next((status for state, status in states.items() if sqlstate.startswith(state)), 400)


def _refusal(refused: Refused) -> Answer:
    told = {"code": refused.code, "message": refused.text, "details": refused.details, "hint": None}
    if refused.code in TOKEN_CODES:
        words = f'Bearer error="invalid_token", error_description={json.dumps(refused.text)}'
        return as_json(refused.status, told, WWW_Authenticate=words)
    more = {"WWW_Authenticate": "Bearer"} if refused.code == "PGRST302" else {}
    return as_json(refused.status, told, **more)


def _cookies(request: Request) -> dict[str, str]:
    try:
        return {name: one.value for name, one in SimpleCookie(request.headers.get("cookie", "")).items()}
    except CookieError:
        return {}
