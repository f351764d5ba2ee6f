# SPDX-License-Identifier: BSD-2-Clause
"""From projects to outcomes: look, guard, take the lease, apply in lanes and waves, wait, write the records."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Collection
from dataclasses import replace

from .access import Access
from .backends.kubernetes.lease import Lease
from .backends.kubernetes.nodes import read_nodes
from .backends.kubernetes.observe import read_object
from .backends.kubernetes.readiness import WAITED_KINDS
from .capacity import runtimes_of
from .deadline import Deadline
from .guard import (
    refuse_empty_prune,
    refuse_filtered_prune,
    refuse_lack_of_room,
    refuse_missing_runtime,
    refuse_unknown_choice,
)
from .lane import Lane, apply_all, await_all, held, write_records
from .objects import ObjectId
from .progress import Progress
from .project.model import Inventory
from .purge import planned, purge_all, purges_of
from .render import endpoints_of
from .render.context import DATA_PLANE
from .rendering import Rendering
from .scope import chosen_of, scope_of
from .settings import Settings
from .sight import Run, Sight, look, read_all, sights_of, unseen
from .steps import Outcome, Report, Result
from .waves import waves_of


def reconcile(
    access: Access | None,
    inventory: Inventory,
    *,
    settings: Settings,
    progress: Progress,
    lease: Lease | None = None,
) -> Report:
    """Bring every project to what it should be and report on each. `access` is None where there is no cluster yet.

    1. Look without the lease. If all is settled, or in check mode, nothing is written at all.
    2. Otherwise take the lease and look again: what was seen before may have been another run's work in progress.
    3. Every project has a lane of its own; a failure ends its lane and no other. Many restarts go in waves.
    4. Records are written last. A kill before that leaves a phase other than the wanted one, which the next run
       takes up.

    `lease`: one that is held already.

    Raises InvalidSpec if the input contradicts the records or has no room, SafetyStop if a guard refuses, the cluster
    lacks a kind, another run is at work or the lease is lost, BackendError if the cluster cannot be read.
    """
    refuse_unknown_choice(inventory, settings.only or ())
    refuse_filtered_prune(settings)
    refuse_empty_prune(inventory, settings)
    if access is None:
        projects = chosen_of(inventory, settings)
        return _report_of_plan(sights_of(unseen(inventory), projects, inventory.platform), ())
    run = Run(
        access=access,
        inventory=inventory,
        settings=settings,
        progress=progress,
        deadline=Deadline(limit_seconds=settings.timeout_seconds),
        now=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        rendering=Rendering.for_show(inventory.platform) if settings.check else Rendering(inventory.platform),
    )
    return _costs(_reconcile(run, lease), run)


def _reconcile(run: Run, held: Lease | None) -> Report:
    known, observed = read_all(run)
    scope = scope_of(run, known)
    sights, left_alone = look(run, scope.projects, known, observed)
    sights = _with_runtimes(run, sights)
    _check_room(run, sights)
    purges = purges_of(run, known)
    wait = run.settings.wait
    settled = not scope.failed and all(sight.refused or sight.is_settled(wait=wait) for sight in sights)
    if run.settings.check or (settled and not purges):
        return _merged(_report_of_plan(sights, left_alone), (*scope.failed, *planned(run, purges)))
    report = _report_of_plan(sights, left_alone)
    if not settled:
        platform, seconds = run.platform, run.settings.lease_seconds
        new = Lease(run.client, platform.namespace, seconds=seconds, progress=run.progress, deadline=run.deadline)
        with new if held is None else contextlib.nullcontext(held) as lease:
            known, observed = read_all(run)
            scope = scope_of(run, known)
            sights, left_alone = look(run, scope.projects, known, observed)
            lanes = _roll(run, _with_runtimes(run, sights), lease)
        report = Report(outcomes=tuple(_outcome(lane, run) for lane in lanes), left_alone=left_alone)
    return _merged(report, (*scope.failed, *purge_all(run)))


def _with_runtimes(run: Run, sights: tuple[Sight, ...]) -> tuple[Sight, ...]:
    """Refuse projects whose pods would come or change under a runtime that is not there; the others go on."""
    runtimes = {name for sight in sights if not sight.refused for _id, name in runtimes_of(sight.plan)}
    if not runtimes:
        return sights
    nodes = read_nodes(run.client, selector=f"{DATA_PLANE}=true", deadline=run.deadline)
    return refuse_missing_runtime(sights, _known_runtimes(run, runtimes), nodes)


def _check_room(run: Run, sights: tuple[Sight, ...]) -> None:
    """Asked only if pods are to come or to grow, so that the steady run does not read the nodes."""
    if not run.settings.check_capacity:
        return
    if any(step.id.kind in WAITED_KINDS for sight in sights for step in sight.plan.steps):
        nodes = read_nodes(run.client, selector=f"{DATA_PLANE}=true", deadline=run.deadline)
        refuse_lack_of_room(sights, nodes, run.platform)


def _known_runtimes(run: Run, runtimes: Collection[str]) -> set[str]:
    """Those of which the cluster has a RuntimeClass. A check takes those for known that the platform would make."""
    if run.settings.check:
        return set(runtimes)
    ids = {name: ObjectId(kind="RuntimeClass", name=name) for name in runtimes}
    return {name for name, id in ids.items() if read_object(run.client, id, deadline=run.deadline) is not None}


def _roll(run: Run, sights: tuple[Sight, ...], lease: Lease) -> tuple[Lane, ...]:
    """Wave after wave, each awaited and written down, until too many have failed or the time is up."""
    waves = waves_of(sights, size=run.settings.wave_size)
    wait = run.settings.wait or len(waves) > 1
    done: list[Lane] = []
    for number, wave in enumerate(waves, start=1):
        reason = _reason_to_hold(run, done)
        if reason:
            done += held(wave, reason)
            continue
        if len(waves) > 1:
            run.progress.note(f"wave {number} of {len(waves)}: {len(wave)} projects")
        lanes = apply_all(run, wave, lease)
        lanes = await_all(run, lanes) if wait else lanes
        done += write_records(run, lanes, lease, waited=wait)
    return tuple(sorted(done, key=lambda lane: lane.sight.project.ref))


def _reason_to_hold(run: Run, done: list[Lane]) -> str:
    """Why no further wave may begin. Failures of projects that are new or were refused say nothing about the change."""
    bad = [
        lane.sight.project.ref
        for lane in done
        if (lane.failure or lane.waiting_for) and lane.sight.record is not None and lane.sight.refused is None
    ]
    if len(bad) > run.settings.wave_failures:
        return f"the change is held back, as it went wrong on {', '.join(bad[:5])}; mend these and run again"
    if run.deadline.remaining() <= 0:
        return f"the time of {run.settings.timeout_seconds:g} s is up; run again to go on"
    return ""


def _outcome(lane: Lane, run: Run) -> Outcome:
    result = Result.CHANGED if lane.steps else Result.UNCHANGED
    if lane.held:
        result = Result.HELD
    elif lane.failure is not None:
        result = Result.FAILED
    elif lane.waiting_for:
        result = Result.WAITING
    return Outcome(
        ref=lane.sight.project.ref,
        uid=lane.sight.uid if lane.is_born else "",
        result=result,
        steps=lane.steps,
        failure=lane.failure,
        waiting_for=lane.waiting_for,
        held=lane.held,
        endpoints=endpoints_of(lane.sight.project, run.platform, lane.sight.uid) if lane.is_born else {},
    )


def _report_of_plan(sights: tuple[Sight, ...], left_alone: tuple[str, ...]) -> Report:
    """What would be done; also what a run with nothing to do reports."""
    outcomes = tuple(
        Outcome(
            ref=sight.project.ref,
            uid=sight.uid if sight.is_born else "",
            result=Result.FAILED if sight.refused else Result.CHANGED if sight.plan.steps else Result.UNCHANGED,
            steps=() if sight.refused else sight.plan.steps,
            failure=sight.refused,
            endpoints=dict(sight.record.status.endpoints) if sight.record and sight.record.status else {},
        )
        for sight in sights
    )
    return Report(outcomes=outcomes, left_alone=left_alone)


def _merged(report: Report, more: tuple[Outcome, ...]) -> Report:
    """The outcomes of one ref are one: what was purged was stopped before."""
    latest = {outcome.ref: outcome for outcome in (*report.outcomes, *more)}
    return replace(report, outcomes=tuple(latest[ref] for ref in sorted(latest)))


def _costs(report: Report, run: Run) -> Report:
    return replace(report, reads=run.access.reads, writes=run.access.writes)
