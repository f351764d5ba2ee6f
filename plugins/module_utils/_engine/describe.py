# SPDX-License-Identifier: BSD-2-Clause
"""What the platform says of its projects, for those who only look."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from typing import NotRequired, TypedDict

from .archiving import archiving_of
from .backends.kubernetes import records
from .backends.kubernetes.client import Client
from .backends.kubernetes.domains import proven_of, wanted_of
from .backends.kubernetes.health import Health
from .backends.kubernetes.kinds import LISTED_KINDS, listed_kinds
from .backends.kubernetes.observe import observe, observe_served
from .backends.kubernetes.readiness import WAITED_KINDS, WORKLOAD, State, readiness_of
from .backends.kubernetes.records import Record, Status
from .backends.postgresql.clusters import Clusters, through_api_server
from .backends.postgresql.storage import Storage
from .deadline import Deadline
from .errors import EngineError, NotFound
from .objects import Body, ObjectId
from .observed import NOTHING, Live, Observed
from .project.domains import proof_of
from .project.model import Platform
from .project.names import PROJECT_LABEL, Ref, names_of, namespace_of
from .project.placement import Placement
from .project.vocabulary import DEDICATED, PRESENT
from .settings import Settings

CLAIM_KIND = "PersistentVolumeClaim"
# Of projects; the gateway has another one, which whoever reads projects may not see.
WORKLOADS = WAITED_KINDS.intersection(LISTED_KINDS)
TELLING_KINDS = WORKLOADS | {CLAIM_KIND}
# Who only looks would rather do without than wait for a cluster that does not answer.
STORAGE_SECONDS = 20.0


class Description(TypedDict):
    """One project as project_info returns it."""

    ref: str
    uid: str
    spec: Body
    state: str
    phase: str
    message: str
    since: str
    placement: str
    sessions: int
    sizes: dict[str, str]
    storage: dict[str, object]
    ready: bool
    waiting_for: list[str]
    drift: list[str]
    endpoints: dict[str, str]
    health: dict[str, object]
    authority: str
    domains: list[dict[str, object]]
    archive: NotRequired[dict[str, object]]


def describe(
    client: Client | None,
    platform: Platform,
    *,
    refs: Iterable[str] | None,
    settings: Settings,
    with_archive: bool = False,
) -> list[Description]:
    """The projects that have a record, all or some, in the order of their refs. No platform yet means no projects.

    `with_archive`: ask each one's archiver, too, which costs a connection each.
    """
    if client is None:
        return []
    deadline = Deadline(limit_seconds=settings.timeout_seconds)
    try:
        known = records.read_records(client, platform.namespace, deadline=deadline)
    except NotFound:
        return []
    wanted = set(known) if refs is None else set(known) & {Ref(ref) for ref in refs}
    listed = listed_kinds(platform)
    live = _observe(client, listed, settings, deadline) if wanted else NOTHING
    mine = _by_namespace(live)
    chosen = [known[ref] for ref in sorted(wanted)]
    with through_api_server(client) as clusters:
        storage = storage_of(chosen, clusters, Deadline(limit_seconds=min(STORAGE_SECONDS, settings.timeout_seconds)))
    found = [_description(one, mine.get(namespace_of(one.ref), {}), storage.get(one.ref, {}), listed) for one in chosen]
    if with_archive:
        archives = archiving_of(chosen, client, platform, workers=settings.workers, deadline=deadline)
        for description, one in zip(found, chosen, strict=True):
            description["archive"] = archives[one.ref]
    return found


def storage_of(chosen: Iterable[Record], clusters: Clusters, deadline: Deadline) -> dict[str, dict[str, object]]:
    """By ref what the databases on shared clusters take. That of a dedicated one only its own pod knows."""
    placed = [
        (one.ref, one.status.uid, cluster) for one in chosen if one.status and (cluster := _cluster_of(one.status))
    ]
    answers = clusters.storage(sorted({cluster for _ref, _uid, cluster in placed}), deadline=deadline)
    return {ref: _storage(names_of(ref, uid).database, answers[cluster]) for ref, uid, cluster in placed}


def _cluster_of(status: Status) -> str | None:
    placement = Placement.from_text(status.placement)
    return placement.cluster if placement else None


def _storage(database: str, answer: Mapping[str, Storage] | EngineError) -> dict[str, object]:
    if isinstance(answer, EngineError):
        return {"state": "unknown", "message": str(answer)}
    return dataclasses.asdict(answer[database]) if database in answer else {}


def _observe(client: Client, listed: Collection[str], settings: Settings, deadline: Deadline) -> Observed:
    """Whole what tells of readiness and sizes; of all else the metadata, which is enough to see drift."""
    workers, found = settings.workers, NOTHING
    for kinds, full in ((TELLING_KINDS, True), ({*LISTED_KINDS} - TELLING_KINDS, False)):
        some = observe(client, sorted(kinds), selector=PROJECT_LABEL, full=full, workers=workers, deadline=deadline)
        found = found.and_also(some)
    others = sorted({*listed} - {*LISTED_KINDS})
    more = observe_served(client, others, selector=PROJECT_LABEL, full=False, workers=workers, deadline=deadline)
    return found.and_also(more)


def _by_namespace(observed: Observed) -> dict[str, dict[ObjectId, Live]]:
    """Every object under its project's namespace, the namespaces themselves included."""
    found: dict[str, dict[ObjectId, Live]] = {}
    for id, live in observed.objects.items():
        found.setdefault(id.namespace or id.name, {})[id] = live
    return found


def _description(
    record: Record, live: Mapping[ObjectId, Live], storage: dict[str, object], listed: Collection[str]
) -> Description:
    status = record.status
    waiting = _waiting_for(record, live)
    return Description(
        ref=record.ref,
        uid=record.uid or "",
        spec=record.spec,
        state=record.spec.get("state", PRESENT),
        phase=status.phase if status else "",
        message=status.message if status else "",
        since=status.since if status else "",
        placement=status.placement if status else "",
        sessions=status.sessions if status else 0,
        sizes=_sizes(live),
        storage=storage,
        ready=not waiting,
        waiting_for=waiting,
        drift=_drift(record, live, listed),
        endpoints=dict(status.endpoints) if status else {},
        health=_health(record),
        authority=status.authority if status else "",
        domains=_domains(record),
    )


def _domains(record: Record) -> list[dict[str, object]]:
    """The host names that the project is to have, and the record in the DNS that proves each to be its own."""
    uid, proven = record.uid, proven_of(record)
    if uid is None:
        return []
    proofs = [(domain, proof_of(uid, domain)) for domain in wanted_of(record)]
    return [
        {
            "name": domain,
            "proven": proven.get(domain, ""),
            "record": {"name": proof.name, "type": "TXT", "value": proof.text},
        }
        for domain, proof in proofs
    ]


def _health(record: Record) -> dict[str, object]:
    """What was found when somebody last looked at it as its clients do; empty if nobody has."""
    found = Health.of(record)
    return {} if found is None else {"state": found.reason.lower(), "message": found.message, "since": found.since}


def _waiting_for(record: Record, live: Mapping[ObjectId, Live]) -> list[str]:
    """What is not there or not ready; of a project that is to be stopped, what still runs."""
    dedicated = record.status is None or record.status.placement == DEDICATED
    kinds = WORKLOADS if dedicated else WORKLOADS - {WORKLOAD}
    found = [one for id, one in sorted(live.items()) if id.kind in kinds]
    missing = sorted(kinds - {one.id.kind for one in found})
    answers = [(one.id, readiness_of(one.body)) for one in found if one.body is not None]
    laggards = [f"{id}: {answer.reason}" for id, answer in answers if answer.state is not State.READY]
    return [f"{kind}/{namespace_of(record.ref)}: it does not exist" for kind in missing] + laggards


def _sizes(live: Mapping[ObjectId, Live]) -> dict[str, str]:
    """CPU and memory of the project's own PostgreSQL and the size that its volume has; empty on a shared cluster."""
    sizes: dict[str, str] = {}
    for id, one in live.items():
        body = one.body or {}
        if id.kind == WORKLOAD:
            sizes |= body["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
        elif id.kind == CLAIM_KIND:
            capacity = (body.get("status") or {}).get("capacity") or body["spec"]["resources"]["requests"]
            sizes["storage"] = capacity["storage"]
    return dict(sorted(sizes.items()))


def _drift(record: Record, live: Mapping[ObjectId, Live], listed: Collection[str]) -> list[str]:
    """Objects that are not as the last run certified them, of those that can be listed. A run looks at all."""
    stamps = record.status.stamps if record.status else {}
    found: list[str] = []
    for id, stamp in sorted(stamps.items()):
        if id.kind not in listed:
            continue
        one = live.get(id)
        if one is None:
            found.append(f"{id}: it is gone")
        elif one.uid != stamp.uid:
            found.append(f"{id}: it is another one of the same name")
        elif one.version != stamp.version:
            found.append(f"{id}: somebody has written to it")
    return found
