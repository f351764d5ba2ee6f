# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.supalove.platform.plugins.modules.node_settings import (
    ANNOTATION,
    annotation_of,
    compare,
    patch_of,
    readiness,
)

FOREIGN = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"}
ASKED = {"labels": {"pool": "data"}, "taints": ["data=true:NoSchedule"]}


def a_node(
    *, labels: dict[str, str] | None = None, taints: list[Any] | None = None, managed: Any = None
) -> dict[str, Any]:
    annotations = {} if managed is None else {ANNOTATION: json.dumps(managed)}
    return {
        "metadata": {"resourceVersion": "7", "labels": labels or {}, "annotations": annotations},
        "spec": {"taints": taints or []},
    }


def settled(**changes: Any) -> dict[str, Any]:
    node = {
        "labels": {"pool": "data", "other": "x"},
        "taints": [{"key": "data", "value": "true", "effect": "NoSchedule"}],
        "managed": json.loads(annotation_of(ASKED)),
    }
    return a_node(**{**node, **changes})


def patch(node: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    return patch_of(node, asked, *compare(node, asked))


def test_a_settled_node_needs_no_patch() -> None:
    assert patch(settled(), ASKED) == {}


def test_one_label_edited_by_hand_is_the_only_difference() -> None:
    node = settled(labels={"pool": "oops", "other": "x"})
    assert compare(node, ASKED) == (
        {"labels": {"pool": "oops"}, "taints": {}},
        {"labels": {"pool": "data"}, "taints": {}},
    )
    assert patch(node, ASKED) == {"metadata": {"labels": {"pool": "data"}}}


def test_a_label_that_is_no_longer_asked_for_is_removed_and_a_foreign_one_stays() -> None:
    node = settled(labels={"pool": "data", "old": "1", "other": "x"}, managed={"labels": ["old", "pool"], "taints": []})
    assert patch(node, ASKED)["metadata"]["labels"] == {"old": None}


def test_a_missing_taint_is_added_beside_foreign_ones_under_the_version_that_was_read() -> None:
    node = settled(taints=[FOREIGN])
    assert patch(node, ASKED) == {
        "spec": {"taints": [FOREIGN, {"key": "data", "value": "true", "effect": "NoSchedule"}]},
        "metadata": {"resourceVersion": "7"},
    }


def test_a_taint_that_is_no_longer_asked_for_is_removed() -> None:
    asked = {"labels": {"pool": "data"}, "taints": []}
    assert patch(settled(), asked)["spec"] == {"taints": []}


def test_a_patched_node_needs_no_further_patch() -> None:
    node = a_node()
    change = patch(node, ASKED)
    after = a_node(labels=change["metadata"]["labels"], taints=change["spec"]["taints"])
    after["metadata"]["annotations"] = change["metadata"]["annotations"]
    assert patch(after, ASKED) == {}


@pytest.mark.parametrize("managed", [[], "text", {"labels": 3}])
def test_a_damaged_annotation_removes_nothing_and_is_rewritten(managed: Any) -> None:
    assert patch(settled(managed=managed), ASKED) == {"metadata": {"annotations": {ANNOTATION: annotation_of(ASKED)}}}


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (None, "has not registered"),
        ({}, "has not registered"),
        ({"metadata": {}}, "has no Ready condition yet"),
        ({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}, ""),
        ({"status": {"conditions": [{"type": "Ready", "status": "False", "message": "no CNI"}]}}, "no CNI"),
    ],
)
def test_what_a_node_lacks_until_it_is_ready(node: dict[str, Any] | None, said: str) -> None:
    assert readiness(node) == said
