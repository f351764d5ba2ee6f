# SPDX-License-Identifier: BSD-2-Clause
"""The one place that speaks to an object store: S3, and the IAM API that SeaweedFS serves at the same address."""

from __future__ import annotations

import os
import threading
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from ...archive.catalog import Stored
from ...credentials import Secret
from ...deadline import Backoff, Deadline, retrying
from ...errors import MissingLibrary, Rejected, Unreachable
from .answers import date_of, error_of, innermost, is_about_certificates, short

try:
    import boto3
    import botocore.auth
    import botocore.awsrequest
    import botocore.config
    import botocore.credentials
    import botocore.exceptions
    import botocore.httpsession
    import botocore.parsers
    import botocore.session
except ImportError as error:
    _MISSING: ImportError | None = error
else:
    _MISSING = None

# Of one request. A store that has lost its volumes accepts connections and never answers.
ANSWER_SECONDS = 20.0
CONNECT_SECONDS = 5.0
# The most that one DeleteObjects takes.
BATCH = 1000
_IAM_VERSION = "2010-05-08"
# Where botocore would look for what we tell it: in the environment and in the user's home.
_NOWHERE: Final = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}

# Without it a bucket that locks takes nothing: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
_CHECKED: Final = {"ChecksumAlgorithm": "CRC32"}

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where the store is and who asks. `prefix`: below it lies everything of ours; it ends with a slash, or is empty.

    `ca_file`: the certificates it is verified by; None for those of the library. `encryption` and `kms_key`: how the
    store is asked to encrypt what is written, in the words of S3; not at all if empty.
    """

    endpoint: str
    region: str
    bucket: str
    prefix: str
    ca_file: str | None
    access_key: Secret
    secret_key: Secret
    encryption: str = ""
    kms_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """An object that the store did not delete, and what it said."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """The answer to a request to delete: a key that was not there counts as deleted."""

    keys: tuple[str, ...]
    refused: tuple[Refused, ...]


class ObjectStoreClient:
    """The objects below one prefix of a bucket; keys are relative to it. May be used by threads."""

    def __init__(
        self, target: Target, *, workers: int, backoff: Backoff, answer_seconds: float = ANSWER_SECONDS
    ) -> None:
        if _MISSING is not None:
            raise MissingLibrary("boto3") from _MISSING
        if target.prefix and (not target.prefix.endswith("/") or target.prefix.startswith("/")):
            raise ValueError(f"the prefix {target.prefix!r} must end with a slash and not begin with one")
        self.target = target
        self._workers = workers
        self._backoff = backoff
        self._answer_seconds = answer_seconds
        self._lock = threading.Lock()
        self._counts = {"reads": 0, "writes": 0}
        self._store_time: datetime | None = None
        self._s3 = self._made("s3")
        self._iam: Any = None
        self._http: Any = None

    @property
    def reads(self) -> int:
        """Requests that read, repetitions included."""
        return self._counts["reads"]

    @property
    def writes(self) -> int:
        """Requests that write."""
        return self._counts["writes"]

    @property
    def store_time(self) -> datetime | None:
        """What the clock of the store said with the last listing, to the second; None before the first.

        It is the one that dates objects. Who plans by their ages takes the earlier one of its own and of this.
        """
        return self._store_time

    def as_other(self, access_key: Secret, secret_key: Secret) -> ObjectStoreClient:
        """A client for somebody else at the same place."""
        target = replace(self.target, access_key=access_key, secret_key=secret_key)
        return ObjectStoreClient(
            target, workers=self._workers, backoff=self._backoff, answer_seconds=self._answer_seconds
        )

    def list(self, prefix: str, *, deadline: Deadline, most: int | None = None) -> tuple[Stored, ...]:
        """Every object whose key begins so, in the order of keys; with `most` no more than a page of so many."""
        found: list[Stored] = []
        where: dict[str, Any] = {"Prefix": self.target.prefix + prefix, **self._at}
        if most is not None:
            where["MaxKeys"] = most
        while True:
            page = self._run(
                lambda: self._s3.list_objects_v2(**where), self._subject(prefix), "LIST", deadline, counted="reads"
            )
            self._store_time = date_of(page)
            for one in page.get("Contents", ()):
                key = one["Key"].removeprefix(self.target.prefix)
                found.append(Stored(key=key, bytes=one["Size"], modified=one["LastModified"].astimezone(UTC)))
            if most is not None or not page.get("IsTruncated"):
                return tuple(found)
            where["ContinuationToken"] = page["NextContinuationToken"]

    def get(self, key: str, *, limit: int, deadline: Deadline) -> bytes | None:
        """A small object; None if it is longer than `limit` bytes. Raises NotFound if there is none."""

        def get() -> bytes | None:
            answer = self._s3.get_object(Key=self.target.prefix + key, **self._at)
            with answer["Body"] as body:
                content: bytes = body.read(limit + 1)
            return content if len(content) <= limit else None

        return self._run(get, self._subject(key), "GET", deadline, counted="reads")

    def put_new(self, key: str, content: bytes, *, deadline: Deadline) -> None:
        """Write an object that is not there. Raises Conflict if there is one by now.

        That one may be our own, if the answer to a first try was lost.
        """
        self._run(
            lambda: self._s3.put_object(
                Key=self.target.prefix + key, Body=content, IfNoneMatch="*", **self._at, **_CHECKED, **self._encrypted
            ),
            self._subject(key),
            "PUT",
            deadline,
            counted="writes",
        )

    def copy(self, source: str, key: str, *, deadline: Deadline) -> None:
        """Copy an object below the prefix; one of any size, as it goes in parts. Raises NotFound."""
        where = {"Bucket": self.target.bucket, "Key": self.target.prefix + source}
        self._run(
            lambda: self._s3.copy(
                CopySource=where, Key=self.target.prefix + key, ExtraArgs=self._encrypted, **self._at
            ),
            self._subject(source),
            "COPY",
            deadline,
            counted="writes",
        )

    def upload(self, path: str, key: str, *, deadline: Deadline) -> None:
        """Write a file of any size as an object."""

        def put() -> None:
            with open(path, "rb") as file:
                extra = {**_CHECKED, **self._encrypted}
                self._s3.upload_fileobj(Fileobj=file, Key=self.target.prefix + key, ExtraArgs=extra, **self._at)

        self._run(put, self._subject(key), "PUT", deadline, counted="writes")

    def delete(self, keys: Sequence[str], *, deadline: Deadline) -> Deleted:
        """Delete up to BATCH objects with one request."""
        if len(keys) > BATCH:
            raise ValueError(f"{len(keys)} objects are more than one request can delete")
        if not keys:
            return Deleted(keys=(), refused=())
        named = [{"Key": self.target.prefix + key} for key in keys]
        answer = self._run(
            lambda: self._s3.delete_objects(Delete={"Objects": named}, **self._at),
            f"{len(keys)} objects from {self._subject(keys[0])} on",
            "DELETE",
            deadline,
            counted="writes",
        )
        refused = {
            one["Key"].removeprefix(self.target.prefix): short(f"{one.get('Message', '')} ({one['Code']})")
            for one in answer.get("Errors", ())
            if one["Code"] != "NoSuchKey"
        }
        return Deleted(
            keys=tuple(key for key in keys if key not in refused),
            refused=tuple(Refused(key=key, reason=reason) for key, reason in refused.items()),
        )

    def call(
        self, verb: str, subject: str, *, deadline: Deadline, counted: str, **parameters: Any
    ) -> Mapping[str, Any]:
        """The answer to any other question about the bucket; `verb` as boto3 spells it, such as `list_objects_v2`."""
        call = getattr(self._s3, verb)
        answer: Mapping[str, Any] = self._run(
            lambda: call(**parameters, **self._at), subject, verb, deadline, counted=counted
        )
        self._store_time = date_of(answer) or self._store_time
        return answer

    def iam(self, verb: str, subject: str, *, deadline: Deadline, counted: str, **parameters: str) -> Mapping[str, Any]:
        """The answer of the IAM API; `verb` as boto3 spells it, such as `list_users`."""
        with self._lock:
            if self._iam is None:
                self._iam = self._made("iam")
        call = getattr(self._iam, verb)
        return self._run(lambda: call(**parameters), subject, verb, deadline, counted=counted)

    def create_access_key(
        self, user: str, access_key: Secret, secret_key: Secret, subject: str, *, deadline: Deadline
    ) -> None:
        """Give a user a key of the caller's choice, which is SeaweedFS' own and nothing that boto3 could send."""
        parameters = {
            "Action": "CreateAccessKey",
            "Version": _IAM_VERSION,
            "UserName": user,
            "AccessKeyId": access_key.reveal(),
            "SecretAccessKey": secret_key.reveal(),
        }
        self._run(lambda: self._post(parameters), subject, "create_access_key", deadline, counted="writes")

    def presigned(self, key: str, *, seconds: int) -> Secret:
        """An address at which anybody may get an object for so long. No request is sent."""
        where = {"Key": self.target.prefix + key, **self._at}
        return Secret(str(self._s3.generate_presigned_url("get_object", Params=where, ExpiresIn=seconds)))

    def close(self) -> None:
        """End all connections."""
        for one in (self._s3, self._iam, self._http):
            if one is not None:
                one.close()

    @property
    def _at(self) -> dict[str, str]:
        return {"Bucket": self.target.bucket}

    @property
    def _encrypted(self) -> dict[str, str]:
        """What a request that writes says of encryption. A copy is not encrypted as what it is made of."""
        said = {"ServerSideEncryption": self.target.encryption, "SSEKMSKeyId": self.target.kms_key}
        return {name: value for name, value in said.items() if value}

    def _made(self, service: str) -> Any:
        core = botocore.session.Session(session_vars=_NOWHERE)
        config = botocore.config.Config(
            connect_timeout=min(CONNECT_SECONDS, self._answer_seconds),
            read_timeout=self._answer_seconds,
            max_pool_connections=self._workers,
            # Ours are told how much time there is.
            retries={"total_max_attempts": 1},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            # Without it addresses that are signed beforehand get a signature of version 2 in some regions.
            signature_version="v4" if service == "iam" else "s3v4",
            s3={"addressing_style": "path"},
        )
        try:
            return boto3.session.Session(botocore_session=core).client(
                service,
                endpoint_url=self.target.endpoint,
                region_name=self.target.region,
                aws_access_key_id=self.target.access_key.reveal(),
                aws_secret_access_key=self.target.secret_key.reveal(),
                verify=self.target.ca_file or True,
                config=config,
            )
        except ValueError as error:
            raise Rejected(subject=self.target.endpoint, verb="OPEN", reason=short(str(error))) from error

    def _post(self, parameters: Mapping[str, str]) -> None:
        """One request to the IAM API, signed here."""
        with self._lock:
            if self._http is None:
                self._http = botocore.httpsession.URLLib3Session(
                    verify=self.target.ca_file or True,
                    timeout=(CONNECT_SECONDS, self._answer_seconds),
                    max_pool_connections=self._workers,
                )
        request = botocore.awsrequest.AWSRequest(
            method="POST",
            url=f"{self.target.endpoint.rstrip('/')}/",
            data=urllib.parse.urlencode(parameters),
            headers={"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"},
        )
        signer = botocore.credentials.Credentials(self.target.access_key.reveal(), self.target.secret_key.reveal())
        botocore.auth.SigV4Auth(signer, "iam", self.target.region).add_auth(request)
        answer = self._http.send(request.prepare())
        if answer.status_code >= 300:
            raw = {"status_code": answer.status_code, "headers": answer.headers, "body": answer.content}
            parsed = botocore.parsers.create_parser("query").parse(raw, None)
            raise botocore.exceptions.ClientError(parsed, parameters["Action"])

    def _run(self, call: Callable[[], T], subject: str, verb: str, deadline: Deadline, *, counted: str) -> T:
        def once() -> T:
            deadline.require(f"{verb} {subject}")
            with self._lock:
                self._counts[counted] += 1
            return _translated(call, subject=subject, verb=verb)

        return retrying(once, deadline=deadline, backoff=self._backoff)

    def _subject(self, key: str) -> str:
        return f"{self.target.bucket}/{self.target.prefix}{key} of {self.target.endpoint}"


def _translated(call: Callable[[], T], *, subject: str, verb: str) -> T:
    """What `call` returns, or one of our errors. Nothing but the store's own error text is shown of an answer."""
    try:
        return call()
    except botocore.exceptions.ClientError as error:
        raise error_of(error.response, subject, verb) from error
    except botocore.exceptions.SSLError as error:
        inner = innermost(error)
        if not is_about_certificates(inner):
            # A connection that ended while it was being made.
            what = "its file of certificates cannot be read: " if isinstance(inner, FileNotFoundError) else ""
            raise Unreachable(subject=subject, verb=verb, reason=what + short(str(inner))) from error
        reason = f"its certificate cannot be verified: {short(str(inner))}"
        raise Rejected(subject=subject, verb=verb, reason=reason) from error
    except (botocore.exceptions.ReadTimeoutError, botocore.exceptions.ConnectTimeoutError) as error:
        raise Unreachable(subject=subject, verb=verb, reason="it did not answer in time") from error
    except botocore.exceptions.ParamValidationError as error:
        raise Rejected(subject=subject, verb=verb, reason=short(str(error))) from error
    except (botocore.exceptions.BotoCoreError, botocore.parsers.ResponseParserError, OSError) as error:
        # A connection that ends too early, an answer that is none.
        raise Unreachable(subject=subject, verb=verb, reason=short(str(innermost(error)))) from error
