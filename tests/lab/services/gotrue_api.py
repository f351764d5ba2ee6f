# SPDX-License-Identifier: GPL-3.0-or-later
"""What the stand-in for GoTrue answers."""

from __future__ import annotations

import datetime
import json
import re
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from . import tokens, web
from .database import Connection, NoneFree, Pool
from .settings import contract, is_true
from .web import Answer, Request, as_json

EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
META = {"provider": "email", "providers": ["email"]}
PROVIDER = re.compile(r"GOTRUE_EXTERNAL_([A-Z0-9_]+)_ENABLED")
Row = dict[str, Any]


class Refused(Exception):
    """One of the contract's answers, by its name."""

    def __init__(self, name: str, **values: object) -> None:
        super().__init__(name)
        line = contract("gotrue")["answers"][name]
        text = line["text"].format(**values)
        self.answer = as_json(line["status"], {"code": line["status"], "error_code": line["code"], "msg": text})


class Api:
    """The answers, and how many are under way."""

    def __init__(self, told: Mapping[str, str], pool: Pool) -> None:
        self._told, self._pool = told, pool
        keys = json.loads(told.get("GOTRUE_JWT_KEYS", "[]"))
        secret = tokens.key_of_text(told["GOTRUE_JWT_SECRET"])
        self._keys = [*keys, secret]
        self._signing = next((one for one in keys if "sign" in one.get("key_ops", ())), secret)
        self._more_headers = told.get("GOTRUE_CORS_ALLOWED_HEADERS", "").split(",")
        self._count = 0
        self._under_way: set[int] = set()
        self._paths: dict[tuple[str, str], Callable[[Request], Answer]] = {
            ("GET", "/health"): self._health,
            ("GET", "/settings"): self._settings,
            ("GET", "/.well-known/jwks.json"): self._jwks,
            ("POST", "/signup"): self._signup,
            ("POST", "/token"): self._token,
            ("GET", "/user"): self._user,
            ("POST", "/logout"): self._logout,
            ("GET", "/verify"): lambda _request: self._refuse("verify"),
            ("GET", "/authorize"): lambda request: self._refuse("authorize", provider=request.parameter("provider")),
            ("GET", "/callback"): lambda _request: self._refuse("callback"),
        }

    def answer(self, request: Request) -> Answer:
        """Every path of the contract; no text of the database gets out."""
        me = threading.get_ident()
        self._under_way.add(me)
        self._count += 1
        try:
            asked = web.preflight(request, contract("gotrue")["preflight"], self._more_headers)
            if asked is not None:
                return asked
            found = self._paths.get((request.method, request.path.rstrip("/") or "/"))
            return found(request) if found else web.as_text(404, "404 page not found\n")
        except Refused as refused:
            return refused.answer
        except (psycopg.Error, NoneFree) as error:
            web.say("gotrue", f"error: {type(error).__name__}: {' '.join(str(error).split())}")
            return Refused("database").answer
        finally:
            self._under_way.discard(me)

    def metrics(self, request: Request) -> Answer:
        if request.path != "/metrics":
            return web.as_text(404)
        return web.as_text(
            200, f"# TYPE standin_gotrue_requests_total counter\nstandin_gotrue_requests_total {self._count}\n"
        )

    def drain(self, *, seconds: float) -> None:
        """Until the answers under way are given."""
        end = time.monotonic() + seconds
        while self._under_way and time.monotonic() < end:
            time.sleep(0.05)

    @staticmethod
    def _refuse(name: str, **values: object) -> Answer:
        raise Refused(name, **values)

    @staticmethod
    def _health(_request: Request) -> Answer:
        about = "GoTrue is a user registration and authentication API"
        return as_json(200, {"version": contract("gotrue")["version"], "name": "GoTrue", "description": about})

    def _settings(self, _request: Request) -> Answer:
        names = ((PROVIDER.fullmatch(name), value) for name, value in sorted(self._told.items()))
        return as_json(
            200,
            {
                "external": {name[1].lower(): is_true(value) for name, value in names if name},
                "disable_signup": self._is("DISABLE_SIGNUP"),
                "mailer_autoconfirm": self._is("MAILER_AUTOCONFIRM"),
                "phone_autoconfirm": False,
                "sms_provider": "",
                "saml_enabled": False,
            },
        )

    def _jwks(self, _request: Request) -> Answer:
        keys = [tokens.public(key) for key in self._keys if key["kty"] != "oct"]
        return as_json(200, {"keys": keys}, Cache_Control="public, max-age=600")

    def _signup(self, request: Request) -> Answer:
        told = _body(request)
        email, password = _text(told, "email").lower(), _text(told, "password")
        if self._is("DISABLE_SIGNUP"):
            raise Refused("signup_disabled")
        if not email and not self._is("EXTERNAL_ANONYMOUS_USERS_ENABLED"):
            raise Refused("anonymous_provider_disabled")
        if email:
            self._check(email, password)
        now, is_confirmed = _now(), bool(email) and self._is("MAILER_AUTOCONFIRM")
        user: Row = {
            "id": uuid.uuid4(),
            "aud": self._told["GOTRUE_JWT_AUD"],
            "role": self._told["GOTRUE_JWT_DEFAULT_GROUP_NAME"],
            "email": email or None,
            "encrypted_password": tokens.password_hash(password, secrets.token_bytes(16)) if email else None,
            "email_confirmed_at": now if is_confirmed else None,
            "raw_app_meta_data": Jsonb(META if email else {}),
            "raw_user_meta_data": Jsonb(told.get("data") or {}),
            "created_at": now,
            "updated_at": now,
        }
        places = ", ".join(f"%({name})s" for name in user)
        with self._pool.connection() as connection, connection.transaction():
            made = connection.execute(
                f"INSERT INTO auth.users ({', '.join(user)}) VALUES ({places}) ON CONFLICT DO NOTHING".encode(), user
            )
            if not made.rowcount:
                raise Refused("user_already_exists")
            found = _user_by(connection, "id", user["id"])
            if email and not is_confirmed:
                return as_json(200, _shown(found))
            return as_json(200, self._session(connection, found))

    def _check(self, email: str, password: str) -> None:
        """Raises Refused for what nobody can sign up with."""
        if not self._is("EXTERNAL_EMAIL_ENABLED"):
            raise Refused("email_provider_disabled")
        if not EMAIL.fullmatch(email):
            raise Refused("email_invalid")
        least = int(self._told["GOTRUE_PASSWORD_MIN_LENGTH"])
        if len(password) < least:
            raise Refused("weak_password", length=least)

    def _token(self, request: Request) -> Answer:
        grant = {"password": self._password, "refresh_token": self._refresh}.get(request.parameter("grant_type"))
        if grant is None:
            raise Refused("grant_type")
        told = _body(request)
        with self._pool.connection() as connection, connection.transaction():
            return as_json(200, grant(connection, told))

    def _password(self, connection: Connection, told: Row) -> Row:
        if not self._is("EXTERNAL_EMAIL_ENABLED"):
            raise Refused("email_provider_disabled")
        user = _user_by(connection, "email", _text(told, "email").lower())
        if not user or not tokens.is_password(_text(told, "password"), user["encrypted_password"]):
            raise Refused("invalid_credentials")
        if user["email_confirmed_at"] is None:
            raise Refused("email_not_confirmed")
        return self._session(connection, user)

    def _refresh(self, connection: Connection, told: Row) -> Row:
        """A token is used once; upon a second use its session ends. The reuse interval is 0."""
        token = _text(told, "refresh_token")
        row = connection.execute(
            "SELECT session_id, user_id::uuid, revoked FROM auth.refresh_tokens WHERE token = %s FOR UPDATE", (token,)
        ).fetchone()
        if row is None:
            raise Refused("refresh_token_not_found")
        session, user, revoked = row
        if revoked:
            raise Refused("refresh_token_already_used")
        connection.execute(
            "UPDATE auth.refresh_tokens SET revoked = true, updated_at = now() WHERE token = %s", (token,)
        )
        return self._session(connection, _user_by(connection, "id", user), session=session, parent=token)

    def _user(self, request: Request) -> Answer:
        with self._pool.connection() as connection:
            user, _session = self._authenticated(connection, request)
        return as_json(200, _shown(user))

    def _logout(self, request: Request) -> Answer:
        with self._pool.connection() as connection, connection.transaction():
            user, _session = self._authenticated(connection, request)
            connection.execute("DELETE FROM auth.sessions WHERE user_id = %s", (user["id"],))
        return Answer(status=204)

    def _authenticated(self, connection: Connection, request: Request) -> tuple[Row, str]:
        token = web.bearer_of(request)
        if not token:
            raise Refused("no_authorization")
        try:
            claims = tokens.verified(token, self._keys)
        except tokens.BadToken as error:
            raise Refused("bad_jwt", reason=error) from None
        if claims.get("exp", 0) <= time.time():
            raise Refused("bad_jwt", reason="token has invalid claims: token is expired")
        if not claims.get("sub"):
            raise Refused("missing_sub")
        user = _user_by(connection, "id", claims["sub"])
        if not user:
            raise Refused("user_not_found")
        session = claims.get("session_id")
        found = connection.execute("SELECT 1 FROM auth.sessions WHERE id = %s", (session,)).fetchone()
        if session and not found:
            raise Refused("session_not_found")
        return user, str(session)

    def _session(
        self, connection: Connection, user: Row, *, session: uuid.UUID | None = None, parent: str | None = None
    ) -> Row:
        """An access token and the next refresh token, in a new session if there is none."""
        now = int(time.time())
        if session is None:
            session = uuid.uuid4()
            connection.execute("INSERT INTO auth.sessions VALUES (%s, %s, now(), now())", (session, user["id"]))
            connection.execute("UPDATE auth.users SET last_sign_in_at = now() WHERE id = %s", (user["id"],))
        token, seconds = secrets.token_urlsafe(16), int(self._told["GOTRUE_JWT_EXP"])
        connection.execute(
            "INSERT INTO auth.refresh_tokens (token, user_id, revoked, parent, session_id, created_at, updated_at)"
            " VALUES (%s, %s, false, %s, %s, now(), now())",
            (token, str(user["id"]), parent, session),
        )
        claims = {
            **({"iss": self._told["GOTRUE_JWT_ISSUER"]} if self._told["GOTRUE_JWT_ISSUER"] else {}),
            "sub": str(user["id"]),
            "aud": user["aud"],
            "exp": now + seconds,
            "iat": now,
            "email": user["email"] or "",
            "phone": "",
            "app_metadata": user["raw_app_meta_data"],
            "user_metadata": user["raw_user_meta_data"],
            "role": user["role"],
            "aal": "aal1",
            "amr": [{"method": "password" if user["email"] else "anonymous", "timestamp": now}],
            "session_id": str(session),
            "is_anonymous": user["email"] is None,
        }
        return {
            "access_token": tokens.sign(claims, self._signing),
            "token_type": "bearer",
            "expires_in": seconds,
            "expires_at": now + seconds,
            "refresh_token": token,
            "user": _shown(user),
        }

    def _is(self, name: str) -> bool:
        return is_true(self._told[f"GOTRUE_{name}"])


def _body(request: Request) -> Row:
    try:
        told = json.loads(request.body)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise Refused("bad_json")
    return told


def _text(told: Row, name: str) -> str:
    value = told.get(name, "")
    if not isinstance(value, str):
        raise Refused("bad_json")
    return value


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _user_by(connection: Connection, column: str, value: object) -> Row:
    """An empty one if there is none."""
    with connection.cursor(row_factory=dict_row) as cursor:
        query = f"SELECT * FROM auth.users WHERE {column} = %s"
        return cursor.execute(query.encode(), (value,)).fetchone() or {}


def _shown(user: Row) -> Row:
    times = ("email_confirmed_at", "last_sign_in_at", "created_at", "updated_at")
    return {
        "id": str(user["id"]),
        **{name: user[name] or "" for name in ("aud", "role", "email")},
        "is_anonymous": user["email"] is None,
        "app_metadata": user["raw_app_meta_data"],
        "user_metadata": user["raw_user_meta_data"],
        **{name: user[name].isoformat() for name in times if user[name]},
    }
