# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import copy
import json
import pickle

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.credentials import (
    Secret,
    generate_password,
    scram_verifier,
    userlist_line,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.generation import new_texts
from ansible_collections.supalove.platform.plugins.module_utils._engine.objects import GeneratedLogin
from ansible_collections.supalove.platform.plugins.module_utils._engine.steps import Action, Step
from builders import objects_of


def test_the_verifier_is_that_of_rfc_7677():
    """Password, salt and keys of the example in RFC 7677, section 3, with the keys as PostgreSQL stores them."""
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    assert scram_verifier(Secret("pencil"), salt=salt) == (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
        "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )


def test_a_password_that_saslprep_could_change_is_refused():
    with pytest.raises(ValueError, match="ASCII"):
        scram_verifier(Secret("pässword"), salt=b"0" * 16)


def test_passwords_do_not_repeat_and_need_no_quoting():
    made = {generate_password().reveal() for _number in range(100)}
    assert len(made) == 100
    assert all(word.replace("-", "").replace("_", "").isalnum() for word in made)


@pytest.mark.parametrize("show", [repr, str, "{}".format, lambda secret: f"{secret!r:>20}"])
def test_a_secret_does_not_show_itself(show):
    assert "hunter2" not in show(Secret("hunter2"))


@pytest.mark.parametrize("dump", [json.dumps, pickle.dumps, copy.deepcopy])
def test_a_secret_is_not_serialised(dump):
    with pytest.raises(TypeError):
        dump(Secret("hunter2"))


def test_quotes_in_a_userlist_are_doubled():
    assert userlist_line('a"b', Secret('c"d')) == '"a""b" "c""d"'


def test_each_side_gets_of_a_password_only_what_it_needs():
    """The tenant's: the pooler has how to check it, PostgreSQL nothing. The role's: PostgreSQL has how to check it."""
    (desired,) = [each for each in objects_of() if each.id.kind == "Secret"]
    texts = new_texts(desired.generates, lambda count: b"r" * count)
    assert sorted(texts) == [
        *("anon.digest", "anon.end", "anon.key", "auth.env", "auth.password", "auth.user", "auth.verifier"),
        *("jwt.secret", "migrate.env", "migrate.service"),
        *("owner.password", "owner.user", "pauser.password", "pauser.user"),
        *("probe.password", "probe.user", "probe.verifier"),
        *("rest.jwks", "rest.password", "rest.uri", "rest.user", "rest.verifier"),
        *("server.password", "server.user", "server.verifier"),
        *("service_role.digest", "service_role.end", "service_role.key"),
        *("signing.jwk", "userlist.txt", "verifying.jwks"),
    ]
    owner, server, probe, pauser, rest, auth = texts["userlist.txt"].splitlines()
    verifier = scram_verifier(Secret(texts["owner.password"]), salt=b"r" * 16)
    assert owner == f'"owner_a" "{verifier}"'
    assert server == f'"p_abcdefgh2345_owner" "{texts["server.password"]}"'
    assert probe == f'"p_abcdefgh2345_probe" "{texts["probe.password"]}"'
    assert pauser == f'"supalove_pauser" "{texts["pauser.password"]}"'
    assert rest == f'"p_abcdefgh2345_rest" "{texts["rest.password"]}"'
    assert auth == f'"p_abcdefgh2345_auth" "{texts["auth.password"]}"'


def test_a_login_that_no_pooler_knows_has_no_line_for_one():
    login = GeneratedLogin(key="admin", role="supalove", in_postgresql=True)
    assert sorted(new_texts([login], lambda count: b"r" * count)) == ["admin.password", "admin.user", "admin.verifier"]


def test_a_step_that_creates_credentials_shows_none():
    (desired,) = [each for each in objects_of() if each.id.kind == "Secret"]
    step = Step(action=Action.CREATE, id=desired.id, reason="it does not exist", desired=desired, before=None)
    assert "data" not in step.after
