# SPDX-License-Identifier: BSD-2-Clause
"""A project's own PostgreSQL goes back to a moment: a new life out of its archive, on a volume beside the old one."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace

from .access import Access
from .archive.catalog import Catalog
from .archive.recovery import AtLsn, AtPoint, AtTime, RecoveryPlan, Target, plan_recovery
from .archive.segments import format_lsn
from .archives import archive_of, without_object_store
from .backends.kubernetes import records
from .backends.kubernetes.records import Record
from .deadline import Deadline
from .errors import InvalidSpec, Problem, SafetyStop
from .progress import Progress
from .project.life import LATEST, LSN, NAME, TIME, Life
from .project.model import Inventory
from .project.names import Ref
from .reconcile import reconcile
from .settings import Settings
from .steps import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What was done, the way that was taken to the target, and the life that began."""

    report: Report
    plan: RecoveryPlan
    life: Life


def restore(
    access: Access, inventory: Inventory, *, ref: str, target: Target, settings: Settings, progress: Progress
) -> Restored:
    """Bring a project with a PostgreSQL of its own to a moment of its past.

    1. The archive is read and the way to the target planned. What cannot be reached is refused before anything changes.
    2. The record says what the project is to be restored from. From then on every run, this one or the next after a
       kill, leads there: a new volume, the base backup, recovery, promotion.
    3. The volume of the life before is kept. So is its archive, to which nothing is written any more: the new life has
       an archive of its own, which begins with a base backup.

    Raises InvalidSpec for an unknown ref, SafetyStop if the project has nothing to restore, Unrecoverable if the
    archive does not lead to the target, BackendError if a system cannot be read.
    """
    deadline = Deadline(limit_seconds=settings.timeout_seconds)
    known = records.read_records(access.client, inventory.platform.namespace, deadline=deadline)
    record = _record(known.get(Ref(ref)), inventory, ref)
    catalogs = _catalogs(access, record, deadline)
    plan = plan_recovery(catalogs, target, now=datetime.datetime.now(datetime.UTC))
    life = life_of(record, plan, target, engine=_engine_of(catalogs, plan))
    progress.note(f"{ref}: from {plan.backup} of {plan.incarnation}, archived until {plan.archived_until:%F %T} UTC")
    chosen = replace(settings, only=frozenset({ref}), lives={ref: life})
    return Restored(report=reconcile(access, inventory, settings=chosen, progress=progress), plan=plan, life=life)


def life_of(record: Record, plan: RecoveryPlan, target: Target, *, engine: str) -> Life:
    """The life that a plan leads to.

    A target behind the end of the archive is its end: PostgreSQL would not open a cluster that met no later commit.
    """
    before = record.placed.placement.life if record.placed else None
    kind, value = (LATEST, "") if plan.is_beyond_archive else _told(target)
    return Life(
        number=(before.number if before else 1) + 1,
        archive=plan.archive,
        incarnation=plan.incarnation,
        engine=engine,
        backup=plan.backup,
        target=kind,
        value=value,
        last_segment=plan.last_segment.name,
    )


def _told(target: Target) -> tuple[str, str]:
    if isinstance(target, AtTime):
        return TIME, target.time.astimezone(datetime.UTC).isoformat(sep=" ")
    if isinstance(target, AtLsn):
        return LSN, format_lsn(target.lsn)
    return (NAME, target.name) if isinstance(target, AtPoint) else (LATEST, "")


def _record(record: Record | None, inventory: Inventory, ref: str) -> Record:
    listed = next((project for project in inventory.projects if project.ref == ref), None)
    if listed is None or record is None or record.uid is None:
        problem = Problem(
            path="ref", value=ref, allowed="the ref of a project that is listed and that the platform has"
        )
        raise InvalidSpec((problem,))
    if record.placed is None or record.placed.placement.cluster is not None:
        raise SafetyStop(f"{ref} is on a shared cluster; only a project with a PostgreSQL of its own is restored yet")
    if listed.is_stopped:
        raise SafetyStop(f"{ref} is stopped; start it first (state: present)")
    return record


def _catalogs(access: Access, record: Record, deadline: Deadline) -> tuple[Catalog, ...]:
    if access.archives is None or record.uid is None:
        raise without_object_store()
    return access.archives.catalogs(archive_of(record.uid), deadline=deadline)


def _engine_of(catalogs: tuple[Catalog, ...], plan: RecoveryPlan) -> str:
    (found,) = (one.incarnation for one in catalogs if one.id == plan.incarnation and one.incarnation is not None)
    return found.engine.value
