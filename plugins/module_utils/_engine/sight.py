# SPDX-License-Identifier: BSD-2-Clause
"""The first half of a run: every project as it should be beside what is there, and the plan between the two."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from .access import Access
from .backends.kubernetes import records
from .backends.kubernetes.client import Client
from .backends.kubernetes.kinds import listed_kinds
from .backends.kubernetes.observe import observe, observe_each, read_bodies
from .backends.kubernetes.plan import doubtful, plan_object
from .backends.kubernetes.records import READY, STOPPED, WAITING, Record
from .databases import DATABASE_KIND
from .deadline import Deadline
from .errors import BackendError, EngineError, NotFound, SafetyStop
from .lives import revived
from .objects import Desired, ObjectId
from .observed import NOTHING, Live, Observed, Stamp, Stamps
from .planning import closed_ways, of_kubernetes, plan_all
from .pooler_certificate import certificates, read_certificates
from .progress import Progress
from .project.model import Inventory, Platform, Project
from .project.names import PROJECT_LABEL, Ref, Uid
from .project.placement import Placed, Placement, misplaced, place
from .project.vocabulary import MANAGERS
from .render import credentials_of, namespace_object_of, render, secrets_of
from .render.record import render_record
from .rendering import Rendering
from .settings import Drift, Settings
from .steps import Action, Failure, Plan

# What holds a project's data.
DATA_KINDS = ("PersistentVolumeClaim", DATABASE_KIND)
LOST = (
    "it was there and is gone, with all its data. Bring these back (playbook restore.yml), or name the project in "
    "data_lost to let it begin with nothing"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What every stage of one run needs."""

    access: Access
    inventory: Inventory
    settings: Settings
    progress: Progress
    deadline: Deadline
    now: str
    rendering: Rendering

    @property
    def client(self) -> Client:
        """The way to the API server."""
        return self.access.client

    @property
    def platform(self) -> Platform:
        """What all projects share."""
        return self.inventory.platform


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """One project as it should be, as it is, and what lies between. `refused` says why it must not be touched.

    `is_certain`: nothing that its objects follow from and none of them has changed since they were certified. Then it
    is not worked out what they should be.
    """

    project: Project
    placement: Placement
    uid: Uid
    record: Record | None
    record_wanted: Desired
    desired: tuple[Desired, ...]
    observed: Observed
    plan: Plan
    is_certain: bool
    refused: Failure | None

    def objects(self, platform: Platform) -> tuple[Desired, ...]:
        """What should be, also of a project for which it was not worked out."""
        return render(self.project, platform, self.placement, self.uid) if self.is_certain else self.desired

    @property
    def stamps(self) -> Stamps:
        """What can be certified now, as far as it is as wanted; of what was not read whole, what was certified before.

        Of an object that is only ever created its existence is certified, for which its metadata will do.
        """
        if self.is_certain:
            return self.certified
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

    @property
    def is_born(self) -> bool:
        """True if the project's uid stands in its record."""
        return self.record is not None and self.record.uid is not None

    @property
    def goal(self) -> str:
        """The phase in which the project rests when all is as wanted."""
        return goal_of(self.project)

    def is_settled(self, *, wait: bool) -> bool:
        """True if nothing is to be done, written down or, if `wait`, waited for."""
        if _is_unborn(self.project, self.record):
            return True
        status = self.record.status if self.record else None
        phases = (self.goal,) if wait else (self.goal, WAITING)
        if self.plan.steps or status is None or status.phase not in phases:
            return False
        return self.is_certain or (status.stamps == self.stamps and bool(status.inputs))


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Everything that a run has seen: what the records say, what is there, which clusters could not be read."""

    known: Mapping[Ref, Record]
    observed: Observed
    places: Mapping[Ref, Placement]
    unreadable: Mapping[str, EngineError]
    rendering: Rendering
    trusts_stamps: bool = False
    data_lost: frozenset[str] = frozenset()
    moving: frozenset[str] = frozenset()


def goal_of(project: Project) -> str:
    """The phase in which a project rests."""
    return STOPPED if project.is_stopped else READY


def read_all(run: Run) -> tuple[dict[Ref, Record], Observed]:
    """Every record, and what is there in each system, in one read per kind, all at once.

    Raises SafetyStop if the platform does not know a kind, BackendError if a system cannot be read.
    """
    run.progress.note(f"reading the state of {len(run.inventory.projects)} projects")
    others = [one for one in (run.access.vault, run.access.archives) if one is not None]
    with ThreadPoolExecutor(max_workers=1 + len(others), thread_name_prefix="observe") as pool:
        observing = pool.submit(
            observe,
            run.client,
            listed_kinds(run.platform),
            selector=PROJECT_LABEL,
            full=run.settings.drift is Drift.FULL,
            workers=run.settings.workers,
            deadline=run.deadline,
        )
        told = [pool.submit(one.observe, deadline=run.deadline) for one in others]
        known = read_known(run)
    observed = observing.result()
    for one in told:
        observed = observed.and_also(one.result())
    return known, observed


def read_known(run: Run) -> dict[Ref, Record]:
    """Every record. Raises SafetyStop if the platform does not know the kind of records, unless only checking."""
    try:
        return records.read_records(run.client, run.platform.namespace, deadline=run.deadline)
    except NotFound as error:
        if not run.settings.check:
            raise SafetyStop(
                f"The platform is not prepared ({error}). Run the module supalove.platform.platform first."
            ) from error
        return {}


def look(
    run: Run, projects: tuple[Project, ...], known: Mapping[Ref, Record], observed: Observed
) -> tuple[tuple[Sight, ...], tuple[str, ...]]:
    """What is there beside what should be, shared clusters included; and the refs of records not asked for.

    Raises InvalidSpec if projects have no place, BackendError if the cluster cannot be read.
    """
    if any(observed.find(namespace_object_of(project.ref)) is None for project in projects):
        # Those that are not ours do not have our label; one more read of the kind finds them for the plan to refuse.
        every = observe(run.client, ("Namespace",), selector="", full=False, workers=1, deadline=run.deadline)
        observed = observed.and_also(every)
    observed = observed.and_also(_secrets(run, projects, known, observed))
    observed = observed.and_also(_certificates(run, projects, known, observed))
    view = _view(run, projects, known, observed)
    sights = sights_of(view, projects, run.platform)
    doubts = tuple(id for sight in sights for id in _doubts(sight, run.settings.drift))
    read = read_bodies(run.client, view.observed, doubts, workers=run.settings.workers, deadline=run.deadline)
    if read is not view.observed:
        sights = sights_of(replace(view, observed=read), projects, run.platform)
    wanted = {project.ref for project in (*run.inventory.projects, *projects)}
    return sights, tuple(sorted(ref for ref in known if ref not in wanted))


def _secrets(run: Run, projects: tuple[Project, ...], known: Mapping[Ref, Record], observed: Observed) -> Observed:
    """The Secrets of projects, which are not listed.

    1. Of a project of which all is written, the record certifies which one it has; with drift full it is looked up.
    2. Where a run began and did not end, or nothing is certified, it is looked up.
    3. Where there is no namespace there is no Secret.
    """
    certified: dict[ObjectId, Live] = {}
    doubted: list[ObjectId] = []
    for project in projects:
        record = known.get(project.ref)
        status = record.status if record else None
        stamps = status.stamps if status and status.phase in (goal_of(project), WAITING) else {}
        if observed.find(namespace_object_of(project.ref)) is None:
            continue
        for id in secrets_of(project, run.platform):
            stamp = stamps.get(id)
            if stamp is None or run.settings.drift is Drift.FULL:
                doubted.append(id)
            else:
                certified[id] = Live(id=id, uid=stamp.uid, version=stamp.version, fingerprint="", labels={}, body=None)
    found = observe_each(run.client, doubted, workers=run.settings.workers, deadline=run.deadline)
    return found.and_also(Observed(objects=certified))


def _certificates(run: Run, projects: tuple[Project, ...], known: Mapping[Ref, Record], observed: Observed) -> Observed:
    """As certified; with drift full, as they are."""
    if run.settings.drift is not Drift.FULL:
        return certificates(projects, run.platform, known, observed)
    workers, deadline = run.settings.workers, run.deadline
    return read_certificates(run.access, projects, run.platform, observed, workers=workers, deadline=deadline)


def _view(run: Run, projects: tuple[Project, ...], known: Mapping[Ref, Record], observed: Observed) -> View:
    """Placements are worked out for all listed projects, so that a run on a few leaves the others their room.

    A project that is to be stopped and never was takes none.
    """
    listed = {project.ref: project for project in (*run.inventory.projects, *projects)}
    born = [project for project in listed.values() if not _is_unborn(project, known.get(project.ref))]
    places = revived(place(born, placed_of(known), run.platform), run.settings)
    used = {name for project in projects if project.ref in places for name in places[project.ref].clusters}
    answers = run.access.databases.observe(sorted(used), deadline=run.deadline)
    unreadable = {name: answer for name, answer in answers.items() if isinstance(answer, EngineError)}
    for answer in answers.values():
        if isinstance(answer, Observed):
            observed = observed.and_also(answer)
    trusts = run.settings.drift is Drift.METADATA
    return View(
        known=known,
        observed=observed,
        places=places,
        unreadable=unreadable,
        rendering=run.rendering,
        trusts_stamps=trusts,
        data_lost=run.settings.data_lost,
        moving=frozenset(run.settings.places),
    )


def _is_unborn(project: Project, record: Record | None) -> bool:
    """True for a project that is to be stopped and never was: there is nothing to do for it."""
    return project.is_stopped and record is None


def placed_of(known: Mapping[Ref, Record]) -> dict[Ref, Placed]:
    """Where projects are, by their records."""
    found: dict[Ref, Placed] = {}
    for ref, record in known.items():
        if record.placed is not None:
            found[ref] = record.placed
    return found


def unseen(inventory: Inventory) -> View:
    """What there is before there is a cluster. Raises InvalidSpec if projects have no place."""
    places = place((one for one in inventory.projects if not one.is_stopped), {}, inventory.platform)
    rendering = Rendering.for_show(inventory.platform)
    return View(known={}, observed=NOTHING, places=places, unreadable={}, rendering=rendering)


def _doubts(sight: Sight, drift: Drift) -> tuple[ObjectId, ...]:
    return doubtful(of_kubernetes(sight.desired), sight.observed, sight.certified, drift)


def sights_of(view: View, projects: tuple[Project, ...], platform: Platform) -> tuple[Sight, ...]:
    """Every project beside what is known and observed of it."""
    return tuple(_sight(view, project, platform) for project in projects)


def _sight(view: View, project: Project, platform: Platform) -> Sight:
    """For a project that has no place, as it never was, there is nothing to do."""
    record = view.known.get(project.ref)
    uid = (record.uid if record else None) or view.rendering.uid_for(project.ref)
    placement = view.places.get(project.ref, Placement())
    record_wanted = render_record(project, platform, placement, uid)
    desired: tuple[Desired, ...] = ()
    plan = Plan()
    certain = False
    astray = _refused_place(project, record, placement, view)
    # A tier of the other placement does not say how large what is there should be.
    if project.ref in view.places and astray is None:
        secret = view.observed.find(credentials_of(project.ref))
        secret_uid = secret.uid if secret else ""
        certain = view.trusts_stamps and _is_certain(view, project, record, placement, secret_uid)
        if not certain:
            desired = view.rendering.objects(project, placement, uid, secret_uid)
            desired += closed_ways(project, platform, placement, uid, view.observed)
        plan = _plan(record_wanted, record, desired, view)
    return Sight(
        project=project,
        placement=placement,
        uid=uid,
        record=record,
        record_wanted=record_wanted,
        desired=desired,
        observed=view.observed,
        plan=plan,
        is_certain=certain,
        refused=_refusal(record, plan, _unreadable(view, placement), view.data_lost) or astray,
    )


def _is_certain(view: View, project: Project, record: Record | None, placement: Placement, secret_uid: str) -> bool:
    """True if the record certifies all objects of the project as they are, and they follow from what they did then."""
    status = record.status if record else None
    if status is None or status.phase != goal_of(project):
        return False
    if status.inputs != view.rendering.inputs.digest(project, placement, status.uid, secret_uid, len(status.stamps)):
        return False
    lives = ((view.observed.find(id), stamp) for id, stamp in status.stamps.items())
    return all(
        live is not None and not live.is_going and live.uid == stamp.uid and live.version == stamp.version
        for live, stamp in lives
    )


def _plan(record_wanted: Desired, record: Record | None, desired: tuple[Desired, ...], view: View) -> Plan:
    step = plan_object(record_wanted, record.live if record else None)
    rest = plan_all(desired, view.observed)
    return Plan(steps=((step,) if step else ()) + rest.steps, unchanged=rest.unchanged + (0 if step else 1))


def _unreadable(view: View, placement: Placement) -> EngineError | None:
    return next((view.unreadable[name] for name in placement.clusters if name in view.unreadable), None)


def _refused_place(project: Project, record: Record | None, placement: Placement, view: View) -> Failure | None:
    """A database that is not where its tier wants it is left alone by a run that does not move it."""
    reason = "" if project.ref in view.moving else misplaced(project, placement)
    return Failure(step="plan", object=str(record.live.id), reason=reason) if record is not None and reason else None


def _refusal(
    record: Record | None, plan: Plan, unreadable: EngineError | None, data_lost: Collection[str]
) -> Failure | None:
    """Why the project must be left as it is: its record is the other door's, its cluster is away, a step says so.

    What held its data and is gone is not made again as if nothing had been: that would be an empty one.
    """
    if record is not None and record.managed_by not in ("", MANAGERS[0]):
        reason = f"its record is managed by {record.managed_by}; change it there, or remove it from the inventory"
        return Failure(step="plan", object=str(record.live.id), reason=reason)
    if record is not None and record.unreadable:
        reason = f"this version cannot read {record.unreadable}, which says where the data are; use a newer one"
        return Failure(step="plan", object=str(record.live.id), reason=reason)
    if unreadable is not None:
        where = unreadable.subject if isinstance(unreadable, BackendError) else "shared clusters"
        return Failure.of("observe", where, unreadable)
    for step in plan.refusals:
        return Failure(step="plan", object=str(step.id), reason=step.reason)
    held = record.status.stamps if record is not None and record.status is not None else {}
    for step in plan.steps:
        is_lost = step.action is Action.CREATE and step.id in held and step.id.kind in DATA_KINDS
        if is_lost and record is not None and record.ref not in data_lost:
            return Failure(step="plan", object=str(step.id), reason=LOST)
    return None
