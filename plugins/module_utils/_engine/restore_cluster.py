# SPDX-License-Identifier: BSD-2-Clause
"""A whole shared cluster goes back to a moment, with every database on it: a new life, as of a project's own."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from .access import Access
from .archive.catalog import Catalog
from .archive.recovery import RecoveryPlan, Target, plan_recovery
from .archives import archive_of_cluster
from .backends.kubernetes import records
from .backends.kubernetes.lease import Lease
from .backends.kubernetes.records import Record
from .cluster_lives import read_life
from .databases import DATABASE_KIND
from .deadline import Deadline
from .errors import EngineError, InvalidSpec
from .guard import unknown_names
from .lives import life_of
from .prepare import begin_life
from .progress import Progress
from .project.life import Life
from .project.model import Inventory, SharedCluster
from .project.names import Ref, names_of
from .project.placement import place
from .reconcile import reconcile
from .restore import Restored
from .settings import Settings
from .sight import placed_of
from .steps import Failure, Outcome, Report, Result


def restore_cluster(
    access: Access, inventory: Inventory, *, cluster: str, target: Target, settings: Settings, progress: Progress
) -> Restored:
    """Bring a shared cluster to a moment of its past.

    1. The archive is read and the way to the target planned. What cannot be reached is refused before anything changes.
    2. The namespace of the cluster says what it is to be restored from. From then on every run, this one or the next
       after a kill, leads there: a new volume, the base backup, recovery, promotion.
    3. When it serves, its projects are brought to what they should be: logins that have changed since get their
       passwords of now. A project whose database was made after the target fails, as one that has lost it.
    4. Databases of projects that were purged or have moved away since are there again, and are told.

    The volume of the life before is kept, and its archive, to which nothing is written any more.

    Raises InvalidSpec for an unknown cluster or projects that have no place, SafetyStop if another run is at work,
    Unrecoverable if the archive does not lead to the target, BackendError if a system cannot be read or does not do
    its part.
    """
    deadline = Deadline(limit_seconds=settings.timeout_seconds)
    found = _declared(inventory, cluster)
    known = records.read_records(access.client, inventory.platform.namespace, deadline=deadline)
    # What the run on the projects would refuse is refused now.
    born = (one for one in inventory.projects if not one.is_stopped or one.ref in known)
    place(born, placed_of(known), inventory.platform)
    catalogs = access.required_archives.catalogs(archive_of_cluster(cluster), deadline=deadline)
    plan = plan_recovery(catalogs, target, now=datetime.datetime.now(datetime.UTC))
    until = f"archived until {plan.archived_until:%F %T} UTC"
    progress.note(f"{cluster}: from {plan.backup} of {plan.incarnation}, {until}")
    return _Job(
        access=access,
        inventory=inventory,
        cluster=found,
        known=known,
        catalogs=catalogs,
        plan=plan,
        target=target,
        settings=settings,
        progress=progress,
        deadline=deadline,
    ).restored()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One restore that has a way to its target."""

    access: Access
    inventory: Inventory
    cluster: SharedCluster
    known: Mapping[Ref, Record]
    catalogs: tuple[Catalog, ...]
    plan: RecoveryPlan
    target: Target
    settings: Settings
    progress: Progress
    deadline: Deadline

    def restored(self) -> Restored:
        """All of it; in check mode only what would be done to the cluster, as nobody knows what is in it then."""
        if self.settings.check:
            life = self._life()
            return self._told(life, self._begin(life, self.deadline))
        client, namespace, seconds = self.access.client, self.inventory.platform.namespace, self.settings.lease_seconds
        with Lease(client, namespace, seconds=seconds, progress=self.progress, deadline=self.deadline) as lease:
            # Under the lease, so that no two restores take the same volume.
            life = self._life()
            report = self._begin(life, lease.bound(self.deadline))
            refs = frozenset(_refs_on(self.cluster.name, self.known)) & {one.ref for one in self.inventory.projects}
            if not report.succeeded:
                return self._told(life, report)
            came_back = self._came_back()
            if refs:
                theirs = self._brought(refs, lease)
                report = replace(theirs, outcomes=(*report.outcomes, *theirs.outcomes))
        return self._told(life, report, came_back)

    def _brought(self, refs: frozenset[str], lease: Lease) -> Report:
        """The projects of the cluster as they should be. What ends this for all of them does not hide what was done."""
        seconds = max(1.0, self.deadline.remaining())
        only = replace(self.settings, only=refs, timeout_seconds=seconds)
        try:
            return reconcile(self.access, self.inventory, settings=only, progress=self.progress, lease=lease)
        except EngineError as error:
            failure = Failure.of("keep the projects of", self.cluster.name, error)
            outcome = Outcome(ref=self.inventory.platform.namespace, uid="", result=Result.FAILED, failure=failure)
            return Report(outcomes=(outcome,), reads=self.access.reads, writes=self.access.writes)

    def _life(self) -> Life:
        before = read_life(self.access.client, self.cluster.name, deadline=self.deadline)
        return life_of(before, self.catalogs, self.plan, self.target)

    def _begin(self, life: Life, writing: Deadline) -> Report:
        return begin_life(
            self.access,
            self.inventory.platform,
            self.cluster,
            life,
            settings=self.settings,
            progress=self.progress,
            deadline=self.deadline,
            writing=writing,
        )

    def _came_back(self) -> tuple[str, ...]:
        """Databases of no project that is on the cluster. Where they cannot be read, the projects' run says why."""
        name = self.cluster.name
        observed = self.access.databases.observe([name], deadline=self.deadline)[name]
        if isinstance(observed, EngineError):
            return ()
        there = (id.name for id in observed.objects if id.kind == DATABASE_KIND)
        return tuple(sorted({*there} - {*_databases_on(name, self.known)}))

    def _told(self, life: Life, report: Report, came_back: tuple[str, ...] = ()) -> Restored:
        return Restored(report=report, plan=self.plan, life=life, is_whole=True, came_back=came_back)


def _declared(inventory: Inventory, name: str) -> SharedCluster:
    clusters = {one.name: one for one in inventory.platform.shared_clusters}
    problems = unknown_names("cluster", [name], clusters, "shared clusters of the platform")
    if problems:
        raise InvalidSpec(tuple(problems))
    return clusters[name]


def _refs_on(cluster: str, known: Mapping[Ref, Record]) -> Iterable[Ref]:
    return (ref for ref, one in known.items() if one.placed is not None and cluster in one.placed.placement.clusters)


def _databases_on(cluster: str, known: Mapping[Ref, Record]) -> Iterable[str]:
    """Those of projects that are there, and of those of which nobody can tell where they are."""
    unplaced = (ref for ref, one in known.items() if one.placed is None)
    uids = ((ref, known[ref].uid) for ref in (*_refs_on(cluster, known), *unplaced))
    return (names_of(ref, uid).database for ref, uid in uids if uid is not None)
