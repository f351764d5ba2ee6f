# SPDX-License-Identifier: BSD-2-Clause
"""Which host names a project may have, and what proves one to be its own: a TXT record that who has it makes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from .fields import A_HOST, is_host
from .model import Platform
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


def unfit(domain: str, platform: Platform) -> str:
    """What a project's own name may be instead; empty if it is fit to be one.

    >>> unfit("acme.example.com", Platform(domain="example.com"))
    "a name of the project's own, neither example.com nor below it"
    """
    if not is_host(domain):
        return A_HOST
    if f".{domain}".endswith(f".{platform.domain}"):
        return f"a name of the project's own, neither {platform.domain} nor below it"
    return ""
