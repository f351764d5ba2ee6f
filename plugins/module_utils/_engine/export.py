# SPDX-License-Identifier: BSD-2-Clause
"""Logical exports: each project's database as a dump that any PostgreSQL can read, kept in the object store.

They come out of copies of the servers, so that a server in use has no work with them.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .access import Access, Archives
from .archive.catalog import Stored
from .archive.recovery import Latest, plan_recovery
from .archives import exports_of, finals_of
from .backends.kubernetes import records
from .backends.kubernetes.records import Record
from .deadline import Deadline
from .errors import BackendError, DeadlineExceeded, EngineError, InvalidSpec, Problem, SafetyStop
from .lives import life_of
from .progress import Counter, Progress
from .project.model import Inventory
from .project.names import Ref
from .restore import party_of
from .restore_database import Party
from .scratch import Copy, copy_of
from .settings import Settings
from .steps import Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What became of one project. `key`: of the dump, below the platform's prefix; empty after a failure.

    `archived_until`: no commit in the dump is later. `removed`: keys of dumps that had become too old.
    """

    ref: str
    key: str = ""
    bytes: int = 0
    archived_until: datetime.datetime | None = None
    removed: tuple[str, ...] = ()
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """All outcomes in the order of the refs."""

    outcomes: tuple[Exported, ...]

    @property
    def changed(self) -> bool:
        """True if a dump was made or removed (in check mode: if one would be)."""
        return any(one.key or one.removed for one in self.outcomes)


def export(
    access: Access,
    inventory: Inventory,
    *,
    refs: Collection[str] | None,
    keep_days: int,
    settings: Settings,
    progress: Progress,
) -> ExportReport:
    """Export chosen projects, or all that are on shared clusters, as of the end of their archives.

    1. One copy for each PostgreSQL serves all projects on it, one after the other.
    2. A project's dumps that are older than `keep_days` are removed once a newer one is there; the newest never is, nor
       what was kept before a purge.
    3. What goes wrong with one project or one copy is in the outcomes.

    Raises InvalidSpec for an unknown ref, SafetyStop without an object store, BackendError if the records cannot be
    read.
    """
    deadline = Deadline(limit_seconds=settings.timeout_seconds)
    archives = access.required_archives
    known = records.read_records(access.client, inventory.platform.namespace, deadline=deadline)
    parties, outcomes = _parties(inventory, known, refs)
    by_source: dict[str, list[Party]] = {}
    for one in parties:
        by_source.setdefault(one.source.archive, []).append(one)
    job = _Job(
        access=access,
        archives=archives,
        inventory=inventory,
        keep=datetime.timedelta(days=keep_days),
        settings=settings,
        progress=progress,
        counter=Counter(progress, "exports", len(parties)),
        deadline=deadline,
    )
    outcomes += [one for group in by_source.values() for one in job.of_source(group)]
    return ExportReport(outcomes=tuple(sorted(outcomes, key=lambda one: one.ref)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    access: Access
    archives: Archives
    inventory: Inventory
    keep: datetime.timedelta
    settings: Settings
    progress: Progress
    counter: Counter
    deadline: Deadline

    def of_source(self, group: Sequence[Party]) -> Iterator[Exported]:
        """All projects on one PostgreSQL."""
        source = group[0].source
        done: list[Exported] = []
        try:
            catalogs = self.archives.catalogs(source.archive, deadline=self.deadline)
            plan = plan_recovery(catalogs, Latest(), now=datetime.datetime.now(datetime.UTC))
            life = life_of(None, catalogs, plan, Latest())
            if self.settings.check:
                return iter([Exported(ref=one.project.ref, key=f"{exports_of(one.uid)}…") for one in group])
            platform = self.inventory.platform
            with copy_of(self.access, platform, source, life, progress=self.progress, deadline=self.deadline) as copy:
                for one in group:
                    done.append(self.of_project(copy, one, plan.archived_until))
                    self.counter.add()
        except EngineError as error:
            made = {one.ref for one in done}
            failure = Failure.of("copy", source.archive, error)
            done += [Exported(ref=one.project.ref, failure=failure) for one in group if one.project.ref not in made]
        return iter(done)

    def of_project(self, copy: Copy, party: Party, archived_until: datetime.datetime) -> Exported:
        """Dump, keep, and remove what is too old."""
        ref = party.project.ref
        if party.database not in copy.told.databases:
            reason = f"{party.source.archive} has no database of it yet"
            return Exported(ref=ref, failure=Failure(step="dump", object=party.database, reason=reason))
        try:
            made = copy.dump(self.inventory.platform, party.database, progress=self.progress, deadline=self.deadline)
            folder = exports_of(party.uid)
            key = f"{folder}{datetime.datetime.now(datetime.UTC):%Y%m%dt%H%M%Sz}.dump"
            self.archives.keep(made, key, deadline=self.deadline)
            there = self.archives.dumps(folder, deadline=self.deadline)
            (new,) = (one for one in there if one.key == key)
            old = _too_old(there, new, self.keep, kept=finals_of(party.uid))
            self.archives.discard(old, deadline=self.deadline)
        except (BackendError, DeadlineExceeded) as error:
            return Exported(ref=ref, failure=Failure.of("dump", party.database, error))
        return Exported(ref=ref, key=key, bytes=new.bytes, archived_until=archived_until, removed=old)


def _too_old(there: Sequence[Stored], new: Stored, keep: datetime.timedelta, *, kept: str) -> tuple[str, ...]:
    """`kept`: below it nothing ever is."""
    ours = (one for one in there if one.key != new.key and not one.key.startswith(kept))
    return tuple(one.key for one in ours if one.modified < new.modified - keep)


def _parties(
    inventory: Inventory, known: Mapping[Ref, Record], refs: Collection[str] | None
) -> tuple[list[Party], list[Exported]]:
    """Those that are named, or all on shared clusters, and apart those that have nothing to export.

    Raises InvalidSpec with every ref that is none.
    """
    if refs is None:
        shared = (
            ref for ref, record in known.items() if record.placed and record.placed.placement.cluster and record.uid
        )
        refs = [ref for ref in shared if any(one.ref == ref for one in inventory.projects)]
    found, failed, problems = list[Party](), list[Exported](), list[Problem]()
    for ref in sorted({*refs}):
        try:
            found.append(party_of(known, inventory, "refs", ref, may_be_stopped=True))
        except InvalidSpec as error:
            problems += error.problems
        except SafetyStop as error:
            failed.append(Exported(ref=ref, failure=Failure.of("look", ref, error)))
    if problems:
        raise InvalidSpec(tuple(problems))
    return found, failed
