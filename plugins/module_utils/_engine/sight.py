# SPDX-License-Identifier: BSD-2-Clause
"""The first half of a run: every project as it should be beside what is there, and the plan between the two."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from .backends.kubernetes import records
from .backends.kubernetes.client import Client
from .backends.kubernetes.kinds import PROJECT_KINDS
from .backends.kubernetes.observe import Observed, observe, read_bodies
from .backends.kubernetes.plan import Stamp, Stamps, doubtful, plan_object, plan_objects
from .backends.kubernetes.records import READY, WAITING, Record
from .deadline import Deadline
from .errors import NotFound, SafetyStop
from .objects import Desired, ObjectId
from .progress import Progress
from .project.model import Platform, Project
from .project.names import PENDING_UID, PROJECT_LABEL, Ref, Uid
from .render import credentials_of, namespace_object_of, render
from .render.record import MANAGERS, render_record
from .settings import Drift, Settings
from .steps import Failure, Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What every stage of one run needs."""

    client: Client
    platform: Platform
    settings: Settings
    progress: Progress
    deadline: Deadline
    now: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """One project as it should be, as it is, and what lies between. `refused` says why it must not be touched."""

    project: Project
    uid: Uid
    record: Record | None
    record_wanted: Desired
    desired: tuple[Desired, ...]
    observed: Observed
    plan: Plan
    refused: Failure | None

    @property
    def stamps(self) -> dict[ObjectId, Stamp]:
        """What can be certified now, as far as it is as wanted; of what was not read whole, what was certified before.

        Of an object that is only ever created its existence is certified, for which its metadata will do.
        """
        changing = {step.id for step in self.plan.steps}
        stamps: dict[ObjectId, Stamp] = {}
        for one in self.desired:
            live = self.observed.find(one.id)
            if live is None or one.id in changing:
                continue
            read = live.body is not None or one.is_create_only
            stamp = Stamp.of(live) if read else self.certified.get(one.id)
            if stamp is not None:
                stamps[one.id] = stamp
        return stamps

    @property
    def certified(self) -> Stamps:
        """What the record certifies."""
        return self.record.status.stamps if self.record and self.record.status else {}

    def is_settled(self, *, wait: bool) -> bool:
        """True if nothing is to be done, written down or, if `wait`, waited for."""
        status = self.record.status if self.record else None
        phases = (READY,) if wait else (READY, WAITING)
        return not self.plan.steps and status is not None and status.phase in phases and status.stamps == self.stamps


def look(run: Run, projects: tuple[Project, ...]) -> tuple[tuple[Sight, ...], tuple[str, ...]]:
    """Everything that is there, in one read per kind, beside what should be; and the refs of records not asked for.

    Raises SafetyStop if the platform does not know the kind of records, BackendError if the cluster cannot be read.
    """
    client, deadline, settings = run.client, run.deadline, run.settings
    run.progress.note(f"reading the state of {len(projects)} projects")
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="observe") as pool:
        observing = pool.submit(
            observe,
            client,
            PROJECT_KINDS,
            selector=PROJECT_LABEL,
            full=settings.drift is Drift.FULL,
            workers=settings.workers,
            deadline=deadline,
        )
        known = _known_records(run)
    observed = observing.result()
    if any(observed.find(namespace_object_of(project.ref)) is None for project in projects):
        # Those that are not ours do not have our label; one more read of the kind finds them for the plan to refuse.
        every = observe(client, ("Namespace",), selector="", full=False, workers=1, deadline=deadline)
        observed = observed.and_also(every)
    sights = sights_of(known, observed, projects, run.platform)
    doubts = tuple(id for sight in sights for id in _doubts(sight, settings.drift))
    read = read_bodies(client, observed, doubts, workers=settings.workers, deadline=deadline)
    if read is not observed:
        sights = sights_of(known, read, projects, run.platform)
    wanted = {project.ref for project in projects}
    left_alone = tuple(sorted(ref for ref in known if ref not in wanted))
    return sights, left_alone


def _known_records(run: Run) -> dict[Ref, Record]:
    """Every record; in check mode none where the platform does not know the kind yet."""
    try:
        return records.read_records(run.client, run.platform.namespace, deadline=run.deadline)
    except NotFound as error:
        if not run.settings.check:
            raise SafetyStop(
                f"The platform is not prepared ({error}). Run the module supalove.platform.platform first."
            ) from error
        return {}


def _doubts(sight: Sight, drift: Drift) -> tuple[ObjectId, ...]:
    return doubtful(sight.desired, sight.observed, sight.certified, drift)


def sights_of(
    known: Mapping[Ref, Record],
    observed: Observed,
    projects: tuple[Project, ...],
    platform: Platform,
) -> tuple[Sight, ...]:
    """Every project beside what is known and observed of it."""
    return tuple(_sight(known.get(project.ref), observed, project, platform) for project in projects)


def _sight(record: Record | None, observed: Observed, project: Project, platform: Platform) -> Sight:
    """A new project has no uid before its record is written; until then a stand-in shows where it will be."""
    uid = record.status.uid if record and record.status else PENDING_UID
    record_wanted = render_record(project, platform)
    secret = observed.find(credentials_of(project.ref))
    desired = render(project, platform, uid, secret.uid if secret else "")
    record_step = plan_object(record_wanted, record.live if record else None)
    rest = plan_objects(desired, observed)
    steps = ((record_step,) if record_step else ()) + rest.steps
    plan = Plan(steps=steps, unchanged=rest.unchanged + (0 if record_step else 1))
    return Sight(
        project=project,
        uid=uid,
        record=record,
        record_wanted=record_wanted,
        desired=desired,
        observed=observed,
        plan=plan,
        refused=_refusal(record, plan),
    )


def _refusal(record: Record | None, plan: Plan) -> Failure | None:
    """Why the project must be left as it is: its record belongs to the other door, or a step says so."""
    if record is not None and record.managed_by not in ("", MANAGERS[0]):
        reason = f"its record is managed by {record.managed_by}; change it there, or remove it from the inventory"
        return Failure(step="plan", object=str(record.live.id), reason=reason)
    for step in plan.refusals:
        return Failure(step="plan", object=str(step.id), reason=step.reason)
    return None
