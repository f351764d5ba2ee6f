# SPDX-License-Identifier: BSD-2-Clause
"""One database goes back to a moment: dumped out of a copy of its PostgreSQL, and put in the place of the present one.

Its neighbours notice nothing. What it replaces is kept on the server, under another name.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from .access import Access
from .backends.archiver.client import Archiver
from .backends.kubernetes.lease import Lease
from .backends.kubernetes.restart import restart
from .deadline import Deadline
from .errors import SafetyStop, Unreachable
from .pause import clients_held
from .progress import Progress
from .project.life import Life
from .project.model import Inventory, Platform, Project
from .project.names import Uid, names_of
from .project.placement import Placement
from .reconcile import reconcile
from .render.context import context_of
from .scratch import Source, await_work, copy_of
from .service_keys import SERVICES
from .settings import Settings
from .steps import Report

# For an address that opens one dump: as long as the longest load waits before it begins to read.
OPEN_SECONDS = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """A project that data comes from or goes to. `source`: the PostgreSQL that its database is on."""

    project: Project
    uid: Uid
    placement: Placement
    source: Source

    @property
    def database(self) -> str:
        """Its name on the server."""
        return names_of(self.project.ref, self.uid).database


def restore_database(
    access: Access,
    inventory: Inventory,
    source: Party,
    into: Party,
    life: Life,
    *,
    settings: Settings,
    progress: Progress,
    deadline: Deadline,
) -> str:
    """Give a project the database that another, or it itself, had at a moment; the name under which its own is kept.

    `settings`: of a run on this project alone.
    1. A copy of the PostgreSQL comes to that moment, and the one database is dumped there.
    2. The dump is loaded beside the database that is in use, by a login that is no superuser.
    3. While the project's clients are held, the two change names in one transaction.

    A kill before the third leaves what is in use as it is; what it has left behind is removed by the next restore.
    Raises SafetyStop if the database was not there at that moment, BackendError, DeadlineExceeded.
    """
    with copy_of(access, inventory.platform, source.source, life, progress=progress, deadline=deadline) as copy:
        if source.database not in copy.told.databases:
            raise SafetyStop(f"at that moment {source.database} was not in {source.source.archive}")
        key = copy.dump(inventory.platform, source.database, progress=progress, deadline=deadline)
        # Not before there is what replaces it: where the database is gone, this makes an empty one.
        require_well(reconcile(access, inventory, settings=settings, progress=progress))
        load(access, into, key, with_grants=source.uid == into.uid, progress=progress, deadline=deadline)
    return swap(access, inventory.platform, into, settings=settings, progress=progress, deadline=deadline)


def require_well(report: Report) -> None:
    """Raises SafetyStop if the project that is to get a database is not well."""
    for outcome in report.outcomes:
        if outcome.failure is not None:
            failure = outcome.failure
            raise SafetyStop(f"{outcome.ref} is not well: {failure.step} {failure.object}: {failure.reason}")


def load(access: Access, into: Party, key: str, *, with_grants: bool, progress: Progress, deadline: Deadline) -> None:
    """Load a dump in the object store beside a project's database. What an earlier load has left is replaced."""
    server = Archiver(client=access.client, namespace=into.source.namespace)
    before = server.status(deadline=deadline)
    server.load(
        into.database,
        owner=names_of(into.project.ref, into.uid).owner,
        url=access.required_archives.presigned(key, seconds=OPEN_SECONDS),
        same_project=with_grants,
        deadline=deadline,
    )
    await_work(server, "load", before, progress=progress, deadline=deadline)


def swap(
    access: Access, platform: Platform, into: Party, *, settings: Settings, progress: Progress, deadline: Deadline
) -> str:
    """Put what was loaded in the place of a project's database, while its clients are held; the name of the old one."""
    server = Archiver(client=access.client, namespace=into.source.namespace)
    kept = f"{into.database}_{datetime.datetime.now(datetime.UTC):%Y%m%dt%H%M%Sz}"
    context = context_of(into.project, platform, into.placement, into.uid)
    seconds = settings.lease_seconds
    with Lease(access.client, platform.namespace, seconds=seconds, progress=progress, deadline=deadline) as lease:
        bound = lease.bound(deadline)
        with clients_held(access.client, context, progress=progress, deadline=bound):
            try:
                server.swap(into.database, kept=kept, deadline=bound)
            except Unreachable:
                # It may be done: asked again it then says so.
                server.swap(into.database, kept=kept, deadline=bound)
        # What PostgREST knows of the schema is of before, and Auth's part of the database may be older than Auth.
        if into.project.tier.has_services:
            restart(access.client, context.names.namespace, SERVICES, mark=kept, deadline=bound)
    progress.note(f"{into.project.ref}: its database of before is kept as {kept}")
    return kept
