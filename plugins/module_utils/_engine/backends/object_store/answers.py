# SPDX-License-Identifier: BSD-2-Clause
"""What the answers of an object store mean: its refusals as our errors. Pure, and without the library."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from ...errors import BackendError, Conflict, Denied, NotFound, Rejected, ServerFailed, Throttled

REASON_LENGTH = 300
_WRONG_KEYS = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthorizationHeaderMalformed")
_DENIED = "access denied: the rights of this access key do not allow it"


def date_of(response: Mapping[str, Any]) -> datetime | None:
    """The Date header of an answer."""
    try:
        return parsedate_to_datetime(response["ResponseMetadata"]["HTTPHeaders"]["date"]).astimezone(UTC)
    except (KeyError, ValueError):
        return None


def error_of(response: Mapping[str, Any], subject: str, verb: str) -> BackendError:
    """One of our errors for an answer that is a refusal, as botocore has parsed it."""
    told = response.get("Error", {})
    meta = response.get("ResponseMetadata", {})
    code, status = str(told.get("Code", "")), int(meta.get("HTTPStatusCode", 0))
    said = short(f"{told.get('Message') or 'no reason given'} ({code})")
    if status in (429, 503):
        after = str(meta.get("HTTPHeaders", {}).get("retry-after", ""))
        seconds = float(after) if after.isdecimal() else None
        return Throttled(subject=subject, verb=verb, reason=said, status=status, retry_after=seconds)
    kind, reason = _kind_of(code, status, said)
    return kind(subject=subject, verb=verb, reason=reason, status=status)


def _kind_of(code: str, status: int, said: str) -> tuple[type[BackendError], str]:
    """Which of our errors a code is, and its words."""
    if code == "NoSuchBucket":
        # Not as if an object in it had gone.
        return Rejected, "the bucket does not exist"
    if code == "RequestTimeTooSkewed":
        return Denied, "the clocks of this host and of the store differ too much"
    if code in _WRONG_KEYS:
        return Denied, f"the access key or its secret is wrong ({code})"
    if status in (401, 403):
        return Denied, _DENIED
    if status == 404:
        return NotFound, "there is none"
    if status in (409, 412):
        return Conflict, said
    return (ServerFailed if status >= 500 else Rejected), said


def innermost(error: BaseException) -> BaseException:
    """The error at the bottom: those above repeat the address and the kind of each layer."""
    while True:
        first = error.args[0] if error.args else None
        inner = getattr(error, "kwargs", {}).get("error") or getattr(error, "reason", None)
        inner = next((one for one in (inner, first) if isinstance(one, BaseException)), None)
        if inner is None:
            return error
        error = inner


def is_about_certificates(error: BaseException) -> bool:
    """True if the store's certificate is not signed by whom we know, or those are no certificates."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return True
    return isinstance(error, ssl.SSLError) and error.reason in ("NO_CERTIFICATE_OR_CRL_FOUND", "BAD_END_LINE")


def short(text: str) -> str:
    """In one line that is not too long."""
    line = " ".join(text.split())
    return line if len(line) <= REASON_LENGTH else line[: REASON_LENGTH - 1] + "…"
