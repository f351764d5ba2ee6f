# SPDX-License-Identifier: BSD-2-Clause
"""What all projects stand on: the platform's own few objects, brought into place one after the other."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from .access import Access
from .backends.kubernetes import records
from .backends.kubernetes.client import Client
from .backends.kubernetes.kinds import LISTED_KINDS, PLATFORM_KINDS
from .backends.kubernetes.observe import observe, read_object
from .backends.kubernetes.plan import plan_objects
from .backends.kubernetes.readiness import WAITED_KINDS, State, readiness_of
from .backends.kubernetes.wait import await_ready
from .deadline import Deadline
from .errors import BackendError, DeadlineExceeded, NotFound
from .objects import Desired, ObjectId
from .observed import NOTHING, Live, Observed
from .parallel import in_parallel
from .planning import of_kubernetes, plan_all
from .progress import Progress
from .project.model import Inventory, Platform
from .project.names import PLATFORM_LABEL
from .render.cluster import cluster_credentials_of, render_cluster
from .render.platform import render_platform
from .settings import Settings
from .steps import Action, Failure, Outcome, Plan, Report, Result, Step

POLL_SECONDS = 0.2
DEFINITION = "CustomResourceDefinition"


def prepare(access: Access | None, inventory: Inventory, *, settings: Settings, progress: Progress) -> Report:
    """Bring the platform's objects into place; the report has one outcome. `access` is None where no cluster is yet.

    1. What pods need comes first, the passwords of shared clusters among it: pods say whose they are.
    2. Then the pods of shared clusters, for which it waits, for those of an earlier run, too. What serves already is
       restarted one after the other, and no further once one does not come back.

    Repeating any of it is harmless, so it needs no lease, whose namespace it is that makes.
    """
    deadline = Deadline(limit_seconds=settings.timeout_seconds)
    platform = inventory.platform
    observed = NOTHING if access is None else _look(access, inventory, settings, deadline)
    plan = plan_all(_wanted(inventory, observed), observed)
    refusal = next((Failure(step="plan", object=str(step.id), reason=step.reason) for step in plan.refusals), None)
    if access is None or settings.check or refusal is not None:
        steps = () if refusal else plan.steps
        return _report(platform, access, steps=steps, failure=refusal)
    progress.note(f"preparing the platform: {len(plan.steps)} changes")
    work = _Work(access=access, observed=observed, deadline=deadline)
    work.do(step for step in plan.steps if step.id.kind not in WAITED_KINDS)
    if work.failure is None and any(step.id.kind == DEFINITION for step in plan.steps):
        work.failure = _await_definition(access.client, platform, plan, deadline)
    wanted = _wanted(inventory, work.observed)
    pods = [step for step in plan_all(wanted, work.observed).steps if step.id.kind in WAITED_KINDS]
    work.do(step for step in pods if step.action is Action.CREATE)
    _restart(work, [step for step in pods if step.action is Action.UPDATE], platform, progress)
    if work.failure is None and settings.wait:
        ids = [one.id for one in wanted if one.id.kind in WAITED_KINDS and not _is_ready(work.observed.find(one.id))]
        work.failure = _await_clusters(work, ids, platform, progress)
    return _report(platform, access, steps=tuple(work.done), failure=work.failure)


def _wanted(inventory: Inventory, observed: Observed) -> tuple[Desired, ...]:
    platform = inventory.platform
    secrets = {one.name: observed.find(cluster_credentials_of(one)) for one in platform.shared_clusters}
    clusters = (
        render_cluster(one, platform, secret.uid if (secret := secrets[one.name]) else "")
        for one in platform.shared_clusters
    )
    return (*render_platform(inventory), *(desired for cluster in clusters for desired in cluster))


@dataclass(slots=True, kw_only=True)
class _Work:
    """What was found, what has been done to it, and the failure that ended it."""

    access: Access
    observed: Observed
    deadline: Deadline
    done: list[Step] = field(default_factory=list)
    failure: Failure | None = None

    def do(self, steps: Iterable[Step]) -> None:
        """Step after step, until one fails."""
        for step in steps:
            if self.failure is None:
                self.failure = self._do(step)

    def _do(self, step: Step) -> Failure | None:
        try:
            applied = self.access.apply(step, before=self.observed.find(step.id), deadline=self.deadline)
        except (BackendError, DeadlineExceeded) as error:
            return Failure.of(step.action, str(step.id), error)
        self.observed = self.observed.with_bodies([(step.id, applied.live)])
        if applied.changed:
            self.done.append(step)
        return None


def _restart(work: _Work, steps: list[Step], platform: Platform, progress: Progress) -> None:
    for number, step in enumerate(steps, start=1):
        if work.failure is None:
            progress.note(f"restarting {step.id}, {number} of {len(steps)}: {step.reason}")
            work.do([step])
        if work.failure is None:
            work.failure = _await_clusters(work, [step.id], platform, progress)


def _await_clusters(work: _Work, ids: list[ObjectId], platform: Platform, progress: Progress) -> Failure | None:
    if not ids:
        return None
    progress.note(f"waiting for {len(ids)} shared clusters to get ready")
    answers = await_ready(
        work.access.client,
        ids,
        deadline=work.deadline,
        progress=lambda done, total: progress.count("shared clusters ready", done, total),
        selector=f"{PLATFORM_LABEL}={platform.namespace}",
    )
    laggards = [(id, answer) for id, answer in answers.items() if answer.state is not State.READY]
    return next((Failure(step="wait", object=str(id), reason=answer.reason) for id, answer in laggards), None)


def _is_ready(live: Live | None) -> bool:
    return live is not None and live.body is not None and readiness_of(live.body).state is State.READY


def _look(access: Access, inventory: Inventory, settings: Settings, deadline: Deadline) -> Observed:
    """Whole objects, as there are but a few and no record certifies them.

    What seems to be missing is looked for by name: it may be there and somebody else's.
    """
    client = access.client
    kinds = {*PLATFORM_KINDS, *(LISTED_KINDS if inventory.platform.shared_clusters else ())}
    observed = observe(
        client,
        sorted(kinds),
        selector=f"{PLATFORM_LABEL}={inventory.platform.namespace}",
        full=True,
        workers=settings.workers,
        deadline=deadline,
    )
    wanted = of_kubernetes(_wanted(inventory, observed))
    missing = [step.id for step in plan_objects(wanted, observed).steps if step.action is Action.CREATE]
    found = in_parallel(lambda id: read_object(client, id, deadline=deadline), missing, workers=settings.workers)
    observed = observed.and_also(Observed(objects={live.id: live for live in found if live is not None}))
    for other in (access.vault, access.archives):
        if other is not None and inventory.platform.shared_clusters:
            observed = observed.and_also(other.observe(deadline=deadline))
    return observed


def _await_definition(client: Client, platform: Platform, plan: Plan, deadline: Deadline) -> Failure | None:
    """Established, and then really served: between the two the API server may answer 404 for a moment."""
    ids = [step.id for step in plan.steps if step.id.kind == DEFINITION]
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


def _report(platform: Platform, access: Access | None, *, steps: tuple[Step, ...], failure: Failure | None) -> Report:
    result = Result.FAILED if failure else Result.CHANGED if steps else Result.UNCHANGED
    outcome = Outcome(ref=platform.namespace, uid="", result=result, steps=steps, failure=failure)
    return Report(
        outcomes=(outcome,),
        reads=access.reads if access else 0,
        writes=access.writes if access else 0,
    )
