# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import doctest
import hashlib

import pytest
from verifier import decision
from verifier.decision import EXPIRED, FOREIGN, NO_KEY, Answer, Key, Malformed, judge, parse_query

NOW = 1_800_000_000
GOOD, OTHER = b"eyJhbGciOiJIUzI1NiJ9.good", b"sb_secret_other"


def digest(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()


def query(*keys: tuple[bytes, int]) -> bytes:
    return "&".join(f"key={digest(key)}.{end}" for key, end in keys).encode()


def passing(authorization: bytes) -> Answer:
    return Answer(status=200, authorization=authorization)


def test_examples() -> None:
    assert doctest.testmod(decision).failed == 0


def test_an_address_names_keys_in_its_order() -> None:
    found = parse_query(query((GOOD, 0), (OTHER, NOW)))
    assert found == (Key(digest=digest(GOOD).encode(), end=0), Key(digest=digest(OTHER).encode(), end=NOW))


def test_an_address_without_keys_lets_nobody_in() -> None:
    assert judge(parse_query(b""), [GOOD], [], NOW) == FOREIGN


@pytest.mark.parametrize("keys", [[], [OTHER]])
def test_a_preflight_needs_no_key_and_goes_on_with_none(keys: list[bytes]) -> None:
    assert judge(parse_query(query((GOOD, 0))), keys, [b"Bearer own"], NOW, b"OPTIONS") == Answer(status=200)


@pytest.mark.parametrize("method", [b"", b"GET", b"options", b"OPTIONS, GET"])
def test_any_other_method_needs_one(method: bytes) -> None:
    assert judge(parse_query(query((GOOD, 0))), [], [], NOW, method) == NO_KEY


@pytest.mark.parametrize(
    "bad",
    [
        b"key=",
        b"key",
        b"key=abc.0",
        b"key=" + digest(GOOD).encode(),
        b"key=" + digest(GOOD).upper().encode() + b".0",
        b"key=" + digest(GOOD).encode() + b".-1",
        b"key=" + digest(GOOD).encode() + b".007",
        b"key=" + digest(GOOD).encode() + b".1234567890123",
        b"key=" + digest(GOOD).encode() + b".0&",
        b"key=" + digest(GOOD).encode() + b".0\n",
        b"&",
        b"keys=" + digest(GOOD).encode() + b".0",
        query(*[(GOOD, 0)] * (decision.MOST_KEYS + 1)),
    ],
)
def test_a_malformed_address_is_refused_whole(bad: bytes) -> None:
    with pytest.raises(Malformed):
        parse_query(bad)


@pytest.mark.parametrize(
    ("keys", "apikeys", "authorizations", "answer"),
    [
        ([(GOOD, 0)], [GOOD], [], passing(b"Bearer " + GOOD)),
        ([(OTHER, 0), (GOOD, NOW + 1)], [GOOD], [], passing(b"Bearer " + GOOD)),
        ([(GOOD, 0)], [GOOD], [b"Bearer own"], passing(b"Bearer own")),
        ([(GOOD, 0)], [GOOD], [b""], passing(b"Bearer " + GOOD)),
        ([(GOOD, 0)], [], [], NO_KEY),
        ([(GOOD, 0)], [b""], [b"Bearer own"], NO_KEY),
        ([(GOOD, 0)], [OTHER], [], FOREIGN),
        ([(GOOD, 0)], [GOOD[:-1]], [], FOREIGN),
        ([(GOOD, 0)], [digest(GOOD).encode()], [], FOREIGN),
        ([(GOOD, NOW)], [GOOD], [], EXPIRED),
        ([(GOOD, NOW - 1), (GOOD, NOW + 1)], [GOOD], [], passing(b"Bearer " + GOOD)),
        ([(GOOD, NOW - 1), (GOOD, 0)], [GOOD], [], passing(b"Bearer " + GOOD)),
        ([(GOOD, NOW - 1)], [OTHER], [], FOREIGN),
        ([(GOOD, 0), (OTHER, 0)], [GOOD, OTHER], [], FOREIGN),
        ([(GOOD, 0)], [GOOD, GOOD], [], FOREIGN),
        ([(GOOD, 0)], [GOOD], [b"Bearer a", b"Bearer b"], FOREIGN),
        ([(GOOD, 0)], [GOOD], [b"Bearer a\r\nX: y"], FOREIGN),
    ],
)
def test_a_request_passes_with_one_living_key_of_its_project(
    keys: list[tuple[bytes, int]], apikeys: list[bytes], authorizations: list[bytes], answer: Answer
) -> None:
    assert judge(parse_query(query(*keys)), apikeys, authorizations, NOW) == answer


def test_every_key_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return one == other

    monkeypatch.setattr(decision.hmac, "compare_digest", compare)
    judge(parse_query(query((GOOD, 0), (OTHER, 0))), [GOOD], [], NOW)
    assert compared == [digest(GOOD).encode(), digest(OTHER).encode()]
