# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
from typing import Any

import pytest
import yaml
from ansible_collections.supalove.platform.plugins.filter.k3s_founder import k3s_founder

CHOICES = {"k3s_cluster_cidr": "10.42.0.0/16", "k3s_disabled_components": ["servicelb"]}
FOUNDED_BY_B = {"founder": "b", **CHOICES}
CA = "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n"


def decide(
    *, ca: dict[str, str] | None = None, database: str = "", record: dict[str, dict[str, Any] | bytes] | None = None
) -> dict[str, Any]:
    names = ["a", "b", "c"]
    ca, record = ca or {}, record or {}
    return k3s_founder(
        names,
        answers=[{"status": 200, "content": ca[name]} if name in ca else {"status": -1} for name in names],
        traces=[{"files": [{"path": "/x/server/db"}] if name in database else []} for name in names],
        records=[
            {"content": base64.b64encode(text if isinstance(text, bytes) else yaml.safe_dump(text).encode())}
            if (text := record.get(name)) is not None
            else {"skipped": True}
            for name in names
        ],
        choices=CHOICES,
        record_path="/x/first-boot.yaml",
    )


def test_the_first_server_founds_a_cluster_only_if_there_was_never_one() -> None:
    assert decide()["host"] == "a"


@pytest.mark.parametrize(
    ("found", "host"),
    [
        ({"ca": {"c": CA}}, "c"),
        ({"ca": {"b": CA, "c": CA}, "record": {"b": FOUNDED_BY_B, "c": FOUNDED_BY_B}}, "b"),
        ({"database": "c", "record": {"c": FOUNDED_BY_B}}, "c"),
        ({"database": "bc", "record": {"b": FOUNDED_BY_B, "c": FOUNDED_BY_B}}, "b"),
        ({"record": {"b": FOUNDED_BY_B}}, "b"),
    ],
)
def test_the_founder_is_decided_from_what_was_observed(found: dict[str, Any], host: str) -> None:
    assert decide(**found)["host"] == host


def test_a_founder_that_does_not_answer_is_not_asked_and_keeps_its_place() -> None:
    decision = decide(ca={"a": CA, "c": CA}, database="abc", record=dict.fromkeys("abc", FOUNDED_BY_B))
    assert (decision["host"], decision["founder"]) == ("a", "b")


@pytest.mark.parametrize(
    ("database", "of_b"),
    [("c", {}), ("bc", {"b": {**FOUNDED_BY_B, "founder": "c"}})],
    ids=["wiped", "joined by a run that did not reach the others"],
)
def test_a_rebuilt_founder_joins_the_cluster_that_others_serve(database: str, of_b: dict[str, Any]) -> None:
    decision = decide(ca={"c": CA}, database=database, record={"c": FOUNDED_BY_B, **of_b})
    assert (decision["host"], decision["founder"]) == ("c", "c")


def test_a_founder_that_has_left_the_group_is_replaced() -> None:
    assert decide(ca={"a": CA}, record={"a": {**FOUNDED_BY_B, "founder": "z"}})["founder"] == "a"


def test_whether_the_founder_was_ever_started_is_told() -> None:
    assert [decide(database=one, record={"b": FOUNDED_BY_B})["has_database"] for one in ("", "b")] == [False, True]


def test_an_answer_that_is_no_certificate_does_not_count() -> None:
    assert decide(ca={"c": "404 page not found"})["serves"] is False


def test_servers_of_different_clusters_are_an_error_that_names_both_sides() -> None:
    [problem] = decide(ca={"a": CA, "b": CA, "c": CA.replace("abc", "xyz")})["problems"]
    assert "a, b against c" in problem


def test_a_choice_that_contradicts_the_first_boot_is_named_with_both_values() -> None:
    record = {**FOUNDED_BY_B, "k3s_cluster_cidr": "10.0.0.0/16"}
    [problem] = decide(ca={"b": CA}, record={"b": record})["problems"]
    assert problem.startswith("k3s_cluster_cidr: found '10.42.0.0/16' in the inventory")
    assert "'10.0.0.0/16' (written in b:/x/first-boot.yaml)" in problem


def test_a_database_without_a_record_is_refused() -> None:
    [problem] = decide(database="b")["problems"]
    assert problem.startswith("b has a K3s database, but no /x/first-boot.yaml")


@pytest.mark.parametrize("content", [b"founder: [", b"\0\0\0", b"- a list"])
def test_a_damaged_record_is_named_with_its_host_and_file(content: bytes) -> None:
    [problem] = decide(database="b", record={"b": content})["problems"]
    assert problem.startswith("b:/x/first-boot.yaml is damaged: found ")
    assert "Copy that file from another server, or write it" in problem


def test_an_empty_record_of_a_server_that_was_never_started_is_no_problem() -> None:
    assert decide(record={"b": b""})["problems"] == []
