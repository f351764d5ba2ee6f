# SPDX-License-Identifier: BSD-2-Clause
"""Restarting what is down: which Deployment, and whether it is time for it."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from .backends.kubernetes import records
from .backends.kubernetes.client import Client
from .backends.kubernetes.health import Health
from .backends.kubernetes.lease import Lease
from .backends.kubernetes.observe import read_object
from .backends.kubernetes.readiness import WORKLOAD
from .backends.kubernetes.records import READY, WAITING, Record
from .backends.kubernetes.restart import restart_noted
from .deadline import Deadline
from .errors import EngineError
from .objects import Body, ObjectId
from .parallel import in_parallel
from .progress import Progress
from .project.names import RESTARTS_ANNOTATION, Ref, namespace_of
from .render.cluster import cluster_server_of
from .render.context import Context
from .restarts import Behind, Due, Restarts, Rules, cause_of, culprits, held_back, unmoved
from .settings import Settings

MARK_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Down:
    """A project with the parts that are down, and why they are thought to be. `record`: from before that was noted."""

    record: Record
    parts: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """What was done for a project: the Deployments that are restarted, or in check mode would be, and why no others.

    `cause`: why a restart would not help or must not be; it stays the same until that is over.
    """

    restarted: tuple[str, ...] = ()
    cause: str = ""
    held: tuple[str, ...] = ()

    @property
    def why(self) -> str:
        """Why not more was done."""
        return "; ".join((*((self.cause,) if self.cause else ()), *self.held))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decided:
    """What is due of one project, and what to note of each with its restart. `told`: what is known by then."""

    due: tuple[Due, ...] = ()
    notes: Mapping[str, Restarts] = field(default_factory=dict)
    told: Treatment


def heal(
    client: Client,
    namespace: str,
    downs: Sequence[Down],
    *,
    rules: Rules,
    now: datetime,
    settings: Settings,
    progress: Progress,
    deadline: Deadline,
) -> dict[Ref, Treatment]:
    """Restart what is down, each part by its own rules. In check mode nothing is written, and no lease is taken.

    1. Not while another run is at work: it may be restoring or moving the project.
    2. Not while its database is not ready: that is the cause then.
    3. The pooler in place of the services, if none of its pods is ready.
    4. No more than `rules.at_once`, and none of what went down with more than that.
    """
    with contextlib.ExitStack() as stack:
        try:
            if not settings.check and rules.enabled:
                seconds = settings.lease_seconds
                lease = Lease(client, namespace, seconds=seconds, progress=progress, deadline=deadline)
                deadline = stack.enter_context(lease).bound(deadline)
            # As it is now that nobody else is at work.
            known = records.read_records(client, namespace, deadline=deadline)
        except EngineError as error:
            return {one.record.ref: _not_touched(error) for one in downs}
        job = _Job(client=client, rules=rules, now=now, check=settings.check, deadline=deadline)

        def decide(down: Down) -> _Decided:
            return job.decide(down, known.get(down.record.ref))

        decided = in_parallel(decide, downs, workers=settings.workers)
        held = held_back([due for one in decided for due in one.due], rules)

        def treat(pair: tuple[Down, _Decided]) -> Treatment:
            return job.treat(*pair, held)

        done = in_parallel(treat, zip(downs, decided, strict=True), workers=settings.workers)
    return {down.record.ref: one for down, one in zip(downs, done, strict=True)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    client: Client
    rules: Rules
    now: datetime
    check: bool
    deadline: Deadline

    def decide(self, down: Down, record: Record | None) -> _Decided:
        """What of a project may be restarted now. What cannot be read is a reason not to."""
        cause = _standing(record)
        if cause or record is None:
            return _Decided(told=Treatment(cause=cause))
        try:
            behind = self._behind(record)
            cause = cause_of(behind)
            if cause:
                return _Decided(told=Treatment(cause=cause))
            if not self.rules.enabled:
                return _Decided(told=Treatment(held=("nothing is restarted, as restart is false",)))
            return self._decided(down, culprits(down.parts, behind, pooler=Context.POOLER))
        except EngineError as error:
            return _Decided(told=_not_touched(error))

    def treat(self, down: Down, decided: _Decided, held_back: Mapping[tuple[str, str], str]) -> Treatment:
        """Restart what is due and not held back, with a note of it in the same write."""
        restarted: list[str] = []
        held = list(decided.told.held)
        for one in decided.due:
            why = held_back.get((one.ref, one.part))
            try:
                if why:
                    held.append(f"{one.part}: {why}")
                    continue
                if not self.check:
                    mark = secrets.token_hex(MARK_BYTES)
                    id, note = _deployment(down.record.ref, one.part), str(decided.notes[one.part])
                    restart_noted(self.client, id, mark=mark, note=note, deadline=self.deadline)
                restarted.append(one.part)
            except EngineError as error:
                held.append(f"{one.part} could not be restarted: {error}")
        return Treatment(restarted=tuple(restarted), cause=decided.told.cause, held=tuple(held))

    def _behind(self, record: Record) -> Behind:
        placement = record.placed.placement if record.placed else None
        own = ObjectId(kind=WORKLOAD, namespace=namespace_of(record.ref), name=Context.POSTGRESQL)
        server = cluster_server_of(placement.cluster) if placement and placement.cluster else own
        return Behind(
            server_id=server,
            server=self._read(server),
            pooler=self._read(_deployment(record.ref, Context.POOLER)),
        )

    def _decided(self, down: Down, names: Sequence[str]) -> _Decided:
        due: list[Due] = []
        notes: dict[str, Restarts] = {}
        held: list[str] = []
        up_for, since = _up_for(down.record, self.now), _down_since(down.record)
        for name in names:
            body = self._read(_deployment(down.record.ref, name))
            found = _note_on(body)
            why = unmoved(body) or found.why_not(self.now, up_for=up_for, rules=self.rules)
            if why:
                held.append(f"{name}: {why}")
            else:
                due.append(Due(ref=down.record.ref, part=name, since=since, last=found.last(self.now)))
                notes[name] = found.and_one(self.now, up_for=up_for, why=down.why)
        return _Decided(due=tuple(due), notes=notes, told=Treatment(held=tuple(held)))

    def _read(self, id: ObjectId) -> Body | None:
        live = read_object(self.client, id, deadline=self.deadline)
        return None if live is None or live.is_going else live.body


def _standing(record: Record | None) -> str:
    """Why a project must not be touched, as its record has it; empty if it may be."""
    if record is None or record.status is None:
        return "its record is gone"
    if record.status.phase not in (READY, WAITING):
        return f"a run on it has not ended well, it is {record.status.phase}; run projects.yml"
    if record.unreadable:
        return f"its record was written by a newer release ({record.unreadable})"
    if record.placed is not None and record.placed.placement.move is not None:
        return "it is being moved"
    return ""


def _up_for(record: Record, now: datetime) -> timedelta | None:
    """How long it has been up by its record; None if it was not, or nobody has looked."""
    health = Health.of(record)
    if health is None or not health.is_healthy:
        return None
    try:
        return now - datetime.fromisoformat(health.since)
    except (ValueError, TypeError):
        return None


def _down_since(record: Record) -> str:
    """Since when it was not well when it was looked at before; empty if it was, or nobody has looked."""
    health = Health.of(record)
    return "" if health is None or health.is_healthy else health.since


def _not_touched(error: EngineError) -> Treatment:
    return Treatment(held=(f"nothing is restarted: {error}",))


def _deployment(ref: Ref, name: str) -> ObjectId:
    return ObjectId(kind="Deployment", namespace=namespace_of(ref), name=name)


def _note_on(body: Body | None) -> Restarts:
    annotations = ((body or {}).get("metadata") or {}).get("annotations") or {}
    return Restarts.from_text(annotations.get(RESTARTS_ANNOTATION, ""))
