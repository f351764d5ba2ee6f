# SPDX-License-Identifier: BSD-2-Clause
"""A new password for clients, step by step, on the values of a project's secret alone. Pure but for its random bytes.

Of two logins one is published: `owner.user` and `owner.password` name it. The other is idle, so it can get a new
password while nobody needs it. Between `begun` and `published` the secret holds both, so that a run that was killed is
gone on with instead of begun anew.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping

from .credentials import SALT_BYTES, USERLIST, Secret, generate_password, scram_verifier, userlist_line
from .render.context import Context
from .render.pooler import CLIENT_LOGINS

USER, PASSWORD = f"{Context.CLIENT_KEY}.user", f"{Context.CLIENT_KEY}.password"
NEXT_USER, NEXT_PASSWORD = "next.user", "next.password"
# When the published login was published, in whole seconds since the epoch; gone once the one before it is ended.
ROTATED = "rotated"

Texts = Mapping[str, str]
RandomBytes = Callable[[int], bytes]


def idle_login(texts: Texts) -> str:
    """The login that is not published."""
    first, second = CLIENT_LOGINS
    return second if texts[USER] == first else first


def is_begun(texts: Texts) -> bool:
    """True if a new password was made that is not published yet."""
    return NEXT_USER in texts


def seconds_to_settle(texts: Texts, *, now: float, settle_seconds: float) -> float:
    """How long clients still have to take up the last login, before the one that they may still use is replaced."""
    return max(0.0, float(texts.get(ROTATED, "0")) + settle_seconds - now)


def begun(texts: Texts, random_bytes: RandomBytes = secrets.token_bytes) -> dict[str, str]:
    """With a new password for the idle login, which the pooler is to know before it is published."""
    password, renewed = _renewed(texts, random_bytes)
    return {**renewed, NEXT_USER: idle_login(texts), NEXT_PASSWORD: password.reveal()}


def published(texts: Texts, *, now: float) -> dict[str, str]:
    """With the new login in the place where clients look; the one before it still works."""
    kept = {key: text for key, text in texts.items() if key not in (NEXT_USER, NEXT_PASSWORD)}
    return {**kept, USER: texts[NEXT_USER], PASSWORD: texts[NEXT_PASSWORD], ROTATED: str(int(now))}


def ended(texts: Texts, random_bytes: RandomBytes = secrets.token_bytes) -> tuple[Secret, dict[str, str]]:
    """With a password for the idle login that is kept nowhere: who still uses it gets in no more.

    The password, too: by it can be seen whether the pooler has read the change.
    """
    return _renewed(texts, random_bytes)


def settled(texts: Texts) -> dict[str, str]:
    """With no login but the published one, which the pooler knows by now."""
    return {key: text for key, text in texts.items() if key != ROTATED}


def has_previous(texts: Texts) -> bool:
    """True if the idle login was published once and is not ended."""
    return ROTATED in texts


def _renewed(texts: Texts, random_bytes: RandomBytes) -> tuple[Secret, dict[str, str]]:
    login, password = idle_login(texts), generate_password(random_bytes)
    verifier = Secret(scram_verifier(password, salt=random_bytes(SALT_BYTES)))
    others = [line for line in texts[USERLIST].splitlines() if not line.startswith(f'"{login}" ')]
    lines = [*others, userlist_line(login, verifier)]
    return password, {**texts, USERLIST: "".join(f"{line}\n" for line in lines)}
