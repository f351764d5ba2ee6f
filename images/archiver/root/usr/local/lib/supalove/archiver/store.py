# SPDX-License-Identifier: GPL-3.0-or-later
"""The few requests that the archiver itself sends to the object store.

Each runs as a program of its own (`supalove-archiver found` and so on), as boto3 would cost the resident one more
memory than all the rest.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from typing import Any

from .engines import Place

DESCRIPTION = "incarnation.json"
# Of what is read whole, in bytes.
LARGEST = 64 * 1024
# Restore points, below the prefix of an incarnation. So many are told, the newest ones.
POINTS = "points/"
MOST_POINTS = 200
# Of a dump, in bytes. A store takes 10,000 of them, so a dump may have 312 GiB.
PART = 32 * 1024**2


class StoreError(Exception):
    """The store refused or did not answer."""


class ForeignPrefix(Exception):
    """The prefix is another incarnation's."""


class OtherKey(Exception):
    """What is there was encrypted with another key."""


def found(place: Place, description: dict[str, Any]) -> str:
    """Say in the archive whose prefix this is, once; the engine that it is kept with.

    1. What is there already and says the same is ours: an earlier start wrote it. What is lacking is written, as in a
       store that was lost and made anew: the incarnation in the prefix is random, so nobody else has it.
    2. If it says something else, nothing must be archived here (ForeignPrefix): this volume is a copy of another's.
    3. An engine that was begun with is gone on with: nobody could read what two of them wrote.
    4. With another key what is there could not be read together with what is to come (OtherKey).

    Raises StoreError if the store refuses or does not answer.
    """
    client = _client(place)
    key = f"{place.key}/{DESCRIPTION}"
    there = _read(client, place.config.bucket, key)
    if there is None:
        _write(client, place, key, description)
        there = _read(client, place.config.bucket, key)
    same = ("incarnation", "archive", "system_identifier")
    if there is None or any(there.get(name) != description[name] for name in same):
        said = {name: (there or {}).get(name) for name in same}
        raise ForeignPrefix(f"{key} says {said}, and this is {[description[name] for name in same]}")
    if there.get("key") != description["key"]:
        raise OtherKey(f"{key} is of another encryption key")
    return str(there["engine"])


def upload(place: Place, key: str, stream: Any) -> None:
    """Store what a stream has to give, in parts, of which one is in memory. If reading it fails there is no object.

    Raises StoreError, also if the store has less than it was given.
    """
    from boto3.exceptions import Boto3Error
    from boto3.s3.transfer import TransferConfig

    client = _client(place)
    parts = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, use_threads=False)
    try:
        with _translated():
            extra = _encrypted(place)
            client.upload_fileobj(stream, place.config.bucket, key, ExtraArgs=extra, Config=parts)
            there = client.head_object(Bucket=place.config.bucket, Key=key)["ContentLength"]
    except Boto3Error as error:
        raise StoreError(str(error)) from error
    if there != stream.bytes:
        raise StoreError(f"{key} has {there} bytes in the store, and {stream.bytes} were sent")


def note(place: Place, path: str, content: dict[str, Any]) -> bool:
    """Write a document below the incarnation's prefix; False if there is one by that name. Raises StoreError."""
    client = _client(place)
    key = f"{place.key}/{path}"
    _write(client, place, key, content)
    return _read(client, place.config.bucket, key) == content


def forget(place: Place, path: str) -> None:
    """Remove such a document, if there is one. Raises StoreError."""
    with _translated():
        _client(place).delete_object(Bucket=place.config.bucket, Key=f"{place.key}/{path}")


def points(place: Place) -> list[tuple[str, dict[str, Any]]]:
    """Restore points of all incarnations of the archive: incarnation and document, newest first, the newest ones only.

    What is not as we write it is left out; the engine tells of it. Raises StoreError.
    """
    client = _client(place)
    root = f"{place.config.prefix}/{place.archive}/"
    found: list[tuple[float, str]] = []
    listing = client.get_paginator("list_objects_v2")
    with _translated():
        pages = listing.paginate(Bucket=place.config.bucket, Prefix=root, Delimiter="/")
        lives = [one["Prefix"] for page in pages for one in page.get("CommonPrefixes", ())]
        for life in lives:
            for page in listing.paginate(Bucket=place.config.bucket, Prefix=f"{life}{POINTS}"):
                found += [(one["LastModified"].timestamp(), one["Key"]) for one in page.get("Contents", ())]
    made: list[tuple[str, dict[str, Any]]] = []
    for _at, key in sorted(found, reverse=True)[:MOST_POINTS]:
        with contextlib.suppress(ForeignPrefix):
            there = _read(client, place.config.bucket, key)
            if there is not None:
                made.append((key.removeprefix(root).partition("/")[0], there))
    return made


def backups(place: Place) -> list[dict[str, Any]]:
    """Base backups that finished, oldest first: name, when (seconds since the epoch), whether it is a full one.

    With WAL-G the sentinel is written last. Barman's description is there from the start, and says in the end DONE.
    """
    client = _client(place)
    made: list[dict[str, Any]] = []
    for key, at in _listed(client, place):
        if key.startswith("basebackups_005/") and key.endswith(_SENTINEL):
            name = key.split("/")[1].removesuffix(_SENTINEL)
            made.append({"name": name, "at": at, "full": "_D_" not in name})
        elif key.startswith("pg/base/") and key.endswith("/backup.info") and _is_done(client, place, key):
            made.append({"name": key.split("/")[2], "at": at, "full": True})
    return sorted(made, key=lambda one: float(one["at"]))


_SENTINEL = "_backup_stop_sentinel.json"


def _listed(client: Any, place: Place) -> Iterator[tuple[str, float]]:
    """Keys below the incarnation's prefix, with the times when they were written."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=place.config.bucket, Prefix=f"{place.key}/")
    with _translated():
        for page in pages:
            for one in page.get("Contents", ()):
                yield one["Key"].removeprefix(f"{place.key}/"), one["LastModified"].timestamp()


def _is_done(client: Any, place: Place, key: str) -> bool:
    with _translated():
        text = client.get_object(Bucket=place.config.bucket, Key=f"{place.key}/{key}")["Body"].read(LARGEST)
    return b"status=DONE" in text.splitlines()


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Errors of boto3 as ours."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise StoreError(str(error)) from error


def _client(place: Place) -> Any:
    import boto3
    from botocore.config import Config

    os.environ |= place.aws()

    return boto3.client(
        "s3",
        endpoint_url=place.config.endpoint,
        region_name=place.config.region,
        verify=place.authority() or None,
        config=Config(
            connect_timeout=5,
            read_timeout=20,
            retries={"total_max_attempts": 3, "mode": "standard"},
            s3={"addressing_style": "path"},
        ),
    )


def _read(client: Any, bucket: str, key: str) -> dict[str, Any] | None:
    try:
        with _translated():
            text = client.get_object(Bucket=bucket, Key=key)["Body"].read(LARGEST)
        found: dict[str, Any] = json.loads(text)
    except StoreError as error:
        if _code(error) in ("NoSuchKey", "404"):
            return None
        raise
    except ValueError as error:
        raise ForeignPrefix(f"{key} is no JSON") from error
    return found


def _write(client: Any, place: Place, key: str, description: dict[str, Any]) -> None:
    """Only if there is none: of two that come at once, one sees the other's when it reads it back."""
    try:
        with _translated():
            body = json.dumps(description, indent=2).encode()
            at = {"Bucket": place.config.bucket, "Key": key}
            client.put_object(**at, Body=body, IfNoneMatch="*", **_encrypted(place))
    except StoreError as error:
        if _code(error) not in ("PreconditionFailed", "ConditionalRequestConflict"):
            raise


def _encrypted(place: Place) -> dict[str, str]:
    """What a request that writes says of encryption."""
    said = {"ServerSideEncryption": place.config.encryption, "SSEKMSKeyId": place.config.kms_key}
    return {name: value for name, value in said.items() if value}


def _code(error: StoreError) -> str:
    """The store's own word for what is wrong."""
    response = getattr(error.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))
