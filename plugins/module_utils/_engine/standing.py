# SPDX-License-Identifier: BSD-2-Clause
"""What stages that bring the platform's own objects into place have in common: how they wait, and what they report."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from .backends.kubernetes.client import Client
from .backends.kubernetes.readiness import State, readiness_of
from .backends.kubernetes.wait import await_ready
from .deadline import Deadline
from .objects import ObjectId
from .observed import Live
from .project.model import Platform
from .project.names import PLATFORM_LABEL
from .steps import Failure, Outcome, Plan, Report, Result, Step

POLL_SECONDS = 0.2
DEFINITION = "CustomResourceDefinition"


def is_ready(live: Live | None) -> bool:
    """True if an object is there, was read whole and serves."""
    return live is not None and live.body is not None and readiness_of(live.body).state is State.READY


def await_all(
    client: Client,
    platform: Platform,
    ids: Iterable[ObjectId],
    *,
    deadline: Deadline,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Failure | None:
    """Wait for the platform's objects; the first that does not get ready. Definitions are too quick to count."""
    selector = f"{PLATFORM_LABEL}={platform.namespace}"
    answers = await_ready(client, tuple(ids), deadline=deadline, progress=progress, selector=selector)
    laggards = ((id, answer) for id, answer in answers.items() if answer.state is not State.READY)
    return next((Failure(step="wait", object=str(id), reason=answer.reason) for id, answer in laggards), None)


class Counted(Protocol):
    """Who counts what was asked of a system."""

    @property
    def reads(self) -> int:
        """Requests that change nothing."""

    @property
    def writes(self) -> int:
        """All others."""


def refusal_of(plan: Plan) -> Failure | None:
    """The first thing that a plan refuses."""
    refused = (Failure(step="plan", object=str(step.id), reason=step.reason) for step in plan.refusals)
    return next(refused, None)


def report_of(ref: str, asked: Counted | None, steps: tuple[Step, ...], failure: Failure | None) -> Report:
    """A report with one outcome. `asked`: None, no cluster."""
    result = Result.FAILED if failure else Result.CHANGED if steps else Result.UNCHANGED
    outcome = Outcome(ref=ref, uid="", result=result, steps=steps, failure=failure)
    reads, writes = (asked.reads, asked.writes) if asked else (0, 0)
    return Report(outcomes=(outcome,), reads=reads, writes=writes)
