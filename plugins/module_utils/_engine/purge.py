# SPDX-License-Identifier: BSD-2-Clause
"""The end of a project: what it kept after it was stopped is destroyed, and its record last.

First its final backup is made sure of (`final_backup`). Volumes of a PostgreSQL of its own stay: their StorageClass
retains them, and removing them is an administrator's deed. Its archive stays, too, and with it the key that it is
encrypted with; what ends is the login that may write to it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from .archives import ARCHIVE_KIND, archive_of, cluster_of, kept_keys_of
from .backends.archiver.client import Archiver
from .backends.kubernetes.delete import await_gone, delete
from .backends.kubernetes.kinds import KINDS
from .backends.kubernetes.lease import Lease
from .backends.kubernetes.observe import observe_each
from .backends.kubernetes.records import STOPPED, Record
from .databases import DATABASE_KIND, DATABASE_KINDS, ROLE_KIND
from .deadline import Deadline
from .errors import BackendError, DeadlineExceeded, EngineError, SafetyStop
from .final_backup import Final, keep_finals
from .objects import Desired, ObjectId
from .project.names import PLATFORM_LABEL, Ref, Uid, cluster_namespace_of, names_of, namespace_of
from .project.vocabulary import PER_ARCHIVE
from .render.archive import SECRET as ARCHIVE_SECRET
from .render.archive import is_archived
from .render.shared import POSTGRESQL_API
from .sight import Run, read_known
from .steps import Action, Failure, Outcome, Result, Step
from .vault import DATABASE_FOLDER, TENANTS_FOLDER, VAULT_KIND

REASON = "its purge is confirmed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Purge:
    """One project to be destroyed, and what of it is in PostgreSQL and Vault, in the order of its removal."""

    record: Record
    uid: str
    databases: tuple[ObjectId, ...]
    secrets: tuple[ObjectId, ...]
    archive: tuple[Step, ...] = ()

    @property
    def namespace(self) -> ObjectId:
        """The project's namespace."""
        return ObjectId(kind="Namespace", name=namespace_of(self.record.ref))

    @property
    def steps(self) -> tuple[Step, ...]:
        """What is done, the record last, as it says how to go on after a kill."""
        ends = tuple(_step(id) for id in (*self.databases, self.namespace, *self.secrets, self.record.live.id))
        return (*self.archive, *ends)


def purges_of(run: Run, known: Mapping[Ref, Record]) -> tuple[Purge, ...]:
    """Confirmed purges of projects that still have a record."""
    found = (known.get(Ref(ref)) for ref in sorted(run.settings.purge))
    clusters = {one.name for one in run.platform.shared_clusters}
    return tuple(
        _purge(record, _kept(run, record), _archive(run, record), clusters) for record in found if record is not None
    )


def _archive(run: Run, record: Record) -> tuple[Step, ...]:
    """Before its namespace goes: the key is kept in the platform's, unless Vault has it, and the login is removed.

    Whether there is a key says the Secret alone: the platform may have had an object store and have none any more.
    """
    status = record.status
    if status is None:
        return ()
    archive = archive_of(status.uid)
    there = ObjectId(kind="Secret", namespace=namespace_of(record.ref), name=ARCHIVE_SECRET)
    found = observe_each(run.client, (there,), workers=1, deadline=run.deadline)
    is_kept = run.access.vault is not None or found.find(there) is None
    steps = [] if is_kept else [_keep(run.platform.namespace, archive, there)]
    if run.access.archives is not None and run.platform.object_store_identities == PER_ARCHIVE:
        steps.append(_step(ObjectId(kind=ARCHIVE_KIND, namespace=run.platform.object_store_prefix, name=archive)))
    return tuple(steps)


def _keep(namespace: str, archive: str, source: ObjectId) -> Step:
    meta = {"name": kept_keys_of(archive), "namespace": namespace, "labels": {PLATFORM_LABEL: namespace}}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "Opaque"}
    desired = Desired(body=body, values_from=source)
    reason = "its archive outlives it, and nobody can read that without this key"
    return Step(action=Action.CREATE, id=desired.id, reason=reason, desired=desired, before=None)


def _kept(run: Run, record: Record) -> tuple[ObjectId, ...]:
    """What Vault has of the project: its own secrets by its uid, and by its name those that its pods may read."""
    vault, status = run.access.vault, record.status
    if vault is None or status is None:
        return ()
    folder = f"{TENANTS_FOLDER}/{namespace_of(record.ref)}"
    own = ObjectId(kind=VAULT_KIND, namespace=DATABASE_FOLDER, name=status.uid)
    return (*vault.below(folder, deadline=run.deadline), own)


def _purge(
    record: Record, secrets: tuple[ObjectId, ...], archive: tuple[Step, ...], clusters: Collection[str]
) -> Purge:
    uid = record.status.uid if record.status else ""
    databases = tuple(id for cluster in _clusters_of(record, clusters) for id in _on_cluster(record.ref, uid, cluster))
    return Purge(record=record, uid=uid, databases=databases, secrets=secrets, archive=archive)


def _clusters_of(record: Record, declared: Collection[str]) -> tuple[str, ...]:
    """The shared cluster that a project is on, and those on which it has left a database when it moved."""
    if record.status is None or record.placed is None:
        return ()
    placement = record.placed.placement
    left = (cluster_of(one.archive) for one in placement.past)
    return tuple(dict.fromkeys((*placement.clusters, *(one for one in left if one is not None and one in declared))))


def _on_cluster(ref: Ref, uid: str, cluster: str) -> tuple[ObjectId, ...]:
    names = names_of(ref, Uid(uid))
    logins = (names.owner, names.probe, names.rest, names.auth)
    roles = (ObjectId(kind=ROLE_KIND, namespace=cluster, name=name) for name in logins)
    return (ObjectId(kind=DATABASE_KIND, namespace=cluster, name=names.database), *roles)


def planned(run: Run, purges: tuple[Purge, ...]) -> tuple[Outcome, ...]:
    """What a check says of purges; one whose final backup cannot be kept would fail."""
    finals = keep_finals(run, (one.record for one in purges))
    outcomes = []
    for one in purges:
        final = finals.get(one.record.ref, Final())
        outcome = Outcome(ref=one.record.ref, uid=one.uid, result=Result.CHANGED, final_backup=final.key)
        if final.failure is None:
            outcomes.append(replace(outcome, steps=(*final.steps, *one.steps)))
        else:
            outcomes.append(replace(outcome, result=Result.FAILED, failure=final.failure))
    return tuple(outcomes)


def purge_all(run: Run) -> tuple[Outcome, ...]:
    """Every confirmed purge, one after the other: it is rare, and a mistake in it is dear.

    Final backups come first. They may take hours, in which other runs do what they have to; so what was kept is
    compared with the records again when the lease is held. Without the lease all of them fail, with what was kept.
    """
    purges = purges_of(run, read_known(run)) if run.settings.purge else ()
    if not purges:
        return ()
    finals = keep_finals(run, (one.record for one in purges))
    done: list[Outcome] = []
    platform, seconds = run.platform, run.settings.lease_seconds
    try:
        with Lease(
            run.client, platform.namespace, seconds=seconds, progress=run.progress, deadline=run.deadline
        ) as lease:
            confirmed = purges_of(run, read_known(run))
            done += (_purge_one(run, one, finals.get(one.record.ref, Final()), lease) for one in confirmed)
    except (BackendError, DeadlineExceeded, SafetyStop) as error:
        left = [one for one in purges if one.record.ref not in {outcome.ref for outcome in done}]
        done += [_unpurged(one, finals.get(one.record.ref, Final()), error) for one in left]
    return tuple(done)


def _unpurged(purge: Purge, final: Final, error: EngineError) -> Outcome:
    return Outcome(
        ref=purge.record.ref,
        uid=purge.uid,
        result=Result.FAILED,
        steps=final.steps,
        final_backup=final.key,
        failure=final.failure or Failure.of("purge", str(purge.record.live.id), error),
    )


def _purge_one(run: Run, purge: Purge, final: Final, lease: Lease) -> Outcome:
    outcome = Outcome(ref=purge.record.ref, uid=purge.uid, result=Result.CHANGED, final_backup=final.key)
    failure = _reason_against(run, purge, final)
    if failure is not None:
        return replace(outcome, result=Result.FAILED, steps=final.steps, failure=failure)
    done: list[Step] = [*final.steps]
    for step in purge.steps:
        try:
            if step.id.kind == DATABASE_KIND:
                _drop_kept(run, step.id, lease.bound(run.deadline))
            if _do(run, purge, step, lease.bound(run.deadline)):
                done.append(step)
        except (BackendError, DeadlineExceeded, SafetyStop) as error:
            failure = Failure.of(step.action, str(step.id), error)
            return replace(outcome, result=Result.FAILED, steps=tuple(done), failure=failure)
    run.progress.note(f"purged {purge.record.ref} ({purge.uid})")
    return replace(outcome, steps=tuple(done))


def _reason_against(run: Run, purge: Purge, final: Final) -> Failure | None:
    """Why a project must not be destroyed now."""
    status, subject = purge.record.status, str(purge.record.live.id)
    if status is None or status.phase != STOPPED:
        phase = status.phase if status else "new"
        reason = f"it is {phase}, and only a project that has stopped is purged"
        return Failure(step="purge", object=subject, reason=reason)
    if status.uid != run.settings.purge[purge.record.ref]:
        reason = f"it is another project of that name by now, with the uid {status.uid}"
        return Failure(step="purge", object=subject, reason=reason)
    if purge.record.ref in run.settings.purge_without_final_backup or final.failure is not None:
        return final.failure
    if not final.key or final.since != status.since:
        reason = "its final backup is not of when it stopped last; run again"
        return Failure(step="purge", object=subject, reason=reason)
    return None


def _drop_kept(run: Run, database: ObjectId, deadline: Deadline) -> None:
    """What restores have replaced is the project's, too, and its logins cannot go before it."""
    if not is_archived(run.platform):
        return
    server = Archiver(client=run.client, namespace=cluster_namespace_of(database.namespace))
    for one in server.status(deadline=deadline).kept:
        if one.name.startswith(f"{database.name}_"):
            server.drop(one.name, deadline=deadline)
    # And what a restore that was killed has loaded.
    server.drop(f"{database.name}_new", deadline=deadline)


def _do(run: Run, purge: Purge, step: Step, deadline: Deadline) -> bool:
    if step.id.kind not in KINDS or step.action is Action.CREATE:
        return run.access.apply(step, before=None, deadline=deadline).changed
    changed = delete(run.client, step.id, uid_label=purge.uid, deadline=deadline)
    if step.id == purge.namespace:
        await_gone(run.client, step.id, deadline=deadline, progress=_told(run, step.id))
    return changed


def _told(run: Run, id: ObjectId) -> Callable[[str], None]:
    return lambda reason: run.progress.note(f"waiting for {id} to go: {reason}")


def _step(id: ObjectId) -> Step:
    api = POSTGRESQL_API if id.kind in DATABASE_KINDS else ""
    meta = {"name": id.name, **({"namespace": id.namespace} if id.namespace else {})}
    desired = Desired(body={"apiVersion": api, "kind": id.kind, "metadata": meta})
    return Step(action=Action.DELETE, id=id, reason=REASON, desired=desired, before=desired.body)
