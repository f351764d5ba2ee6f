# SPDX-License-Identifier: BSD-2-Clause
"""Base backups on request. The archiver beside each PostgreSQL makes them; here they are asked for and watched."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from .archive.status import ArchiverStatus
from .archives import archive_of, archive_of_cluster, without_object_store
from .backends.archiver.client import Archiver
from .backends.kubernetes import records
from .backends.kubernetes.client import Client
from .backends.kubernetes.records import STOPPED, Record
from .deadline import Deadline, retrying
from .errors import BackendError, Conflict, DeadlineExceeded, InvalidSpec, Problem, SafetyStop, ServerFailed
from .parallel import in_parallel
from .progress import Counter, Progress
from .project.model import Platform
from .project.names import Ref, cluster_namespace_of, namespace_of
from .settings import Settings
from .steps import Failure, Result

# A base backup sends a whole database: this many at once, by default.
WORKERS = 4
# Between two looks at one that runs: each time longer, as most end soon and the others take hours.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 15.0
# For an archiver to see that keys, bucket or network are there again; it tries every few seconds.
BEGIN_SECONDS = 30.0
SHOWN_NAMES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupOutcome:
    """What became of one archive: that of a project (`ref`) or of a shared cluster (`cluster`), the other is empty.

    `changed`: a base backup was made; without waiting, it was asked for. `unchanged`: for its `reason` none was.
    `waiting`: it had not ended when the time was up, and goes on. `is_full`, `finished`: of the one that was made.
    """

    ref: str = ""
    cluster: str = ""
    archive: str
    result: Result
    reason: str = ""
    is_full: bool | None = None
    finished: datetime | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupReport:
    """All outcomes, projects first, in the order of their names."""

    outcomes: tuple[BackupOutcome, ...] = ()

    @property
    def changed(self) -> bool:
        """True if a base backup was made or begun (in check mode: if one would be)."""
        return any(one.result in (Result.CHANGED, Result.WAITING) for one in self.outcomes)

    @property
    def succeeded(self) -> bool:
        """True if every one that was to be made was."""
        return all(one.result in (Result.CHANGED, Result.UNCHANGED) for one in self.outcomes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A PostgreSQL; `skipped`: why no backup of it is asked for."""

    ref: str = ""
    cluster: str = ""
    archive: str
    namespace: str
    skipped: str = ""

    def ended(
        self,
        result: Result,
        reason: str = "",
        *,
        is_full: bool | None = None,
        finished: datetime | None = None,
        failure: Failure | None = None,
    ) -> BackupOutcome:
        """The outcome of it."""
        return BackupOutcome(
            ref=self.ref,
            cluster=self.cluster,
            archive=self.archive,
            result=result,
            reason=reason,
            is_full=is_full,
            finished=finished,
            failure=failure,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What every lane of the run needs."""

    client: Client
    full: bool
    settings: Settings
    deadline: Deadline
    # Of time.monotonic(): until then an archiver may still be finding out that what it needs is there now.
    patient_until: float


def backup(
    client: Client,
    platform: Platform,
    *,
    refs: Collection[str] | None,
    clusters: Collection[str] | None,
    full: bool,
    settings: Settings,
    progress: Progress,
) -> BackupReport:
    """Ask for a base backup of projects with a PostgreSQL of their own and of shared clusters; of all if none is named.

    1. One that is running is waited for, as it began before it was asked for this one.
    2. An archiver that archives nothing has half a minute to begin, as a run of before may have mended what it needs.
    3. Then this one is asked for, and watched until it has ended or the time is up. It goes on without us.
    4. At most `settings.workers` are watched at once; one that fails does not hold up the others.
    5. Without `settings.wait` it is only asked for; where one is running, that is said and none is.

    No lease is taken: a backup may last for hours, in which other runs do what they have to.

    Raises InvalidSpec for names that are not there or on a shared cluster, SafetyStop if nothing is archived,
    BackendError if the cluster cannot be read.
    """
    deadline = Deadline(limit_seconds=settings.timeout_seconds)
    if platform.object_store_endpoint is None:
        raise without_object_store()
    known = records.read_records(client, platform.namespace, deadline=deadline)
    names = [cluster.name for cluster in platform.shared_clusters]
    chosen = choose(known, names, refs=refs, clusters=clusters)
    patient_until = time.monotonic() + (BEGIN_SECONDS if settings.wait else 0)
    job = _Job(client=client, full=full, settings=settings, deadline=deadline, patient_until=patient_until)
    counter = Counter(progress, "base backups", len(chosen))

    def work(one: Chosen) -> BackupOutcome:
        outcome = _one(job, one)
        counter.add()
        return outcome

    return BackupReport(outcomes=tuple(in_parallel(work, chosen, workers=settings.workers)))


def choose(
    known: Mapping[Ref, Record],
    declared: Sequence[str],
    *,
    refs: Collection[str] | None,
    clusters: Collection[str] | None,
) -> list[Chosen]:
    """Those that are named, or all if none is. Raises InvalidSpec with every name that cannot be."""
    problems = [*_wrong_refs(known, refs or ()), *_wrong_clusters(declared, clusters or ())]
    if problems:
        raise InvalidSpec(tuple(problems))
    if refs is None and clusters is None:
        refs = [ref for ref, record in known.items() if _cluster_of(record) is None]
        clusters = declared
    projects = [_project(known[Ref(ref)]) for ref in sorted({*(refs or ())})]
    return projects + [
        Chosen(cluster=name, archive=archive_of_cluster(name), namespace=cluster_namespace_of(name))
        for name in sorted({*(clusters or ())})
    ]


def _wrong_refs(known: Mapping[Ref, Record], refs: Collection[str]) -> Iterator[Problem]:
    own = sorted(ref for ref, record in known.items() if _cluster_of(record) is None)
    allowed = f"refs of projects with a PostgreSQL of their own: {_listed(own)}"
    for ref in sorted({*refs}):
        record = known.get(Ref(ref))
        cluster = None if record is None else _cluster_of(record)
        if record is None:
            yield Problem(path="refs", value=ref, allowed=allowed)
        elif cluster is not None:
            yield Problem(path="refs", value=ref, allowed=f"{allowed}; {ref} is on a shared one: clusters: [{cluster}]")


def _wrong_clusters(declared: Sequence[str], clusters: Collection[str]) -> Iterator[Problem]:
    for name in sorted({*clusters} - {*declared}):
        allowed = f"shared clusters that the platform declares: {_listed(sorted(declared))}"
        yield Problem(path="clusters", value=name, allowed=allowed)


def _listed(names: Sequence[str]) -> str:
    rest = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return (", ".join(names[:SHOWN_NAMES]) or "none") + rest


def _cluster_of(record: Record) -> str | None:
    return record.placed.placement.cluster if record.placed else None


def _project(record: Record) -> Chosen:
    skipped = ""
    if record.status is None or record.placed is None:
        skipped = "it has no PostgreSQL yet"
    elif record.status.phase == STOPPED:
        skipped = "it is stopped; what was committed before is archived"
    archive = archive_of(record.uid) if record.uid else ""
    return Chosen(ref=record.ref, archive=archive, namespace=namespace_of(record.ref), skipped=skipped)


def _one(job: _Job, chosen: Chosen) -> BackupOutcome:
    if chosen.skipped:
        return chosen.ended(Result.UNCHANGED, chosen.skipped)
    if job.settings.check:
        return chosen.ended(Result.CHANGED, f"a {'full ' if job.full else ''}base backup would be asked for")
    archiver = Archiver(client=job.client, namespace=chosen.namespace)
    try:
        before = _accepted(job, archiver)
        if before is None:
            return chosen.ended(Result.UNCHANGED, "a base backup is running already; none was asked for")
        if not job.settings.wait:
            return chosen.ended(Result.CHANGED, "asked for; it begins within seconds")
        return _watched(job, archiver, chosen, before)
    except (BackendError, DeadlineExceeded, SafetyStop) as error:
        return chosen.ended(Result.FAILED, failure=Failure.of("backup", archiver.subject, error))


def _accepted(job: _Job, archiver: Archiver) -> ArchiverStatus | None:
    """Ask, when none runs. How it was just before; None if one runs and we are not to wait."""
    pauses = _pauses()
    while True:
        status = _status(job, archiver)
        if status.refused:
            pause = next(pauses)
            if time.monotonic() + pause > job.patient_until or not _slept(job, pause):
                raise SafetyStop(f"nothing is archived: {status.refused}")
            continue
        if not status.backup_running:
            # Somebody may have been quicker by less than our way to it.
            with contextlib.suppress(Conflict):
                archiver.ask_backup(full=job.full, deadline=job.deadline)
                return status
        if not job.settings.wait:
            return None
        if not _slept(job, next(pauses)):
            limit = f"{job.deadline.limit_seconds:g} s"
            raise DeadlineExceeded(f"the base backup that ran already did not end within {limit}; none was asked for")


def _watched(job: _Job, archiver: Archiver, chosen: Chosen, before: ArchiverStatus) -> BackupOutcome:
    """Look until it has ended. Raises BackendError if it ended badly or is lost. What cannot begin is made later."""
    seen = before
    well_at = time.monotonic()
    with contextlib.suppress(DeadlineExceeded):
        for pause in _pauses():
            if not _slept(job, pause):
                break
            seen = _status(job, archiver)
            if seen.backup.done > before.backup.done and seen.began == before.began:
                return chosen.ended(Result.CHANGED, is_full=seen.newest_is_full, finished=seen.newest_backup_at)
            _refuse_bad_end(archiver, before, seen)
            if not seen.refused or seen.backup_running:
                well_at = time.monotonic()
            elif time.monotonic() > well_at + BEGIN_SECONDS:
                reason = f"nothing is archived: {seen.refused}. What was asked for is made when that is over"
                raise ServerFailed(subject=archiver.subject, verb="BACKUP", reason=reason)
    state = "is running" if seen.backup_running else "has not begun"
    reason = f"the base backup was asked for and {state}; it did not end within {job.deadline.limit_seconds:g} s"
    return chosen.ended(Result.WAITING, f"{reason}, and goes on")


def _refuse_bad_end(archiver: Archiver, before: ArchiverStatus, seen: ArchiverStatus) -> None:
    reason = ""
    if seen.began != before.began:
        reason = "the archiver was started anew before the base backup had ended; run again"
    elif seen.backup.ended > before.backup.ended:
        reason = seen.backup.error or "the base backup failed"
    if reason:
        raise ServerFailed(subject=archiver.subject, verb="BACKUP", reason=reason)


def _status(job: _Job, archiver: Archiver) -> ArchiverStatus:
    """Reading is harmless to repeat, and who watches for hours meets a server that is just starting."""
    return retrying(lambda: archiver.status(deadline=job.deadline), deadline=job.deadline, backoff=job.settings.backoff)


def _pauses() -> Iterator[float]:
    pause = FIRST_PAUSE
    while True:
        yield pause
        pause = min(LONGEST_PAUSE, pause * 1.5)


def _slept(job: _Job, seconds: float) -> bool:
    """Sleep, unless the time would be up then."""
    if job.deadline.remaining() <= seconds:
        return False
    time.sleep(seconds)
    return True
