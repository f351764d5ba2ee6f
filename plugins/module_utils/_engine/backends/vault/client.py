# SPDX-License-Identifier: BSD-2-Clause
"""The one place that speaks to Vault: a login for a run, its token revoked at the end. OpenBao has the same API.

What is sent: https://openbao.org/api-docs/secret/kv/kv-v2/ and https://openbao.org/api-docs/auth/approle/.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ...credentials import Secret
from ...deadline import Backoff, Deadline, retrying
from ...errors import (
    BackendError,
    Conflict,
    Denied,
    MissingLibrary,
    NotFound,
    Rejected,
    ServerFailed,
    Throttled,
    Unreachable,
)
from ...vault import Kept

try:
    import hvac
    import requests
    from hvac import exceptions as _exceptions
except ImportError as error:
    _MISSING: ImportError | None = error
else:
    _MISSING = None

# Of one request. A Vault that has lost its storage accepts connections and never answers.
ANSWER_SECONDS = 10.0
REASON_LENGTH = 300
_CAS_MISMATCH = "check-and-set"
_SEALED = "sealed"
_DENIED = "permission denied: the policy of this login does not allow it, or its token has ended"
# A token is replaced when this part of its life is left, or these seconds if they are less.
_REPLACED_PART = 0.1
_REPLACED_SECONDS = 30.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where Vault is and who logs in. `ca_file`: the certificates it is verified by; None for those of the system."""

    address: str
    mount: str
    ca_file: str | None
    role_id: Secret
    secret_id: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    """When a login's token is replaced, and when it ends, on the monotonic clock."""

    replaced: float
    ends: float


class VaultClient:
    """One version 2 key-value store, through a login that is made when it is first needed, and again before its token
    ends. May be used by threads.
    """

    def __init__(
        self, target: Target, *, workers: int, backoff: Backoff, answer_seconds: float = ANSWER_SECONDS
    ) -> None:
        if _MISSING is not None:
            raise MissingLibrary("hvac") from _MISSING
        self._target = target
        self._backoff = backoff
        self._lock = threading.Lock()
        self._counts = {"reads": 0, "writes": 0}
        self._session = requests.Session()
        # hvac takes this from a session that it is given, and not what it is told itself.
        self._session.verify = target.ca_file or True
        self._session.mount("https://", requests.adapters.HTTPAdapter(pool_maxsize=workers))
        # An empty token, because hvac would else look for one in the environment and in the user's home.
        self._hvac = hvac.Client(
            url=target.address,
            token="",
            timeout=answer_seconds,
            session=self._session,
        )
        self._token: _Token | None = None

    @property
    def reads(self) -> int:
        """Requests that read."""
        return self._counts["reads"]

    @property
    def writes(self) -> int:
        """Requests that write."""
        return self._counts["writes"]

    def names(self, folder: str, *, deadline: Deadline) -> tuple[str, ...]:
        """The names of all secrets in a folder, and of the folders in it, which end with /; none if there is none."""
        try:
            answer = self._run(
                lambda kv, **at: kv.list_secrets(path=folder, **at), f"{folder}/", "LIST", deadline, counted="reads"
            )
        except NotFound:
            return ()
        return tuple(answer["data"]["keys"])

    def read(self, path: str, *, deadline: Deadline) -> Kept | None:
        """One secret; None if there is none, or its last version is deleted."""
        try:
            answer = self._run(
                lambda kv, **at: kv.read_secret_version(path=path, raise_on_deleted_version=True, **at),
                path,
                "GET",
                deadline,
                counted="reads",
            )
        except NotFound:
            return None
        data = answer["data"]
        texts = {str(key): str(value) for key, value in data["data"].items()}
        return Kept(texts=texts, version=int(data["metadata"]["version"]))

    def write(self, path: str, texts: Mapping[str, str], *, version: int, deadline: Deadline) -> None:
        """Write values on top of a version, 0 for none. Raises Conflict if there is another one by now.

        That other one may be our own, if the answer to a first try was lost.
        """

        def write(kv: Any, **at: Any) -> Any:
            return kv.create_or_update_secret(path=path, secret=dict(texts), cas=version, **at)

        self._run(write, path, "PUT", deadline, counted="writes")

    def delete(self, path: str, *, deadline: Deadline) -> None:
        """Delete every version of a secret, and its name."""
        self._run(
            lambda kv, **at: kv.delete_metadata_and_all_versions(path=path, **at),
            path,
            "DELETE",
            deadline,
            counted="writes",
        )

    def close(self) -> None:
        """Revoke the token of this run. One that cannot be revoked now ends by itself."""
        with self._lock:
            if self._token is not None:
                self._token = None
                with contextlib.suppress(OSError, _exceptions.VaultError):
                    self._hvac.auth.token.revoke_self()
        self._session.close()

    def _run(self, call: Callable[..., Any], path: str, verb: str, deadline: Deadline, *, counted: str) -> Any:
        subject = self._subject(path)

        def once() -> Any:
            deadline.require(f"{verb} {subject}")
            self._count(counted)
            kv = self._hvac.secrets.kv.v2
            return _translated(lambda: call(kv, mount_point=self._target.mount), subject=subject, verb=verb)

        return retrying(lambda: self._logged_in(once, deadline), deadline=deadline, backoff=self._backoff)

    def _logged_in(self, once: Callable[[], T], deadline: Deadline) -> T:
        """Result of a request. One whose token ended on its way is sent a second time, with another, and no third."""
        token = self._log_in(deadline)
        try:
            return once()
        except Denied:
            if time.monotonic() < token.ends:
                raise
        self._log_in(deadline)
        return once()

    def _log_in(self, deadline: Deadline) -> _Token:
        """A token that has not ended."""
        with self._lock:
            if self._token is None or time.monotonic() >= self._token.replaced:
                self._token = self._new_token(deadline)
            return self._token

    def _new_token(self, deadline: Deadline) -> _Token:
        """Log in. The token before, if there is one, may be in use by other threads, and ends by itself."""
        subject = f"Vault {self._target.address}"
        deadline.require(f"LOGIN {subject}")
        role_id, secret_id = self._target.role_id.reveal(), self._target.secret_id.reveal()
        login = self._hvac.auth.approle.login
        # Before Vault begins to count.
        started = time.monotonic()
        answer = _translated(lambda: login(role_id=role_id, secret_id=secret_id), subject=subject, verb="LOGIN")
        # Without a duration it never ends.
        seconds = float(answer["auth"]["lease_duration"]) or math.inf
        earlier = min(_REPLACED_SECONDS, seconds * _REPLACED_PART)
        return _Token(replaced=started + seconds - earlier, ends=started + seconds)

    def _count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1

    def _subject(self, path: str) -> str:
        return f"VaultSecret/{path} in {self._target.mount} of {self._target.address}"


def _translated(call: Callable[[], T], *, subject: str, verb: str) -> T:
    """What `call` returns, or one of our errors. Nothing but Vault's own error texts is shown of an answer."""
    try:
        return call()
    except _exceptions.VaultError as error:
        raise _error_of(error, subject, verb) from error
    except requests.exceptions.SSLError as error:
        reason = f"its certificate cannot be verified: {_short(_innermost(error))}"
        raise Rejected(subject=subject, verb=verb, reason=reason) from error
    except requests.exceptions.ReadTimeout as error:
        reason = "it did not answer in time"
        raise Unreachable(subject=subject, verb=verb, reason=reason) from error
    except OSError as error:
        # Those of requests among them. A file of certificates that went away is a plain one.
        raise Unreachable(subject=subject, verb=verb, reason=_short(_innermost(error))) from error


def _error_of(error: Any, subject: str, verb: str) -> BackendError:
    said = _short(", ".join(str(one) for one in error.errors or ()) or type(error).__name__)
    if isinstance(error, _exceptions.InvalidPath):
        return NotFound(subject=subject, verb=verb, reason="there is none", status=404)
    if isinstance(error, _exceptions.Unauthorized | _exceptions.Forbidden):
        return Denied(subject=subject, verb=verb, reason=_DENIED, status=403)
    if isinstance(error, _exceptions.InvalidRequest):
        if _CAS_MISMATCH in said:
            return Conflict(subject=subject, verb=verb, reason="somebody else has written it", status=400)
        return Rejected(subject=subject, verb=verb, reason=said, status=400)
    if isinstance(error, _exceptions.RateLimitExceeded):
        return Throttled(subject=subject, verb=verb, reason=said, status=429)
    if isinstance(error, _exceptions.VaultDown):
        reason = "Vault is sealed; unseal it and run again" if _SEALED in said.lower() else said
        return ServerFailed(subject=subject, verb=verb, reason=reason, status=503)
    if isinstance(error, _exceptions.VaultNotInitialized):
        return ServerFailed(subject=subject, verb=verb, reason="Vault is not initialised", status=501)
    return ServerFailed(subject=subject, verb=verb, reason=said)


def _innermost(error: BaseException) -> str:
    """The words of the error at the bottom: those above repeat the address and the kind of each layer."""
    while error.args and isinstance(inner := getattr(error.args[0], "reason", error.args[0]), BaseException):
        error = inner
    return str(error)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= REASON_LENGTH else line[: REASON_LENGTH - 1] + "…"
