# SPDX-License-Identifier: BSD-2-Clause
"""The keys of a project's API, and the files by which Auth and PostgREST know them. Pure: the clock is given.

1. The keys that a developer gets are JSON Web Tokens of HS256 (RFC 7519): anybody's (`anon`), and the server's
   (`service_role`). Of both a digest is kept, by which the gateway knows them without being able to make one.
2. Auth signs with the project's ES256 key; all keys that sign or signed are accepted beside the secret of HS256.
3. Files instead of variables, as an environment is shown by too many tools.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping

from .key_rotation import SIGNING, VERIFYING
from .signing import base64url, key_id_of

JWT_SECRET = "jwt.secret"
JWT_SECRET_BYTES = 32
# In which clients send a key.
KEY_HEADER = "apikey"
# Roles that a key may stand for, which are names of keys in the Secret, too.
API_ROLES = ("anon", "service_role")
REST, AUTH, MIGRATE = "rest", "auth", "migrate"
SERVICES = (AUTH, REST)
REST_URI, REST_KEYS, AUTH_FILE, MIGRATE_FILE = "rest.uri", "rest.jwks", "auth.env", "migrate.env"
# The same login for libpq (its manual, "The Connection Service File"); a file of passwords alone it wants in mode 0600.
MIGRATE_SERVICE = "migrate.service"
ISSUER = "supalove"
# What such keys live at Supabase's own.
LIFETIME_SECONDS = 5 * 365 * 24 * 3600
# The pooler from a pod of the same namespace.
POOLER_HOST, POOLER_PORT = "pooler", 6432

Texts = Mapping[str, str]


def new_keys(secret: str, *, ref: str, now: int) -> dict[str, str]:
    """The secret, and of each role the key, its digest and its end in seconds since the epoch."""
    end = now + LIFETIME_SECONDS
    texts = {JWT_SECRET: secret}
    for role in API_ROLES:
        key = signed({"iss": ISSUER, "ref": ref, "role": role, "iat": now, "exp": end}, secret)
        digest = hashlib.sha256(key.encode()).hexdigest()
        texts |= {f"{role}.key": key, f"{role}.digest": digest, f"{role}.end": str(end)}
    return texts


def signed(claims: Mapping[str, object], secret: str) -> str:
    """A token of HS256 (RFC 7515)."""
    parts = [_encoded({"alg": "HS256", "typ": "JWT"}), _encoded(claims)]
    signature = hmac.digest(secret.encode(), ".".join(parts).encode(), "sha256")
    return ".".join((*parts, base64url(signature)))


def with_files(texts: Texts) -> dict[str, str]:
    """With the files of both services as they follow from all the rest; as they are where there are no such keys."""
    if JWT_SECRET not in texts:
        return dict(texts)
    shared = {"kty": "oct", "k": base64url(texts[JWT_SECRET].encode()), "alg": "HS256"}
    rest = {"keys": [*json.loads(texts[VERIFYING])["keys"], shared]}
    auth = [*_auth_keys(texts), {**shared, "key_ops": ["verify"]}]
    common = {"GOTRUE_JWT_SECRET": texts[JWT_SECRET], "GOTRUE_JWT_KEYS": _json(auth)}
    return {
        **texts,
        REST_URI: _uri(texts, REST, REST),
        REST_KEYS: _json(rest),
        AUTH_FILE: _file({"GOTRUE_DB_DATABASE_URL": _uri(texts, AUTH, AUTH), **common}),
        MIGRATE_FILE: _file({"GOTRUE_DB_DATABASE_URL": _uri(texts, AUTH, MIGRATE), **common}),
        MIGRATE_SERVICE: _service(texts, AUTH, MIGRATE),
    }


def _auth_keys(texts: Texts) -> list[dict[str, object]]:
    """One that signs; the others only verify: of what was announced, and of what is still accepted."""
    current = json.loads(texts[SIGNING])
    others = [key for key in json.loads(texts[VERIFYING])["keys"] if key["kid"] != key_id_of(texts[SIGNING])]
    return [{**current, "key_ops": ["sign", "verify"]}, *({**key, "key_ops": ["verify"]} for key in others)]


def _uri(texts: Texts, login: str, database: str) -> str:
    """Passwords are in URL-safe letters (see `generate_password`). The pooler takes them without TLS, and only so."""
    who = f"{texts[f'{login}.user']}:{texts[f'{login}.password']}"
    return f"postgres://{who}@{POOLER_HOST}:{POOLER_PORT}/{database}?sslmode=disable"


def _service(texts: Texts, login: str, database: str) -> str:
    where = {"host": POOLER_HOST, "port": POOLER_PORT, "dbname": database, "sslmode": "disable"}
    who = {"user": texts[f"{login}.user"], "password": texts[f"{login}.password"]}
    return "".join([f"[{database}]\n", *(f"{key}={value}\n" for key, value in {**where, **who}.items())])


def _file(variables: Mapping[str, str]) -> str:
    """In the form of godotenv, which takes what is between single quotes as it is."""
    return "".join(f"{name}='{value}'\n" for name, value in variables.items())


def _encoded(value: Mapping[str, object]) -> str:
    return base64url(_json(value).encode())


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
