# SPDX-License-Identifier: BSD-2-Clause
"""A few fields of an object that is there, and no word about the others."""

from __future__ import annotations

from ...deadline import Deadline
from ...objects import Body, ObjectId
from ...project.names import FIELD_MANAGER
from .client import METADATA, Client
from .kinds import object_path

MERGE_PATCH = "application/merge-patch+json"


def merge(client: Client, id: ObjectId, body: Body, *, deadline: Deadline) -> None:
    """Write what `body` says into the object (RFC 7386). Raises NotFound."""
    client.send(
        "PATCH",
        object_path(id),
        subject=str(id),
        deadline=deadline,
        query={"fieldManager": FIELD_MANAGER},
        body=body,
        content=MERGE_PATCH,
        accept=METADATA,
    )
