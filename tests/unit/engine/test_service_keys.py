# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of a project's API, and what each service gets to know of them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.generation import new_texts
from ansible_collections.supalove.platform.plugins.module_utils._engine.key_rotation import announced, ended, signing
from ansible_collections.supalove.platform.plugins.module_utils._engine.service_keys import (
    API_ROLES,
    LIFETIME_SECONDS,
    with_files,
)
from builders import objects_of

NOW = 1_800_000_000.0


@pytest.fixture(scope="module")
def texts():
    (secret,) = [one for one in objects_of() if one.id.kind == "Secret"]
    return new_texts(secret.generates, secrets.token_bytes, clock=lambda: NOW)


def decoded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def auth_keys(texts, file="auth.env"):
    (found,) = re.findall(r"^GOTRUE_JWT_KEYS='(.*)'$", texts[file], re.MULTILINE)
    return json.loads(found)


@pytest.mark.parametrize("role", API_ROLES)
def test_a_key_is_a_token_of_hs256_for_its_role_and_project(texts, role):
    header, claims, signature = texts[f"{role}.key"].split(".")
    assert json.loads(decoded(header)) == {"alg": "HS256", "typ": "JWT"}
    end = int(NOW) + LIFETIME_SECONDS
    assert json.loads(decoded(claims)) == {"iss": "supalove", "ref": "acme", "role": role, "iat": int(NOW), "exp": end}
    assert decoded(signature) == hmac.digest(texts["jwt.secret"].encode(), f"{header}.{claims}".encode(), "sha256")
    assert texts[f"{role}.end"] == str(end)
    assert texts[f"{role}.digest"] == hashlib.sha256(texts[f"{role}.key"].encode()).hexdigest()


def test_postgrest_can_verify_and_cannot_sign_with_the_key_of_auth(texts):
    elliptic, shared = json.loads(texts["rest.jwks"])["keys"]
    assert (elliptic["kty"], "d" in elliptic) == ("EC", False)
    assert decoded(shared["k"]).decode() == texts["jwt.secret"]


def test_auth_signs_with_one_key_whatever_is_accepted(texts):
    states = [texts]
    for step in (
        lambda one: announced(one, now=NOW),
        lambda one: signing(one, now=NOW),
        ended,
    ):
        states.append(with_files(step(states[-1])))
    for state in states:
        keys = auth_keys(state)
        (signer,) = [key for key in keys if "sign" in key["key_ops"]]
        assert signer["kid"] == json.loads(state["signing.jwk"])["kid"]
        assert [key["kty"] for key in keys if "d" in key] == ["EC"]
        accepted = {key["kid"] for key in json.loads(state["verifying.jwks"])["keys"]}
        assert {key["kid"] for key in keys if "kid" in key} == accepted
        assert {key.get("kid") for key in json.loads(state["rest.jwks"])["keys"]} == {*accepted, None}
        assert auth_keys(state, "migrate.env") == keys


def test_each_service_logs_in_as_its_own_role_to_its_own_alias(texts):
    password = texts["rest.password"]
    assert texts["rest.uri"] == f"postgres://p_abcdefgh2345_rest:{password}@pooler:6432/rest?sslmode=disable"
    password = texts["auth.password"]
    assert f"='postgres://p_abcdefgh2345_auth:{password}@pooler:6432/auth?sslmode=disable'\n" in texts["auth.env"]
    assert f"='postgres://p_abcdefgh2345_auth:{password}@pooler:6432/migrate?sslmode=disable'\n" in texts["migrate.env"]
    assert (
        f"dbname=migrate\nsslmode=disable\nuser=p_abcdefgh2345_auth\npassword={password}\n" in texts["migrate.service"]
    )


def test_a_secret_of_an_earlier_release_has_no_files_of_services(texts):
    old = {"owner.user": "owner_a", "signing.jwk": texts["signing.jwk"]}
    assert with_files(old) == old
