# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.supalove.platform.plugins.modules import node_settings
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


# What the API server does with a node, as kubectl shows it: a version that grows, and a conflict with an old one.
KUBECTL = """
import json, pathlib, sys
store = pathlib.Path(sys.argv[1])
verb, kind, *rest = sys.argv[2:]
nodes = json.loads(store.read_text())
if kind == "nodes":
    print(json.dumps({"items": list(nodes.values())}))
elif verb == "get":
    print(json.dumps(nodes[rest[0]]))
else:
    node = nodes[rest[0]]
    patch = json.loads(rest[2].removeprefix("--patch="))
    if node["rivals"]:
        node["rivals"] -= 1
        node["metadata"]["resourceVersion"] += "1"
        node["spec"]["taints"] = [*node["spec"]["taints"], {"key": f"rival-{node['rivals']}", "effect": "NoExecute"}]
    stale = patch["metadata"].get("resourceVersion", node["metadata"]["resourceVersion"])
    if stale != node["metadata"]["resourceVersion"]:
        store.write_text(json.dumps(nodes))
        sys.exit("Error from server (Conflict): the object has been modified")
    node["spec"] |= patch.get("spec", {})
    node["metadata"]["labels"] |= patch["metadata"].get("labels", {})
    node["metadata"]["annotations"] |= patch["metadata"].get("annotations", {})
    store.write_text(json.dumps(nodes))
"""


def run(folder: Path, **rivals: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run the module on nodes that others write to so many times in between; give its result and the nodes after it."""
    store, kubectl = folder / "nodes.json", folder / "kubectl.py"
    kubectl.write_text(KUBECTL)
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    nodes = {name: {**a_node(), "status": ready, "rivals": count} for name, count in rivals.items()}
    for name, node in nodes.items():
        node["metadata"]["name"] = name
    store.write_text(json.dumps(nodes))
    arguments = {"nodes": dict.fromkeys(rivals, ASKED), "command": [sys.executable, str(kubectl), str(store)]}
    done = subprocess.run(
        [sys.executable, "-P", str(node_settings.__file__)],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        capture_output=True,
        text=True,
        check=False,
    )
    return json.loads(done.stdout), json.loads(store.read_text())


def test_a_node_that_others_write_to_meanwhile_is_read_again_and_loses_nothing(tmp_path: Path) -> None:
    result, after = run(tmp_path, a=2)
    assert result["nodes"] == ["a"]
    assert {taint["key"] for taint in after["a"]["spec"]["taints"]} == {"rival-0", "rival-1", "data"}


def test_a_node_that_never_rests_fails_with_what_was_changed_before_it(tmp_path: Path) -> None:
    result, _after = run(tmp_path, a=0, b=100)
    assert (result["failed"], result["changed"], result["nodes"]) == (True, True, ["a"])
    assert "b was written to by something else 5 times in a row" in result["msg"]
