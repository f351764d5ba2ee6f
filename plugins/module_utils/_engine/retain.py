# SPDX-License-Identifier: BSD-2-Clause
"""Archives are thinned out: what no moment of the window needs goes, and the rest stays."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from .archive.catalog import Catalog
from .archive.retention import RetentionPlan, plan_retention
from .archives import NO_ARCHIVES, archive_of, archive_of_cluster
from .backends.kubernetes import records
from .backends.kubernetes.client import Client
from .backends.kubernetes.records import READY, STOPPED, Record
from .backends.object_store.apply import Removed
from .backends.object_store.observe import Upload
from .backends.object_store.store import ArchiveStore
from .cluster_lives import restoring
from .deadline import Deadline
from .errors import BackendError, DeadlineExceeded, EngineError, InvalidSpec, SafetyStop
from .guard import refuse_mass_removal, unknown_names
from .parallel import in_parallel
from .progress import Counter, Progress
from .project.model import Platform
from .project.names import Ref
from .retained import Archive, Choice, Outcome, Report, Rules, bytes_of, gone_of, points_of
from .settings import Settings
from .steps import Failure

# What an archive may be called. Whatever else lies beside them is not ours.
_ARCHIVE = re.compile(r"[ps]-[a-z0-9-]+")


def retain(
    client: Client,
    store: ArchiveStore,
    platform: Platform,
    *,
    choice: Choice,
    rules: Rules,
    settings: Settings,
    progress: Progress,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Report:
    """Thin out all archives of a platform, or those of chosen projects and clusters.

    1. The records are read first: of a cluster that is lost no archive is touched.
    2. Archives that nobody has any more follow the same rules, so that their newest backup stays.
    3. An archive from which a project or a shared cluster is being restored is left as it is.
    4. Each is planned anew from what lies in the store, by the earlier of both clocks, and removed in an order that a
       kill cannot harm. The failure of one is its own.
    5. Uploads that were never finished are aborted.
    6. A bucket that does not lock as long as the platform expects fails the run, which does all the rest.

    Raises InvalidSpec for an unknown ref or cluster, BackendError if the cluster or the bucket cannot be read.
    """
    deadline = Deadline(limit_seconds=settings.timeout_seconds)
    known = records.read_records(client, platform.namespace, deadline=deadline)
    names = store.names(deadline=deadline)
    uploads, failure = _uploads(store, deadline)
    now = earlier(clock(), store.time)
    held = _held(client, platform, known, deadline)
    chosen = choose(choice, {*names, *(_archive_of(one) for one in uploads)}, known, platform, held)
    job = _Job(
        store=store,
        rules=rules,
        now=now,
        uploads=tuple(one for one in uploads if one.initiated < now - rules.unfinished_age),
        check=settings.check,
        # Of many archives each is read by itself, of a few the documents at once.
        readers=max(1, settings.workers // max(1, len(chosen))),
        counter=Counter(progress, "archives", len(chosen)),
        deadline=deadline,
    )
    return Report(
        choice=choice,
        outcomes=tuple(in_parallel(job.outcome_of, chosen, workers=settings.workers)),
        others=tuple(name for name in names if not _ARCHIVE.fullmatch(name) and name not in NO_ARCHIVES),
        failure=failure or _lock_failure(store, platform, deadline),
        window_start=now - rules.window - rules.margin,
        reads=client.reads + store.reads,
        writes=client.writes + store.writes,
    )


def earlier(ours: datetime, of_store: datetime | None) -> datetime:
    """The clock that is behind: it removes less."""
    return ours if of_store is None else min(ours, of_store)


def choose(
    choice: Choice, names: set[str], known: Mapping[Ref, Record], platform: Platform, held: Mapping[str, str]
) -> tuple[Archive, ...]:
    """The archives to work on, in the order of their names. `held`: by archive, who is being restored from it.

    Raises InvalidSpec for what the platform does not have.
    """
    owned = dict(_owned(known, platform, held))
    if choice.is_all:
        found = sorted(name for name in names if _ARCHIVE.fullmatch(name))
        return tuple(owned.get(name, Archive(name=name)) for name in found)
    clusters = {cluster.name for cluster in platform.shared_clusters}
    with_uid = {ref: record.uid for ref, record in known.items() if record.uid is not None}
    problems = [
        *unknown_names("refs", choice.refs, with_uid, "refs of projects that the platform has"),
        *unknown_names("clusters", choice.clusters, clusters, "shared clusters of the platform"),
    ]
    if problems:
        raise InvalidSpec(tuple(problems))
    wanted = {archive_of(with_uid[Ref(ref)]) for ref in choice.refs or ()}
    wanted |= {archive_of_cluster(cluster) for cluster in choice.clusters or ()}
    return tuple(owned[name] for name in sorted(wanted))


def _owned(known: Mapping[Ref, Record], platform: Platform, held: Mapping[str, str]) -> Iterator[tuple[str, Archive]]:
    """Archives of what the platform has, by their names; whether they are there is another matter."""
    owners = {archive_of_cluster(one.name): f"shared cluster {one.name}" for one in platform.shared_clusters}
    owners |= {archive_of(one.uid): f"project {ref}" for ref, one in known.items() if one.uid is not None}
    for name in owners | dict(held):
        why = f"{held[name]} is being restored from it" if name in held else ""
        yield name, Archive(name=name, owner=owners.get(name, ""), held=why)


def _held(client: Client, platform: Platform, known: Mapping[Ref, Record], deadline: Deadline) -> Mapping[str, str]:
    """Archives out of which a life begins, and whose."""
    names = [one.name for one in platform.shared_clusters]
    clusters = {restoring(client, name, deadline=deadline): f"shared cluster {name}" for name in names}
    return {archive: name for archive, name in {**clusters, **dict(sources_of(known))}.items() if archive}


def sources_of(known: Mapping[Ref, Record]) -> Iterator[tuple[str, str]]:
    """Archives out of which a project's life begins, and whose. It has begun when the project is ready."""
    for ref, record in known.items():
        life = record.placed.placement.life if record.placed is not None else None
        if (
            life is not None
            and life.is_restored
            and (record.status is None or record.status.phase not in (READY, STOPPED))
        ):
            yield life.archive, ref


def _uploads(store: ArchiveStore, deadline: Deadline) -> tuple[tuple[Upload, ...], Failure | None]:
    """A store that does not tell them is no reason to thin out nothing."""
    try:
        return store.uploads(deadline=deadline), None
    except BackendError as error:
        return (), Failure.of("list uploads of", error.subject, error)


def _lock_failure(store: ArchiveStore, platform: Platform, deadline: Deadline) -> Failure | None:
    """Without it nobody would see that a lock is missing before it is needed."""
    days, step = platform.object_store_lock_days, "check the object lock of"
    if not days:
        return None
    try:
        found = store.lock(deadline=deadline)
    except (BackendError, DeadlineExceeded) as error:
        return Failure.of(step, platform.object_store_bucket, error)
    if found is not None and found.days >= days:
        return None
    seen = "it locks nothing" if found is None else f"it locks for {found.days} days"
    reason = f"{seen}, and object_store_lock_days asks for {days}"
    return Failure(step=step, object=platform.object_store_bucket, reason=reason)


def _archive_of(upload: Upload) -> str:
    return upload.key.partition("/")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What every archive of the run needs. `uploads`: those that will never be finished."""

    store: ArchiveStore
    rules: Rules
    now: datetime
    uploads: tuple[Upload, ...]
    check: bool
    readers: int
    counter: Counter
    deadline: Deadline

    def outcome_of(self, archive: Archive) -> Outcome:
        """One archive, whatever happens."""
        try:
            return self._retained(archive)
        finally:
            self.counter.add()

    def _retained(self, archive: Archive) -> Outcome:
        if archive.held:
            return Outcome(archive=archive)
        aborted, failed = self._abort(archive)
        plan = None
        try:
            catalogs = self.store.catalogs(archive.name, deadline=self.deadline, workers=self.readers)
            plan = self._plan(catalogs)
            refuse_mass_removal(plan, self.rules.removal_limit_percent)
        except (BackendError, DeadlineExceeded, SafetyStop) as error:
            return Outcome(archive=archive, plan=plan, uploads=aborted, failure=_failure("thin out", archive, error))
        keys, failure = self._remove(archive, plan)
        return Outcome(
            archive=archive,
            plan=plan,
            keys=keys,
            gone=gone_of(catalogs, keys),
            freed=bytes_of(catalogs, keys),
            points=points_of(catalogs, keys),
            uploads=aborted,
            failure=failure or failed,
        )

    def _plan(self, catalogs: Sequence[Catalog]) -> RetentionPlan:
        rules = self.rules
        return plan_retention(
            catalogs, window=rules.window + rules.margin, now=self.now, unfinished_age=rules.unfinished_age
        )

    def _remove(self, archive: Archive, plan: RetentionPlan) -> tuple[frozenset[str], Failure | None]:
        """The objects that went, or in check mode would."""
        if self.check or not plan.keys:
            return frozenset(plan.keys), None
        done = self.store.remove(plan, deadline=self.deadline)
        return frozenset(done.keys), _failure_of(archive, done)

    def _abort(self, archive: Archive) -> tuple[int, Failure | None]:
        """How many uploads ended."""
        count = 0
        try:
            for upload in self.uploads:
                if _archive_of(upload) == archive.name:
                    count += self.check or self.store.abort(upload, deadline=self.deadline)
        except (BackendError, DeadlineExceeded) as error:
            return count, _failure("abort uploads of", archive, error)
        return count, None


def _failure_of(archive: Archive, done: Removed) -> Failure | None:
    if done.failure is not None:
        return _failure("thin out", archive, done.failure)
    if not done.refused:
        return None
    first = done.refused[0]
    reason = f"the store keeps {len(done.refused)} objects, the first of which is {first.key}: {first.reason}"
    return Failure(step="thin out", object=archive.name, reason=reason)


def _failure(step: str, archive: Archive, error: EngineError) -> Failure:
    return Failure.of(step, archive.name, error)
