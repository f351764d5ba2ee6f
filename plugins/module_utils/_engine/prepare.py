# SPDX-License-Identifier: BSD-2-Clause
"""What all projects stand on: the platform's own few objects, brought into place one after the other."""

from __future__ import annotations

import time

from .backends.kubernetes import records
from .backends.kubernetes.apply import apply
from .backends.kubernetes.client import Client
from .backends.kubernetes.kinds import PLATFORM_KINDS
from .backends.kubernetes.observe import observe, read_object
from .backends.kubernetes.plan import plan_objects
from .backends.kubernetes.readiness import State
from .backends.kubernetes.wait import await_ready
from .deadline import Deadline
from .errors import BackendError, DeadlineExceeded, NotFound
from .objects import Desired, ObjectId
from .observed import NOTHING, Observed
from .parallel import in_parallel
from .progress import Progress
from .project.model import Inventory, Platform
from .project.names import PLATFORM_LABEL
from .render.platform import render_platform
from .settings import Settings
from .steps import Action, Failure, Outcome, Plan, Report, Result, Step

POLL_SECONDS = 0.2


def prepare(client: Client | None, inventory: Inventory, *, settings: Settings, progress: Progress) -> Report:
    """Bring the platform's objects into place; the report has one outcome. `client` is None where no cluster is yet.

    Repeating any of it is harmless, so it needs no lease, whose namespace it is that makes.
    """
    deadline = Deadline(limit_seconds=settings.timeout_seconds)
    platform = inventory.platform
    wanted = render_platform(inventory)
    observed = NOTHING if client is None else _look(client, wanted, platform, settings, deadline)
    plan = plan_objects(wanted, observed)
    refusal = next((Failure(step="plan", object=str(step.id), reason=step.reason) for step in plan.refusals), None)
    if client is None or settings.check or refusal is not None:
        steps = () if refusal else plan.steps
        return _report(platform, client, steps=steps, failure=refusal)
    progress.note(f"preparing the platform: {len(plan.steps)} changes")
    done, failure = _apply(client, plan, observed, deadline)
    if failure is None and any(step.id.kind == "CustomResourceDefinition" for step in plan.steps):
        failure = _await_definition(client, platform, plan, deadline)
    return _report(platform, client, steps=done, failure=failure)


def _look(
    client: Client, wanted: tuple[Desired, ...], platform: Platform, settings: Settings, deadline: Deadline
) -> Observed:
    """Whole objects, as there are but a few and no record certifies them.

    What seems to be missing is looked for by name: it may be there and somebody else's.
    """
    observed = observe(
        client,
        PLATFORM_KINDS,
        selector=f"{PLATFORM_LABEL}={platform.namespace}",
        full=True,
        workers=settings.workers,
        deadline=deadline,
    )
    missing = [step.id for step in plan_objects(wanted, observed).steps if step.action is Action.CREATE]
    found = in_parallel(lambda id: read_object(client, id, deadline=deadline), missing, workers=settings.workers)
    return observed.and_also(Observed(objects={live.id: live for live in found if live is not None}))


def _apply(
    client: Client, plan: Plan, observed: Observed, deadline: Deadline
) -> tuple[tuple[Step, ...], Failure | None]:
    done: list[Step] = []
    for step in plan.steps:
        try:
            applied = apply(client, step, before=observed.find(step.id), deadline=deadline)
        except BackendError as error:
            return tuple(done), Failure(step=step.action, object=str(step.id), reason=error.reason, status=error.status)
        except DeadlineExceeded as error:
            return tuple(done), Failure(step=step.action, object=str(step.id), reason=str(error))
        if applied.changed:
            done.append(step)
    return tuple(done), None


def _await_definition(client: Client, platform: Platform, plan: Plan, deadline: Deadline) -> Failure | None:
    """Established, and then really served: between the two the API server may answer 404 for a moment."""
    ids = [step.id for step in plan.steps if step.id.kind == "CustomResourceDefinition"]
    answers = await_ready(
        client,
        ids,
        deadline=deadline,
        progress=_nothing_to_count,
        selector=f"{PLATFORM_LABEL}={platform.namespace}",
    )
    for id, answer in answers.items():
        if answer.state is not State.READY:
            return _unserved(id, answer.reason)
    while deadline.remaining() > 0:
        try:
            records.read_records(client, platform.namespace, deadline=deadline)
        except NotFound:
            time.sleep(POLL_SECONDS)
        else:
            return None
    return _unserved(ids[0], "its objects cannot be listed")


def _nothing_to_count(_done: int, _total: int) -> None:
    """One definition is quick to get ready."""


def _unserved(id: ObjectId, reason: str) -> Failure:
    return Failure(step="wait", object=str(id), reason=reason)


def _report(platform: Platform, client: Client | None, *, steps: tuple[Step, ...], failure: Failure | None) -> Report:
    result = Result.FAILED if failure else Result.CHANGED if steps else Result.UNCHANGED
    outcome = Outcome(ref=platform.namespace, uid="", result=result, steps=steps, failure=failure)
    return Report(
        outcomes=(outcome,),
        reads=client.reads if client else 0,
        writes=client.writes if client else 0,
    )
