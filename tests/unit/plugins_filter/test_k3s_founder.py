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
    *, ca: dict[str, str] | None = None, database: str = "", record: dict[str, dict[str, Any]] | None = None
) -> dict[str, Any]:
    names = ["a", "b", "c"]
    ca, record = ca or {}, record or {}
    return k3s_founder(
        names,
        answers=[{"status": 200, "content": ca[name]} if name in ca else {"status": -1} for name in names],
        traces=[{"files": [{"path": "/x/server/db"}] if name in database else []} for name in names],
        records=[
            {"content": base64.b64encode(yaml.safe_dump(record[name]).encode())}
            if name in record
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


def test_a_rebuilt_founder_joins_the_cluster_that_others_serve() -> None:
    decision = decide(ca={"c": CA}, record={"c": FOUNDED_BY_B})
    assert (decision["host"], decision["founder"]) == ("c", "b")


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
