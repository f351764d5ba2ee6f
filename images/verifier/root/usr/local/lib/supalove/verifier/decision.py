# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a request may pass. Nothing here reads a clock, a socket or the environment."""

from __future__ import annotations

import functools
import hashlib
import hmac
import re
from dataclasses import dataclass

# Keys of one project: a few kinds of them, each while it is exchanged for the next.
MOST_KEYS = 16

KEY = re.compile(rb"key=([0-9a-f]{64})\.(0|[1-9][0-9]{0,11})")
CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class Malformed(Exception):
    """What the gateway asked is no question. The text says what is expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key that is valid: its digest, and its end in seconds since the epoch, 0 for none."""

    digest: bytes
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A status with a message for the client, or 200 with the header that the request goes on with."""

    status: int
    message: str = ""
    authorization: bytes = b""


NO_KEY = Answer(status=401, message="No API key found in request")
FOREIGN = Answer(status=401, message="Invalid authentication credentials")
EXPIRED = Answer(status=401, message="API key has expired")
PREFLIGHT = Answer(status=200)


@functools.lru_cache(maxsize=4096)
def parse_query(query: bytes) -> tuple[Key, ...]:
    """The keys that a Middleware's address names. Raises Malformed.

    A project's address is the same for all its requests, and it holds digests only, so the last ones are remembered.

    >>> parse_query(b"key=" + b"0f" * 32 + b".1800000000")
    (Key(digest=b'0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f', end=1800000000),)
    """
    parts = query.split(b"&") if query else []
    if len(parts) > MOST_KEYS:
        raise Malformed(f"{len(parts)} keys in the address, at most {MOST_KEYS} are allowed")
    found = [KEY.fullmatch(part) for part in parts]
    keys = tuple(Key(digest=one[1], end=int(one[2])) for one in found if one)
    if len(keys) < len(parts):
        raise Malformed("an address is /?key=<SHA-256 of a key, lower hex>.<its end, 0 for none>[&key=...]")
    return keys


def judge(
    keys: tuple[Key, ...], apikeys: list[bytes], authorizations: list[bytes], now: float, method: bytes = b""
) -> Answer:
    """Whether a request passes. `method`: its own, if the gateway tells one.

    1. A preflight passes, without Authorization: browsers send it before they send a key.
    2. It carries one key; two are as a foreign one, because nobody knows which of them is meant.
    3. The key is one of the project's. All of them are compared, each in the same time.
    4. It has not reached its end; the same digest with two ends lives until the later one.
    5. The client's own Authorization goes on; without one the key takes its place. Two are as a foreign key.
    """
    if method == b"OPTIONS":
        return PREFLIGHT
    apikeys = [one for one in apikeys if one]
    if not apikeys:
        return NO_KEY
    if len(apikeys) > 1 or len(authorizations) > 1 or any(map(CONTROL.search, apikeys + authorizations)):
        return FOREIGN
    digest = hashlib.sha256(apikeys[0]).hexdigest().encode()
    ends = [key.end for key in keys if hmac.compare_digest(key.digest, digest)]
    if not ends:
        return FOREIGN
    if 0 not in ends and now >= max(ends):
        return EXPIRED
    own = authorizations[0] if authorizations else b""
    return Answer(status=200, authorization=own or b"Bearer " + apikeys[0])
