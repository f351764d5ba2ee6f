# SPDX-License-Identifier: BSD-2-Clause
"""What the nodes have for pods."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from ...deadline import Deadline
from .client import Client
from .kinds import collection_path

# Suffixes of resource.Quantity (apimachinery pkg/api/resource/suffix.go).
_FACTORS = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGT", start=1)},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGT", start=1)},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What one node has for pods: CPU in millicores, memory in bytes, their number."""

    cpu: int
    memory: int
    pods: int


def read_nodes(client: Client, *, selector: str, deadline: Deadline) -> tuple[Node, ...]:
    """The nodes that carry a label."""
    items = client.list(collection_path("Node"), subject="Node", deadline=deadline, query={"labelSelector": selector})
    return tuple(_node(item["status"].get("allocatable") or {}) for item in items)


def _node(allocatable: dict[str, str]) -> Node:
    return Node(
        cpu=int(amount(allocatable.get("cpu", "0")) * 1000),
        memory=int(amount(allocatable.get("memory", "0"))),
        pods=int(amount(allocatable.get("pods", "0"))),
    )


def amount(text: str) -> Decimal:
    """The number that a quantity of the API server stands for.

    >>> amount("1500m"), amount("16Ki")
    (Decimal('1.500'), Decimal('16384'))
    """
    number = text.rstrip("kKMGTim")
    return Decimal(number) * _FACTORS[text[len(number) :]]
