# SPDX-License-Identifier: BSD-2-Clause
"""The records as the API server keeps them: read all at once, written a whole status at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from ...deadline import Deadline
from ...objects import Body, ObjectId, canonical_json
from ...observed import Live, Stamp, Stamps
from ...project.life import Life
from ...project.names import (
    FIELD_MANAGER,
    GROUP,
    LIFE_ANNOTATION,
    MOVE_ANNOTATION,
    PAST_ANNOTATION,
    PLACEMENT_ANNOTATION,
    RECORD_KIND,
    SESSIONS_ANNOTATION,
    UID_LABEL,
    UID_PATTERN,
    VERSION,
    Ref,
    Uid,
)
from ...project.placement import Placed, Placement, past_from_text
from ...project.vocabulary import MANAGED_BY
from .client import APPLY_PATCH, Client
from .kinds import collection_path, object_path
from .observe import live_of

# The type of the one condition, too.
READY = "Ready"
APPLYING = "Applying"
STOPPED = "Stopped"
WAITING = "Waiting"
FAILED = "Failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The status of a record. A phase other than Ready and Stopped says that a run began and did not end well.

    `sessions`: how many its poolers may open on a shared cluster. `inputs`: the digest of all that its objects followed
    from when they were certified. `authority`: the certificate by which clients from outside verify its pooler.
    """

    uid: Uid
    phase: str
    placement: str
    sessions: int
    reason: str
    message: str
    since: str
    endpoints: Mapping[str, str] = field(default_factory=dict)
    authority: str = ""
    inputs: str = ""
    stamps: Stamps = field(default_factory=dict)

    @classmethod
    def from_object(cls, status: Body) -> Status | None:
        """From the status of a record; None if it has no uid yet."""
        if not status.get("uid"):
            return None
        condition: Body = next((one for one in status.get("conditions") or () if one.get("type") == READY), {})
        return cls(
            uid=Uid(status["uid"]),
            phase=status.get("phase", ""),
            placement=status.get("placement", ""),
            sessions=status.get("sessions", 0),
            reason=condition.get("reason", ""),
            message=condition.get("message", ""),
            since=condition.get("lastTransitionTime", ""),
            endpoints=status.get("endpoints") or {},
            authority=status.get("authority", ""),
            inputs=status.get("inputs", ""),
            stamps=dict(_stamps(status.get("stamps") or "")),
        )

    def to_object(self) -> Body:
        """In the form of the API."""
        condition = {
            "type": READY,
            "status": "True" if self.phase == READY else "False",
            "reason": self.reason,
            "message": self.message,
            "lastTransitionTime": self.since,
        }
        return {
            "uid": self.uid,
            "phase": self.phase,
            "placement": self.placement,
            "sessions": self.sessions,
            "conditions": [condition],
            "endpoints": dict(self.endpoints),
            **({"authority": self.authority} if self.authority else {}),
            "inputs": self.inputs,
            "stamps": canonical_json({str(id): [one.uid, one.version] for id, one in self.stamps.items()}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record: who owns its spec, what a run left in its status (None before the first), the object itself."""

    ref: Ref
    managed_by: str
    spec: Body
    status: Status | None
    live: Live

    @property
    def uid(self) -> Uid | None:
        """The project's uid; None if none was chosen yet."""
        if self.status is not None:
            return self.status.uid
        found = self.live.labels.get(UID_LABEL, "")
        return Uid(found) if re.fullmatch(UID_PATTERN, found) else None

    @property
    def placed(self) -> Placed | None:
        """Where the project is; None if no place was chosen yet."""
        text = self.status.placement if self.status else self._annotation(PLACEMENT_ANNOTATION)
        sessions = self.status.sessions if self.status else self._annotation(SESSIONS_ANNOTATION) or "0"
        placement = Placement.from_text(text)
        known = placement is not None and str(sessions).isdigit()
        if placement is None or not known:
            return None
        move = placement.move and placement.move.with_details(self._annotation(MOVE_ANNOTATION))
        past = past_from_text(self.past_text) or ()
        placement = replace(placement, life=Life.from_text(self.life_text), move=move, past=past)
        return Placed(placement=placement, sessions=int(sessions))

    @property
    def life_text(self) -> str:
        """What was written of its life, readable or not; empty in its first one."""
        return self._annotation(LIFE_ANNOTATION)

    @property
    def past_text(self) -> str:
        """What was written of where it was, readable or not; empty if it never moved."""
        return self._annotation(PAST_ANNOTATION)

    @property
    def unreadable(self) -> str:
        """The annotation that only a newer version can read; empty if there is none."""
        if self.life_text and Life.from_text(self.life_text) is None:
            return LIFE_ANNOTATION
        placement = Placement.from_text(self.status.placement) if self.status else None
        if placement and placement.move and placement.move.with_details(self._annotation(MOVE_ANNOTATION)) is None:
            return MOVE_ANNOTATION
        return PAST_ANNOTATION if past_from_text(self.past_text) is None else ""

    def _annotation(self, name: str) -> str:
        meta = (self.live.body or {}).get("metadata") or {}
        return str((meta.get("annotations") or {}).get(name, ""))


def read_records(client: Client, namespace: str, *, deadline: Deadline) -> dict[Ref, Record]:
    """Every record of the platform. Raises NotFound if the platform does not know the kind."""
    path = collection_path(RECORD_KIND, namespace)
    items = client.list(path, subject=f"{RECORD_KIND}/{namespace}", deadline=deadline, query={})
    records = (_record(item) for item in items)
    return {record.ref: record for record in records}


def write_status(client: Client, id: ObjectId, status: Status, *, deadline: Deadline) -> None:
    """Replace the status by server-side apply; what is not said here is removed, so it is always said whole."""
    apply_status(client, id, status.to_object(), manager=FIELD_MANAGER, deadline=deadline)


def apply_status(client: Client, id: ObjectId, said: Body, *, manager: str, deadline: Deadline) -> None:
    """What one field manager says in the status of a record. Raises NotFound."""
    body = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": RECORD_KIND,
        "metadata": {"name": id.name, "namespace": id.namespace},
        "status": said,
    }
    client.send(
        "PATCH",
        f"{object_path(id)}/status",
        subject=f"{id} (status)",
        deadline=deadline,
        query={"fieldManager": manager, "force": "true"},
        body=body,
        content=APPLY_PATCH,
    )


def _record(item: Body) -> Record:
    named = {**item, "apiVersion": f"{GROUP}/{VERSION}", "kind": RECORD_KIND}
    spec = item.get("spec") or {}
    return Record(
        ref=Ref(item["metadata"]["name"]),
        managed_by=spec.get(MANAGED_BY, ""),
        spec=spec,
        status=Status.from_object(item.get("status") or {}),
        live=live_of(ObjectId.of(named), named, with_body=True),
    )


def _stamps(text: str) -> Iterator[tuple[ObjectId, Stamp]]:
    """What is not as we write it certifies nothing."""
    try:
        found = json.loads(text)
        pairs = [(key.split("/"), str(uid), str(version)) for key, (uid, version) in found.items()]
    except (ValueError, AttributeError, TypeError):
        return
    for parts, uid, version in pairs:
        if len(parts) in (2, 3) and all(parts):
            kind, *namespace, name = parts
            yield ObjectId(kind=kind, namespace="".join(namespace), name=name), Stamp(uid=uid, version=version)
