# SPDX-License-Identifier: BSD-2-Clause
"""Whether what is declared fits on the data plane, as far as requests of pods tell. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .backends.kubernetes.nodes import Node
from .backends.kubernetes.readiness import WAITED_KINDS
from .errors import Problem
from .objects import Desired
from .project.quantities import MIB, parse_bytes, parse_cpu
from .project.vocabulary import PROJECTS_VARIABLE

GROUP = "data_plane"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """What one pod asks for: CPU in millicores, memory in bytes."""

    owner: str
    cpu: int
    memory: int


def pods_of(desired: Iterable[Desired], owner: str) -> tuple[Pod, ...]:
    """The pods of these objects, each as often as it is to run."""
    return tuple(
        pod
        for one in desired
        if one.id.kind in WAITED_KINDS
        for pod in [_pod(one, owner)] * one.body["spec"].get("replicas", 1)
    )


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

    That both hold does not prove that all fit: it takes no account of how they are cut up, nor of others' pods.
    """
    if not pods:
        return ()
    if not nodes:
        allowed = f"projects on a cluster that has a data plane; put hosts into the group {GROUP}"
        return (Problem(path=PROJECTS_VARIABLE, value=f"{len(pods)} pods", allowed=allowed),)
    sums = (
        ("millicores of CPU", sum(pod.cpu for pod in pods), sum(node.cpu for node in nodes)),
        ("MiB of memory", sum(pod.memory for pod in pods) // MIB, sum(node.memory for node in nodes) // MIB),
        ("pods", len(pods), sum(node.pods for node in nodes)),
    )
    problems = [_too_much(what, wanted, there, len(nodes)) for what, wanted, there in sums if wanted > there]
    largest = (max(node.cpu for node in nodes), max(node.memory for node in nodes))
    owners = sorted({pod.owner for pod in pods if pod.cpu > largest[0] or pod.memory > largest[1]})
    problems += [_too_large(owner, largest) for owner in owners]
    return tuple(problems)


def _too_much(what: str, wanted: int, there: int, nodes: int) -> Problem:
    return Problem(
        path=PROJECTS_VARIABLE,
        value=f"{wanted} {what}",
        allowed=f"at most {there}, which is what the {nodes} nodes of the data plane have; add hosts to the group "
        f"{GROUP}, choose smaller tiers, or set check_capacity to false",
    )


def _too_large(owner: str, largest: tuple[int, int]) -> Problem:
    return Problem(
        path=owner,
        value="a pod that fits on no node",
        allowed=f"at most {largest[0]} millicores and {largest[1] // MIB} MiB, which is what the largest node of the "
        f"group {GROUP} has",
    )
