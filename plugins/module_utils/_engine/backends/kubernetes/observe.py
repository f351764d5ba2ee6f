# SPDX-License-Identifier: BSD-2-Clause
"""What is there: one LIST per kind, and single reads of the objects that a plan has doubts about."""

from __future__ import annotations

import hashlib
import json
import marshal
from collections.abc import Iterable

from ...deadline import Deadline
from ...errors import NotFound, SafetyStop
from ...objects import Body, ObjectId
from ...observed import NOTHING, Live, Observed
from ...parallel import in_parallel
from ...project.names import FINGERPRINT_ANNOTATION
from .client import JSON, METADATA, METADATA_LIST, Client
from .kinds import KINDS, Kind, collection_path, object_path

# The last format that depends on nothing but the values. Faster than JSON, and the server keeps the order of keys.
_MARSHAL_VERSION = 2


def observe(
    client: Client,
    kinds: Iterable[str],
    *,
    selector: str,
    full: bool,
    workers: int,
    deadline: Deadline,
) -> Observed:
    """All objects of some kinds that carry a label (any, if empty); with `full` whole, else their metadata only.

    Raises SafetyStop for a custom kind that the cluster does not have, BackendError.
    """

    def read(kind: str) -> list[Live]:
        accept = JSON if full else METADATA_LIST
        path, query = collection_path(kind), {"labelSelector": selector}
        try:
            items = client.list(path, subject=kind, deadline=deadline, query=query, accept=accept)
        except NotFound as error:
            known = KINDS[kind]
            if not known.missing:
                raise
            raise SafetyStop(
                f"The cluster does not know the kind {kind} of {known.api_version}: {known.missing}"
            ) from error
        return [live_of(_id_of(kind, item), _named(kind, item), with_body=full) for item in items]

    lists = in_parallel(read, kinds, workers=workers)
    return Observed(objects={live.id: live for found in lists for live in found})


def observe_served(
    client: Client, kinds: Iterable[str], *, selector: str, full: bool, workers: int, deadline: Deadline
) -> Observed:
    """The same of kinds that the cluster may not have yet, and then has nothing of. Raises BackendError."""

    def read(kind: str) -> Observed:
        try:
            return observe(client, [kind], selector=selector, full=full, workers=1, deadline=deadline)
        except (NotFound, SafetyStop):
            return NOTHING

    found = NOTHING
    for part in in_parallel(read, kinds, workers=workers):
        found = found.and_also(part)
    return found


def observe_each(client: Client, ids: Iterable[ObjectId], *, workers: int, deadline: Deadline) -> Observed:
    """The metadata of those of some objects that are there, read one by one. Of a Secret nobody here needs more."""

    def read(id: ObjectId) -> Live | None:
        meta = read_metadata(client, id, deadline=deadline)
        return None if meta is None else live_of(id, {"metadata": meta}, with_body=False)

    found = in_parallel(read, ids, workers=workers)
    return Observed(objects={live.id: live for live in found if live is not None})


def read_bodies(
    client: Client, observed: Observed, ids: Iterable[ObjectId], *, workers: int, deadline: Deadline
) -> Observed:
    """The same state with the whole of some objects."""

    def read(id: ObjectId) -> tuple[ObjectId, Live | None]:
        return id, read_object(client, id, deadline=deadline)

    missing = [id for id in ids if (live := observed.find(id)) is not None and live.body is None]
    if not missing:
        return observed
    return observed.with_bodies(in_parallel(read, missing, workers=workers))


def read_object(client: Client, id: ObjectId, *, deadline: Deadline) -> Live | None:
    """One object, or None if there is none."""
    try:
        body = client.get(object_path(id), subject=str(id), deadline=deadline)
    except NotFound:
        return None
    return live_of(id, body, with_body=True)


def read_metadata(client: Client, id: ObjectId, *, deadline: Deadline) -> Body | None:
    """The metadata of one object as the API has it, or None if there is no object."""
    try:
        body = client.get(object_path(id), subject=str(id), deadline=deadline, accept=METADATA)
    except NotFound:
        return None
    meta: Body = body["metadata"]
    return meta


def live_of(id: ObjectId, item: Body, *, with_body: bool) -> Live:
    """From an object or its metadata in the form of the API."""
    meta = item["metadata"]
    return Live(
        id=id,
        uid=meta["uid"],
        version="" if KINDS[id.kind].generated else _version(meta, KINDS[id.kind]),
        fingerprint=(meta.get("annotations") or {}).get(FINGERPRINT_ANNOTATION, ""),
        labels=meta.get("labels") or {},
        body=item if with_body else None,
        is_going=bool(meta.get("deletionTimestamp")),
    )


def _id_of(kind: str, item: Body) -> ObjectId:
    meta = item["metadata"]
    return ObjectId(kind=kind, namespace=meta.get("namespace", ""), name=meta["name"])


def _named(kind: str, item: Body) -> Body:
    """Items of a typed list do not say their kind and version; metadata lists say another."""
    return {**item, "apiVersion": KINDS[kind].api_version, "kind": kind}


def _version(meta: Body, kind: Kind) -> str:
    """Generation, and a digest of who last wrote what outside of subresources; both as the server keeps them.

    Not the resourceVersion: that changes with every status. With the fingerprint, because the server notes the time
    of a write in whole seconds: two writes of the same fields within one would look like one.

    Of a custom kind the server writes keys in one order if asked for the object, in another if for its metadata.
    """
    entries = (entry for entry in meta.get("managedFields") or () if not entry.get("subresource"))
    writers = [entry for entry in entries if _touches(entry.get("fieldsV1"), kind.counted)]
    told = [(meta.get("annotations") or {}).get(FINGERPRINT_ANNOTATION), writers]
    text = json.dumps(told, sort_keys=True).encode() if kind.custom else marshal.dumps(told, _MARSHAL_VERSION)
    digest = hashlib.blake2b(text, digest_size=8).hexdigest()
    return f"{meta.get('generation', 0)}.{digest}"


def _touches(fields: object, place: tuple[str, ...]) -> bool:
    """True if these managed fields say anything at or below a place."""
    for key in place:
        if not isinstance(fields, dict) or key not in fields:
            return False
        fields = fields[key]
    return True
