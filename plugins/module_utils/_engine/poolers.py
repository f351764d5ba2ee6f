# SPDX-License-Identifier: BSD-2-Clause
"""The poolers of a project take over what was written into its Secret, without a connection that is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from .backends.kubernetes.pods import running_pods, touch
from .backends.pgbouncer.client import Pooler
from .credentials import Secret
from .deadline import Deadline
from .errors import DeadlineExceeded
from .keeper import Keeper
from .render import Context
from .render.pooler import CONSOLE, PAUSER

POLL_SECONDS = 1.0
# A kubelet that was told to look takes seconds; one that was not, more than a minute.
LOAD_SECONDS = 180.0

HasIt = Callable[[Pooler, Deadline], bool]


def poolers_of(keeper: Keeper) -> tuple[Pooler, ...]:
    """Those that run."""
    pods = running_pods(keeper.access.client, keeper.namespace, Context.POOLER, deadline=keeper.deadline)
    return tuple(
        Pooler(client=keeper.access.client, namespace=keeper.namespace, pod=pod, port=Context.POOLER_PORT)
        for pod in pods
    )


def load(keeper: Keeper, poolers: Sequence[Pooler], *, console: Secret, has_it: HasIt, what: str) -> None:
    """Have each read its files again until it has what the Secret has. Raises DeadlineExceeded.

    `console`: the password of the pooler's console. `what`: as an error names it.
    """
    end = Deadline(limit_seconds=min(LOAD_SECONDS, keeper.deadline.remaining()))
    mark = str(round(time.time() * 1000))
    for pooler in poolers:
        touch(keeper.access.client, keeper.namespace, pooler.pod, mark=mark, deadline=keeper.deadline)
    for pooler in poolers:
        _load(pooler, console, has_it, what, end)


def _load(pooler: Pooler, console: Secret, has_it: HasIt, what: str, end: Deadline) -> None:
    while True:
        pooler.reload(user=PAUSER, password=console, console=CONSOLE, deadline=end)
        if has_it(pooler, end):
            return
        if end.remaining() <= POLL_SECONDS:
            waited = f"within {end.limit_seconds:g} s"
            raise DeadlineExceeded(f"{pooler.subject} did not get {what} {waited}; run again to go on")
        time.sleep(POLL_SECONDS)
