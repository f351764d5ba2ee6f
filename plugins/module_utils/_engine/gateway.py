# SPDX-License-Identifier: BSD-2-Clause
"""The platform's front door, brought into place: definitions of its kinds first, then what runs and where it leads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

from .backends.kubernetes.apply import apply
from .backends.kubernetes.client import Client
from .backends.kubernetes.delete import remove
from .backends.kubernetes.kinds import GATEWAY_KINDS, ROUTE_KINDS, collection_path
from .backends.kubernetes.observe import live_of, observe_served, read_metadata, read_object
from .backends.kubernetes.plan import plan_object
from .backends.kubernetes.readiness import WAITED_KINDS
from .certificates import Certificate, apply_certificate, plan_certificate
from .deadline import Deadline
from .errors import BackendError, DeadlineExceeded, NotFound, SafetyStop
from .objects import Body, Desired, ObjectId
from .observed import NOTHING, Observed
from .parallel import in_parallel
from .progress import Progress
from .project.model import Platform
from .project.names import PLATFORM_LABEL
from .render.gateway import render_gateway
from .render.gateway_pods import TRAEFIK, FrontDoor, gateway_namespace_of
from .settings import Settings
from .standing import DEFINITION, POLL_SECONDS, await_all, is_ready, refusal_of, report_of
from .steps import Action, Failure, Plan, Report, Step

# Kinds of which an arrival has some and another one has others.
WAYS = ("Service", "Deployment", "PodDisruptionBudget", "DaemonSet")


def owned_definition(platform: Platform, body: Body) -> Desired:
    """A definition as its file has it, marked as the platform's."""
    meta = body["metadata"]
    kept = {key: meta[key] for key in ("name", "annotations") if meta.get(key)}
    labels = {**(meta.get("labels") or {}), PLATFORM_LABEL: platform.namespace}
    rest = {key: value for key, value in body.items() if key not in ("metadata", "status")}
    return Desired(body={**rest, "metadata": {**kept, "labels": labels}})


def keep_gateway(
    client: Client | None,
    platform: Platform,
    door: FrontDoor,
    certificate: Certificate,
    definitions: Iterable[Body],
    *,
    settings: Settings,
    progress: Progress,
) -> Report:
    """Bring the front door into place; the report has one outcome. `client` is None where no cluster is yet.

    1. What is somebody else's is refused, and then nothing is written.
    2. Definitions first, and until the server serves them; then the rest in the order of rendering.
    3. Then it waits for the pods, and only then removes what traffic arrived by before, if that has changed.

    Repeating any of it is harmless, so it takes no lease.
    """
    deadline = Deadline(limit_seconds=settings.timeout_seconds)
    made = tuple(owned_definition(platform, body) for body in definitions)
    wanted = (*made, *render_gateway(platform, door))
    observed = NOTHING if client is None else _look(client, platform, wanted, settings, deadline)
    ref = gateway_namespace_of(platform)
    plan = Plan.of((*(_planned(one, observed) for one in wanted), *_outdated(platform, wanted, observed)))
    refused = refusal_of(plan)
    if client is None or settings.check or refused is not None:
        return report_of(ref, client, () if refused else plan.steps, refused)
    progress.note(f"keeping the gateway: {len(plan.steps)} changes")
    work = _Work(client=client, observed=observed, certificate=certificate, deadline=deadline)
    work.do(step for step in plan.steps if step.id.kind == DEFINITION)
    if work.done:
        work.then(lambda: _await_definitions(client, platform, work.done, deadline))
    work.do(step for step in plan.steps if step.id.kind != DEFINITION and step.action is not Action.DELETE)
    if settings.wait:
        waited = [one.id for one in wanted if one.id.kind in WAITED_KINDS and not is_ready(work.observed.find(one.id))]
        work.then(lambda: _await_pods(client, platform, waited, deadline, progress))
    work.do(step for step in plan.steps if step.action is Action.DELETE)
    return report_of(ref, client, tuple(work.done), work.failure)


@dataclass(slots=True, kw_only=True)
class _Work:
    """What was found, what has been done to it, and the failure that ended it."""

    client: Client
    observed: Observed
    certificate: Certificate
    deadline: Deadline
    done: list[Step] = field(default_factory=list)
    failure: Failure | None = None

    def do(self, steps: Iterable[Step]) -> None:
        """Step after step, until one fails."""
        for step in steps:
            self.then(partial(self._do, step))

    def then(self, what: Callable[[], Failure | None]) -> None:
        """Go on, unless something has failed."""
        if self.failure is None:
            self.failure = what()

    def _do(self, step: Step) -> Failure | None:
        try:
            if step.action is Action.DELETE:
                remove(self.client, step.id, deadline=self.deadline)
                self.done.append(step)
                return None
            if step.id.kind == "Secret":
                apply_certificate(self.client, step.desired, self.certificate, deadline=self.deadline)
                self.done.append(step)
                return None
            applied = apply(self.client, step, before=self.observed.find(step.id), deadline=self.deadline)
        except (BackendError, DeadlineExceeded, SafetyStop) as error:
            return Failure.of(step.action, str(step.id), error)
        self.observed = self.observed.with_bodies([(step.id, applied.live)])
        if applied.changed:
            self.done.append(step)
        return None


def _planned(desired: Desired, observed: Observed) -> Step | None:
    live = observed.find(desired.id)
    return plan_certificate(desired, live) if desired.id.kind == "Secret" else plan_object(desired, live)


def _outdated(platform: Platform, wanted: tuple[Desired, ...], observed: Observed) -> Iterator[Step]:
    """What Traefik ran as, or was reached by, before its arrival changed. Only what is the platform's was read."""
    kept = {one.id for one in wanted}
    for kind in WAYS:
        live = observed.find(ObjectId(kind=kind, namespace=gateway_namespace_of(platform), name=TRAEFIK))
        if live is not None and live.id not in kept and live.body is not None and not live.is_going:
            reason, gone = "traffic arrives in another way", Desired(body=live.body)
            yield Step(action=Action.DELETE, id=live.id, reason=reason, desired=gone, before=live.body)


def _look(
    client: Client, platform: Platform, wanted: tuple[Desired, ...], settings: Settings, deadline: Deadline
) -> Observed:
    """Whole objects, as there are but a few; the certificate's Secret without its values.

    What seems to be missing is looked for by name: it may be there and somebody else's.
    """
    selector = f"{PLATFORM_LABEL}={platform.namespace}"

    def named(id: ObjectId) -> Observed:
        if id.kind == "Secret":
            meta = read_metadata(client, id, deadline=deadline)
            found = None if meta is None else live_of(id, {"metadata": meta}, with_body=False)
        else:
            found = read_object(client, id, deadline=deadline)
        return NOTHING if found is None else Observed(objects={id: found})

    workers = settings.workers
    observed = observe_served(
        client, sorted(GATEWAY_KINDS), selector=selector, full=True, workers=workers, deadline=deadline
    )
    missing = [one.id for one in wanted if observed.find(one.id) is None]
    for part in in_parallel(named, missing, workers=workers):
        observed = observed.and_also(part)
    return observed


def _await_definitions(client: Client, platform: Platform, steps: list[Step], deadline: Deadline) -> Failure | None:
    """Established, and then really served: between the two the API server may answer 404 for a moment."""
    ids = [step.id for step in steps if step.id.kind == DEFINITION]
    failure = await_all(client, platform, ids, deadline=deadline)
    if failure is not None:
        return failure
    try:
        for kind in ROUTE_KINDS:
            while not _is_served(client, kind, deadline):
                time.sleep(POLL_SECONDS)
    except (BackendError, DeadlineExceeded) as error:
        return Failure.of("wait", kind, error)
    return None


def _is_served(client: Client, kind: str, deadline: Deadline) -> bool:
    try:
        client.get(collection_path(kind), subject=kind, deadline=deadline, query={"limit": "1"})
    except NotFound:
        return False
    return True


def _await_pods(
    client: Client, platform: Platform, ids: list[ObjectId], deadline: Deadline, progress: Progress
) -> Failure | None:
    if not ids:
        return None
    progress.note("waiting for the gateway's pods")
    count = partial(progress.count, "parts of the gateway ready")
    return await_all(client, platform, ids, deadline=deadline, progress=count)
