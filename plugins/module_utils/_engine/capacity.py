# SPDX-License-Identifier: BSD-2-Clause
"""Whether what is declared fits on the data plane, as far as requests of pods tell. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from .backends.kubernetes.nodes import Node
from .backends.kubernetes.readiness import WAITED_KINDS
from .errors import Problem
from .objects import Desired, ObjectId
from .project.model import RuntimeClass
from .project.names import runtime_label_of
from .project.quantities import MIB, parse_bytes, parse_cpu
from .project.vocabulary import PROJECTS_VARIABLE
from .steps import Plan

GROUP = "data_plane"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """What one pod asks for: CPU in millicores, memory in bytes; and the runtime that it names, if it names one."""

    owner: str
    cpu: int
    memory: int
    runtime: str | None = None

    def under(self, runtime: str | None, known: Mapping[str, RuntimeClass]) -> Pod:
        """The same pod under a runtime, with what that takes for itself."""
        if runtime is None:
            return self
        more = known[runtime]
        return replace(self, cpu=self.cpu + more.cpu, memory=self.memory + more.memory, runtime=runtime)


def pods_of(
    desired: Iterable[Desired], owner: str, runtimes: Mapping[str, RuntimeClass] = MappingProxyType({})
) -> tuple[Pod, ...]:
    """The pods of these objects, each as often as it is to run."""
    return tuple(
        pod
        for one in desired
        if one.id.kind in WAITED_KINDS
        for pod in [_pod(one, owner).under(runtime_of(one), runtimes)] * one.body["spec"].get("replicas", 1)
    )


def runtime_of(desired: Desired) -> str | None:
    """The runtime that an object's pods name; None as well for one that runs no pod."""
    spec = desired.body["spec"]
    name: str | None = spec["template"]["spec"].get("runtimeClassName")
    return name if spec.get("replicas", 1) else None


def runtimes_of(plan: Plan) -> tuple[tuple[ObjectId, str], ...]:
    """What of a plan makes pods that name a runtime, and which."""
    pods = (step for step in plan.steps if step.id.kind in WAITED_KINDS)
    return tuple((step.id, name) for step in pods if (name := runtime_of(step.desired)) is not None)


def _pod(desired: Desired, owner: str) -> Pod:
    spec = desired.body["spec"]["template"]["spec"]
    # Those of the beginning that go on running ask for their own (a sidecar).
    beside = [each for each in spec.get("initContainers", ()) if each.get("restartPolicy") == "Always"]
    requests = [each["resources"]["requests"] for each in (*spec["containers"], *beside)]
    cpu = sum(parse_cpu(one["cpu"]) for one in requests)
    return Pod(owner=owner, cpu=cpu, memory=sum(parse_bytes(one["memory"]) for one in requests))


def shortfalls(pods: Sequence[Pod], nodes: Sequence[Node]) -> tuple[Problem, ...]:
    """What the nodes of the data plane do not have.

    1. The sums of CPU, memory and pods must not exceed those of the nodes.
    2. Every single pod must fit on the largest node.
    3. Both hold as well for the pods of each runtime on the nodes that have it.

    That all hold does not prove that all fit: it takes no account of how they are cut up, nor of others' pods.
    """
    if not pods:
        return ()
    if not nodes:
        allowed = f"projects on a cluster that has a data plane; put hosts into the group {GROUP}"
        return (Problem(path=PROJECTS_VARIABLE, value=f"{len(pods)} pods", allowed=allowed),)
    found = _shortfalls(pods, nodes, "nodes of the data plane")
    for runtime in sorted({pod.runtime for pod in pods if pod.runtime is not None}):
        some = [node for node in nodes if runtime in node.runtimes]
        if some and not found:
            found = _shortfalls([pod for pod in pods if pod.runtime == runtime], some, f"nodes with {runtime}")
    return tuple(found)


def missing_runtimes(runtimes: Iterable[str], nodes: Sequence[Node], path: str) -> list[Problem]:
    """The runtimes that no node of the data plane has. Their pods would wait for ever: none falls back to another."""
    return [
        Problem(
            path=f"{path}.{name}",
            value="a runtime that no node of the data plane has",
            allowed=f"one that runs on a node, which then bears {runtime_label_of(name)}=true; run the playbook "
            "runtimes.yml, which says of each host why it was left out",
        )
        for name in sorted(set(runtimes))
        if not any(name in node.runtimes for node in nodes)
    ]


def _shortfalls(pods: Sequence[Pod], nodes: Sequence[Node], called: str) -> list[Problem]:
    sums = (
        ("millicores of CPU", sum(pod.cpu for pod in pods), sum(node.cpu for node in nodes)),
        ("MiB of memory", sum(pod.memory for pod in pods) // MIB, sum(node.memory for node in nodes) // MIB),
        ("pods", len(pods), sum(node.pods for node in nodes)),
    )
    place = f"{len(nodes)} {called}"
    problems = [_too_much(what, wanted, there, place) for what, wanted, there in sums if wanted > there]
    largest = (max(node.cpu for node in nodes), max(node.memory for node in nodes))
    owners = sorted({pod.owner for pod in pods if pod.cpu > largest[0] or pod.memory > largest[1]})
    problems += [_too_large(owner, largest, called) for owner in owners]
    return problems


def _too_much(what: str, wanted: int, there: int, place: str) -> Problem:
    return Problem(
        path=PROJECTS_VARIABLE,
        value=f"{wanted} {what}",
        allowed=f"at most {there}, which is what the {place} have; add hosts to the group "
        f"{GROUP}, choose smaller tiers, or set check_capacity to false",
    )


def _too_large(owner: str, largest: tuple[int, int], called: str) -> Problem:
    return Problem(
        path=owner,
        value="a pod that fits on no node",
        allowed=f"at most {largest[0]} millicores and {largest[1] // MIB} MiB, which is what the largest of the "
        f"{called} has",
    )
