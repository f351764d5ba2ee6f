# SPDX-License-Identifier: BSD-2-Clause
"""A project's clients get a new login, or the one before is ended: what is written when, and who has read it."""

from __future__ import annotations

import time
from collections.abc import Mapping

from .backends.pgbouncer.client import Pooler
from .credentials import Secret
from .deadline import Deadline
from .errors import SafetyStop, TooSoon
from .keeper import Keeper
from .login_rotation import (
    NEXT_PASSWORD,
    NEXT_USER,
    begun,
    ended,
    has_previous,
    idle_login,
    is_begun,
    published,
    seconds_to_settle,
    settled,
)
from .poolers import load, poolers_of
from .render import Context
from .render.pooler import PAUSER_KEY

# How long clients have to take up a login.
SETTLE_SECONDS = 600.0


def renew_login(keeper: Keeper, settle_seconds: float | None) -> None:
    """From the published login to a new one; or what an earlier run has left of that way."""
    kept = keeper.read()
    was_lagging = keeper.copy(kept.texts)
    if not is_begun(kept.texts) and not was_lagging:
        _refuse_too_soon(kept.texts, SETTLE_SECONDS if settle_seconds is None else settle_seconds)
        kept = keeper.write(kept, begun(kept.texts))
    if is_begun(kept.texts):
        _await_poolers(keeper, kept.texts[NEXT_USER], Secret(kept.texts[NEXT_PASSWORD]), kept.texts)
        keeper.write(kept, published(kept.texts, now=time.time()))


def end_login(keeper: Keeper, _settle_seconds: float | None) -> None:
    """Give the idle login a password that is kept nowhere."""
    kept = keeper.read()
    keeper.copy(kept.texts)
    if is_begun(kept.texts):
        raise SafetyStop("a rotation of the project was begun and is not finished; rotate it first")
    if not has_previous(kept.texts):
        return
    password, texts = ended(kept.texts)
    kept = keeper.write(kept, texts)
    _await_poolers(keeper, idle_login(texts), password, texts)
    keeper.write(kept, settled(kept.texts))


def _refuse_too_soon(texts: Mapping[str, str], settle_seconds: float) -> None:
    left = seconds_to_settle(texts, now=time.time(), settle_seconds=settle_seconds)
    if left > 0:
        raise TooSoon(
            f"clients may still use the login before the last one for {left:.0f} s, and this would replace it; "
            "end it first with end_previous, or wait, or set settle_seconds"
        )


def _await_poolers(keeper: Keeper, login: str, password: Secret, texts: Mapping[str, str]) -> None:
    """Until every pooler of the project lets the login in. A stopped project has none that could."""
    if keeper.check:
        return
    poolers = poolers_of(keeper)
    if not poolers and not keeper.is_stopped:
        raise SafetyStop("no pooler of the project runs; mend that, then rotate again")

    def lets_in(pooler: Pooler, end: Deadline) -> bool:
        return pooler.lets_in(user=login, password=password, database=Context.DATABASE_ALIAS, deadline=end)

    console = Secret(texts[f"{PAUSER_KEY}.password"])
    load(keeper, poolers, console=console, has_it=lets_in, what="the new login")
