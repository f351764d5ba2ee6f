# SPDX-License-Identifier: BSD-2-Clause
"""What is there: one LIST per kind, and single reads of the objects that a plan has doubts about."""

from __future__ import annotations

import hashlib
import marshal
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from ...deadline import Deadline
from ...errors import NotFound
from ...objects import Body, ObjectId
from ...project.names import FINGERPRINT_ANNOTATION
from .client import JSON, METADATA, METADATA_LIST, Client
from .kinds import KINDS, collection_path, object_path

# The last format that depends on nothing but the values. Faster than JSON, and the server keeps the order of keys.
_MARSHAL_VERSION = 2

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """An object as the server has it. `body` is None as long as only its metadata was read.

    `version` changes whenever anybody changes what is wanted of the object, and not with its status.
    """

    id: ObjectId
    uid: str
    version: str
    fingerprint: str
    labels: Mapping[str, str]
    body: Body | None = field(repr=False)

    @classmethod
    def from_object(cls, id: ObjectId, item: Body, *, with_body: bool) -> Live:
        """From an object or its metadata in the form of the API."""
        meta = item["metadata"]
        return cls(
            id=id,
            uid=meta["uid"],
            version=_version(meta),
            fingerprint=(meta.get("annotations") or {}).get(FINGERPRINT_ANNOTATION, ""),
            labels=meta.get("labels") or {},
            body=item if with_body else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Everything that a run has read, by identity."""

    objects: Mapping[ObjectId, Live]

    def find(self, id: ObjectId) -> Live | None:
        """The live object, or None if there is none."""
        return self.objects.get(id)

    def and_also(self, others: Observed) -> Observed:
        """The same, and what `others` knows beyond it."""
        return Observed(objects={**others.objects, **self.objects})

    def with_bodies(self, bodies: Iterable[tuple[ObjectId, Live | None]]) -> Observed:
        """The same, with some objects read anew; None removes one that has gone meanwhile."""
        fresh = {**self.objects, **{id: live for id, live in bodies if live is not None}}
        gone = {id for id, live in bodies if live is None}
        return Observed(objects={id: live for id, live in fresh.items() if id not in gone})


NOTHING = Observed(objects={})


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

    Of a Secret never more than that: nobody here needs its values.
    """

    def read(kind: str) -> list[Live]:
        whole = full and kind != "Secret"
        accept = JSON if whole else METADATA_LIST
        path, query = collection_path(kind), {"labelSelector": selector}
        items = client.list(path, subject=kind, deadline=deadline, query=query, accept=accept)
        return [Live.from_object(_id_of(kind, item), _named(kind, item), with_body=whole) for item in items]

    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="observe") as pool:
        lists = list(pool.map(read, kinds))
    return Observed(objects={live.id: live for found in lists for live in found})


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
    return Live.from_object(id, body, with_body=True)


def read_metadata(client: Client, id: ObjectId, *, deadline: Deadline) -> Body | None:
    """The metadata of one object as the API has it, or None if there is no object."""
    try:
        body = client.get(object_path(id), subject=str(id), deadline=deadline, accept=METADATA)
    except NotFound:
        return None
    meta: Body = body["metadata"]
    return meta


def in_parallel(call: Callable[[T], R], things: Iterable[T], *, workers: int) -> list[R]:
    """Results in the order of the things. The first error is raised after all have ended."""
    with ThreadPoolExecutor(max_workers=workers) as pool:
        return list(pool.map(call, things))


def _id_of(kind: str, item: Body) -> ObjectId:
    meta = item["metadata"]
    return ObjectId(kind=kind, namespace=meta.get("namespace", ""), name=meta["name"])


def _named(kind: str, item: Body) -> Body:
    """Items of a typed list do not say their kind and version; metadata lists say another."""
    return {**item, "apiVersion": KINDS[kind].api_version, "kind": kind}


def _version(meta: Body) -> str:
    """Generation, and a digest of who last wrote what outside of subresources; both as the server keeps them.

    Not the resourceVersion: that changes with every status. With the fingerprint, because the server notes the time
    of a write in whole seconds: two writes of the same fields within one would look like one.
    """
    writers = [entry for entry in meta.get("managedFields") or () if not entry.get("subresource")]
    told = [(meta.get("annotations") or {}).get(FINGERPRINT_ANNOTATION), writers]
    digest = hashlib.blake2b(marshal.dumps(told, _MARSHAL_VERSION), digest_size=8).hexdigest()
    return f"{meta.get('generation', 0)}.{digest}"
