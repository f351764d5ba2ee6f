# SPDX-License-Identifier: BSD-2-Clause
"""What the nodes have for pods."""

from __future__ import annotations

from dataclasses import dataclass

from ...deadline import Deadline
from ...project.names import RUNTIME_LABEL_PREFIX
from .client import Client
from .kinds import collection_path
from .quantity import amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What one node has for pods: CPU in millicores, memory in bytes, their number; and runtimes besides its own."""

    cpu: int
    memory: int
    pods: int
    runtimes: frozenset[str] = frozenset()


def read_nodes(client: Client, *, selector: str, deadline: Deadline) -> tuple[Node, ...]:
    """The nodes that carry a label."""
    items = client.list(collection_path("Node"), subject="Node", deadline=deadline, query={"labelSelector": selector})
    return tuple(_node(item["status"].get("allocatable") or {}, item["metadata"].get("labels") or {}) for item in items)


def _node(allocatable: dict[str, str], labels: dict[str, str]) -> Node:
    runtimes = (key for key, value in labels.items() if key.startswith(RUNTIME_LABEL_PREFIX) and value == "true")
    return Node(
        cpu=int(amount(allocatable.get("cpu", "0")) * 1000),
        memory=int(amount(allocatable.get("memory", "0"))),
        pods=int(amount(allocatable.get("pods", "0"))),
        runtimes=frozenset(key.removeprefix(RUNTIME_LABEL_PREFIX) for key in runtimes),
    )
