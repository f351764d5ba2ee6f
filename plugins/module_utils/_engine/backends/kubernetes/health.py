# SPDX-License-Identifier: BSD-2-Clause
"""What was found of a project's health: a condition in the status of its record, beside that of runs.

It has a field manager of its own, as what a manager does not say any more is removed from what it said before.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...deadline import Deadline
from ...objects import Body, ObjectId
from .client import Client
from .records import Record, apply_status

HEALTHY = "Healthy"
MANAGER = "supalove-health"


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The condition. `reason`: the state in one word; `since`: when it became healthy or ceased to be."""

    is_healthy: bool
    reason: str
    message: str
    since: str

    @classmethod
    def of(cls, record: Record) -> Health | None:
        """What the record says; None if nobody has looked yet."""
        status = (record.live.body or {}).get("status") or {}
        found = next((one for one in status.get("conditions") or () if one.get("type") == HEALTHY), None)
        if found is None:
            return None
        return cls(
            is_healthy=found.get("status") == "True",
            reason=found.get("reason", ""),
            message=found.get("message", ""),
            since=found.get("lastTransitionTime", ""),
        )

    def to_object(self) -> Body:
        """In the form of the API."""
        return {
            "type": HEALTHY,
            "status": "True" if self.is_healthy else "False",
            "reason": self.reason,
            "message": self.message,
            "lastTransitionTime": self.since,
        }


def write_health(client: Client, id: ObjectId, health: Health, *, deadline: Deadline) -> None:
    """Replace the condition, and leave all else of the status as it is. Raises NotFound."""
    apply_status(client, id, {"conditions": [health.to_object()]}, manager=MANAGER, deadline=deadline)
