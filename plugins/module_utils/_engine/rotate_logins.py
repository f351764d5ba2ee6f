# SPDX-License-Identifier: BSD-2-Clause
"""A project's clients get a new login, or the one before is ended: what is written when, and who has read it."""

from __future__ import annotations

import time
from collections.abc import Mapping

from .backends.kubernetes.pods import running_pods, touch
from .backends.pgbouncer.client import Pooler
from .credentials import Secret
from .deadline import Deadline
from .errors import DeadlineExceeded, SafetyStop, TooSoon
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
from .render import Context
from .render.pooler import CONSOLE, PAUSER, PAUSER_KEY

POLL_SECONDS = 1.0
# A kubelet that was told to look takes seconds; one that was not, more than a minute.
LOAD_SECONDS = 180.0
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
    client, end = keeper.access.client, Deadline(limit_seconds=min(LOAD_SECONDS, keeper.deadline.remaining()))
    pods = running_pods(client, keeper.namespace, Context.POOLER, deadline=keeper.deadline)
    if not pods and not keeper.is_stopped:
        raise SafetyStop("no pooler of the project runs; mend that, then rotate again")
    mark = str(round(time.time() * 1000))
    for pod in pods:
        touch(client, keeper.namespace, pod, mark=mark, deadline=keeper.deadline)
    for pod in pods:
        pooler = Pooler(client=client, namespace=keeper.namespace, pod=pod, port=Context.POOLER_PORT)
        _await_pooler(pooler, login, password, Secret(texts[f"{PAUSER_KEY}.password"]), end)


def _await_pooler(pooler: Pooler, login: str, password: Secret, console: Secret, end: Deadline) -> None:
    while True:
        pooler.reload(user=PAUSER, password=console, console=CONSOLE, deadline=end)
        if pooler.lets_in(user=login, password=password, database=Context.DATABASE_ALIAS, deadline=end):
            return
        if end.remaining() <= POLL_SECONDS:
            waited = f"within {end.limit_seconds:g} s"
            raise DeadlineExceeded(f"{pooler.subject} did not get the new login {waited}; run again to go on")
        time.sleep(POLL_SECONDS)
