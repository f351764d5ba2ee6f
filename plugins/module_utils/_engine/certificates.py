# SPDX-License-Identifier: BSD-2-Clause
"""Certificates that the gateway shows, and the Secrets in which Traefik finds them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from .backends.kubernetes.apply import apply_texts
from .backends.kubernetes.client import Client
from .backends.kubernetes.plan import foreign, plan_object
from .credentials import Secret
from .deadline import Deadline
from .objects import Desired
from .observed import Live
from .steps import Action, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate, with those that lead to its authority, and its key; both as PEM."""

    chain: str
    key: Secret

    @property
    def digest(self) -> str:
        """Tells a renewed one. A certificate is public; the key is not in it."""
        return hashlib.sha256(self.chain.encode()).hexdigest()


def plan_certificate(desired: Desired, live: Live | None) -> Step | None:
    """The step for a certificate's Secret, whose values nobody reads back: told by the digest in `desired`."""
    if live is None or live.is_going:
        return plan_object(desired, live)
    stranger = foreign(desired, live.labels)
    if stranger is not None:
        return Step(action=Action.REFUSE, id=desired.id, reason=stranger, desired=desired, before=None)
    if live.fingerprint == desired.fingerprint:
        return None
    reason = "the certificate is another one"
    return Step(action=Action.UPDATE, id=desired.id, reason=reason, desired=desired, before=None)


def apply_certificate(client: Client, desired: Desired, certificate: Certificate, *, deadline: Deadline) -> None:
    """Write it, whatever the Secret had. Raises Conflict if there is one that is not ours."""
    values = {"tls.crt": certificate.chain, "tls.key": certificate.key.reveal()}
    apply_texts(client, desired, values, deadline=deadline)
