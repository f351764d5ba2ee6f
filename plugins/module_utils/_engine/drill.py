# SPDX-License-Identifier: BSD-2-Clause
"""Drills: a random moment of an archive is restored, looked at, and thrown away. What is not tried is not known."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from .access import Access, Archives
from .archive.drills import Proof, choose_moment, flaw_of, in_turn, moments_of
from .archive.recovery import AtTime, plan_recovery
from .backends.kubernetes import proofs as kept
from .backends.kubernetes import records
from .backends.kubernetes.records import Record
from .deadline import Deadline
from .errors import EngineError, InvalidSpec, SafetyStop
from .guard import unknown_names
from .lives import life_of
from .progress import Counter, Progress
from .project.model import Inventory
from .project.names import Ref
from .scratch import Source, await_work, copy_of
from .settings import Settings

NOTE_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Drilled:
    """An archive, of a project or of a shared cluster. In check mode the target is all that its proof has."""

    ref: str
    cluster: str
    archive: str
    proof: Proof


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillReport:
    """What was tried, in that order, and of all archives what is known by now."""

    drilled: tuple[Drilled, ...]
    proofs: Mapping[str, Proof]
    archives: tuple[str, ...]

    @property
    def never(self) -> tuple[str, ...]:
        """Archives that no drill has ever proven."""
        return tuple(name for name in self.archives if name not in self.proofs or self.proofs[name].error)


@dataclass(frozen=True, slots=True, kw_only=True)
class _One:
    ref: str
    cluster: str
    source: Source


def drill(
    access: Access,
    inventory: Inventory,
    *,
    refs: Collection[str] | None,
    clusters: Collection[str] | None,
    most: int | None,
    settings: Settings,
    progress: Progress,
    chance: Callable[[], float] = random.random,
) -> DrillReport:
    """Restore a random moment of each archive into a copy, check it, and note what that proved.

    Of chosen projects and shared clusters, or of all, and of these no more than `most`: those first that were not tried
    for longest.
    1. The moment is any in the recovery window that the archive should lead to.
    2. The copy reads the archive with keys that cannot write it, and nobody can reach it.
    3. Its newest heartbeat must be from before the moment, and no older than the RPO allows.
    4. Every table and index of every project's database is read and compared (pg_amcheck).
    5. One follows upon the other, as each takes CPU, memory and disk of the data plane. For which the time did not
       suffice has its turn next time.

    Raises InvalidSpec for unknown names, SafetyStop without an object store, BackendError if the records cannot be
    read. What goes wrong with one archive is in its proof.
    """
    deadline = Deadline(limit_seconds=settings.timeout_seconds)
    archives = access.required_archives
    known = records.read_records(access.client, inventory.platform.namespace, deadline=deadline)
    all_of_them = {one.source.archive: one for one in _all(inventory, known)}
    chosen = _chosen(all_of_them, refs, clusters)
    proofs = kept.read_proofs(access.client, inventory.platform.namespace, deadline=deadline)
    turn = in_turn(tuple(one.source.archive for one in chosen), proofs)[:most]
    counter = Counter(progress, "drills", len(turn))
    job = _Job(
        access=access,
        archives=archives,
        inventory=inventory,
        settings=settings,
        progress=progress,
        deadline=deadline,
        chance=chance,
    )

    def work(archive: str) -> Drilled:
        one = all_of_them[archive]
        proof = job.proof_of(one)
        if not settings.check:
            # Also of one that has used up all the time: else it would have its turn first again.
            own = Deadline(limit_seconds=NOTE_SECONDS)
            kept.write_proof(access.client, inventory.platform.namespace, archive, proof, deadline=own)
        counter.add()
        return Drilled(ref=one.ref, cluster=one.cluster, archive=archive, proof=proof)

    drilled = tuple(work(archive) for archive in turn if deadline.remaining() > 0)
    fresh = {} if settings.check else {one.archive: one.proof for one in drilled}
    return DrillReport(drilled=drilled, proofs={**proofs, **fresh}, archives=tuple(sorted(all_of_them)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    access: Access
    archives: Archives
    inventory: Inventory
    settings: Settings
    progress: Progress
    deadline: Deadline
    chance: Callable[[], float]

    def proof_of(self, one: _One) -> Proof:
        """Whatever happens, a proof or why there is none."""
        target = None
        try:
            catalogs = self.archives.catalogs(one.source.archive, deadline=self.deadline)
            now = datetime.now(UTC)
            since = now - timedelta(days=self.inventory.platform.recovery_window_days)
            target = choose_moment(moments_of(catalogs, since=since), self.chance)
            if target is None:
                raise SafetyStop("there is no moment yet that could be restored: no base backup with WAL after it")
            plan = plan_recovery(catalogs, AtTime(time=target), now=now)
            if self.settings.check:
                return Proof(at=now, target=target)
            life = life_of(None, catalogs, plan, AtTime(time=target))
            began = time.monotonic()
            with copy_of(
                self.access,
                self.inventory.platform,
                one.source,
                life,
                progress=self.progress,
                deadline=self.deadline,
            ) as copy:
                seconds = time.monotonic() - began
                heartbeat = copy.told.heartbeat
                if heartbeat is None:
                    raise SafetyStop("it has no heartbeat")
                flaw = flaw_of(catalogs, target, heartbeat, rpo_seconds=one.source.archiving.rpo_seconds)
                if flaw:
                    raise SafetyStop(flaw)
                before = copy.archiver.status(deadline=self.deadline)
                copy.archiver.check((), deadline=self.deadline)
                await_work(copy.archiver, "check", before, progress=self.progress, deadline=self.deadline)
                return Proof(
                    at=datetime.now(UTC),
                    target=target,
                    seconds=round(seconds, 1),
                    loss_seconds=round((target - heartbeat).total_seconds(), 1),
                    databases=len(copy.told.databases),
                )
        except EngineError as error:
            return Proof(at=datetime.now(UTC), target=target, error=str(error))


def _all(inventory: Inventory, known: Mapping[Ref, Record]) -> Iterator[_One]:
    for cluster in inventory.platform.shared_clusters:
        yield _One(ref="", cluster=cluster.name, source=Source.of_cluster(cluster))
    for project in inventory.projects:
        record = known.get(project.ref)
        if record is None or record.uid is None or record.placed is None or project.is_stopped:
            continue
        if record.placed.placement.cluster is None:
            yield _One(ref=project.ref, cluster="", source=Source.of_project(project, record.uid))


def _chosen(
    found: Mapping[str, _One], refs: Collection[str] | None, clusters: Collection[str] | None
) -> tuple[_One, ...]:
    if refs is None and clusters is None:
        return tuple(found.values())
    own = {one.ref: one for one in found.values() if one.ref}
    shared = {one.cluster: one for one in found.values() if one.cluster}
    problems = [
        *unknown_names("refs", sorted({*(refs or ())}), own, "refs of projects that run a PostgreSQL of their own"),
        *unknown_names("clusters", sorted({*(clusters or ())}), shared, "shared clusters of the platform"),
    ]
    if problems:
        raise InvalidSpec(tuple(problems))
    return tuple(own[ref] for ref in sorted({*(refs or ())})) + tuple(
        shared[name] for name in sorted({*(clusters or ())})
    )
