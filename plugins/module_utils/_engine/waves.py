# SPDX-License-Identifier: BSD-2-Clause
"""In which order projects are worked on, so that a change to many of them can do harm to few. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from .backends.kubernetes.readiness import WAITED_KINDS
from .sight import Sight
from .steps import Action

Wave = tuple[Sight, ...]


def waves_of(sights: Sequence[Sight], *, size: int) -> tuple[Wave, ...]:
    """All projects, in waves that are worked on one after the other; never an empty one.

    1. What restarts nothing that runs goes first, all at once.
    2. If no more than `size` projects are restarted, they go with it.
    3. Else the canaries are restarted first: those that are called so, or the first project if none is.
    4. The others follow in waves of at most `size`.
    """
    restarted = [sight for sight in sights if restarts(sight)]
    if len(restarted) <= size:
        return (tuple(sights),) if sights else ()
    refs = {sight.project.ref for sight in restarted}
    harmless = tuple(sight for sight in sights if sight.project.ref not in refs)
    canaries = [sight for sight in restarted if sight.project.is_canary] or restarted[:1]
    first = {sight.project.ref for sight in canaries}
    others = [sight for sight in restarted if sight.project.ref not in first]
    waves = (harmless, *_split(canaries, size), *_split(others, size))
    return tuple(wave for wave in waves if wave)


def restarts(sight: Sight) -> bool:
    """True if the plan replaces pods that run: it updates a workload of a project that is to go on running."""
    if sight.refused is not None or sight.project.is_stopped or sight.record is None:
        return False
    return any(step.action is Action.UPDATE and step.id.kind in WAITED_KINDS for step in sight.plan.steps)


def _split(sights: Sequence[Sight], size: int) -> tuple[Wave, ...]:
    return tuple(tuple(sights[start : start + size]) for start in range(0, len(sights), size))
