# SPDX-License-Identifier: BSD-2-Clause
"""What is in an archive: one LIST, and the few documents that say what the listing means, all at once. And which
archives there are, and what never became an object.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ...archive.catalog import Catalog
from ...archive.layout import DOCUMENT_BYTES, catalogs_of, documents_of
from ...deadline import Deadline
from ...errors import NotFound
from ...parallel import in_parallel
from .client import ObjectStoreClient

WORKERS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """An object that is written in parts, and is not complete: it is in no listing, and its parts take room."""

    key: str
    id: str
    initiated: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """For how long the bucket locks what is written, unless the writer says something else.

    `mode`: GOVERNANCE or COMPLIANCE.
    """

    mode: str
    days: int


def read_lock(client: ObjectStoreClient, *, deadline: Deadline) -> Lock | None:
    """The bucket's own lock; None if it has none."""
    subject = f"{client.target.bucket} of {client.target.endpoint}"
    try:
        answer = client.call("get_object_lock_configuration", subject, deadline=deadline, counted="reads")
    except NotFound:
        return None
    found = answer["ObjectLockConfiguration"].get("Rule", {}).get("DefaultRetention", {})
    days = found.get("Days", 0) + 365 * found.get("Years", 0)
    return Lock(mode=found["Mode"], days=days) if days else None


def read_names(client: ObjectStoreClient, *, deadline: Deadline) -> tuple[str, ...]:
    """The folders directly below the prefix, which are the names of archives."""
    where = {"Prefix": client.target.prefix, "Delimiter": "/"}
    return tuple(
        one["Prefix"].removeprefix(client.target.prefix).removesuffix("/")
        for page in _pages(client, "list_objects_v2", where, {"ContinuationToken": "NextContinuationToken"}, deadline)
        for one in page.get("CommonPrefixes", ())
    )


def read_uploads(client: ObjectStoreClient, *, deadline: Deadline) -> tuple[Upload, ...]:
    """Every upload below the prefix that was begun and not completed, in the order of keys."""
    markers = {"KeyMarker": "NextKeyMarker", "UploadIdMarker": "NextUploadIdMarker"}
    prefix = client.target.prefix
    return tuple(
        Upload(key=one["Key"].removeprefix(prefix), id=one["UploadId"], initiated=one["Initiated"].astimezone(UTC))
        for page in _pages(client, "list_multipart_uploads", {"Prefix": prefix}, markers, deadline)
        for one in page.get("Uploads", ())
        # Whoever does not know the parameter tells those of others, too.
        if one["Key"].startswith(prefix)
    )


def _pages(
    client: ObjectStoreClient, verb: str, where: dict[str, str], markers: dict[str, str], deadline: Deadline
) -> Iterator[Any]:
    """All answers; `markers` are what continues a listing, and what they are called in the answer before."""
    subject = f"{client.target.bucket}/{client.target.prefix} of {client.target.endpoint}"
    while True:
        page = client.call(verb, subject, deadline=deadline, counted="reads", **where)
        yield page
        if not page.get("IsTruncated"):
            return
        where = {**where, **{name: page[said] for name, said in markers.items()}}


def read_archive(
    client: ObjectStoreClient, archive: str, *, deadline: Deadline, workers: int = WORKERS
) -> tuple[Catalog, ...]:
    """Every incarnation of an archive, oldest first; none if there is no archive of that name."""
    listing = client.list(f"{archive}/", deadline=deadline)
    keys = documents_of(listing)

    def read(key: str) -> tuple[str, bytes | None] | None:
        try:
            return key, client.get(key, limit=DOCUMENT_BYTES, deadline=deadline)
        except NotFound:
            # Removed since it was listed.
            return None

    documents = dict(one for one in in_parallel(read, keys, workers=workers) if one is not None)
    return catalogs_of(archive, listing, documents)
