# SPDX-License-Identifier: BSD-2-Clause
"""A project's database goes where its tier wants it: to a PostgreSQL of its own, or to a shared cluster.

Its users can do nothing while it is dumped and loaded. Whatever they committed before is there afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar

from .access import Access
from .archives import archive_of
from .backends.archiver.client import Archiver
from .backends.kubernetes import records
from .backends.kubernetes.delete import await_gone, delete, remove
from .backends.kubernetes.lease import Lease
from .databases import DATABASE_KIND
from .deadline import Deadline
from .errors import SafetyStop, Unreachable
from .live_dump import closed, read_out
from .objects import ObjectId
from .pause import clients_held
from .progress import Progress
from .project.life import Life
from .project.model import Inventory
from .project.names import POSTGRESQL_POD, namespace_of
from .project.placement import Move, Past, Placement, misplaced, place_anew
from .project.quantities import MIB
from .reconcile import reconcile
from .render import render
from .render.arrival import arrival_policy_of
from .render.context import context_of
from .render.database import claim_id_of, workload_of
from .restore import party_of, source_at
from .restore_database import Party, load, require_well
from .settings import Settings
from .sight import placed_of
from .steps import Action, Report, Step

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What was done. `bytes`: of the database. `closed_seconds`: how long its users could do nothing.

    `kept`: under which name the database stays on the server that it has left. Empty, and zeros, where nothing moved.
    """

    report: Report
    before: Placement
    after: Placement
    bytes: int = 0
    closed_seconds: float = 0.0
    kept: str = ""


def move(
    access: Access, inventory: Inventory, *, ref: str, most_bytes: int, settings: Settings, progress: Progress
) -> Moved:
    """Bring a project's database to where its tier wants it.

    1. The server there is made, or the database on the shared cluster. Clients notice nothing of that.
    2. Clients are held, and the database is closed: from then on nothing is committed in it.
    3. It is dumped, and loaded there. Only after that it is given up: under another name it stays where it was.
       If it was opened meanwhile, by whomever, it is not given up and goes on as before.
    4. The record says where it is now, and what was there is stopped. Its volume and its archive stay.

    A kill before the third ends leaves all as it was: the archiver opens what is closed when its time is up. After that
    the next run goes on. A run with the tier of before gives up what has not ended.

    Raises InvalidSpec for an unknown ref, or where there is no room; SafetyStop if the database is larger than
    `most_bytes` or the project not well, BackendError with what went wrong.
    """
    deadline = Deadline(limit_seconds=settings.timeout_seconds)
    access.required_archives  # noqa: B018 - raises where there are none, before anything is changed
    known = records.read_records(access.client, inventory.platform.namespace, deadline=deadline)
    party = party_of(known, inventory, "ref", ref)
    job = _Job(
        access=access,
        inventory=inventory,
        party=party,
        settings=replace(settings, only=frozenset({ref})),
        progress=progress,
        deadline=deadline,
    )
    here = party.placement
    if not misplaced(party.project, here):
        return job.stay()
    if here.move is not None and not misplaced(party.project, replace(here, move=None)):
        return job.give_up(here.move)
    going, towards = here, here.move
    if towards is None:
        placed = placed_of(known)
        there = place_anew(party.project, inventory.projects, placed, inventory.platform)
        kept = f"{party.database}_{datetime.now(UTC):%Y%m%dt%H%M%Sz}"
        towards = Move(cluster=there.cluster, kept=kept, sessions=placed[party.project.ref].sessions)
        life = here.life if there.cluster is not None else _next_life(party)
        going = replace(here, life=life, move=towards)
    return job.go(going, towards, most_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One move. `settings`: of runs on this project alone."""

    access: Access
    inventory: Inventory
    party: Party
    settings: Settings
    progress: Progress
    deadline: Deadline

    def stay(self) -> Moved:
        """Nothing is to be moved; an earlier move may have left something."""
        here = self.party.placement
        if not self.settings.check:
            self._sweep(self.deadline)
        return Moved(report=self._bring(here), before=here, after=here)

    def go(self, going: Placement, move: Move, most_bytes: int) -> Moved:
        """All of it, from wherever an earlier run has come to."""
        before, size = replace(self.party.placement, move=None), self._size(move)
        if size is not None and size > most_bytes:
            raise SafetyStop(
                f"the database of {self.party.project.ref} has {-(-size // MIB)} MiB, and at most {most_bytes // MIB} "
                "MiB are allowed; its users could do nothing for all the time that this takes"
            )
        if self.settings.check:
            after = _arrived(going, move, self.party, "")
            return Moved(report=self._bring(going), before=before, after=after, bytes=size or 0)
        require_well(self._bring(going))
        with self._lease() as lease:
            began = time.monotonic()
            with self._clients_held(before, lease):
                until = "" if size is None else self._carry(move, lease)
                after = _arrived(going, move, self.party, until)
                if before.cluster is None:
                    # Of a server that is stopped nobody can ask any more whether its database has gone.
                    require_well(self._bring(replace(going, move=replace(move, has_gone=True)), lease))
                    self._stop(lease.bound(self.deadline))
                report = self._bring(after, lease)
            closed = time.monotonic() - began
            self._sweep(lease.bound(self.deadline))
        return Moved(report=report, before=before, after=after, bytes=size or 0, closed_seconds=closed, kept=move.kept)

    def give_up(self, move: Move) -> Moved:
        """Stay where it is. Raises SafetyStop if it has gone."""
        here = replace(self.party.placement, move=None)
        if self._size(move) is None:
            raise SafetyStop(
                f"the database of {self.party.project.ref} has gone from where it was: give the project the tier that "
                "it moved for, and let the move end"
            )
        if self.settings.check:
            return Moved(report=self._bring(here), before=here, after=here)
        with self._lease() as lease:
            deadline = lease.bound(self.deadline)
            # From then on no run that is still at work on the move can end it.
            if not self._source.open(self.party.database, deadline=deadline):
                raise SafetyStop("its database has just gone from where it was; run again")
            if move.cluster is None:
                self._stop(deadline, claim_id_of(self.party.project.ref, self.party.placement.life))
            else:
                self._drop_arrived(move.cluster, deadline)
            self._sweep(deadline)
            return Moved(report=self._bring(here, lease), before=here, after=here)

    def _bring(self, placement: Placement, lease: Lease | None = None) -> Report:
        """Bring the project to a placement."""
        settings = replace(self.settings, places={self.party.project.ref: placement})
        return reconcile(self.access, self.inventory, settings=settings, progress=self.progress, lease=lease)

    def _size(self, move: Move) -> int | None:
        """Bytes of the database where it is; None if an earlier run has brought it away from there.

        Raises SafetyStop if it cannot go, BackendError if it is nowhere.
        """
        if move.has_gone:
            return None
        database, ref = self.party.database, self.party.project.ref
        seen = self._source.look(database, deadline=self.deadline)
        if seen is None and self.party.placement.move is None:
            raise SafetyStop(f"{ref} has no database on {self.party.source.archive}: it is lost, and nothing to move")
        if seen is None:
            # Says so if it is done already, and else that it is not there.
            self._source.retire(database, token="", kept=move.kept, deadline=self.deadline)
            return None
        size, strangers = seen
        if strangers and move.cluster is None:
            raise SafetyStop(
                f"the database of {ref} has grants to {', '.join(strangers)}, which a PostgreSQL of its own has not; "
                "revoke them first"
            )
        return size

    def _carry(self, move: Move, lease: Lease) -> str:
        """Dump, load and give up; when that was. Under the lease: a run on all projects would open it again."""
        platform, source, database = self.inventory.platform, self.party.source, self.party.database
        deadline, told = lease.bound(self.deadline), self.progress
        into = replace(self.party, source=source_at(self.inventory, self.party, move.cluster))
        target = self._server(into.source.namespace)
        with (
            closed(self.access, platform, source, database, progress=told, deadline=deadline) as it,
            read_out(self.access, platform, source, it, progress=told, deadline=deadline) as key,
        ):
            load(self.access, into, key, with_grants=True, progress=told, deadline=deadline)
            # What an earlier run has brought there, and the empty one that the server was made with.
            target.drop(move.kept, deadline=deadline)
            _asked(lambda: target.swap(database, kept=move.kept, deadline=deadline))
            target.drop(move.kept, deadline=deadline)
            return _asked(lambda: it.server.retire(database, token=it.token, kept=move.kept, deadline=deadline))

    def _stop(self, deadline: Deadline, *volumes: ObjectId) -> None:
        """Stop a PostgreSQL of the project's own, so that its quota can be taken back."""
        for id in (*workload_of(self.party.project.ref), *volumes):
            delete(self.access.client, id, uid_label=self.party.uid, deadline=deadline)
        pod = ObjectId(kind="Pod", namespace=namespace_of(self.party.project.ref), name=POSTGRESQL_POD)

        def told(reason: str) -> None:
            self.progress.note(f"waiting for {pod} to end: {reason}")

        await_gone(self.access.client, pod, deadline=deadline, progress=told)

    def _drop_arrived(self, cluster: str, deadline: Deadline) -> None:
        """What was made on a shared cluster and never took over. Its logins stay: what is kept there may be theirs."""
        placement = Placement(cluster=cluster)
        for one in render(self.party.project, self.inventory.platform, placement, self.party.uid):
            if one.id.kind == DATABASE_KIND:
                step = Step(
                    action=Action.DELETE, id=one.id, reason="it stays where it is", desired=one, before=one.body
                )
                self.access.apply(step, before=None, deadline=deadline)

    def _sweep(self, deadline: Deadline) -> None:
        """What only an arrival needs."""
        remove(self.access.client, arrival_policy_of(self.party.project.ref), deadline=deadline)

    def _clients_held(self, placement: Placement, lease: Lease) -> AbstractContextManager[None]:
        context = context_of(self.party.project, self.inventory.platform, placement, self.party.uid)
        deadline = lease.bound(self.deadline)
        return clients_held(self.access.client, context, progress=self.progress, deadline=deadline)

    def _lease(self) -> Lease:
        client, namespace, seconds = self.access.client, self.inventory.platform.namespace, self.settings.lease_seconds
        return Lease(client, namespace, seconds=seconds, progress=self.progress, deadline=self.deadline)

    @property
    def _source(self) -> Archiver:
        return self._server(self.party.source.namespace)

    def _server(self, namespace: str) -> Archiver:
        return Archiver(client=self.access.client, namespace=namespace)


def _asked(question: Callable[[], Answer]) -> Answer:
    """Once more after a lost answer: it may be done, and asked again it then says so."""
    try:
        return question()
    except Unreachable:
        return question()


def _next_life(party: Party) -> Life | None:
    """Of a PostgreSQL of its own: the volume that one had before, and what is archived of it, stay as they are."""
    before, had_one = party.placement.life, any(one.archive == archive_of(party.uid) for one in party.placement.past)
    return Life.anew((before.number if before else 1) + 1) if had_one else before


def _arrived(going: Placement, move: Move, party: Party, until: str) -> Placement:
    """Where it is when it has arrived; `until` then it was where it is now, empty if nobody knows better than now."""
    source, past = party.source, going.past
    left = datetime.fromisoformat(until) if until else datetime.now(UTC)
    # A run that was killed after it had written this down did not come to its end.
    if not past or past[-1].archive != source.archive:
        past = (*past, Past(archive=source.archive, until=left, storage=source.storage))
    return Placement(cluster=move.cluster, life=going.life, past=past)
