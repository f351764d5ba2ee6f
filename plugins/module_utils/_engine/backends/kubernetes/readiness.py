# SPDX-License-Identifier: BSD-2-Clause
"""Is an object ready? A pure answer from what the API server says of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ...objects import Body

# What a project waits for; the rest is ready as soon as it exists.
WAITED_KINDS = frozenset({"StatefulSet", "Deployment", "DaemonSet"})


class State(StrEnum):
    """The three answers. `failed` is final: waiting longer cannot help."""

    READY = "ready"
    WAITING = "waiting"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """The answer, and why it is not yes."""

    state: State
    reason: str = ""


READY = Readiness(state=State.READY)


# The kind whose pod has the data.
WORKLOAD = "StatefulSet"


def readiness_of(body: Body) -> Readiness:
    """Readiness of an object by its kind; kinds that have none are ready as soon as they exist."""
    if body["kind"] == "StatefulSet":
        return _stateful_set(body)
    if body["kind"] == "Deployment":
        return _deployment(body)
    if body["kind"] == "DaemonSet":
        return _daemon_set(body)
    if body["kind"] == "CustomResourceDefinition":
        return _definition(body)
    return READY


def _stateful_set(body: Body) -> Readiness:
    status = body.get("status") or {}
    wanted = body["spec"].get("replicas", 1)
    if status.get("observedGeneration", 0) < body["metadata"].get("generation", 0):
        return _waiting("the controller has not seen it yet")
    if wanted == 0:
        return _stopping(status.get("replicas", 0))
    if status.get("updatedReplicas", 0) < wanted or status.get("currentRevision") != status.get("updateRevision"):
        return _waiting(f"{status.get('updatedReplicas', 0)} of {wanted} pods are of the new version")
    return _replicas(status.get("readyReplicas", 0), wanted)


def _deployment(body: Body) -> Readiness:
    """Ready when only new pods serve, as `kubectl rollout status` has it."""
    status = body.get("status") or {}
    wanted = body["spec"].get("replicas", 1)
    if status.get("observedGeneration", 0) < body["metadata"].get("generation", 0):
        return _waiting("the controller has not seen it yet")
    for condition in status.get("conditions") or ():
        if condition.get("type") == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            return Readiness(state=State.FAILED, reason=str(condition.get("message") or "it made no progress"))
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            return _waiting(str(condition.get("message") or "its pods cannot be created"))
    updated = status.get("updatedReplicas", 0)
    if updated < wanted:
        return _waiting(f"{updated} of {wanted} pods are of the new version")
    if status.get("replicas", 0) > updated:
        return _waiting(f"{status.get('replicas', 0) - updated} pods of the old version still run")
    return _replicas(status.get("availableReplicas", 0), wanted)


def _daemon_set(body: Body) -> Readiness:
    """Ready when the pods of all its nodes are new and serve; with no node at all it never is."""
    status = body.get("status") or {}
    wanted = status.get("desiredNumberScheduled", 0)
    if status.get("observedGeneration", 0) < body["metadata"].get("generation", 0):
        return _waiting("the controller has not seen it yet")
    if not wanted:
        return _waiting("no node has the labels that its pods want")
    updated = status.get("updatedNumberScheduled", 0)
    if updated < wanted:
        return _waiting(f"{updated} of {wanted} pods are of the new version")
    return _replicas(status.get("numberAvailable", 0), wanted)


def _definition(body: Body) -> Readiness:
    for condition in (body.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "Established" and condition.get("status") == "True":
            return READY
    return _waiting("the API server does not serve it yet")


def trouble_of(pod: Body) -> str:
    """Why a pod does not get ready, in the words of whoever knows; empty if nothing is amiss, or it is about to go."""
    if "deletionTimestamp" in pod.get("metadata", {}):
        return ""
    status = pod.get("status") or {}
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"not scheduled: {condition.get('message', '')}"
    for container in _containers(status):
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            last = _ended(container, "lastState") if waiting["reason"] == "CrashLoopBackOff" else ""
            said = f"{container['name']}: {waiting['reason']} {waiting.get('message', '')}".rstrip()
            return f"{last} ({waiting['reason']})" if last else said
        if words := _ended(container, "state"):
            return words
    return ""


def end_of(pod: Body) -> str:
    """Why a pod that is not started again has ended, in its containers' last words; empty while it has not."""
    status = pod.get("status") or {}
    if status.get("phase") not in ("Failed", "Succeeded"):
        return ""
    words = (_ended(container, "state") for container in _containers(status))
    return next(filter(None, words), "") or str(status.get("message") or status.get("reason") or "it ended")


def _containers(status: Body) -> list[Body]:
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _ended(container: Body, state: str) -> str:
    """The last words of a container that ended with an error; empty if it did not."""
    ended = (container.get(state) or {}).get("terminated") or {}
    if not ended.get("exitCode"):
        return ""
    words = str(ended.get("message") or ended.get("reason") or "no reason given").strip()
    return f"{container['name']} ended with {ended['exitCode']}: {words}"


def _stopping(left: int) -> Readiness:
    return _waiting(f"{left} pods still run") if left else READY


def _replicas(ready: int, wanted: int) -> Readiness:
    return READY if ready >= wanted else _waiting(f"{ready} of {wanted} pods are ready")


def _waiting(reason: str) -> Readiness:
    return Readiness(state=State.WAITING, reason=reason)
