# SPDX-License-Identifier: BSD-2-Clause
"""A live database is closed, and read out while nobody writes to it: what is in the dump is all that there is."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from .access import Access
from .archives import dumps_of
from .backends.archiver.client import Archiver
from .deadline import Deadline
from .errors import BackendError, DeadlineExceeded, EngineError, SafetyStop
from .progress import Progress
from .project.model import Platform
from .project.vocabulary import PER_ARCHIVE
from .render.archive import identity_of
from .scratch import Source, await_work
from .steps import Action, Step

# After a kill the archiver opens what was closed; as long as a run is at work it says so in time.
CLOSED_SECONDS = 60
HOLD_SECONDS = 15.0
# For what is put in order whatever has become of the run.
END_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """A database that nobody enters. `token`: of this closing; with another one its archiver does nothing."""

    server: Archiver
    database: str
    token: str


@contextmanager
def closed(
    access: Access, platform: Platform, source: Source, database: str, *, progress: Progress, deadline: Deadline
) -> Iterator[Closed]:
    """A database while it is closed. It is opened again if something goes wrong; after a kill, when the time is up.

    Whoever has ended well with it has opened it, or retired or dropped it.
    """
    _let_dump(access, platform, source, deadline)
    server = Archiver(client=access.client, namespace=source.namespace)
    token = server.close(database, seconds=CLOSED_SECONDS, deadline=deadline)
    progress.note(f"{source.archive}: {database} is closed")
    hold = partial(server.hold, database, token=token, seconds=CLOSED_SECONDS, deadline=deadline)
    try:
        with _repeated(hold, HOLD_SECONDS):
            yield Closed(server=server, database=database, token=token)
    except BaseException:
        try:
            is_there = server.open(database, deadline=Deadline(limit_seconds=END_SECONDS))
        except (BackendError, DeadlineExceeded):
            progress.note(f"{source.archive}: {database} is opened within {CLOSED_SECONDS} s")
        else:
            said = "is open again" if is_there else "has gone from there; run again, which goes on"
            progress.note(f"{source.archive}: {database} {said}")
        raise


@contextmanager
def read_out(
    access: Access, platform: Platform, source: Source, closed: Closed, *, progress: Progress, deadline: Deadline
) -> Iterator[str]:
    """The key, below the platform's prefix, of a dump of a closed database, which lies there for as long as this lasts.

    Straight from the server, for which that is the work of reading one database. Raises BackendError.
    """
    server, database = closed.server, closed.database
    key = f"{dumps_of(source.archive)}{database}-{closed.token}.dump"
    written = f"{platform.object_store_prefix}/{key}"
    try:
        before = server.status(deadline=deadline)
        server.dump(database, written, token=closed.token, deadline=deadline)
        ended = await_work(server, "dump", before, progress=progress, deadline=deadline)
        if ended.dump.last != f"{database} {written}":
            raise SafetyStop(f"another dump of {database} has ended, one that an earlier run began; run again")
        yield key
    finally:
        with contextlib.suppress(EngineError):
            access.required_archives.discard([key], deadline=Deadline(limit_seconds=END_SECONDS))


def _let_dump(access: Access, platform: Platform, source: Source, deadline: Deadline) -> None:
    """An identity that was made by an older release may not write dumps."""
    if platform.object_store_identities == PER_ARCHIVE:
        (secret,) = source.keys
        wanted = identity_of(platform, source.archive, secret)
        reason = "it is to write a dump"
        step = Step(action=Action.UPDATE, id=wanted.id, reason=reason, desired=wanted, before=None)
        access.apply(step, before=None, deadline=deadline)


@contextmanager
def _repeated(work: Callable[[], None], seconds: float) -> Iterator[None]:
    """Again and again while this lasts. What goes wrong is tried again; whether it mattered is seen at the end."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(seconds):
            with contextlib.suppress(EngineError):
                work()

    thread = threading.Thread(target=repeat, name="hold", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
