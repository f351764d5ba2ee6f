# SPDX-License-Identifier: BSD-2-Clause
"""The second half of a run: one lane per project, its steps in order, the waiting, and the record as the last word."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from .authority import CERTIFICATE_KIND
from .backends.kubernetes import records
from .backends.kubernetes.lease import Lease
from .backends.kubernetes.readiness import WAITED_KINDS, Readiness, State
from .backends.kubernetes.records import APPLYING, FAILED, WAITING, Status
from .backends.kubernetes.wait import await_ready
from .deadline import Deadline
from .errors import BackendError, DeadlineExceeded, SafetyStop
from .keeper import Keeper
from .objects import ObjectId
from .observed import Applied, Live, Stamp
from .parallel import in_parallel
from .pause import needs_pause, paused
from .planning import closed_ways, plan_all
from .pooler_certificate import authority_in, keep_certificate
from .progress import Counter
from .project.placement import sessions_at
from .render import credentials_of, endpoints_of
from .render.sql import certificate_of
from .sight import Run, Sight
from .steps import Failure, Step

# What ends one lane and leaves the others alone. A lost lease is among them, so that the report is not lost with it.
LANE_ERRORS = (BackendError, DeadlineExceeded, SafetyStop)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """What was done for one project so far. `held` says why nothing was. `is_born`: its uid stands in its record.

    `authority`: the certificate by which its pooler is verified, if this lane has read it.
    """

    sight: Sight
    is_born: bool
    steps: tuple[Step, ...] = ()
    stamps: Mapping[ObjectId, Stamp]
    failure: Failure | None = None
    waiting_for: tuple[str, ...] = ()
    held: str = ""
    authority: str = ""


def held(sights: Iterable[Sight], reason: str) -> tuple[Lane, ...]:
    """Lanes that were not begun."""
    return tuple(Lane(sight=sight, is_born=sight.is_born, stamps=sight.stamps, held=reason) for sight in sights)


def apply_all(run: Run, sights: tuple[Sight, ...], lease: Lease) -> tuple[Lane, ...]:
    """Every lane as far as it gets; a failure ends its own lane only."""
    done = Counter(run.progress, "projects applied", len(sights))

    def work(sight: Sight) -> Lane:
        threading.current_thread().name = f"project {sight.project.ref}"
        lane = _apply_one(run, sight, lease)
        done.add()
        return lane

    return tuple(in_parallel(work, sights, workers=run.settings.workers))


def _apply_one(run: Run, sight: Sight, lease: Lease) -> Lane:
    """One lane: the record first, with uid and the mark that work has begun; then the objects in their order."""
    lane = Lane(sight=sight, is_born=sight.is_born, stamps=sight.stamps, failure=sight.refused)
    if lane.failure is not None or sight.is_settled(wait=run.settings.wait):
        return lane
    try:
        lane, rest = _begin(run, lane, deque(sight.plan.steps), lease)
        while rest:
            step = rest.popleft()
            lane = _apply_step(run, lane, step, sight.observed.find(step.id), lease)
            if step.id == credentials_of(sight.project.ref):
                rest = _after_the_secret(run, lane, rest)
    except _LaneFailed as failed:
        return replace(failed.lane, failure=failed.failure)
    return lane


def _begin(run: Run, lane: Lane, steps: deque[Step], lease: Lease) -> tuple[Lane, deque[Step]]:
    """Write the record's own step, if there is one, and the mark, if there are others; what is left to do."""
    sight, record_id = lane.sight, lane.sight.record_wanted.id
    if steps and steps[0].id == record_id:
        lane = _apply_step(run, lane, steps.popleft(), sight.record.live if sight.record else None, lease)
    lane = replace(lane, is_born=True)
    # A record without a status is a mark already.
    if steps and sight.record is not None and sight.record.status is not None:
        begun = _status(run, lane, APPLYING, "work has begun")
        try:
            records.write_status(run.client, record_id, begun, deadline=lease.bound(run.deadline))
        except LANE_ERRORS as error:
            raise _LaneFailed(lane, Failure.of("mark", str(record_id), error)) from error
    return lane, steps


def _after_the_secret(run: Run, lane: Lane, rest: deque[Step]) -> deque[Step]:
    """The steps that are left, with the Secret's uid in what depends on it; there may be more of them for it."""
    sight = lane.sight
    secret = lane.stamps[credentials_of(sight.project.ref)]
    desired = run.rendering.objects(sight.project, sight.placement, sight.uid, secret.uid)
    desired += closed_ways(sight.project, run.platform, sight.placement, sight.uid, sight.observed)
    done = {step.id for step in sight.plan.steps} - {step.id for step in rest}
    return deque(step for step in plan_all(desired, sight.observed).steps if step.id not in done)


class _LaneFailed(Exception):
    def __init__(self, lane: Lane, failure: Failure) -> None:
        super().__init__()
        self.lane = lane
        self.failure = failure


def _apply_step(run: Run, lane: Lane, step: Step, before: Live | None, lease: Lease) -> Lane:
    try:
        applied = _apply_gently(run, lane, step, before, lease.bound(run.deadline))
    except LANE_ERRORS as error:
        raise _LaneFailed(lane, Failure.of(step.action, str(step.id), error)) from error
    stamps = lane.stamps
    if step.id != lane.sight.record_wanted.id:
        stamps = {**stamps, step.id: Stamp.of(applied.live)}
    read = authority_in(applied.live) if step.id.kind == CERTIFICATE_KIND else lane.authority
    steps = (*lane.steps, step) if applied.changed else lane.steps
    return replace(lane, steps=steps, stamps=stamps, authority=read)


def _apply_gently(run: Run, lane: Lane, step: Step, before: Live | None, deadline: Deadline) -> Applied:
    """A restart of a database that serves is done behind its pooler."""
    if step.id.kind == CERTIFICATE_KIND:
        return _apply_certificate(run, lane, step, deadline)
    if not needs_pause(lane.sight.project, step):
        return run.access.apply(step, before=before, deadline=deadline)
    with paused(run, lane.sight, deadline) as await_back:
        applied = run.access.apply(step, before=before, deadline=deadline)
        await_back(step.id)
    return applied


def _apply_certificate(run: Run, lane: Lane, step: Step, deadline: Deadline) -> Applied:
    """It goes into the project's Secret, which is there by now."""
    sight = lane.sight
    keeper = Keeper(
        access=run.access, ref=sight.project.ref, uid=sight.uid, deadline=deadline, reason="it gets a new certificate"
    )
    secret = lane.stamps[credentials_of(sight.project.ref)]
    serves = sight.is_born and not sight.project.is_stopped
    return keep_certificate(keeper, step, secret_uid=secret.uid, serves=serves)


def await_all(run: Run, lanes: tuple[Lane, ...]) -> tuple[Lane, ...]:
    """Wait for every project that is written but not known to be ready."""
    wanted = {lane.sight.project.ref: _waited(lane) for lane in lanes}
    ids = [id for some in wanted.values() for id in some]
    if not ids:
        return lanes
    run.progress.note(f"waiting for {len(ids)} workloads to get ready")
    answers = await_ready(
        run.client,
        ids,
        deadline=run.deadline,
        progress=lambda done, total: run.progress.count("workloads ready", done, total),
    )
    return tuple(_judged(lane, wanted[lane.sight.project.ref], answers) for lane in lanes)


def _waited(lane: Lane) -> tuple[ObjectId, ...]:
    if lane.failure is not None or (not lane.steps and lane.sight.is_settled(wait=True)):
        return ()
    return tuple(one.id for one in lane.sight.desired if one.id.kind in WAITED_KINDS)


def _judged(lane: Lane, ids: Iterable[ObjectId], answers: Mapping[ObjectId, Readiness]) -> Lane:
    for id in ids:
        if answers[id].state is State.FAILED:
            return replace(lane, failure=Failure(step="wait", object=str(id), reason=answers[id].reason))
    laggards = tuple(f"{id}: {answers[id].reason}" for id in ids if answers[id].state is State.WAITING)
    return replace(lane, waiting_for=laggards)


def write_records(run: Run, lanes: tuple[Lane, ...], lease: Lease, *, waited: bool) -> tuple[Lane, ...]:
    """The last write of every lane that did something: its outcome and what can be certified from now on."""
    # Written even when the run's time is up: it says so.
    deadline = lease.bound(Deadline(limit_seconds=max(run.deadline.remaining(), run.settings.lease_seconds)))

    def write(lane: Lane) -> Lane:
        if lane.held or lane.sight.refused is not None or not lane.is_born or _is_as_it_was(lane, waited=waited):
            return lane
        status = _status(run, lane, *_phase(lane, waited=waited))
        if not lane.steps and lane.sight.record is not None and lane.sight.record.status == status:
            return lane
        try:
            records.write_status(run.client, lane.sight.record_wanted.id, status, deadline=deadline)
        except LANE_ERRORS as error:
            failure = lane.failure or Failure.of("record", str(lane.sight.record_wanted.id), error)
            return replace(lane, failure=failure)
        return lane

    return tuple(in_parallel(write, lanes, workers=run.settings.workers))


def _is_as_it_was(lane: Lane, *, waited: bool) -> bool:
    """True if the record already says all that this run knows. A run that does not wait cannot know of readiness."""
    return not (lane.steps or lane.failure or lane.waiting_for) and lane.sight.is_settled(wait=waited)


def _phase(lane: Lane, *, waited: bool) -> tuple[str, str]:
    if lane.failure is not None:
        return FAILED, f"{lane.failure.step} {lane.failure.object}: {lane.failure.reason}"
    if lane.waiting_for:
        return WAITING, "; ".join(lane.waiting_for)
    if not waited:
        return WAITING, "all is written; nobody waited for it to get ready"
    return lane.sight.goal, "all is as wanted"


def _status(run: Run, lane: Lane, phase: str, message: str) -> Status:
    project = lane.sight.project
    before = lane.sight.record.status if lane.sight.record else None
    return Status(
        uid=lane.sight.uid,
        phase=phase,
        placement=str(lane.sight.placement),
        sessions=sessions_at(lane.sight.placement, project),
        reason=phase,
        message=message,
        since=before.since if before is not None and before.phase == phase else run.now,
        endpoints=endpoints_of(project, run.platform, lane.sight.uid),
        authority=_authority(lane),
        inputs=_inputs(run, lane),
        stamps=lane.stamps,
    )


def _authority(lane: Lane) -> str:
    """Read in this lane, or before it in this run, or in an earlier one; nothing without a way from outside."""
    sight = lane.sight
    if not sight.project.tier.has_services:
        return ""
    before = sight.record.status.authority if sight.record and sight.record.status else ""
    return lane.authority or authority_in(sight.observed.find(certificate_of(sight.project.ref))) or before


def _inputs(run: Run, lane: Lane) -> str:
    """What all of the project's objects follow from, if all of them are certified; else nothing."""
    sight = lane.sight
    secret = lane.stamps.get(credentials_of(sight.project.ref))
    if secret is None or len(lane.stamps) < len(sight.desired):
        return ""
    return run.rendering.inputs.digest(sight.project, sight.placement, sight.uid, secret.uid, len(lane.stamps))
