# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rotation makes of the keys that sign a project's tokens, step by step."""

from __future__ import annotations

import base64
import itertools
import json
import secrets

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.generation import new_texts
from ansible_collections.supalove.platform.plugins.module_utils._engine.key_rotation import (
    announced,
    ended,
    has_previous,
    is_announced,
    seconds_left,
    signing,
    taken_anew,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.signing import (
    generate_key,
    key_id_of,
    key_set,
    keys_in,
)
from builders import objects_of


@pytest.fixture
def texts():
    (secret,) = [each for each in objects_of() if each.id.kind == "Secret"]
    return new_texts(secret.generates, secrets.token_bytes)


def verifying(texts):
    return [key_id_of(key) for key in keys_in(texts["verifying.jwks"])]


def signer(texts):
    return key_id_of(texts["signing.jwk"])


def test_a_new_project_has_one_key_and_it_verifies_what_it_signs(texts):
    assert verifying(texts) == [signer(texts)]
    assert not is_announced(texts)
    assert not has_previous(texts)


def test_a_key_is_accepted_before_it_signs_and_the_one_before_it_after(texts):
    first = signer(texts)
    told = announced(texts, now=1000.0)
    assert (signer(told), verifying(told)[0], len(verifying(told))) == (first, first, 2)
    assert is_announced(told)
    assert not has_previous(told)
    signed = signing(told, now=2000.0)
    assert signer(signed) != first
    assert verifying(signed) == verifying(told)
    assert has_previous(signed)
    assert verifying(ended(signed)) == [signer(signed)]


def test_whoever_reads_late_verifies_whoever_signs_early_and_the_other_way_round(texts):
    """Between any two neighbouring states each one's signer is known to the other's verifiers."""
    states = [texts]
    for _turn in range(3):
        states.append(announced(states[-1], now=1.0))
        states.append(signing(states[-1], now=1.0))
        states.append(ended(states[-1]))
    for before, after in itertools.pairwise(states):
        assert signer(after) in verifying(before)
        # A verifier that has read the end of a key comes only after the last token of that key.
        if len(verifying(after)) >= len(verifying(before)):
            assert signer(before) in verifying(after)


def test_each_step_has_its_time_and_the_end_has_none(texts):
    told = announced(texts, now=1000.5)
    assert seconds_left(texts, now=1000.0, settle_seconds=600) == 0
    assert seconds_left(told, now=1100.0, settle_seconds=600) == 500
    assert seconds_left(taken_anew(told, now=1100.0), now=1100.0, settle_seconds=600) == 600
    assert {*ended(signing(told, now=1.0))} == {*texts}


def test_nothing_else_of_the_secret_changes(texts):
    after = ended(signing(announced(texts, now=1.0), now=2.0))
    assert {key for key in after if after[key] != texts[key]} == {"signing.jwk", "verifying.jwks"}


def test_what_verifies_holds_nothing_that_signs(texts):
    for key in keys_in(announced(texts, now=1.0)["verifying.jwks"]):
        assert sorted(json.loads(key)) == ["alg", "crv", "kid", "kty", "use", "x", "y"]


def test_the_public_key_is_that_of_rfc_6979():
    """RFC 6979, A.2.5: the private key x and its public key Ux, Uy on P-256."""
    number = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
    key = json.loads(generate_key(lambda count: (number - 1).to_bytes(count, "big")).reveal())
    assert decoded(key["d"]) == number.to_bytes(32, "big")
    assert bytes.fromhex("60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6") == decoded(key["x"])
    assert bytes.fromhex("7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299") == decoded(key["y"])


def decoded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_a_set_of_keys_is_one_text_whoever_made_it():
    keys = [generate_key(secrets.token_bytes).reveal() for _turn in range(2)]
    assert key_set(keys_in(key_set(keys))) == key_set(keys)
