# SPDX-License-Identifier: BSD-2-Clause
"""A project's database goes where its tier wants it: to a PostgreSQL of its own, or to a shared cluster.

Its users can do nothing while it is dumped and loaded. Whatever they committed before is there afterwards.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from .access import Access
from .archives import archive_of, dumps_of
from .backends.archiver.client import Archiver
from .backends.kubernetes import records
from .backends.kubernetes.delete import await_gone, delete, remove
from .backends.kubernetes.lease import Lease
from .databases import DATABASE_KIND
from .deadline import Deadline
from .errors import BackendError, DeadlineExceeded, NotFound, SafetyStop
from .objects import ObjectId
from .pause import clients_held
from .progress import Progress
from .project.life import Life
from .project.model import Inventory
from .project.names import namespace_of
from .project.placement import Move, Past, Placement, misplaced, place_anew
from .project.quantities import MIB
from .reconcile import reconcile
from .render import render
from .render.arrival import render_arrival_policy
from .render.context import Context, context_of
from .render.database import claim_id_of, workload_of
from .restore import party_of, source_at
from .restore_database import Party, load, require_well
from .scratch import await_work
from .settings import Settings
from .sight import placed_of
from .steps import Action, Report, Step

REOPEN_SECONDS = 60.0
# After a kill the archiver opens what was closed; as long as a run is at work it says so in time.
CLOSED_SECONDS = 60
HOLD_SECONDS = 15.0
POD = "postgresql-0"


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
        return Moved(report=job.bring(here), before=here, after=here)
    if here.move is not None and not misplaced(party.project, replace(here, move=None)):
        return job.give_up(here.move)
    going, towards = here, here.move
    if towards is None:
        there = place_anew(party.project, inventory.projects, placed_of(known), inventory.platform)
        kept = f"{party.database}_{datetime.now(UTC):%Y%m%dt%H%M%Sz}"
        life = here.life if there.cluster is not None else _next_life(party)
        towards = Move(cluster=there.cluster, kept=kept)
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

    def bring(self, placement: Placement) -> Report:
        """Bring the project to a placement."""
        settings = replace(self.settings, places={self.party.project.ref: placement})
        return reconcile(self.access, self.inventory, settings=settings, progress=self.progress)

    def go(self, going: Placement, move: Move, most_bytes: int) -> Moved:
        """All of it, from wherever an earlier run has come to."""
        size = self._size()
        if size is not None and size > most_bytes:
            raise SafetyStop(
                f"the database of {self.party.project.ref} has {-(-size // MIB)} MiB, and at most {most_bytes // MIB} "
                "MiB are allowed; its users could do nothing for all the time that this takes"
            )
        before = replace(self.party.placement, move=None)
        if self.settings.check:
            return Moved(
                report=self.bring(going), before=before, after=_arrived(going, move, self.party), bytes=size or 0
            )
        require_well(self.bring(going))
        closed = time.monotonic()
        with clients_held(self.access.client, self._context(before), progress=self.progress, deadline=self.deadline):
            if size is not None:
                closed = time.monotonic()
                self._carry(move)
            after = _arrived(going, move, self.party)
            self._leave(before)
            report = self.bring(after)
        closed_seconds = time.monotonic() - closed
        self._sweep()
        return Moved(
            report=report, before=before, after=after, bytes=size or 0, closed_seconds=closed_seconds, kept=move.kept
        )

    def give_up(self, move: Move) -> Moved:
        """Stay where it is. Raises SafetyStop if it is there already."""
        going, here = self.party.placement, replace(self.party.placement, move=None)
        if self._size() is None:
            raise SafetyStop(
                f"the database of {self.party.project.ref} has arrived: give the project the tier that it moved for, "
                "and let the move end"
            )
        if not self.settings.check:
            if move.cluster is None:
                self._stop(claim_id_of(self.party.project.ref, going.life))
            else:
                self._drop_arrived(move.cluster)
            self._sweep()
        return Moved(report=self.bring(here), before=here, after=here)

    def _size(self) -> int | None:
        """Of the database where it is; None if it has gone from there."""
        try:
            return self._server(self.party.source.namespace).size(self.party.database, deadline=self.deadline)
        except NotFound as error:
            if error.verb != "POST":
                raise
            return None

    def _carry(self, move: Move) -> None:
        """Dump, load and give up, under the lease: a run on all projects would open the database again."""
        source, database = self._server(self.party.source.namespace), self.party.database
        into = replace(self.party, source=source_at(self.inventory, self.party, move.cluster))
        client, namespace = self.access.client, self.inventory.platform.namespace
        seconds = self.settings.lease_seconds
        with Lease(client, namespace, seconds=seconds, progress=self.progress, deadline=self.deadline) as lease:
            deadline = lease.bound(self.deadline)
            with self._closed(source, deadline):
                key = f"{dumps_of(self.party.source.archive)}{database}.dump"
                before = source.status(deadline=deadline)
                source.dump(database, f"{self.inventory.platform.object_store_prefix}/{key}", deadline=deadline)
                await_work(source, "dump", before, progress=self.progress, deadline=deadline)
                load(self.access, into, key, with_grants=True, progress=self.progress, deadline=deadline)
                target = self._server(into.source.namespace)
                # What an earlier run has brought there, and the empty one that the server was made with.
                target.drop(move.kept, deadline=deadline)
                target.swap(database, kept=move.kept, deadline=deadline)
                target.drop(move.kept, deadline=deadline)
                source.retire(database, kept=move.kept, deadline=deadline)
            self.access.required_archives.discard([key], deadline=deadline)

    @contextmanager
    def _closed(self, source: Archiver, deadline: Deadline) -> Iterator[None]:
        """Opened again if something goes wrong; if that does not succeed, and after a kill, when the time is up."""
        database = self.party.database
        source.close(database, seconds=CLOSED_SECONDS, deadline=deadline)
        self.progress.note(f"{self.party.project.ref}: its database is closed")
        try:
            with _repeated(lambda: source.hold(database, seconds=CLOSED_SECONDS, deadline=deadline), HOLD_SECONDS):
                yield
        except BaseException:
            try:
                source.open(database, deadline=Deadline(limit_seconds=REOPEN_SECONDS))
                self.progress.note(f"{self.party.project.ref}: its database is open again where it was")
            except (BackendError, DeadlineExceeded):
                self.progress.note(f"{self.party.project.ref}: its database is opened within {CLOSED_SECONDS} s")
            raise

    def _leave(self, before: Placement) -> None:
        """Stop the PostgreSQL that has lost its database, so that its quota can be taken back."""
        if before.cluster is None:
            self._stop()

    def _stop(self, *volumes: ObjectId) -> None:
        for id in (*workload_of(self.party.project.ref), *volumes):
            delete(self.access.client, id, uid_label=self.party.uid, deadline=self.deadline)
        pod = ObjectId(kind="Pod", namespace=namespace_of(self.party.project.ref), name=POD)
        told = lambda reason: self.progress.note(f"waiting for {pod} to end: {reason}")  # noqa: E731
        await_gone(self.access.client, pod, deadline=self.deadline, progress=told)

    def _drop_arrived(self, cluster: str) -> None:
        """What was made on a shared cluster and never took over. Its logins stay: what is kept there may be theirs."""
        placement = Placement(cluster=cluster)
        for one in render(self.party.project, self.inventory.platform, placement, self.party.uid):
            if one.id.kind == DATABASE_KIND:
                step = Step(
                    action=Action.DELETE, id=one.id, reason="it stays where it is", desired=one, before=one.body
                )
                self.access.apply(step, before=None, deadline=self.deadline)

    def _sweep(self) -> None:
        """What only an arrival needs."""
        policy = render_arrival_policy(self._context(self.party.placement))
        remove(self.access.client, policy.id, deadline=self.deadline)

    def _server(self, namespace: str) -> Archiver:
        return Archiver(client=self.access.client, namespace=namespace)

    def _context(self, placement: Placement) -> Context:
        return context_of(self.party.project, self.inventory.platform, placement, self.party.uid)


@contextmanager
def _repeated(work: Callable[[], None], seconds: float) -> Iterator[None]:
    """Again and again while this lasts. What goes wrong is tried again; whether it mattered is seen at the end."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(seconds):
            with contextlib.suppress(BackendError, DeadlineExceeded):
                work()

    thread = threading.Thread(target=repeat, name="hold", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _next_life(party: Party) -> Life | None:
    """Of a PostgreSQL of its own: the volume that one had before, and what is archived of it, stay as they are."""
    before, had_one = party.placement.life, any(one.archive == archive_of(party.uid) for one in party.placement.past)
    return Life.anew((before.number if before else 1) + 1) if had_one else before


def _arrived(going: Placement, move: Move, party: Party) -> Placement:
    """Where it is when it has arrived, from now on."""
    source, past = party.source, going.past
    # A run that was killed after it had written this down did not come to its end.
    if not past or past[-1].archive != source.archive:
        past = (*past, Past(archive=source.archive, until=datetime.now(UTC), storage=source.storage))
    return Placement(cluster=move.cluster, life=going.life, past=past)
