# SPDX-License-Identifier: BSD-2-Clause
"""A Lease per platform, so that two runs at once cannot happen, and a killed one does not block the next for long."""

from __future__ import annotations

import datetime
import os
import secrets
import socket
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from ...deadline import Deadline
from ...errors import Conflict, EngineError, NotFound, SafetyStop
from ...objects import Body, ObjectId
from ...progress import Progress
from .client import Client
from .kinds import collection_path, object_path

NAME = "supalove-reconcile"
POLL_SECONDS = 1.0
# This part of the lease's duration is kept free of writes, so that one under way has landed when the lease ends.
MARGIN = 1 / 6


class Lease:
    """Holds the platform's lease while its context lasts, renewed by a thread of its own.

    Taking it:
    1. Nobody holds it, or the answer to our own claim was lost: take it.
    2. Its renewal moves while we look: its holder lives, raise SafetyStop.
    3. Its renewal does not move for the lease's duration by our own clock: its holder is gone, take it.

    How old the renewal is by the holder's clock says nothing, as clocks differ.
    """

    def __init__(
        self, client: Client, namespace: str, *, seconds: float, progress: Progress, deadline: Deadline
    ) -> None:
        self._client = client
        self._id = ObjectId(kind="Lease", namespace=namespace, name=NAME)
        self._seconds = seconds
        self._progress = progress
        self._deadline = deadline
        self._holder = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._stop = threading.Event()
        self._renewed = time.monotonic()
        self._lost = ""
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._take()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if not self._lost:
            self._release()

    def bound(self, deadline: Deadline) -> Deadline:
        """The same deadline, and never later than the lease is ours for certain. Every write has one of these."""
        return _Held(limit_seconds=deadline.limit_seconds, started=deadline.started, lease=self)

    def remaining(self) -> float:
        """Seconds for which the lease is ours for certain, if it is not renewed; never negative."""
        return 0.0 if self._lost else max(0.0, self._renewed + self._seconds * (1 - MARGIN) - time.monotonic())

    def require(self) -> None:
        """Raise SafetyStop if the lease is no longer ours for certain."""
        if not self._lost and self.remaining() <= 0:
            self._lost = f"it could not be renewed for {self._seconds * (1 - MARGIN):g} s"
        if self._lost:
            raise SafetyStop(f"The run stopped, because its lease {self._id} was lost: {self._lost}. Run again.")

    def _take(self) -> None:
        """Try until it is ours; `seen` is the holder's last sign of life, `since` when we saw it first."""
        seen, since = "", time.monotonic()
        while True:
            body = self._read()
            spec = (body or {}).get("spec") or {}
            holder = spec.get("holderIdentity")
            sign = _sign(spec)
            silent = time.monotonic() - since if sign == seen else 0.0
            if holder in (None, "", self._holder) or silent > self._duration(spec):
                if self._claim(body):
                    return
                # Somebody was faster; what we knew of the holder is void.
                seen = ""
            elif not seen:
                self._announce(spec)
                seen, since = sign, time.monotonic()
            elif sign != seen:
                raise SafetyStop(self._held(spec))
            self._deadline.require(f"the lease {self._id}, held by {holder or 'nobody'}")
            time.sleep(min(POLL_SECONDS, self._deadline.remaining()))

    def _claim(self, body: Body | None) -> bool:
        if body is None:
            return self._write("POST", collection_path("Lease", self._id.namespace), self._body({}))
        return self._write("PUT", object_path(self._id), self._body(body))

    def _announce(self, spec: Body) -> None:
        self._progress.note(
            f"another run holds the lease: {spec['holderIdentity']}; "
            f"taking over if it gives no sign of life for {self._duration(spec):g} s"
        )

    def _duration(self, spec: Body) -> float:
        return float(spec.get("leaseDurationSeconds") or self._seconds)

    def _held(self, spec: Body) -> str:
        return (
            f"Another run is at work on this platform: {spec.get('holderIdentity')}, since {spec.get('acquireTime')}. "
            f"Wait for it to end. If it was killed, its lease {self._id} ends by itself after {self._seconds:g} s."
        )

    def _keep(self) -> None:
        while not self._stop.wait(self._seconds / 3):
            try:
                body = self._read()
                holder = ((body or {}).get("spec") or {}).get("holderIdentity")
                if body is None or holder != self._holder:
                    self._lost = f"it is held by {holder or 'nobody'}"
                    return
                self._write("PUT", object_path(self._id), self._body(body))
            except EngineError:
                continue

    def _release(self) -> None:
        """Best effort: an unreleased lease only costs the next run a wait."""
        try:
            body = self._read()
            if body is not None and body["spec"].get("holderIdentity") == self._holder:
                body["spec"]["holderIdentity"] = ""
                self._write("PUT", object_path(self._id), body)
        except EngineError as error:
            self._progress.note(f"the lease could not be given back and ends by itself: {error}")

    def _read(self) -> Body | None:
        try:
            return self._client.get(object_path(self._id), subject=str(self._id), deadline=self._deadline_of_one())
        except NotFound:
            return None

    def _write(self, verb: str, path: str, body: Body) -> bool:
        """True if it is written; False if somebody was faster (resourceVersion guards a PUT).

        That somebody may have been we: the answer to a first try was lost, and the second one met it.
        """
        began = time.monotonic()
        try:
            self._client.send(verb, path, subject=str(self._id), deadline=self._deadline_of_one(), body=body)
        except Conflict:
            if _sign((self._read() or {}).get("spec") or {}) != _sign(body["spec"]):
                return False
        self._renewed = began
        return True

    def _deadline_of_one(self) -> Deadline:
        """Keeping the lease must go on while the run's own time is up and its last words are written."""
        return Deadline(limit_seconds=self._seconds / 3)

    def _body(self, current: Body) -> Body:
        spec = current.get("spec") or {}
        ours = spec.get("holderIdentity") == self._holder
        now = _now().isoformat(timespec="microseconds").replace("+00:00", "Z")
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": current.get("metadata") or {"name": self._id.name, "namespace": self._id.namespace},
            "spec": {
                "holderIdentity": self._holder,
                "leaseDurationSeconds": max(1, round(self._seconds)),
                "acquireTime": (spec.get("acquireTime") or now) if ours else now,
                "renewTime": now,
                "leaseTransitions": int(spec.get("leaseTransitions") or 0) + (0 if ours else 1),
            },
        }


def _sign(spec: Body) -> str:
    """Another with every renewal."""
    return f"{spec.get('holderIdentity')} {spec.get('renewTime')}"


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held(Deadline):
    """A caller's deadline that also ends with the lease, renewals included."""

    lease: Lease

    def remaining(self) -> float:
        return min(Deadline.remaining(self), self.lease.remaining())

    def require(self, what: str) -> None:
        self.lease.require()
        Deadline.require(self, what)
