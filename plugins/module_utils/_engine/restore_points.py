# SPDX-License-Identifier: BSD-2-Clause
"""Moments that get a name before something is tried, so that a restore can go back to them."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .archive.status import ArchiverStatus, Named
from .archives import without_object_store
from .backends.archiver.client import Archiver
from .backends.kubernetes import records
from .backends.kubernetes.client import Client
from .backends.kubernetes.records import STOPPED, Record
from .deadline import Deadline
from .errors import Conflict, EngineError, InvalidSpec, SafetyStop
from .guard import unknown_names
from .parallel import in_parallel
from .progress import Counter, Progress
from .project.model import Platform
from .project.names import Ref, Uid, cluster_namespace_of, namespace_of
from .scratch import await_work
from .settings import Settings
from .steps import Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointed:
    """What became of one project's point. `point`: None in check mode and after a failure."""

    ref: str
    uid: str
    point: Named | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PointReport:
    """All outcomes in the order of the refs."""

    name: str
    outcomes: tuple[Pointed, ...]

    @property
    def changed(self) -> bool:
        """True if a point was made (in check mode: if one would be)."""
        return any(one.failure is None for one in self.outcomes)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    ref: Ref
    uid: Uid
    namespace: str


def make_points(
    client: Client,
    platform: Platform,
    *,
    refs: Collection[str],
    name: str,
    settings: Settings,
    progress: Progress,
) -> PointReport:
    """Name this moment for chosen projects, each of which can be restored to it from the end of this on.

    1. A project of its own has the point in its archive; one on a shared cluster in that of the cluster, under a name
       that has the project in it.
    2. A name that the incarnation has already is refused: nobody could tell which of two is meant.
    3. Projects on one server come one after the other, servers side by side. One that fails does not hold up others.

    Raises InvalidSpec for refs that the platform does not have, SafetyStop if nothing is archived, BackendError if the
    records cannot be read.
    """
    deadline = Deadline(limit_seconds=settings.timeout_seconds)
    if platform.object_store_endpoint is None:
        raise without_object_store()
    known = records.read_records(client, platform.namespace, deadline=deadline)
    chosen, failed = choose(known, refs)
    counter = Counter(progress, "restore points", len(chosen))

    def work(group: Sequence[_Chosen]) -> list[Pointed]:
        done = []
        for one in group:
            done.append(_made(client, one, name, settings=settings, progress=progress, deadline=deadline))
            counter.add()
        return done

    groups = [[*found] for _namespace, found in itertools.groupby(chosen, key=lambda one: one.namespace)]
    made = itertools.chain.from_iterable(in_parallel(work, groups, workers=settings.workers))
    return PointReport(name=name, outcomes=tuple(sorted((*made, *failed), key=lambda one: one.ref)))


def choose(known: Mapping[Ref, Record], refs: Collection[str]) -> tuple[list[_Chosen], list[Pointed]]:
    """Those whose server is asked, by its namespace, and apart those that have none. Raises InvalidSpec."""
    asked = sorted({*refs})
    with_uid = {ref: record for ref, record in known.items() if record.uid is not None}
    problems = unknown_names("refs", asked, with_uid, "refs of projects that the platform has")
    if problems:
        raise InvalidSpec(tuple(problems))
    chosen, failed = list[_Chosen](), list[Pointed]()
    for ref in asked:
        record = known[Ref(ref)]
        uid = Uid(record.uid or "")
        reason = _reason_against(record)
        if reason:
            failure = Failure(step="name", object=ref, reason=reason)
            failed.append(Pointed(ref=ref, uid=uid, failure=failure))
            continue
        cluster = record.placed.placement.cluster if record.placed else None
        namespace = namespace_of(record.ref) if cluster is None else cluster_namespace_of(cluster)
        chosen.append(_Chosen(ref=record.ref, uid=uid, namespace=namespace))
    return sorted(chosen, key=lambda one: (one.namespace, one.ref)), failed


def _reason_against(record: Record) -> str:
    if record.placed is None or record.status is None:
        return "it has no PostgreSQL yet"
    if record.status.phase == STOPPED:
        return "it is stopped, and nothing in it changes; restore all that is archived (latest)"
    return ""


def _made(
    client: Client, one: _Chosen, name: str, *, settings: Settings, progress: Progress, deadline: Deadline
) -> Pointed:
    server = Archiver(client=client, namespace=one.namespace)
    try:
        if settings.check:
            _refuse_taken(server, server.status(deadline=deadline), one.uid, name)
            return Pointed(ref=one.ref, uid=one.uid)
        point = make_point(server, one.uid, name, progress=progress, deadline=deadline)
    except EngineError as error:
        return Pointed(ref=one.ref, uid=one.uid, failure=Failure.of("name", server.subject, error))
    return Pointed(ref=one.ref, uid=one.uid, point=point)


def make_point(server: Archiver, uid: Uid, name: str, *, progress: Progress, deadline: Deadline) -> Named:
    """One point, when it is in the archive. Raises BackendError with the archiver's own reason, DeadlineExceeded."""
    before = server.status(deadline=deadline)
    server.make_point(uid, name, deadline=deadline)
    after = await_work(server, "point", before, progress=progress, deadline=deadline)
    found = next(_points_of(after, uid, name), None)
    if found is None:
        raise SafetyStop(f"{server.subject} made the restore point {name} and does not tell of it; ask project_info")
    return found


def _refuse_taken(server: Archiver, status: ArchiverStatus, uid: Uid, name: str) -> None:
    """What the archiver would refuse, for a check. Raises Conflict, SafetyStop."""
    if status.refused:
        raise SafetyStop(f"nothing is archived: {status.refused}")
    if status.newest_backup_at is None:
        raise SafetyStop("no base backup has finished yet, so that no moment of this incarnation can be restored")
    for there in _points_of(status, uid, name):
        reason = f"there is a restore point {name} already, made at {there.made:%Y-%m-%dT%H:%M:%SZ}"
        raise Conflict(subject=server.subject, verb="POST", reason=reason)


def _points_of(status: ArchiverStatus, uid: Uid, name: str) -> Iterator[Named]:
    """Of the present incarnation."""
    for one in status.points:
        if (one.incarnation, one.project, one.name) == (status.incarnation, uid, name):
            yield one
