# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.readiness import (
    State,
    readiness_of,
    trouble_of,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.wait import UNSEEN, Seen
from ansible_collections.supalove.platform.plugins.module_utils._engine.objects import ObjectId

OLD = {"observedGeneration": 1}
CURRENT = {"observedGeneration": 2, "updatedReplicas": 1}
STATEFUL = {**CURRENT, "currentRevision": "b", "updateRevision": "b"}
STUCK = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "no progress"}
REFUSED = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}


def an_object(kind, status):
    return {"kind": kind, "metadata": {"generation": 2}, "spec": {"replicas": 1}, "status": status}


@pytest.mark.parametrize(
    ("kind", "status", "state", "reason"),
    [
        ("StatefulSet", {}, State.WAITING, "has not seen it"),
        ("StatefulSet", {**OLD, "readyReplicas": 1}, State.WAITING, "has not seen it"),
        ("StatefulSet", {**STATEFUL, "currentRevision": "a", "readyReplicas": 1}, State.WAITING, "of the new version"),
        ("StatefulSet", STATEFUL, State.WAITING, "0 of 1 pods are ready"),
        ("StatefulSet", {**STATEFUL, "readyReplicas": 1}, State.READY, ""),
        ("Deployment", {**OLD, "availableReplicas": 1}, State.WAITING, "has not seen it"),
        ("Deployment", {"observedGeneration": 2}, State.WAITING, "0 of 1 pods are of the new version"),
        ("Deployment", {**CURRENT, "replicas": 2, "availableReplicas": 2}, State.WAITING, "1 pods of the old version"),
        ("Deployment", {**CURRENT, "replicas": 1}, State.WAITING, "0 of 1 pods are ready"),
        ("Deployment", {**CURRENT, "replicas": 1, "availableReplicas": 1}, State.READY, ""),
        ("Deployment", {**CURRENT, "conditions": [REFUSED]}, State.WAITING, "exceeded quota"),
        ("Deployment", {**CURRENT, "conditions": [STUCK]}, State.FAILED, "no progress"),
        ("CustomResourceDefinition", {}, State.WAITING, "does not serve it yet"),
        ("ConfigMap", {}, State.READY, ""),
    ],
)
def test_readiness_of_an_object(kind, status, state, reason):
    answer = readiness_of(an_object(kind, status))
    assert answer.state is state
    assert reason in answer.reason


ENDED = {"terminated": {"exitCode": 1, "message": "it has no key\n"}}


def restarting(said):
    """A container that ended with these last words, and waits to be started again."""
    waiting = {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container=own"}
    before = {"terminated": {"exitCode": 1, "reason": "Error", **said}}
    return {"initContainerStatuses": [{"name": "own", "state": {"waiting": waiting}, "lastState": before}]}


@pytest.mark.parametrize(
    ("status", "trouble"),
    [
        ({}, ""),
        ({"containerStatuses": [{"name": "a", "state": {"waiting": {"reason": "ContainerCreating"}}}]}, ""),
        (
            {
                "containerStatuses": [
                    {"name": "a", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no"}}}
                ]
            },
            "a: ImagePullBackOff no",
        ),
        (restarting({"message": "it has no key\n"}), "own ended with 1: it has no key (CrashLoopBackOff)"),
        (restarting({}), "own ended with 1: Error (CrashLoopBackOff)"),
        (
            {
                "containerStatuses": [
                    {
                        "name": "a",
                        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no image b"}},
                        "lastState": ENDED,
                    }
                ]
            },
            "a: ImagePullBackOff no image b",
        ),
        # Between its end and the back-off the kubelet says nothing of that it waits.
        ({"initContainerStatuses": [{"name": "own", "state": ENDED}]}, "own ended with 1: it has no key"),
        ({"initContainerStatuses": [{"name": "own", "state": {"terminated": {"exitCode": 0}}}]}, ""),
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "message": "no node fits"}]},
            "not scheduled: no node fits",
        ),
    ],
)
def test_a_pods_trouble_is_told_in_the_words_of_who_knows(status, trouble):
    assert trouble_of({"status": status}) == trouble


def a_pod(name, reason=None):
    labels = {"supalove.cloud/component": "pooler"}
    status = {"containerStatuses": [{"name": "c", "state": {"waiting": {"reason": reason}}}]} if reason else {}
    return {"metadata": {"name": name, "namespace": "p-a", "labels": labels}, "status": status}


def test_the_trouble_of_a_new_pod_is_not_hidden_by_an_old_one_that_is_well():
    id = ObjectId(kind="Deployment", namespace="p-a", name="pooler")
    seen = Seen(waiting={id: UNSEEN})
    seen.take("Pod", {"type": "ADDED", "object": a_pod("new", "ImagePullBackOff")})
    seen.take("Pod", {"type": "MODIFIED", "object": a_pod("old")})
    assert "c: ImagePullBackOff" in seen.result({})[id].reason
    seen.take("Pod", {"type": "DELETED", "object": a_pod("new", "ImagePullBackOff")})
    assert "ImagePullBackOff" not in seen.result({})[id].reason


def test_what_becomes_of_a_pod_that_is_about_to_go_is_no_trouble():
    pod = {
        "metadata": {"deletionTimestamp": "2026-11-27T04:00:00Z"},
        "status": {"containerStatuses": [{"state": ENDED}]},
    }
    assert trouble_of(pod) == ""


def test_a_rollout_that_failed_says_what_is_the_matter_with_its_pods():
    id = ObjectId(kind="Deployment", namespace="p-a", name="pooler")
    seen = Seen(waiting={id: UNSEEN})
    seen.take("Pod", {"type": "ADDED", "object": a_pod("new", "ImagePullBackOff")})
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}
    meta = {"name": "pooler", "namespace": "p-a", "generation": 2}
    status = {"observedGeneration": 2, "conditions": [late]}
    seen.take(
        "Deployment", {"type": "MODIFIED", "object": {"metadata": meta, "spec": {"replicas": 1}, "status": status}}
    )
    answer = seen.result({})[id]
    assert (answer.state, answer.reason) == (State.FAILED, "timed out (c: ImagePullBackOff)")
