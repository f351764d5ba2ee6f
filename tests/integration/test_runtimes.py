# SPDX-License-Identifier: GPL-3.0-or-later
"""Runtimes besides the nodes' own, against a real API server; what a kubelet would do to pods, a thread does."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.client import Client
from ansible_collections.supalove.platform.plugins.module_utils._engine.progress import Silent
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.parse import parse
from ansible_collections.supalove.platform.plugins.module_utils._engine.runtimes import Proof, keep_runtime
from ansible_collections.supalove.platform.plugins.module_utils._engine.settings import Settings
from fix_apiserver import grant, unless_outdated
from fix_engine import TIERS, DyingClient, Engine, Killed

CLASSES = "/apis/node.k8s.io/v1/runtimeclasses"
PODS = "/api/v1/namespaces/supalove-system/pods"
KERNEL = "6.1.0-of-the-node"
GOOD = "[    0.000000] Starting gVisor...\n4.4.0\n"
# All that a kubelet tells of its machine has to be said, if anything is.
INFO = (
    *("machineID", "systemUUID", "bootID", "osImage", "operatingSystem", "architecture"),
    *("containerRuntimeVersion", "kubeletVersion", "kubeProxyVersion"),
)
# What proving takes beyond what making a platform does.
RULES = [
    {"apiGroups": [""], "resources": ["nodes"], "verbs": ["patch"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["create", "delete"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["list"]},
    {"apiGroups": ["node.k8s.io"], "resources": ["runtimeclasses"], "verbs": ["delete"]},
]
_numbers = itertools.count(1)


@pytest.fixture(scope="module", autouse=True)
def _rights(prepared: Engine) -> None:
    grant(prepared.server, "runtimes", RULES)


@pytest.fixture
def name() -> str:
    """A runtime that no other test has."""
    return f"r{next(_numbers)}"


@pytest.fixture
def node(engine: Engine) -> str:
    made = f"sandbox-{next(_numbers)}"
    meta = {"name": made, "labels": {"node.supalove.cloud/data-plane": "true"}}
    engine.server.request("POST", "/api/v1/nodes", {"metadata": meta})
    room = {"cpu": "100", "memory": "100Gi", "pods": "100"}
    info = {"nodeInfo": {**dict.fromkeys(INFO, ""), "kernelVersion": KERNEL}}
    engine.server.merge(f"/api/v1/nodes/{made}/status", {"status": {**info, "allocatable": room, "capacity": room}})
    return made


def given(name: str) -> dict[str, Any]:
    return {"runtime_classes": {name: {"handler": "runsc", "cpu": "50m", "memory": "64Mi"}}}


def keep(engine: Engine, name: str, nodes: list[str], **more: Any) -> Any:
    proof = Proof(
        runtime=name,
        version=more.pop("version", "1"),
        image="proof:1",
        expects="Starting gVisor",
        own_kernel=True,
    )
    absent = more.pop("absent", [])
    dies_after = more.pop("dies_after", None)
    settings = Settings(**{"timeout_seconds": 200.0, **more})
    platform = parse(projects={}, tiers={}, platform=given(name)).platform
    with engine.client(Client if dies_after is None else DyingClient) as client:
        if isinstance(client, DyingClient):
            client.may_write = dies_after
        return keep_runtime(client, platform, proof, nodes=nodes, absent=absent, settings=settings, progress=Silent())


@contextlib.contextmanager
def pods_that(engine: Engine, status: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """Every pod of a proof ends so; gives them as they were made, each with its node's labels at that time."""
    stop = threading.Event()
    seen: dict[str, dict[str, Any]] = {}

    def work() -> None:
        while not stop.wait(0.1):
            for pod in engine.server.request("GET", f"{PODS}?labelSelector=supalove.cloud/runtime-proof")["items"]:
                if pod["metadata"]["name"] not in seen:
                    with unless_outdated():
                        pod["node"] = node_of(engine, pod)
                        engine.server.merge(f"{PODS}/{pod['metadata']['name']}/status", {"status": status})
                        seen[pod["metadata"]["name"]] = pod

    thread = threading.Thread(target=work, name="kubelet")
    thread.start()
    try:
        found: list[dict[str, Any]] = []
        yield found
    finally:
        stop.set()
        thread.join()
        found += seen.values()


def node_of(engine: Engine, pod: dict[str, Any]) -> dict[str, Any]:
    (term,) = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    (name,) = term["matchFields"][0]["values"]
    labels: dict[str, Any] = engine.server.request("GET", f"/api/v1/nodes/{name}")["metadata"]["labels"]
    return labels


def ended(code: int, message: str) -> dict[str, Any]:
    state = {"terminated": {"exitCode": code, "message": message}}
    one = {"name": "proof", "image": "", "imageID": "", "ready": False, "restartCount": 0, "state": state}
    return {"phase": "Failed" if code else "Succeeded", "containerStatuses": [one]}


def marks(engine: Engine, node: str, name: str) -> tuple[str | None, str | None]:
    meta = engine.server.request("GET", f"/api/v1/nodes/{node}")["metadata"]
    notes = meta.get("annotations") or {}
    return meta["labels"].get(f"node.supalove.cloud/runtime-{name}"), notes.get(f"node.supalove.cloud/proven-{name}")


def test_a_node_that_shows_the_runtime_is_labelled_and_not_asked_again(engine, node, name):
    assert keep(engine, name, [node], check=True).writes == 0
    with pods_that(engine, ended(0, GOOD)) as pods:
        report = keep(engine, name, [node])
    assert report.succeeded, report
    assert marks(engine, node, name) == ("true", "1")
    # The API server's own part of the runtime: what a pod takes, and where it may run, but for that of the proof.
    (pod,) = pods
    other = {"runtimeClassName": name, "containers": [{"name": "other", "image": "other:1"}]}
    theirs = engine.server.request("POST", f"{PODS}?dryRun=All", {"metadata": {"name": "other"}, "spec": other})
    selectors = [one["spec"].get("nodeSelector") for one in (pod, theirs)]
    assert selectors == [None, {f"node.supalove.cloud/runtime-{name}": "true"}]
    for one in (pod, theirs):
        assert one["spec"]["overhead"] == {"cpu": "50m", "memory": "64Mi"}
    assert not engine.server.exists(f"{CLASSES}/{name}.proof")
    again = keep(engine, name, [node])
    assert (again.succeeded, again.writes) == (True, 0)


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (ended(0, f"dmesg: not permitted\n{KERNEL}\n"), "has no 'Starting gVisor'"),
        (ended(1, "exec format error"), "proof ended with 1: exec format error"),
    ],
    ids=["without a sandbox", "failed"],
)
def test_a_node_that_does_not_show_the_runtime_loses_the_label(engine, node, name, status, told):
    with pods_that(engine, ended(0, GOOD)):
        assert keep(engine, name, [node]).succeeded
    with pods_that(engine, status):
        report = keep(engine, name, [node], version="2")
    (outcome,) = report.outcomes
    assert told in outcome.failure.reason
    assert [str(step.id) for step in outcome.steps] == [f"Node/{node}"]
    assert marks(engine, node, name) == (None, None)
    assert not engine.server.request("GET", "/api/v1/namespaces/supalove-system/pods")["items"]


def test_while_a_node_is_proven_it_has_no_label_that_others_pods_select_by(engine, node, name):
    with pods_that(engine, ended(0, GOOD)) as pods:
        for version in ("1", "2"):
            assert keep(engine, name, [node], version=version).succeeded
            assert marks(engine, node, name) == ("true", version)
    assert [f"node.supalove.cloud/runtime-{name}" in pod["node"] for pod in pods] == [False, False]


def test_a_kill_at_any_write_leaves_no_label_without_a_proof(engine, node, name):
    with pods_that(engine, ended(0, GOOD)):
        assert keep(engine, name, [node], version="0").succeeded
        before = "0"
        for dies_after in range(7):
            version = str(dies_after + 1)
            with contextlib.suppress(Killed):
                keep(engine, name, [node], version=version, dies_after=dies_after)
            label, proven = marks(engine, node, name)
            # Only the class of the proof is left to be made before the label goes, and to go after it has come.
            assert (label, proven) == [("true", before), ("true", before), (None, None), ("true", version)][
                (dies_after > 0) + (dies_after > 1) + (dies_after > 4)
            ]
            assert keep(engine, name, [node], version=version).succeeded
            before = version
    assert not engine.server.exists(f"{CLASSES}/{name}.proof")
    # Of a killed run; here no scheduler has given it a node, by which the next run would find it.
    engine.server.request("DELETE", f"{PODS}?labelSelector=supalove.cloud/runtime-proof")


def test_no_proof_is_begun_without_the_time_for_it(engine, node, name):
    with pods_that(engine, ended(0, GOOD)):
        assert keep(engine, name, [node]).succeeded
    (outcome,) = keep(engine, name, [node, "nobody"], version="2", timeout_seconds=20.0).outcomes
    assert "nobody: there is no such node" in outcome.failure.reason
    assert f"a proof needs 180 s and the limit is 20 s: {node}; run again" in outcome.failure.reason
    assert marks(engine, node, name) == ("true", "1")


def test_a_node_that_is_left_out_loses_the_label_and_others_keep_it(engine, node, name):
    with pods_that(engine, ended(0, GOOD)):
        assert keep(engine, name, [node]).succeeded
    assert keep(engine, name, []).writes == 0
    assert marks(engine, node, name) == ("true", "1")
    assert keep(engine, name, [], absent=[node]).changed
    assert marks(engine, node, name) == (None, None)


def test_a_runtime_class_of_somebody_elses_is_not_taken_over(engine, node, name):
    engine.server.request("POST", CLASSES, {"metadata": {"name": name}, "handler": "theirs"})
    report = keep(engine, name, [node])
    assert "does not carry the label supalove.cloud/platform" in report.outcomes[0].failure.reason
    assert report.writes == 0
    assert "does not carry the label" in engine.prepare(platform=given(name)).outcomes[0].failure.reason
    assert engine.server.request("GET", f"{CLASSES}/{name}")["handler"] == "theirs"


def test_a_project_of_a_runtime_that_is_not_there_fails_by_itself_before_anything_of_it_is_written(
    engine, node, name, ref
):
    tiers = {**TIERS, "sandboxed": {**TIERS["free"], "runtime_class": name}}
    projects = {ref: {"tier": "sandboxed"}, f"{ref}-beside": {"tier": "free"}}
    reasons = []
    for step in (lambda: None, lambda: engine.prepare(tiers=tiers, platform=given(name))):
        step()
        report = engine.reconcile(projects, tiers=tiers, platform=given(name), check_capacity=False)
        results = {outcome.ref: outcome.result for outcome in report.outcomes}
        assert results == {ref: "failed", f"{ref}-beside": "unchanged" if reasons else "changed"}
        reasons.append(report.outcomes[0].failure.reason)
        records = f"/apis/supalove.cloud/v1alpha1/namespaces/{engine.namespace}/supaloveprojects"
        assert not any(map(engine.server.exists, (f"/api/v1/namespaces/p-{ref}", f"{records}/{ref}")))
    assert "a runtime whose RuntimeClass does not exist" in reasons[0]
    assert "a runtime that no node of the data plane has" in reasons[1]
    with pods_that(engine, ended(0, GOOD)):
        assert keep(engine, name, [node]).succeeded
    assert engine.reconcile(projects, tiers=tiers, platform=given(name)).succeeded
    path = f"/apis/apps/v1/namespaces/p-{ref}/statefulsets/postgresql"
    assert engine.server.request("GET", path)["spec"]["template"]["spec"]["runtimeClassName"] == name


def test_another_runtime_is_another_template_and_taking_it_away_as_well(engine, node, name, ref):
    with pods_that(engine, ended(0, GOOD)):
        assert keep(engine, name, [node]).succeeded
    path = f"/apis/apps/v1/namespaces/p-{ref}/statefulsets/postgresql"
    project = {ref: {"tier": "free"}}
    for runtime in (None, name, None):
        tiers = {"free": {**TIERS["free"], **({"runtime_class": runtime} if runtime else {})}}
        assert engine.settle(project, tiers=tiers, platform=given(name)).succeeded
        spec = engine.server.request("GET", path)["spec"]["template"]["spec"]
        assert spec.get("runtimeClassName") == runtime


def test_a_shared_cluster_of_a_runtime_that_no_node_has_fails_by_itself(engine, name):
    cluster = {"cpu": 1, "memory": "1Gi", "storage": "20Gi"}
    clusters = {f"a-of-{name}": {**cluster, "runtime_class": name}, f"b-of-{name}": cluster}
    platform = {**given(name), "shared_clusters": clusters}
    for changed in (True, False):
        report = engine.prepare(platform=platform, wait=False)
        (outcome,) = report.outcomes
        assert "a runtime that no node of the data plane has" in outcome.failure.reason
        assert (report.changed, outcome.failure.object) == (changed, f"StatefulSet/s-a-of-{name}/postgresql")
    there = [engine.server.exists(f"/api/v1/namespaces/s-{one}") for one in clusters]
    assert there == [False, True]
