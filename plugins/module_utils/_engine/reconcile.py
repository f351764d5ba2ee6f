# SPDX-License-Identifier: BSD-2-Clause
"""From projects to outcomes: look, plan, take the lease, apply in lanes, wait, write the records."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import replace

from .backends.kubernetes.client import Client
from .backends.kubernetes.lease import Lease
from .deadline import Deadline
from .lane import Lane, apply_all, await_all, write_records
from .observed import NOTHING
from .progress import Progress
from .project.model import Platform, Project
from .project.names import PENDING_UID, Uid, new_uid
from .render import endpoints_of
from .settings import Settings
from .sight import Run, Sight, look, sights_of
from .steps import Outcome, Report, Result


def reconcile(
    client: Client | None,
    projects: tuple[Project, ...],
    platform: Platform,
    *,
    settings: Settings,
    progress: Progress,
    make_uid: Callable[[], Uid] = new_uid,
) -> Report:
    """Bring every project to what it should be and report on each.

    1. Look without the lease. If all is settled, or in check mode, nothing is written at all.
    2. Otherwise take the lease and look again: what was seen before may have been another run's work in progress.
    3. Every project has a lane of its own; a failure ends its lane and no other.
    4. Records are written last. A kill before that leaves a phase other than Ready, which the next run takes up.

    Raises SafetyStop if another run is at work or the lease is lost, BackendError if the cluster cannot be read.
    """
    if client is None:
        return _report_of_plan(sights_of({}, NOTHING, projects, platform), ())
    run = Run(
        client=client,
        platform=platform,
        settings=settings,
        progress=progress,
        deadline=Deadline(limit_seconds=settings.timeout_seconds),
        now=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    sights, left_alone = look(run, projects)
    if settings.check or all(sight.refused or sight.is_settled(wait=settings.wait) for sight in sights):
        return _costs(_report_of_plan(sights, left_alone), client)
    with Lease(
        client, platform.namespace, seconds=settings.lease_seconds, progress=progress, deadline=run.deadline
    ) as lease:
        sights, left_alone = look(run, projects)
        lanes = apply_all(run, sights, lease, make_uid)
        lanes = await_all(run, lanes) if settings.wait else lanes
        lanes = write_records(run, lanes, lease)
    report = Report(outcomes=tuple(_outcome(lane, run) for lane in lanes), left_alone=left_alone)
    return _costs(report, client)


def _outcome(lane: Lane, run: Run) -> Outcome:
    result = Result.CHANGED if lane.steps else Result.UNCHANGED
    if lane.failure is not None:
        result = Result.FAILED
    elif lane.waiting_for:
        result = Result.WAITING
    return Outcome(
        ref=lane.sight.project.ref,
        uid=lane.uid,
        result=result,
        steps=lane.steps,
        failure=lane.failure,
        waiting_for=lane.waiting_for,
        endpoints=endpoints_of(lane.sight.project, run.platform, lane.uid) if lane.uid != PENDING_UID else {},
    )


def _report_of_plan(sights: tuple[Sight, ...], left_alone: tuple[str, ...]) -> Report:
    """What would be done; also what a run with nothing to do reports."""
    outcomes = tuple(
        Outcome(
            ref=sight.project.ref,
            uid="" if sight.uid == PENDING_UID else sight.uid,
            result=Result.FAILED if sight.refused else Result.CHANGED if sight.plan.steps else Result.UNCHANGED,
            steps=() if sight.refused else sight.plan.steps,
            failure=sight.refused,
            endpoints=dict(sight.record.status.endpoints) if sight.record and sight.record.status else {},
        )
        for sight in sights
    )
    return Report(outcomes=outcomes, left_alone=left_alone)


def _costs(report: Report, client: Client) -> Report:
    return replace(report, reads=client.reads, writes=client.writes)
