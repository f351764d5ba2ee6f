# SPDX-License-Identifier: BSD-2-Clause
"""Which host names have been proven to be a project's, in the status of its record, beside what runs write there.

It has a field manager of its own, as what a manager does not say any more is removed from what it said before.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...deadline import Deadline
from ...objects import ObjectId
from .client import Client
from .records import Record, apply_status

DOMAINS = "domains"
MANAGER = "supalove-domains"


def wanted_of(record: Record) -> tuple[str, ...]:
    """The names that a project is to have, proven or not, as whoever wrote the record has them."""
    return tuple(sorted({*(record.spec.get(DOMAINS) or ())}))


def proven_of(record: Record) -> dict[str, str]:
    """The proven names, and when each was."""
    status = (record.live.body or {}).get("status") or {}
    return dict(status.get(DOMAINS) or {})


def write_proven(client: Client, id: ObjectId, proven: Mapping[str, str], *, deadline: Deadline) -> None:
    """Replace the proven names, and leave all else of the status as it is. Raises NotFound."""
    apply_status(client, id, {DOMAINS: dict(proven)}, manager=MANAGER, deadline=deadline)
