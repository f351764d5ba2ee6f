# SPDX-License-Identifier: BSD-2-Clause
"""Databases that restores and imports have replaced: they stay on their server for some days, and then they go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from .archive.status import ArchiverStatus, Kept
from .archives import cluster_of
from .backends.archiver.client import Archiver
from .backends.kubernetes import records
from .backends.kubernetes.client import Client
from .backends.kubernetes.records import STOPPED, Record
from .deadline import Deadline
from .errors import EngineError, NotFound
from .parallel import in_parallel
from .progress import Counter, Progress
from .project.model import Platform
from .project.names import Ref, Uid, cluster_namespace_of, names_of, namespace_of
from .retained import Choice, KeptDatabase, KeptReport
from .settings import Settings
from .steps import Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class _Server:
    """A PostgreSQL. `only`: live databases of the projects that are meant; None for all that it has kept."""

    namespace: str
    only: frozenset[str] | None

    def has(self, one: KeptDatabase) -> bool:
        """True if it is meant."""
        return self.only is None or _live_of(one.name) in self.only


def goes_at(kept: Kept, platform: Platform) -> datetime:
    """From when on it is removed."""
    return kept.at + timedelta(days=platform.kept_database_days)


def let_go(
    client: Client,
    platform: Platform,
    *,
    choice: Choice,
    settings: Settings,
    progress: Progress,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> KeptReport:
    """Drop those that are older than `kept_database_days`, of all projects or of chosen ones; in check mode none.

    1. The archiver beside each PostgreSQL tells what it has kept, and drops it.
    2. It counts by the earlier one of its clock and ours: a clock that is wrong keeps more.
    3. Where nothing runs nothing is kept that could go now. A server that does not answer holds up no other.

    Raises BackendError if the records cannot be read.
    """
    deadline = Deadline(limit_seconds=settings.timeout_seconds)
    if platform.object_store_endpoint is None:
        return KeptReport()
    known = records.read_records(client, platform.namespace, deadline=deadline)
    servers = tuple(_servers(known, platform, choice))
    owners = {_database_of(one): one.ref for one in known.values() if one.uid is not None}
    counter = Counter(progress, "servers with databases that were kept", len(servers))

    def work(server: _Server) -> tuple[list[KeptDatabase], list[Failure]]:
        archiver = Archiver(client=client, namespace=server.namespace)
        try:
            status = archiver.status(deadline=deadline)
            found = [one for one in due(status, owners, platform, clock(), server=server.namespace) if server.has(one)]
            return [_dropped(archiver, one, settings, deadline) for one in found], []
        except NotFound:
            return [], []
        except EngineError as error:
            return [], [Failure.of("look at the kept databases of", archiver.subject, error)]
        finally:
            counter.add()

    answers = in_parallel(work, servers, workers=settings.workers)
    return KeptReport(
        databases=tuple(one for found, _failed in answers for one in found),
        failures=tuple(one for _found, failed in answers for one in failed),
    )


def due(
    status: ArchiverStatus, owners: Mapping[str, Ref], platform: Platform, now: datetime, *, server: str
) -> tuple[KeptDatabase, ...]:
    """What a server has kept, and what is to become of it. `owners`: projects by the names of their live databases."""
    now = min(now, status.now)
    return tuple(
        KeptDatabase(
            name=one.name,
            ref=owners.get(_live_of(one.name), ""),
            server=server,
            bytes=one.bytes,
            until=one.at,
            goes_at=goes_at(one, platform),
            is_due=goes_at(one, platform) <= now,
        )
        for one in status.kept
    )


def _live_of(kept: str) -> str:
    return kept.rpartition("_")[0]


def _database_of(record: Record) -> str:
    return names_of(record.ref, record.uid or Uid("")).database


def _dropped(archiver: Archiver, one: KeptDatabase, settings: Settings, deadline: Deadline) -> KeptDatabase:
    if not one.is_due or settings.check:
        return replace(one, is_gone=one.is_due)
    try:
        archiver.drop(one.name, deadline=deadline)
    except EngineError as error:
        return replace(one, failure=Failure.of("drop", one.name, error))
    return replace(one, is_gone=True)


def _servers(known: Mapping[Ref, Record], platform: Platform, choice: Choice) -> Iterator[_Server]:
    """Those of the choice, each once; whole clusters before what of them only some projects have."""
    clusters = {one.name for one in platform.shared_clusters}
    clusters = clusters if choice.is_all else clusters & {*(choice.clusters or ())}
    whole = {cluster_namespace_of(name) for name in clusters}
    some: dict[str, set[str]] = {}
    for ref, record in known.items():
        if record.uid is not None and (choice.is_all or ref in (choice.refs or ())):
            for namespace in _namespaces(record):
                some.setdefault(namespace, set()).add(_database_of(record))
    for namespace in sorted(whole | some.keys()):
        is_whole = namespace in whole or choice.is_all
        yield _Server(namespace=namespace, only=None if is_whole else frozenset(some[namespace]))


def _namespaces(record: Record) -> Iterator[str]:
    """Of the servers that may have kept a database of a project: where it is, and the clusters on which it was."""
    placement = record.placed.placement if record.placed else None
    if placement is None or record.status is None:
        return
    if placement.cluster is not None:
        yield cluster_namespace_of(placement.cluster)
    elif record.status.phase != STOPPED:
        yield namespace_of(record.ref)
    for past in placement.past:
        cluster = cluster_of(past.archive)
        if cluster is not None:
            yield cluster_namespace_of(cluster)
