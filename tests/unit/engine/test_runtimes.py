# SPDX-License-Identifier: GPL-3.0-or-later
"""What a runtime besides the nodes' own changes about pods, quotas and room."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.nodes import Node
from ansible_collections.supalove.platform.plugins.module_utils._engine.capacity import (
    Pod,
    missing_runtimes,
    pods_of,
    shortfalls,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import InvalidSpec
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Inventory, Platform
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.parse import parse
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.placement import Placement
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.quantities import parse_bytes, parse_cpu
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.cluster import render_cluster
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.platform import render_platform
from ansible_collections.supalove.platform.plugins.module_utils._engine.runtimes import Proof, verdict_of
from builders import CLUSTER, DEDICATED, FREE, SHARED, a_cluster, a_project, objects_of, one

MIB = 1024**2
SERVED = {"domain": "example.com", "gateway_kind": "gateway"}
NODE = Node(cpu=1000, memory=1024 * MIB, pods=10)
SANDBOXED = Node(cpu=1000, memory=1024 * MIB, pods=10, runtimes=frozenset({"gvisor"}))
GVISOR = Proof(runtime="gvisor", version="1", image="", expects="Starting gVisor", own_kernel=True)


def a_platform(**more: Any) -> Platform:
    return parse(projects={}, tiers={}, platform={"runtime_classes": {"gvisor": {}}, **more}).platform


def in_tier(tier: dict[str, Any], **platform: Any) -> Inventory:
    given = {"runtime_classes": {"gvisor": {}}, **platform}
    return parse(projects={"acme": {"tier": "t"}}, tiers={"t": tier}, platform=given)


@pytest.mark.parametrize(
    ("given", "path", "allowed"),
    [
        ({"tiers": {"t": {**FREE, "runtime_class": "kata"}}}, "supalove_tiers.t.runtime_class", "runtime_classes: gvi"),
        (
            {"platform": {"shared_clusters": {"a": {**CLUSTER, "runtime_class": "kata"}}}},
            "supalove_platform.shared_clusters.a.runtime_class",
            "none is defined",
        ),
        (
            {"platform": {"runtime_classes": {"firecracker": {}}}},
            "supalove_platform.runtime_classes.firecracker.handler",
            "a DNS label",
        ),
        (
            {"platform": {"runtime_classes": {"gvisor": {"overhead": "1"}}}},
            "supalove_platform.runtime_classes.gvisor",
            "a key out of cpu, handler, memory",
        ),
    ],
)
def test_a_wrong_runtime_names_the_place_and_what_is_allowed(given, path, allowed):
    platform = {"runtime_classes": {"gvisor": {}}}
    with pytest.raises(InvalidSpec) as caught:
        parse(**{"projects": {}, "tiers": {}, "platform": platform, **given})
    (problem,) = caught.value.problems
    assert (problem.path, allowed in problem.allowed) == (path, True)


def test_a_runtime_class_sends_pods_to_nodes_that_have_it_and_counts_what_it_takes():
    platform = a_platform(runtime_classes={"gvisor": {"cpu": "1", "memory": "1Gi"}, "fast": {"handler": "crun"}})
    objects = render_platform(Inventory(projects=(), tiers={}, platform=platform))
    gvisor, fast = one("RuntimeClass", "gvisor", objects), one("RuntimeClass", "fast", objects)
    assert gvisor["handler"] == "runsc"
    assert gvisor["overhead"] == {"podFixed": {"cpu": "1", "memory": "1Gi"}}
    assert gvisor["scheduling"] == {"nodeSelector": {"node.supalove.cloud/runtime-gvisor": "true"}}
    assert gvisor["metadata"]["labels"] == {"supalove.cloud/platform": "supalove-system"}
    assert "overhead" not in fast


@pytest.mark.parametrize(
    ("tier", "platform", "placement", "covered"),
    [
        (FREE, {}, DEDICATED, ["pooler", "postgresql"]),
        (FREE, SERVED, DEDICATED, ["auth", "pooler", "postgresql", "rest"]),
        (SHARED, SERVED, Placement(cluster="one"), ["auth", "pooler", "rest"]),
    ],
)
def test_a_tiers_runtime_covers_every_pod_of_its_projects(tier, platform, placement, covered):
    inventory = in_tier({**tier, "runtime_class": "gvisor"}, **platform)
    objects = objects_of(inventory.projects[0], platform=inventory.platform, placement=placement)
    named = {
        found.id.name: found.body["spec"]["template"]["spec"]["runtimeClassName"]
        for found in objects
        if found.id.kind in ("StatefulSet", "Deployment")
    }
    assert named == dict.fromkeys(covered, "gvisor")


@pytest.mark.parametrize(
    ("tier", "platform", "placement", "pods"),
    [
        (FREE, {}, DEDICATED, 3),
        (FREE, SERVED, DEDICATED, 7),
        (SHARED, {}, Placement(cluster="one"), 2),
    ],
)
def test_a_quota_has_room_for_what_the_runtime_takes_in_every_pod_at_once(tier, platform, placement, pods):
    def hard(**more: Any) -> dict[str, str]:
        inventory = in_tier({**tier, **more}, **platform)
        objects = objects_of(inventory.projects[0], platform=inventory.platform, placement=placement)
        return one("ResourceQuota", "project", objects)["spec"]["hard"]

    before, after = hard(), hard(runtime_class="gvisor")
    for what in ("requests", "limits"):
        assert parse_cpu(after[f"{what}.cpu"]) - parse_cpu(before[f"{what}.cpu"]) == pods * 50
        assert parse_bytes(after[f"{what}.memory"]) - parse_bytes(before[f"{what}.memory"]) == pods * 64 * MIB
    assert after["pods"] == before["pods"]


def test_a_shared_clusters_own_runtime_is_that_of_its_postgresql():
    def pod(**more: Any) -> dict[str, Any]:
        objects = render_cluster(a_cluster(**more), a_platform())
        return one("StatefulSet", "postgresql", objects)["spec"]["template"]["spec"]

    assert pod(runtime_class="gvisor")["runtimeClassName"] == "gvisor"
    assert "runtimeClassName" not in pod()


def test_pods_count_with_what_their_runtime_takes():
    plain, sandboxed = (
        pods_of(objects_of(a_project(tier=tier)), "acme", a_platform().runtime_classes)
        for tier in ({}, {"runtime_class": "gvisor"})
    )
    for before, after in zip(plain, sandboxed, strict=True):
        assert (after.cpu - before.cpu, after.memory - before.memory) == (50, 64 * MIB)
        assert (before.runtime, after.runtime) == (None, "gvisor")


def test_room_elsewhere_is_none_for_pods_of_a_runtime():
    pods = [Pod(owner="acme", cpu=400, memory=MIB, runtime="gvisor")] * 3
    (problem,) = shortfalls(pods, [NODE, SANDBOXED])
    assert "found '1200 millicores of CPU', allowed is at most 1000, which is what the 1 nodes with gvisor" in str(
        problem
    )
    assert shortfalls(pods[:2], [NODE, SANDBOXED]) == ()


def test_a_runtime_that_no_node_has_is_refused():
    (problem,) = missing_runtimes(["gvisor"], [NODE], "supalove_platform.runtime_classes")
    assert "node.supalove.cloud/runtime-gvisor=true" in str(problem)
    assert missing_runtimes(["gvisor"], [NODE, SANDBOXED], "x") == []


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ("[ 0.0] Starting gVisor...\n4.4.0\n", ""),
        ("dmesg: read kernel buffer failed\n6.1.0\n", "has no 'Starting gVisor'"),
        ("[ 0.0] Starting gVisor...\n6.1.0\n", "it ran without a sandbox"),
        ("", "but: nothing"),
    ],
)
def test_what_a_pod_leaves_proves_a_sandbox_or_not(said, verdict):
    found = verdict_of(GVISOR, said, "6.1.0")
    assert verdict in found
    assert bool(found) == bool(verdict)
