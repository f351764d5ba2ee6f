# SPDX-License-Identifier: BSD-2-Clause
"""How each project is archived, as the archivers tell it, for those who only look."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from .archive.drills import Proof
from .archive.health import problems_of
from .archive.status import ArchiverStatus
from .archives import archive_of, archive_of_cluster
from .backends.archiver.client import Archiver
from .backends.kubernetes.client import Client
from .backends.kubernetes.proofs import read_proofs
from .backends.kubernetes.records import STOPPED, Record
from .deadline import Deadline
from .errors import EngineError
from .kept_databases import goes_at
from .parallel import in_parallel
from .project.model import Platform
from .project.names import Ref, Uid, cluster_namespace_of, names_of, namespace_of

Shown = dict[str, object]


def archiving_of(
    chosen: Collection[Record], client: Client, platform: Platform, *, workers: int, deadline: Deadline
) -> dict[Ref, Shown]:
    """By ref how its PostgreSQL is archived. A shared cluster is asked once; who does not answer says so."""
    if platform.object_store_endpoint is None:
        return {one.ref: _unhealthy("nothing is archived: the platform has no object store") for one in chosen}

    def ask(namespace: str) -> ArchiverStatus | Shown:
        try:
            return Archiver(client=client, namespace=namespace).status(deadline=deadline)
        except EngineError as error:
            return _unhealthy(f"the archiver does not answer: {error}")

    found: dict[Ref, Shown] = {}
    places: dict[Ref, str] = {}
    proofs = read_proofs(client, platform.namespace, deadline=deadline)
    for one in chosen:
        cluster = one.placed.placement.cluster if one.placed else None
        if one.placed is None:
            found[one.ref] = _unhealthy("it has no PostgreSQL yet")
        elif cluster is None and one.status is not None and one.status.phase == STOPPED:
            # Its archive is whole: the server's end waits for the archiver's.
            found[one.ref] = {"is_healthy": True, "problems": [], "message": "the project is stopped"}
        else:
            places[one.ref] = namespace_of(one.ref) if cluster is None else cluster_namespace_of(cluster)
    namespaces = tuple(dict.fromkeys(places.values()))
    answers = dict(zip(namespaces, in_parallel(ask, namespaces, workers=workers), strict=True))
    told = [one for one in answers.values() if isinstance(one, ArchiverStatus)]
    for one in chosen:
        answer = answers.get(places.get(one.ref, ""))
        if isinstance(answer, ArchiverStatus):
            found[one.ref] = {**shown(answer), **_of_project(one, answer, told, platform)}
        elif answer is not None:
            found[one.ref] = answer
    return {one.ref: {**found[one.ref], **_proven(one, proofs)} for one in chosen}


def _of_project(record: Record, status: ArchiverStatus, told: Iterable[ArchiverStatus], platform: Platform) -> Shown:
    """What the archiver has of this project alone: others on its cluster are none of its business.

    `told`: all that answered. A project that has moved has a database on the server on which it was.
    """
    uid = record.uid or Uid("")
    database = names_of(record.ref, uid).database
    kept = (one for each in told for one in each.kept if one.name.startswith(f"{database}_"))
    return {
        "points": [
            {"name": one.name, "made": _time(one.made), "lsn": one.lsn, "incarnation": one.incarnation}
            for one in status.points
            if one.project == uid
        ],
        "kept_databases": [
            {"name": one.name, "bytes": one.bytes, "until": _time(one.at), "goes_at": _time(goes_at(one, platform))}
            for one in kept
        ],
    }


def _proven(record: Record, proofs: Mapping[str, Proof]) -> Shown:
    """What the last drill of its archive has shown."""
    if record.placed is None or record.uid is None:
        return {}
    cluster = record.placed.placement.cluster
    proof = proofs.get(archive_of(record.uid) if cluster is None else archive_of_cluster(cluster))
    return {
        "last_drill_at": _time(None if proof is None else proof.at),
        "last_drill_error": "" if proof is None else proof.error,
    }


def shown(status: ArchiverStatus) -> Shown:
    """As project_info returns it. Times as text, empty for never."""
    problems = problems_of(status)
    return {
        "is_healthy": not problems,
        "problems": list(problems),
        "archive": status.archive,
        "incarnation": status.incarnation,
        "engine": status.engine,
        "refused": status.refused,
        "rpo_seconds": status.rpo_seconds,
        "backup_hours": status.backup_hours,
        "ready_files": status.ready_files,
        "oldest_ready_seconds": round(status.oldest_ready_seconds),
        "last_wal": status.wal.last,
        "last_wal_at": _time(status.wal.last_at),
        "last_heartbeat_at": _time(status.heartbeat.last_at),
        "last_backup_at": _time(status.newest_backup_at),
        "last_backup_is_full": status.newest_is_full,
        "last_full_backup_at": _time(status.newest_full_at),
        "backup_running": status.backup_running,
        "next_backup_at": _time(status.next_backup_at),
        "failures": {
            name: {"count": work.failures, "error": work.error, "at": _time(work.error_at)}
            for name, work in (("wal", status.wal), ("backup", status.backup), ("heartbeat", status.heartbeat))
        },
        "wal_bytes": status.wal_bytes,
        "volume_bytes": status.volume_bytes,
        "volume_free_bytes": status.volume_free_bytes,
        "writes_stopped": status.writes_stopped,
    }


def _unhealthy(problem: str) -> Shown:
    return {"is_healthy": False, "problems": [problem]}


def _time(at: datetime | None) -> str:
    return at.isoformat(timespec="seconds") if at else ""
