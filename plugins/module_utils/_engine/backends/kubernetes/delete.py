# SPDX-License-Identifier: BSD-2-Clause
"""Removing an object for good, and only the one that is meant."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from ...deadline import Deadline
from ...errors import Conflict, DeadlineExceeded, NotFound
from ...objects import ObjectId
from ...project.names import RECORD_KIND, UID_LABEL
from .client import Client
from .kinds import object_path

POLL_SECONDS = 1.0


def delete(client: Client, id: ObjectId, *, uid_label: str, deadline: Deadline) -> bool:
    """True if the object was there. Raises Conflict if it bears another project's uid.

    The API server's own uid travels with the request, so that a successor of the same name is not met.
    """
    try:
        body = client.get(object_path(id), subject=str(id), deadline=deadline)
    except NotFound:
        return False
    meta = body["metadata"]
    found = body.get("status", {}).get("uid") if id.kind == RECORD_KIND else (meta.get("labels") or {}).get(UID_LABEL)
    if found != uid_label:
        raise Conflict(subject=str(id), verb="DELETE", reason=f"it belongs to the uid {found}, not to {uid_label}")
    options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": meta["uid"]}}
    try:
        client.send("DELETE", object_path(id), subject=str(id), deadline=deadline, body=options)
    except NotFound:
        return False
    return True


def remove(client: Client, id: ObjectId, *, deadline: Deadline) -> None:
    """Remove an object of a name that is ours alone, and what it has started; nothing if it is not there."""
    options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
    with contextlib.suppress(NotFound):
        client.send("DELETE", object_path(id), subject=str(id), deadline=deadline, body=options)


def await_gone(client: Client, id: ObjectId, *, deadline: Deadline, progress: Callable[[str], None]) -> None:
    """Until the object is gone. Raises DeadlineExceeded with what the API server says keeps it."""
    told = ""
    while True:
        try:
            body = client.get(object_path(id), subject=str(id), deadline=deadline)
        except NotFound:
            return
        reason = _reason(body.get("status") or {})
        if reason != told:
            progress(reason)
            told = reason
        if deadline.remaining() <= POLL_SECONDS:
            raise DeadlineExceeded(f"{id} is being deleted and still there: {reason}. Mend that, and run again.")
        time.sleep(POLL_SECONDS)


def _reason(status: dict[str, object]) -> str:
    conditions = status.get("conditions")
    texts = [
        str(one.get("message"))
        for one in (conditions if isinstance(conditions, list) else ())
        if one.get("status") == "True" and one.get("message")
    ]
    return "; ".join(texts) or "its objects are being removed"
