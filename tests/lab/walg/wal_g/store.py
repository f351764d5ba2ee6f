# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects below the prefix of a bucket. Names are relative to the prefix."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import hashlib
import time
from collections.abc import Iterable, Iterator
from typing import Any

import botocore.config
import botocore.exceptions
import botocore.session

from .contract import Absent, Failure, message
from .settings import Settings

CHUNK = 1 << 20
SMALLEST_PART = 5 << 20
PER_REQUEST = 1000
ERRORS = (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError)


class UploadFailed(Failure):
    """An object could not be written."""


class Pace:
    """Holds a stream to so many bytes a second; without a rate it does nothing."""

    def __init__(self, rate: int | None) -> None:
        self.rate = rate
        self.began = 0.0
        self.spent = 0

    def spend(self, count: int) -> None:
        if not self.rate:
            return
        self.began = self.began or time.monotonic()
        self.spent += count
        time.sleep(max(0.0, self.began + self.spent / self.rate - time.monotonic()))


@dataclasses.dataclass(frozen=True)
class Item:
    name: str
    size: int
    modified: datetime.datetime


class Store:
    def __init__(self, settings: Settings, *, limited: bool = False) -> None:
        self.bucket, self.prefix = settings.bucket_and_prefix()
        self.part_size = max(SMALLEST_PART, settings.get("WALG_S3_MAX_PART_SIZE"))
        self.kept = _kept(settings)
        self.pace = Pace(settings.get("WALG_NETWORK_RATE_LIMIT") if limited else None)
        self.client = _client(settings)

    def exists(self, name: str) -> bool:
        key = self.prefix + name
        try:
            self.client.head_object(Bucket=self.bucket, Key=key)
        except ERRORS as error:
            if _status(error) == 404:
                return False
            raise Failure(message("head_failed", key=key, why=_why(error))) from error
        return True

    def read(self, name: str) -> Iterator[bytes]:
        """The object in pieces; raises Absent at once if it is not there, Failure if it ends early."""
        key = self.prefix + name
        try:
            body = self.client.get_object(Bucket=self.bucket, Key=key)["Body"]
        except ERRORS as error:
            if _status(error) == 404:
                raise Absent(f"object '{key}' not found in storage") from error
            raise Failure(f"failed to read object: '{key}' from S3: {_why(error)}") from error
        return self._pieces(body, key)

    def get(self, name: str) -> bytes:
        return b"".join(self.read(name))

    def writer(self, name: str) -> Writer:
        return Writer(self, name)

    def put(self, name: str, data: bytes) -> None:
        writer = self.writer(name)
        writer.write(data)
        writer.close()

    def list(self, folder: str) -> list[Item]:
        """Every object below a folder, in the order of their names."""
        prefix = self.prefix + folder
        try:
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
            found = [one for page in pages for one in page.get("Contents", ())]
        except ERRORS as error:
            raise Failure(f"failed to list s3 folder: '{prefix}': {_why(error)}") from error
        return [Item(one["Key"][len(self.prefix) :], one["Size"], one["LastModified"]) for one in found]

    def delete(self, names: Iterable[str]) -> None:
        keys = [{"Key": self.prefix + name} for name in names]
        for start in range(0, len(keys), PER_REQUEST):
            some = keys[start : start + PER_REQUEST]
            try:
                done = self.client.delete_objects(Bucket=self.bucket, Delete={"Objects": some, "Quiet": True})
            except ERRORS as error:
                raise Failure(f"failed to delete s3 object: {_why(error)}") from error
            for left in done.get("Errors", ()):
                raise Failure(f"failed to delete s3 object: '{left['Key']}': {left['Code']}")

    def _pieces(self, body: Any, key: str) -> Iterator[bytes]:
        try:
            while piece := body.read(CHUNK):
                self.pace.spend(len(piece))
                yield piece
        except (*ERRORS, OSError) as error:
            raise Failure(f"failed to read object: '{key}' from S3: {error}") from error


class Writer:
    """One object, as a stream; it exists from `close` on. What is abandoned leaves nothing."""

    def __init__(self, store: Store, name: str) -> None:
        self.store = store
        self.size = 0
        self._place = {"Bucket": store.bucket, "Key": store.prefix + name}
        self._upload = ""
        self._buffer = bytearray()
        self._parts: list[dict[str, Any]] = []

    def write(self, data: bytes) -> int:
        self._buffer += data
        self.size += len(data)
        while len(self._buffer) >= self.store.part_size:
            self._send(bytes(self._buffer[: self.store.part_size]))
            del self._buffer[: self.store.part_size]
        return len(data)

    def close(self) -> None:
        client = self.store.client
        if self._upload:
            if self._buffer:
                self._send(bytes(self._buffer))
            parts = {"Parts": self._parts}
            self._try(client.complete_multipart_upload, UploadId=self._upload, MultipartUpload=parts)
            return
        self.store.pace.spend(len(self._buffer))
        self._try(client.put_object, **_body(bytes(self._buffer)), **self.store.kept)

    def abandon(self) -> None:
        if self._upload:
            try:
                self.store.client.abort_multipart_upload(UploadId=self._upload, **self._place)
            except ERRORS:
                self._upload = ""

    def _send(self, data: bytes) -> None:
        client = self.store.client
        if not self._upload:
            made = self._try(client.create_multipart_upload, **self.store.kept)
            self._upload = made["UploadId"]
        self.store.pace.spend(len(data))
        number = len(self._parts) + 1
        done = self._try(client.upload_part, UploadId=self._upload, PartNumber=number, **_body(data))
        self._parts.append({"PartNumber": number, "ETag": done["ETag"]})

    def _try(self, call: Any, **arguments: Any) -> Any:
        try:
            return call(**self._place, **arguments)
        except ERRORS as error:
            self.abandon()
            place = {"key": self._place["Key"], "bucket": self._place["Bucket"]}
            raise UploadFailed(message("upload_failed", why=_why(error), **place)) from error


def _body(data: bytes) -> dict[str, Any]:
    """With Content-MD5, as WAL-G's client sends it (aws-sdk-go, service/s3/body_hash.go)."""
    digest = hashlib.md5(data, usedforsecurity=False).digest()
    return {"Body": data, "ContentMD5": base64.b64encode(digest).decode()}


def _kept(settings: Settings) -> dict[str, str]:
    """What WAL-G says of an object when it begins to write it; raises Failure for an encryption that it refuses."""
    encryption, key = settings.get("WALG_S3_SSE"), settings.get("WALG_S3_SSE_KMS_ID")
    if (encryption == "aws:kms") == (not key):
        raise Failure(message("kms_key"))
    said = {"ServerSideEncryption": encryption, "SSEKMSKeyId": key}
    kept = {name: value for name, value in said.items() if value}
    return {"StorageClass": settings.get("WALG_S3_STORAGE_CLASS"), **kept}


def _client(settings: Settings) -> Any:
    style = "path" if settings.get("AWS_S3_FORCE_PATH_STYLE") else "virtual"
    return botocore.session.get_session().create_client(
        "s3",
        endpoint_url=settings.get("AWS_ENDPOINT"),
        region_name=settings.get("AWS_REGION"),
        aws_access_key_id=settings.get("AWS_ACCESS_KEY_ID"),
        aws_secret_access_key=settings.get("AWS_SECRET_ACCESS_KEY"),
        aws_session_token=settings.get("AWS_SESSION_TOKEN"),
        verify=settings.get("WALG_S3_CA_CERT_FILE") or True,
        config=botocore.config.Config(
            s3={"addressing_style": style},
            retries={"mode": "standard", "total_max_attempts": settings.get("WALG_S3_MAX_RETRIES") + 1},
            connect_timeout=10,
            read_timeout=60,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def _status(error: Exception) -> int:
    if isinstance(error, botocore.exceptions.ClientError):
        return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return 0


def _why(error: Exception) -> str:
    if isinstance(error, botocore.exceptions.ClientError):
        told = error.response.get("Error", {})
        code = "Forbidden" if _status(error) == 403 and told.get("Code") == "403" else told.get("Code")
        return message("status", code=code, text=told.get("Message"), status=_status(error))
    return f"{message('unreachable')}: {error}"
