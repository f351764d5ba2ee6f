# SPDX-License-Identifier: BSD-2-Clause
"""What all projects stand on: the platform's own few objects, brought into place one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from .access import Access
from .backends.kubernetes import records
from .backends.kubernetes.client import Client
from .backends.kubernetes.kinds import LISTED_KINDS, OPENSHIFT_KINDS, PLATFORM_KINDS
from .backends.kubernetes.nodes import read_nodes
from .backends.kubernetes.observe import observe, read_object
from .backends.kubernetes.plan import plan_objects
from .backends.kubernetes.readiness import WAITED_KINDS
from .capacity import missing_runtimes, runtimes_of
from .cluster_lives import lives_of, read_life, volume_refusal
from .deadline import Deadline
from .errors import BackendError, DeadlineExceeded, NotFound, SafetyStop
from .objects import Desired, ObjectId
from .observed import NOTHING, Observed
from .parallel import in_parallel
from .planning import of_kubernetes, plan_all
from .progress import Progress
from .project.life import Life
from .project.model import Inventory, Platform, SharedCluster
from .project.names import PLATFORM_LABEL
from .project.vocabulary import OPENSHIFT_ROUTES, RUNTIMES_VARIABLE
from .render.cluster import (
    cluster_credentials_of,
    cluster_namespace_object_of,
    cluster_server_of,
    render_cluster,
)
from .render.context import DATA_PLANE
from .render.platform import render_platform
from .settings import Settings
from .standing import DEFINITION, POLL_SECONDS, await_all, is_ready, refusal_of, report_of
from .steps import Action, Failure, Plan, Report, Step


def prepare(access: Access | None, inventory: Inventory, *, settings: Settings, progress: Progress) -> Report:
    """Bring the platform's objects into place; the report has one outcome. `access` is None where no cluster is yet.

    1. What pods need comes first, the passwords of shared clusters among it: pods say whose they are.
    2. Then the pods of shared clusters, for which it waits, for those of an earlier run, too. What serves already is
       restarted one after the other, and no further once one does not come back.
    3. A cluster under a runtime that no node has is left as it is, and said to have failed at the end.

    Repeating any of it is harmless, so it takes no lease, whose namespace it is that makes. A restore of a cluster that
    begins meanwhile is looked for before each step that could undo it.

    Raises SafetyStop if the life of a cluster cannot be read, or projects are to have Routes and cannot.
    """
    deadline = Deadline(limit_seconds=settings.timeout_seconds)
    platform = inventory.platform
    part = _Part(platform=platform, rest=render_platform(inventory), clusters=platform.shared_clusters)
    return _bring(access, part, settings=settings, progress=progress, deadline=deadline, writing=deadline)


def begin_life(
    access: Access,
    platform: Platform,
    cluster: SharedCluster,
    life: Life,
    *,
    settings: Settings,
    progress: Progress,
    deadline: Deadline,
    writing: Deadline,
) -> Report:
    """Bring one shared cluster alone into another life, and wait until it serves. As `prepare` goes on with it.

    `writing`: until when it may write, which is no longer than the run has the lease.
    """
    part = _Part(platform=platform, rest=(), clusters=(cluster,), begun={cluster.name: life})
    return _bring(access, part, settings=settings, progress=progress, deadline=deadline, writing=writing)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """What a run is about: shared clusters, and the `rest` of the platform. `begun`: lives that this run begins."""

    platform: Platform
    rest: tuple[Desired, ...]
    clusters: tuple[SharedCluster, ...]
    begun: Mapping[str, Life] = field(default_factory=dict)

    def lives(self, observed: Observed) -> Mapping[str, Life]:
        return {**lives_of(observed, self.clusters), **self.begun}

    def wanted(self, observed: Observed) -> tuple[Desired, ...]:
        secrets = {one.name: observed.find(cluster_credentials_of(one)) for one in self.clusters}
        lives = self.lives(observed)
        clusters = (
            render_cluster(one, self.platform, secret.uid if (secret := secrets[one.name]) else "", lives.get(one.name))
            for one in self.clusters
        )
        return (*self.rest, *(desired for cluster in clusters for desired in cluster))


def _bring(
    access: Access | None,
    part: _Part,
    *,
    settings: Settings,
    progress: Progress,
    deadline: Deadline,
    writing: Deadline,
) -> Report:
    platform = part.platform
    observed = NOTHING if access is None else _look(access, part, settings, deadline)
    plan = plan_all(part.wanted(observed), observed)
    refusal = volume_refusal(observed, part.clusters, part.lives(observed)) or refusal_of(plan)
    if refusal is not None:
        return report_of(platform.namespace, access, (), refusal)
    stranded = {} if access is None else _stranded(access.client, part.clusters, plan, deadline)
    if stranded:
        part = replace(part, clusters=tuple(one for one in part.clusters if one.name not in stranded))
        plan = plan_all(part.wanted(observed), observed)
    left = next(iter(stranded.values()), None)
    if access is None or settings.check:
        return report_of(platform.namespace, access, plan.steps, left)
    progress.note(f"preparing the platform: {len(plan.steps)} changes")
    guard = partial(_overtaken, access.client, part, observed, deadline)
    work = _Work(access=access, observed=observed, deadline=deadline, writing=writing, unless=guard)
    work.do(step for step in plan.steps if step.id.kind not in WAITED_KINDS)
    if work.failure is None and any(step.id.kind == DEFINITION for step in plan.steps):
        work.failure = _await_definition(access.client, platform, plan, deadline)
    wanted = part.wanted(work.observed)
    pods = [step for step in plan_all(wanted, work.observed).steps if step.id.kind in WAITED_KINDS]
    work.do(step for step in pods if step.action is Action.CREATE)
    _restart(work, [step for step in pods if step.action is Action.UPDATE], platform, progress)
    if work.failure is None and settings.wait:
        ids = [one.id for one in wanted if one.id.kind in WAITED_KINDS and not is_ready(work.observed.find(one.id))]
        work.failure = _await_clusters(work, ids, platform, progress)
    return report_of(platform.namespace, access, tuple(work.done), work.failure or left)


def _stranded(client: Client, clusters: Iterable[SharedCluster], plan: Plan, deadline: Deadline) -> dict[str, Failure]:
    """The shared clusters whose pod is to come or to change under a runtime that no node has. The others go on."""
    runtimes = dict(runtimes_of(plan))
    if not runtimes:
        return {}
    nodes = read_nodes(client, selector=f"{DATA_PLANE}=true", deadline=deadline)
    found: dict[str, Failure] = {}
    for cluster in clusters:
        server = cluster_server_of(cluster.name)
        for problem in missing_runtimes([name] if (name := runtimes.get(server)) else [], nodes, RUNTIMES_VARIABLE):
            found[cluster.name] = Failure(step="plan", object=str(server), reason=str(problem))
    return found


def _overtaken(client: Client, part: _Part, observed: Observed, deadline: Deadline, step: Step) -> Failure | None:
    """Why a step may not be done: a restore of its cluster has begun since this was looked at, which nobody locks.

    Asked right before each step on a namespace, which keeps the life, and on a server, as those before it take minutes.
    """
    for cluster in part.clusters:
        if cluster.name in part.begun or step.id not in (
            cluster_namespace_object_of(cluster.name),
            cluster_server_of(cluster.name),
        ):
            continue
        try:
            now = read_life(client, cluster.name, deadline=deadline)
        except (BackendError, DeadlineExceeded, SafetyStop) as error:
            return Failure.of("read", str(step.id), error)
        if now != part.lives(observed).get(cluster.name):
            return Failure(step="plan", object=str(step.id), reason="a restore of it has just begun; run again")
    return None


@dataclass(slots=True, kw_only=True)
class _Work:
    """What was found, what has been done to it, and the failure that ended it.

    `unless`: asked before each step, why it may not be done.
    """

    access: Access
    observed: Observed
    deadline: Deadline
    writing: Deadline
    unless: Callable[[Step], Failure | None]
    done: list[Step] = field(default_factory=list)
    failure: Failure | None = None

    def do(self, steps: Iterable[Step]) -> None:
        """Step after step, until one fails."""
        for step in steps:
            if self.failure is None:
                self.failure = self.unless(step) or self._do(step)

    def _do(self, step: Step) -> Failure | None:
        try:
            applied = self.access.apply(step, before=self.observed.find(step.id), deadline=self.writing)
        except (BackendError, DeadlineExceeded, SafetyStop) as error:
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
    count = partial(progress.count, "shared clusters ready")
    return await_all(work.access.client, platform, ids, deadline=work.deadline, progress=count)


def _look(access: Access, part: _Part, settings: Settings, deadline: Deadline) -> Observed:
    """Whole objects, as there are but a few and no record certifies them.

    What seems to be missing is looked for by name: it may be there and somebody else's.
    """
    client = access.client
    # Of projects' Routes nothing is asked but whether there can be any, before something is made for them. What the
    # gateway brings may still come: a run on projects asks for that.
    routes = OPENSHIFT_KINDS if part.platform.gateway_kind == OPENSHIFT_ROUTES else ()
    kinds = {*PLATFORM_KINDS, *(LISTED_KINDS if part.clusters else ()), *routes}
    observed = observe(
        client,
        sorted(kinds),
        selector=f"{PLATFORM_LABEL}={part.platform.namespace}",
        full=True,
        workers=settings.workers,
        deadline=deadline,
    )
    wanted = of_kubernetes(part.wanted(observed))
    missing = [step.id for step in plan_objects(wanted, observed).steps if step.action is Action.CREATE]
    found = in_parallel(lambda id: read_object(client, id, deadline=deadline), missing, workers=settings.workers)
    observed = observed.and_also(Observed(objects={live.id: live for live in found if live is not None}))
    for other in (access.vault, access.archives):
        if other is not None and part.clusters:
            observed = observed.and_also(other.observe(deadline=deadline))
    return observed


def _await_definition(client: Client, platform: Platform, plan: Plan, deadline: Deadline) -> Failure | None:
    """Established, and then really served: between the two the API server may answer 404 for a moment."""
    ids = [step.id for step in plan.steps if step.id.kind == DEFINITION]
    failure = await_all(client, platform, ids, deadline=deadline)
    if failure is not None:
        return failure
    while deadline.remaining() > 0:
        try:
            records.read_records(client, platform.namespace, deadline=deadline)
        except NotFound:
            time.sleep(POLL_SECONDS)
        else:
            return None
    return Failure(step="wait", object=str(ids[0]), reason="its objects cannot be listed")
