# SPDX-License-Identifier: BSD-2-Clause
"""Another key for a project's tokens, step by step, on the values of its secret alone. Pure but for its random bytes.

A key is announced before it signs, so that whoever verifies has it when its first token comes; and it is accepted for
as long as tokens of its own live. So there are two keys for a while, and no token is ever refused.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping

from .signing import generate_key, key_id_of, key_set, keys_in

# What signs, and what verifies: a set of public keys.
SIGNING, VERIFYING = "signing.jwk", "verifying.jwks"
NEXT = "signing.next.jwk"
# When the last step was taken, in whole seconds since the epoch; gone once the key before is ended.
SINCE = "signing.since"

Texts = Mapping[str, str]
RandomBytes = Callable[[int], bytes]


def is_announced(texts: Texts) -> bool:
    """True if there is a key that does not sign yet."""
    return NEXT in texts


def has_previous(texts: Texts) -> bool:
    """True if a key is accepted that neither signs nor will."""
    return len(keys_in(texts[VERIFYING])) > (2 if is_announced(texts) else 1)


def seconds_left(texts: Texts, *, now: float, settle_seconds: float) -> float:
    """How long it still takes until the next step may be taken."""
    return max(0.0, float(texts.get(SINCE, "0")) + settle_seconds - now)


def announced(texts: Texts, *, now: float, random_bytes: RandomBytes = secrets.token_bytes) -> dict[str, str]:
    """With a key that is accepted and does not sign yet."""
    key = generate_key(random_bytes).reveal()
    known = key_set((*keys_in(texts[VERIFYING]), key))
    return {**texts, NEXT: key, VERIFYING: known, SINCE: str(int(now))}


def signing(texts: Texts, *, now: float) -> dict[str, str]:
    """With the announced key signing; the one before it is still accepted."""
    kept = {name: text for name, text in texts.items() if name != NEXT}
    return {**kept, SIGNING: texts[NEXT], SINCE: str(int(now))}


def taken_anew(texts: Texts, *, now: float) -> dict[str, str]:
    """With the last step's time set to now: it has only now reached those whom it is for."""
    return {**texts, SINCE: str(int(now))} if SINCE in texts else dict(texts)


def ended(texts: Texts) -> dict[str, str]:
    """With no key accepted but the one that signs."""
    current = key_id_of(texts[SIGNING])
    known = key_set(key for key in keys_in(texts[VERIFYING]) if key_id_of(key) == current)
    return {name: text for name, text in texts.items() if name != SINCE} | {VERIFYING: known}
