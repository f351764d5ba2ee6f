# SPDX-License-Identifier: BSD-2-Clause
"""Copies of a PostgreSQL as it was at a moment: made out of its archive, used, and thrown away."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from .access import Access, Archives
from .archive.status import ArchiverStatus, Work
from .archive.status import Copy as Told
from .archives import DUMPS, IMPORTS, archive_of, archive_of_cluster, dumps_of, kept_keys_of
from .backends.archiver.client import Archiver
from .backends.kubernetes.apply import apply, create
from .backends.kubernetes.client import Client
from .backends.kubernetes.delete import remove
from .backends.kubernetes.kinds import collection_path
from .backends.kubernetes.observe import read_object
from .backends.kubernetes.readiness import end_of, trouble_of
from .backends.kubernetes.secrets import read_texts
from .deadline import Backoff, Deadline, retrying
from .errors import BackendError, DeadlineExceeded, NotFound, ServerFailed
from .generation import access_texts
from .objects import ObjectId
from .progress import Progress
from .project.life import Life
from .project.model import Archiving, Platform, Project, SharedCluster
from .project.names import (
    EXPIRES_ANNOTATION,
    POSTGRESQL_POD,
    SCRATCH_LABEL,
    Uid,
    cluster_namespace_of,
    namespace_of,
    random_letters,
)
from .render.archive import SECRET
from .render.scratch import Scratch, render_scratch
from .steps import Action, Step
from .vault import ARCHIVE_FOLDER, VAULT_KIND

POLL_SECONDS = 1.0
NAME_LETTERS = 8
# For the end of a copy, whatever has become of the run.
END_SECONDS = 60.0
# A kill of the run leaves the copy; so long after the run's own time it ends by itself.
SPARE_SECONDS = 300
# An archiver that says nothing for so long is lost.
SILENT_SECONDS = 60.0
# A dump that lies there for an import or a move, or out of a copy, is needed for no longer.
DUMP_AGE = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A PostgreSQL that is archived. `storage`: bytes of its volume. `namespace`: where it runs, and its keys are.

    One that is gone has no namespace. Its keys are looked for where they outlive it.
    """

    archive: str
    namespace: str
    archiving: Archiving
    storage: int
    runtime_class: str | None = None

    @property
    def keys(self) -> tuple[ObjectId, ...]:
        """Where the keys of its archive are, while it is there: the Secret of its pod."""
        return (ObjectId(kind="Secret", namespace=self.namespace, name=SECRET),) if self.namespace else ()

    @classmethod
    def of_project(cls, project: Project, uid: Uid) -> Source:
        """A project's own."""
        return cls(
            archive=archive_of(uid),
            namespace=namespace_of(project.ref),
            archiving=project.tier.archiving,
            storage=project.storage,
            runtime_class=project.tier.runtime_class,
        )

    @classmethod
    def of_cluster(cls, cluster: SharedCluster) -> Source:
        """A shared one."""
        return cls(
            archive=archive_of_cluster(cluster.name),
            namespace=cluster_namespace_of(cluster.name),
            archiving=cluster.archiving,
            storage=cluster.storage,
            runtime_class=cluster.runtime_class,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A copy that has come to its moment. `name`: of its namespace. `told`: what it holds."""

    name: str
    archiver: Archiver
    told: Told

    def dump(self, platform: Platform, database: str, *, progress: Progress, deadline: Deadline) -> str:
        """Dump one database into the object store; its key below the platform's prefix. Raises BackendError."""
        key = f"{dumps_of(self.name)}{database}.dump"
        before = self.archiver.status(deadline=deadline)
        self.archiver.dump(database, f"{platform.object_store_prefix}/{key}", deadline=deadline)
        await_work(self.archiver, "dump", before, progress=progress, deadline=deadline)
        return key


@contextmanager
def copy_of(
    access: Access, platform: Platform, source: Source, life: Life, *, progress: Progress, deadline: Deadline
) -> Iterator[Copy]:
    """A copy while this lasts. It reads its archive with keys of its own, which end with it.

    Copies that killed runs have left are removed first. Raises BackendError or DeadlineExceeded if it does not come to
    its moment.
    """
    archives = access.required_archives
    sweep(access, platform, deadline=deadline)
    name = begin(access, platform, source, life, seconds=round(deadline.remaining()) + SPARE_SECONDS, deadline=deadline)
    try:
        progress.note(f"{source.archive}: a copy is made in {name}")
        yield await_copy(access.client, name, progress=progress, deadline=deadline)
    finally:
        progress.note(f"{source.archive}: the copy in {name} is removed")
        with contextlib.suppress(BackendError, DeadlineExceeded):
            _end(access.client, archives, name, deadline=Deadline(limit_seconds=END_SECONDS))


def begin(access: Access, platform: Platform, source: Source, life: Life, *, seconds: int, deadline: Deadline) -> str:
    """Make all of a copy, which ends by itself after so long; the name of its namespace."""
    archives = access.required_archives
    name = f"scratch-{random_letters(NAME_LETTERS)}"
    scratch = Scratch(
        name=name,
        archive=source.archive,
        archiving=source.archiving,
        life=life,
        storage=source.storage,
        runtime_class=source.runtime_class,
        expires=round(time.time()) + seconds,
        seconds=seconds,
    )
    texts = _keys(access, platform, source, deadline)
    namespace, *rest = render_scratch(platform, scratch)
    # First, as what a killed run has lent is taken back where there is a namespace of its name.
    create(access.client, namespace, deadline=deadline)
    try:
        lent = archives.lend(name, archive=source.archive, writes=dumps_of(name), deadline=deadline)
        texts = {**texts, **({} if lent is None else access_texts(lent))}
        for desired in rest:
            if desired.generates:
                step = Step(action=Action.CREATE, id=desired.id, reason="", desired=desired, before=None)
                apply(access.client, step, before=None, deadline=deadline, texts=texts)
            else:
                create(access.client, desired, deadline=deadline)
    except (BackendError, DeadlineExceeded):
        with contextlib.suppress(BackendError, DeadlineExceeded):
            _end(access.client, archives, name, deadline=Deadline(limit_seconds=END_SECONDS))
        raise
    return name


def _keys(access: Access, platform: Platform, source: Source, deadline: Deadline) -> Mapping[str, str]:
    """The keys of an archive: those in use, else those that Vault has kept, else those that a purge has kept."""
    purged = ObjectId(kind="Secret", namespace=platform.namespace, name=kept_keys_of(source.archive))
    in_vault = ObjectId(kind=VAULT_KIND, namespace=ARCHIVE_FOLDER, name=source.archive)
    texts: Mapping[str, str] | None
    for id in (*source.keys, in_vault, purged):
        if id != in_vault:
            texts = read_texts(access.client, id, deadline=deadline)
        else:
            kept = access.vault.read(id, deadline=deadline) if access.vault is not None else None
            texts = None if kept is None else kept.texts
        if texts is not None:
            return texts
    reason = "without the keys of an archive nobody reads it, and they are neither there nor in Vault"
    raise NotFound(subject=f"keys of {source.archive}", verb="GET", reason=reason)


def await_copy(client: Client, name: str, *, progress: Progress, deadline: Deadline) -> Copy:
    """Until the server of a copy has recovered and answers. Raises ServerFailed with what the pod says if it ended."""
    pod = ObjectId(kind="Pod", namespace=name, name=POSTGRESQL_POD)
    archiver = Archiver(client=client, namespace=name)
    said = ""
    while True:
        live = read_object(client, pod, deadline=deadline)
        body = live.body if live is not None and live.body is not None else {}
        ended = end_of(body)
        if ended:
            raise ServerFailed(subject=str(pod), verb="RESTORE", reason=ended)
        with contextlib.suppress(BackendError):
            told = archiver.status(deadline=deadline).copy
            if told is not None and told.is_ready:
                return Copy(name=name, archiver=archiver, told=told)
        trouble = trouble_of(body)
        if trouble and trouble != said:
            progress.note(f"{name}: {trouble}")
            said = trouble
        if deadline.remaining() <= POLL_SECONDS:
            raise DeadlineExceeded(f"the copy in {name} has not come to its moment: {said or 'it still recovers'}")
        time.sleep(POLL_SECONDS)


def await_work(
    archiver: Archiver, what: str, before: ArchiverStatus, *, progress: Progress, deadline: Deadline
) -> ArchiverStatus:
    """Until a work that was asked for has ended; `before`: how it was just before that.

    Raises ServerFailed with its error, or if the archiver was started anew meanwhile. One that does not answer is asked
    again for a while: looking is harmless, and what is looked at may last for hours.
    """
    said = ""
    while True:
        patient = Deadline(limit_seconds=min(SILENT_SECONDS, deadline.remaining()))
        status = retrying(lambda: archiver.status(deadline=deadline), deadline=patient, backoff=Backoff())
        work: Work = getattr(status, what)
        if status.began != before.began:
            reason = "the archiver was started anew before it had ended; run again"
            raise ServerFailed(subject=archiver.subject, verb=what.upper(), reason=reason)
        if work.ended > getattr(before, what).ended and work.failures:
            raise ServerFailed(subject=archiver.subject, verb=what.upper(), reason=work.error)
        if work.ended > getattr(before, what).ended:
            return status
        if status.busy != said:
            said = status.busy
            progress.note(f"{archiver.namespace}: {said or what}")
        if deadline.remaining() <= POLL_SECONDS:
            raise DeadlineExceeded(f"{what} of {archiver.subject} did not end in time")
        time.sleep(POLL_SECONDS)


def sweep(access: Access, platform: Platform, *, deadline: Deadline) -> tuple[str, ...]:
    """Remove copies whose time is up, and dumps that killed runs have left; the names of the copies."""
    archives = access.required_archives
    gone = []
    for name, expires in _copies(access.client, platform, deadline).items():
        if expires < time.time():
            _end(access.client, archives, name, deadline=deadline)
            gone.append(name)
    left = [one for folder in (IMPORTS, DUMPS) for one in archives.dumps(f"{folder}/", deadline=deadline)]
    old = [one.key for one in left if one.modified < datetime.now(UTC) - DUMP_AGE]
    archives.discard(old, deadline=deadline)
    return tuple(gone)


def _copies(client: Client, platform: Platform, deadline: Deadline) -> Mapping[str, float]:
    query = {"labelSelector": f"{SCRATCH_LABEL}={quote(platform.namespace)}"}
    found = client.list(collection_path("Namespace"), subject="Namespace", deadline=deadline, query=query)
    return {
        one["metadata"]["name"]: float((one["metadata"].get("annotations") or {}).get(EXPIRES_ANNOTATION, 0))
        for one in found
    }


def _end(client: Client, archives: Archives, name: str, *, deadline: Deadline) -> None:
    """The namespace last: as long as it is there, it is seen that something is left."""
    archives.take_back(name, writes=dumps_of(name), deadline=deadline)
    remove(client, ObjectId(kind="Namespace", name=name), deadline=deadline)
