# SPDX-License-Identifier: BSD-2-Clause
"""What proves that a host name is a project's: a TXT record, which only who has the name can make."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from .names import Uid

LABEL = "_supalove"
KEY = "supalove-verification"
# Hexadecimal digits, 4 bits each: nobody finds another project and name that have the same.
TOKEN_DIGITS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The record that is looked for. `text` is no secret: it proves nothing but below the name that it is of."""

    name: str
    text: str


def proof_of(uid: Uid, domain: str) -> Proof:
    """Of one project and one name: another project, or a later one of the same ref, needs another.

    >>> proof_of(Uid("abcdefgh2345"), "api.example.org").name
    '_supalove.api.example.org'
    """
    token = hashlib.sha256(f"{KEY}/{uid}/{domain}".encode()).hexdigest()[:TOKEN_DIGITS]
    return Proof(name=f"{LABEL}.{domain}", text=f"{KEY}={token}")
