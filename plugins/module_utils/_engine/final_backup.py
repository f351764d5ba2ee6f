# SPDX-License-Identifier: BSD-2-Clause
"""What is kept for good of a project before a purge destroys it.

Of one on a shared cluster that is a dump: else its last state would be in the cluster's archive alone, for the recovery
window. Of one with a PostgreSQL of its own it is the archive, which stays: it has to be whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final as Constant

from .access import Archives
from .archive.ends import plan_to_end
from .archives import archive_of, finals_of
from .backends.kubernetes.records import STOPPED, Record, Status
from .errors import EngineError, SafetyStop
from .live_dump import closed, read_out
from .objects import Desired, ObjectId
from .project.names import Ref, names_of
from .project.placement import Placement
from .scratch import Source
from .sight import Run
from .steps import Action, Failure, Step

KIND: Constant = "FinalBackup"
WITHOUT: Constant = "to purge it without one, name it in purge_without_final_backup"
_TIME: Constant = "%Y%m%dt%H%M%Sz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """The final backup of a project that has been stopped since `since`, in the words of its record.

    `key`: below the platform's prefix, of the dump or of the incarnation in which the archive ends; empty after a
    failure. `is_new`: made by this run, in check mode: it would be.
    """

    since: str = ""
    key: str = ""
    is_new: bool = False
    failure: Failure | None = None

    @property
    def steps(self) -> tuple[Step, ...]:
        """Making it, if it was not there."""
        if not self.is_new:
            return ()
        id = ObjectId(kind=KIND, name=self.key)
        body = {"apiVersion": "object-store", "kind": KIND, "metadata": {"name": self.key}}
        reason = "it is what will be left of the project"
        return (Step(action=Action.CREATE, id=id, reason=reason, desired=Desired(body=body), before=None),)


@dataclass(frozen=True, slots=True)
class _Stopped:
    ref: Ref
    status: Status


def keep_finals(run: Run, purged: Iterable[Record]) -> dict[Ref, Final]:
    """The final backup of each project that is to be purged, except those that are to go without one.

    1. A dump is of the moment at which its project stopped: nothing of it has changed since. Its name has that moment,
       so that the run after a kill finds it and makes no other.
    2. One with a PostgreSQL of its own has stopped with its server, of which the archiver noted that all is archived.

    In check mode nothing is made. What cannot be kept is told in its Final.
    """
    found: dict[Ref, Final] = {}
    for record in purged:
        placement = Placement.from_text(record.status.placement) if record.status else None
        if record.ref in run.settings.purge_without_final_backup or record.status is None or placement is None:
            continue
        if record.status.phase != STOPPED:
            found |= _to_come(run, record.ref, record.status, placement)
        elif placement.cluster is None:
            found[record.ref] = _of_archive(run, record.status)
        else:
            found[record.ref] = _of_cluster(run, placement.cluster, _Stopped(record.ref, record.status))
    return found


def _to_come(run: Run, ref: Ref, status: Status, placement: Placement) -> Mapping[Ref, Final]:
    """Of one that is not stopped: that is what is wrong, unless a check only says what would be done."""
    if not run.settings.check or placement.cluster is None:
        return {}
    return {ref: Final(since=status.since, key=f"{finals_of(status.uid)}…", is_new=True)}


def _of_archive(run: Run, status: Status) -> Final:
    archive = archive_of(status.uid)
    try:
        catalogs = run.access.required_archives.catalogs(archive, deadline=run.deadline)
        plan = plan_to_end(catalogs, now=datetime.now(UTC))
    except EngineError as error:
        return _failed(status, archive, error)
    return Final(since=status.since, key=f"{archive}/{plan.incarnation}/")


def _of_cluster(run: Run, cluster: str, stopped: _Stopped) -> Final:
    status = stopped.status
    try:
        key = key_of(status)
        archives = run.access.required_archives
        is_new = key not in {one.key for one in archives.dumps(finals_of(status.uid), deadline=run.deadline)}
        if is_new and not run.settings.check:
            _dump(run, archives, cluster, names_of(stopped.ref, status.uid).database, key)
    except EngineError as error:
        return _failed(status, cluster, error)
    if is_new and not run.settings.check:
        run.progress.note(f"{stopped.ref}: its final backup is {key}")
    return Final(since=status.since, key=key, is_new=is_new)


def _dump(run: Run, archives: Archives, cluster: str, database: str, key: str) -> None:
    """Its user has no login; of a closed one the quota lets a dump begin without its block.

    The archiver writes where it may, and from there the dump is copied whole to where it is kept.
    """
    platform, progress, deadline = run.platform, run.progress, run.deadline
    found = next((one for one in platform.shared_clusters if one.name == cluster), None)
    if found is None:
        raise SafetyStop(f"the platform does not declare the shared cluster {cluster}")
    source = Source.of_cluster(found)
    with (
        closed(run.access, platform, source, database, progress=progress, deadline=deadline) as it,
        read_out(run.access, platform, source, it, progress=progress, deadline=deadline) as made,
    ):
        archives.keep(made, key, deadline=deadline)
        it.server.open(database, deadline=deadline)


def key_of(status: Status) -> str:
    """Of the dump, named after the moment at which the project stopped. Raises SafetyStop if the record has none."""
    try:
        stopped = datetime.fromisoformat(status.since).astimezone(UTC)
    except ValueError as error:
        raise SafetyStop(f"its record does not say since when it is stopped ({status.since!r})") from error
    return f"{finals_of(status.uid)}{stopped:{_TIME}}.dump"


def _failed(status: Status, subject: str, error: EngineError) -> Final:
    failure = Failure.of("keep the final backup of", subject, error)
    return Final(since=status.since, failure=replace(failure, reason=f"{failure.reason.rstrip('.')}; {WITHOUT}"))
