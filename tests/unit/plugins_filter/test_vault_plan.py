# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.supalove.platform.plugins.filter.vault_plan import vault_plan

FILES = {"authority": "ca.key", "database": "vault.db", "answer": "init.json", "part": "init.json.part"}


def decide(
    *, silent: str = "", initialized: str = "", active: str = "", unasked: str = "", **files: str
) -> dict[str, Any]:
    """Of the servers a, b and c, those that are named show it; `files` are by the names of FILES."""
    nodes: list[dict[str, Any]] = [
        {"skipped": True}
        if name in unasked
        else {"node": {"answers": name not in silent, "initialized": name in initialized, "active": name in active}}
        for name in "abc"
    ]
    traces = [
        {"files": [{"path": f"/x/{FILES[kind]}"} for kind, names in files.items() if name in names]} for name in "abc"
    ]
    return vault_plan(["a", "b", "c"], nodes=nodes, traces=traces)


def test_the_first_server_founds_a_vault_only_if_there_was_never_one() -> None:
    plan = decide(silent="abc")
    assert (plan["founder"], plan["authority"], plan["exists"], plan["problems"]) == ("a", "a", False, [])


@pytest.mark.parametrize(
    ("found", "founder"),
    [
        ({"initialized": "abc", "active": "c", "answer": "b", "authority": "a"}, "c"),
        ({"initialized": "bc", "answer": "c", "authority": "a"}, "c"),
        ({"initialized": "bc", "authority": "a"}, "b"),
        ({"silent": "abc", "authority": "b"}, "b"),
        # A server that has an answer and does not know of it belongs to no Vault yet.
        ({"answer": "c", "authority": "b"}, "b"),
    ],
)
def test_the_server_to_ask_is_decided_from_what_was_observed(found: dict[str, str], founder: str) -> None:
    assert decide(**found)["founder"] == founder


@pytest.mark.parametrize(
    ("found", "authority"),
    [
        ({"initialized": "abc", "active": "c", "authority": "b"}, "b"),
        # The host that had it is gone: the one that is asked makes another.
        ({"silent": "a", "initialized": "bc", "active": "c"}, "c"),
    ],
)
def test_who_has_the_authority_keeps_it(found: dict[str, str], authority: str) -> None:
    assert decide(**found)["authority"] == authority


@pytest.mark.parametrize(
    ("found", "exists", "initialized"),
    [
        ({}, False, False),
        ({"initialized": "b"}, True, True),
        ({"silent": "abc", "database": "b"}, True, False),
        ({"authority": "a", "silent": "abc"}, False, False),
    ],
)
def test_a_database_of_a_server_that_does_not_answer_may_be_a_vault(
    *, found: dict[str, str], exists: bool, initialized: bool
) -> None:
    plan = decide(**found)
    assert (plan["exists"], plan["initialized"]) == (exists, initialized)


@pytest.mark.parametrize(("kind", "pending"), [("answer", "c"), ("part", "c"), ("database", "")])
def test_an_answer_that_is_not_delivered_is_found_even_if_its_file_is_not_finished(kind: str, pending: str) -> None:
    assert decide(initialized="c", **{kind: "c"})["pending"] == pending


def test_the_server_that_leads_is_restarted_last() -> None:
    assert decide(initialized="abc", active="a")["order"] == ["b", "c", "a"]


def test_a_host_that_was_not_asked_does_not_answer() -> None:
    assert decide(initialized="bc", unasked="a")["silent"] == ["a"]


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ({"authority": "ac"}, "these hosts each have an authority of their own: a, c"),
        ({"initialized": "abc", "active": "ab"}, "these servers lead a Vault each: a, b"),
    ],
)
def test_what_forbids_to_act_is_said(found: dict[str, str], text: str) -> None:
    [problem] = decide(**found)["problems"]
    assert problem.startswith(text)
