# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rotation makes of a project's secret, step by step."""

from __future__ import annotations

import itertools

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.generation import new_texts
from ansible_collections.supalove.platform.plugins.module_utils._engine.login_rotation import (
    begun,
    ended,
    has_previous,
    idle_login,
    is_begun,
    published,
    seconds_to_settle,
    settled,
)
from builders import objects_of


def random_bytes():
    """Never twice the same."""
    numbers = itertools.count(1)
    return lambda count: next(numbers).to_bytes(count, "big")


@pytest.fixture
def texts():
    (secret,) = [each for each in objects_of() if each.id.kind == "Secret"]
    return new_texts(secret.generates, random_bytes())


def lines(texts):
    return dict(line.split(" ") for line in texts["userlist.txt"].splitlines())


def test_what_is_published_stays_until_the_new_login_is_known(texts):
    after = begun(texts)
    assert is_begun(after)
    assert (after["owner.user"], after["owner.password"]) == (texts["owner.user"], texts["owner.password"])
    assert lines(after) == {**lines(texts), '"owner_b"': lines(after)['"owner_b"']}


def test_then_the_new_one_is_published_and_the_old_one_still_works(texts):
    first = begun(texts)
    after = published(first, now=1000.0)
    assert not is_begun(after)
    assert (after["owner.user"], after["owner.password"]) == ("owner_b", first["next.password"])
    assert lines(after)['"owner_a"'] == lines(texts)['"owner_a"']


def test_logins_take_turns_and_no_password_comes_back(texts):
    seen, current = [texts["owner.password"]], texts
    for number in range(1, 6):
        current = published(begun(current), now=1000.0)
        assert current["owner.user"] == ("owner_a", "owner_b")[number % 2]
        seen.append(current["owner.password"])
        assert len(lines(current)) == 7
    assert len(set(seen)) == 6


def test_nothing_else_of_the_secret_changes(texts):
    after = published(begun(texts), now=1000.0)
    changed = {key for key in after if after[key] != texts.get(key)}
    assert changed == {"owner.user", "owner.password", "userlist.txt", "rotated"}
    assert {*after} - {*texts} == {"rotated"}


def test_who_still_uses_the_old_login_is_let_in_no_more_once_it_is_ended(texts):
    rotated = published(begun(texts), now=1000.0)
    password, after = ended(rotated)
    assert idle_login(after) == "owner_a"
    assert lines(after)['"owner_a"'] not in (lines(rotated)['"owner_a"'], f'"{password.reveal()}"')
    assert {key for key in after if after[key] != rotated[key]} == {"userlist.txt"}
    assert has_previous(after), "until the poolers have read it"
    assert {*rotated} - {*settled(after)} == {"rotated"}
    assert password.reveal() not in "".join(after.values())


def test_before_the_first_rotation_there_is_nobody_to_end(texts):
    assert not has_previous(texts)
    assert has_previous(published(begun(texts), now=1000.0))


def test_the_login_that_clients_may_still_use_is_not_replaced_until_they_have_settled(texts):
    rotated = published(begun(texts), now=1000.5)
    assert seconds_to_settle(texts, now=1000.0, settle_seconds=600) == 0
    assert seconds_to_settle(rotated, now=1100.0, settle_seconds=600) == 500
    assert seconds_to_settle(rotated, now=1600.0, settle_seconds=600) == 0
    after = settled(ended(rotated)[1])
    assert seconds_to_settle(after, now=1100.0, settle_seconds=600) == 0
