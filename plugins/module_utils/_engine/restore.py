# SPDX-License-Identifier: BSD-2-Clause
"""A project goes back to a moment: its own PostgreSQL by a new life of it, else its one database out of a copy."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, replace

from .access import Access, Archives
from .archive.catalog import Catalog
from .archive.recovery import AtPoint, AtTime, RecoveryPlan, Target, is_noted, plan_recovery
from .archives import archive_of, cluster_of
from .backends.kubernetes import records
from .backends.kubernetes.records import Record
from .deadline import Deadline
from .errors import InvalidSpec, Problem, SafetyStop
from .lives import life_of
from .progress import Progress
from .project.life import Life
from .project.model import Inventory
from .project.names import Ref, Uid
from .project.placement import Past, Placement
from .reconcile import reconcile
from .restore_database import Party, restore_database
from .scratch import Source
from .settings import Settings
from .steps import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What was done, and the way that was taken to the target.

    `life`: that of the volume which was restored, or of the copy that the database came out of. `kept`: under which
    name the database of before is on its server; empty where the volume of before is kept.
    `is_whole`: a whole PostgreSQL was restored, not one database. `came_back`: databases on a shared cluster that no
    project has there now.
    """

    report: Report
    plan: RecoveryPlan
    life: Life
    is_whole: bool
    kept: str = ""
    came_back: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Whose past it is: by default the project's own.

    `ref`: another project that is there. `uid`: one that need not be there any more, whose database was in `archive`.
    """

    ref: str | None = None
    uid: Uid | None = None
    archive: str | None = None


def restore(
    access: Access,
    inventory: Inventory,
    *,
    ref: str,
    origin: Origin,
    target: Target,
    settings: Settings,
    progress: Progress,
) -> Restored:
    """Bring a project to a moment of its past, or of that of another project (`origin`).

    The archive is read and the way to the target planned. What cannot be reached is refused before anything changes.

    A project with a PostgreSQL of its own goes back as a whole:
    1. The record says what the project is to be restored from. From then on every run, this one or the next after a
       kill, leads there: a new volume, the base backup, recovery, promotion.
    2. The volume of the life before is kept. So is its archive, to which nothing is written any more: the new life has
       an archive of its own, which begins with a base backup.

    A project on a shared cluster, or one that is to get the data of another, gets one database (`restore_database`).

    Raises InvalidSpec for an unknown ref, SafetyStop if the project has nothing to restore, Unrecoverable if the
    archive does not lead to the target, BackendError if a system cannot be read or does not do its part.
    """
    deadline = Deadline(limit_seconds=settings.timeout_seconds)
    known = records.read_records(access.client, inventory.platform.namespace, deadline=deadline)
    into = party_of(known, inventory, "ref", ref)
    source = _source(origin, known, inventory, into)
    if isinstance(target, AtPoint):
        target = replace(target, project=source.uid)
    source, catalogs = _located(access.required_archives, inventory, source, target, deadline)
    plan = plan_recovery(catalogs, target, now=datetime.datetime.now(datetime.UTC))
    life = life_of(into.placement.life, catalogs, plan, target)
    progress.note(f"{ref}: from {plan.backup} of {plan.incarnation}, archived until {plan.archived_until:%F %T} UTC")
    is_whole, kept = into == source and into.placement.cluster is None, ""
    only = replace(settings, only=frozenset({ref}))
    # What is to be replaced may be gone with the volume that it was on.
    only = replace(only, lives={ref: life}) if is_whole else replace(only, data_lost=frozenset({ref}))
    if not is_whole and not settings.check:
        kept = restore_database(
            access, inventory, source, into, life, settings=only, progress=progress, deadline=deadline
        )
    report = reconcile(access, inventory, settings=only, progress=progress)
    return Restored(report=report, plan=plan, life=life, is_whole=is_whole, kept=kept)


def party_of(
    known: Mapping[Ref, Record], inventory: Inventory, path: str, ref: str, *, may_be_stopped: bool = False
) -> Party:
    """A project that takes part, as it is recorded and listed. Raises InvalidSpec, SafetyStop."""
    listed = next((project for project in inventory.projects if project.ref == ref), None)
    record = known.get(Ref(ref))
    if listed is None or record is None or record.uid is None:
        problem = Problem(path=path, value=ref, allowed="the ref of a project that is listed and that the platform has")
        raise InvalidSpec((problem,))
    if record.unreadable:
        raise SafetyStop(f"this version cannot read {record.unreadable} of {ref}; use a newer one")
    if record.placed is None:
        raise SafetyStop(f"{ref} has no PostgreSQL yet; run the module projects first")
    if listed.is_stopped and not may_be_stopped:
        raise SafetyStop(f"{ref} is stopped; start it first (state: present)")
    placement, own = record.placed.placement, Source.of_project(listed, record.uid)
    party = Party(project=listed, uid=record.uid, placement=placement, source=own)
    return replace(party, source=source_at(inventory, party, placement.cluster))


def _source(origin: Origin, known: Mapping[Ref, Record], inventory: Inventory, into: Party) -> Party:
    if origin.ref is not None:
        return party_of(known, inventory, "source_ref", origin.ref)
    if origin.uid is None:
        return into
    storages = (one.storage for one in inventory.platform.shared_clusters)
    gone = Source(
        archive=origin.archive or archive_of(origin.uid),
        namespace="",
        archiving=into.project.tier.archiving,
        # Nothing says how large its volume was.
        storage=max(*(one.storage for one in inventory.projects), *storages, 0),
        runtime_class=into.project.tier.runtime_class,
    )
    return replace(into, uid=origin.uid, placement=Placement(), source=gone)


def source_at(inventory: Inventory, party: Party, cluster: str | None) -> Source:
    """The PostgreSQL of a project at a place. Raises SafetyStop for a cluster that the platform does not declare."""
    if cluster is None:
        return Source.of_project(party.project, party.uid)
    clusters = {one.name: one for one in inventory.platform.shared_clusters}
    if cluster not in clusters:
        ref = party.project.ref
        raise SafetyStop(f"{ref} is or was on the shared cluster {cluster}, which the platform does not declare")
    return Source.of_cluster(clusters[cluster])


def then(inventory: Inventory, party: Party, target: Target) -> Party:
    """A project with the PostgreSQL that its database was on at a moment: before it moved, that was another one.

    Raises SafetyStop for a shared cluster that the platform does not declare any more.
    """
    if not isinstance(target, AtTime):
        return party
    for past in party.placement.past:
        if target.time <= past.until:
            was_own = cluster_of(past.archive) is None
            return party if was_own and party.placement.cluster is None else _at(inventory, party, past)
    return party


def _at(inventory: Inventory, party: Party, past: Past) -> Party:
    source = source_at(inventory, party, cluster_of(past.archive))
    return replace(party, source=replace(source, storage=past.storage))


def _located(
    archives: Archives, inventory: Inventory, party: Party, target: Target, deadline: Deadline
) -> tuple[Party, tuple[Catalog, ...]]:
    """A project with the PostgreSQL in whose archive a target is, and that archive.

    A name may be in one of before it moved; if none has it, the one of now says which there are.
    """
    here = then(inventory, party, target)
    catalogs = archives.catalogs(here.source.archive, deadline=deadline)
    if isinstance(target, AtPoint) and not is_noted(catalogs, target):
        for past in reversed(party.placement.past):
            there = archives.catalogs(past.archive, deadline=deadline)
            if is_noted(there, target):
                return _at(inventory, party, past), there
    return here, catalogs
