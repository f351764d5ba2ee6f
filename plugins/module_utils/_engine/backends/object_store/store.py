# SPDX-License-Identifier: BSD-2-Clause
"""The object store as a run uses it: all identities at once, a step at a time, and what an archive has."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self

from ...archive.catalog import Catalog, Stored
from ...archive.retention import RetentionPlan
from ...archives import ACCESS_KEY, ARCHIVE_KIND, SECRET_KEY, dumps_of
from ...credentials import Secret
from ...deadline import Deadline
from ...errors import NotFound
from ...generation import new_access
from ...objects import ObjectId
from ...observed import Applied, Live, Observed
from ...steps import Action, Step
from . import identities
from .apply import Removed, abort, remove
from .client import BATCH, ObjectStoreClient
from .identities import Access, Identity
from .observe import WORKERS, Lock, Upload, read_archive, read_lock, read_names, read_uploads

# Between bucket, the platform's folder and the archive in the name of a user: one store may have several platforms.
_SEPARATOR = "."


class ArchiveStore:
    """The archives of one platform. May be used by threads; counts what it sends.

    `manages_identities`: false where all archives are written with the keys that the run was given.
    """

    def __init__(self, client: ObjectStoreClient, *, manages_identities: bool) -> None:
        self._client = client
        self._manages_identities = manages_identities
        self._folder = client.target.prefix.removesuffix("/")
        self._start = f"{client.target.bucket}{_SEPARATOR}{self._folder}{_SEPARATOR}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    @property
    def reads(self) -> int:
        """Requests sent that read, repetitions included."""
        return self._client.reads

    @property
    def writes(self) -> int:
        """Requests sent that write."""
        return self._client.writes

    def observe(self, *, deadline: Deadline) -> Observed:
        """Every identity of this platform by its archive; of none is more known than that it is there."""
        if not self._manages_identities:
            return Observed(objects={})
        found = (name for name in identities.names(self._client, deadline=deadline) if name.startswith(self._start))
        names = (name.removeprefix(self._start) for name in found)
        ids = [ObjectId(kind=ARCHIVE_KIND, namespace=self._folder, name=name) for name in names]
        return Observed(objects={id: _live_of(id) for id in ids})

    def apply(self, step: Step, *, texts: Mapping[str, str] | None, deadline: Deadline) -> Applied:
        """Make or remove an identity. Raises NotFound without the keys that it is to have."""
        name = f"{self._start}{step.id.name}"
        if step.action is Action.DELETE:
            return Applied(
                changed=identities.remove(self._client, name, deadline=deadline),
                live=_live_of(step.id),
            )
        if texts is None:
            source = step.desired.values_from
            raise NotFound(subject=str(source), verb="GET", reason="there is none, and its keys are the identity's")
        identity = Identity(
            name=name,
            access_key=texts[ACCESS_KEY],
            secret_key=Secret(texts[SECRET_KEY]),
            prefix=f"{step.id.name}/",
            access=Access.READ_WRITE,
            writes=dumps_of(step.id.name),
        )
        changed = identities.ensure(self._client, identity, deadline=deadline)
        if changed:
            identities.retire(self._client, name, but=identity.access_key, deadline=deadline)
        return Applied(changed=changed, live=_live_of(step.id))

    def lend(self, name: str, *, archive: str, writes: str, deadline: Deadline) -> Mapping[str, Secret] | None:
        """Let somebody read an archive and write below another prefix, until it is taken back; the keys for that.

        None where all archives are opened with the keys that the run was given.
        """
        if not self._manages_identities:
            return None
        keys = new_access(secrets.token_bytes)
        identity = Identity(
            name=f"{self._start}{name}",
            access_key=keys[ACCESS_KEY].reveal(),
            secret_key=keys[SECRET_KEY],
            prefix=f"{archive}/",
            access=Access.READ_ONLY,
            writes=writes,
        )
        identities.ensure(self._client, identity, deadline=deadline)
        return keys

    def take_back(self, name: str, *, writes: str, deadline: Deadline) -> None:
        """End what was lent, and remove what was written with it."""
        if self._manages_identities:
            identities.remove(self._client, f"{self._start}{name}", deadline=deadline)
        self.discard([one.key for one in self.dumps(writes, deadline=deadline)], deadline=deadline)

    def dumps(self, prefix: str, *, deadline: Deadline) -> tuple[Stored, ...]:
        """What lies below a prefix."""
        return self._client.list(prefix, deadline=deadline)

    def keep(self, source: str, key: str, *, deadline: Deadline) -> None:
        """Copy what would be removed with a copy to where it is kept."""
        self._client.copy(source, key, deadline=deadline)

    def upload(self, path: str, key: str, *, deadline: Deadline) -> None:
        """Write a file of this machine as an object."""
        self._client.upload(path, key, deadline=deadline)

    def discard(self, keys: Sequence[str], *, deadline: Deadline) -> None:
        """Remove objects; those that are not there count as removed."""
        for start in range(0, len(keys), BATCH):
            self._client.delete(keys[start : start + BATCH], deadline=deadline)

    def presigned(self, key: str, *, seconds: int) -> Secret:
        """An address at which anybody may get the object of a key below the platform's prefix, for so long."""
        return self._client.presigned(key, seconds=seconds)

    def catalogs(self, archive: str, *, deadline: Deadline, workers: int = WORKERS) -> tuple[Catalog, ...]:
        """Every incarnation of an archive, oldest first; none if there is no archive of that name."""
        return read_archive(self._client, archive, deadline=deadline, workers=workers)

    @property
    def time(self) -> datetime | None:
        """What the clock of the store said last; None before the first listing."""
        return self._client.store_time

    def names(self, *, deadline: Deadline) -> tuple[str, ...]:
        """Every archive that there is, those of projects that are gone among them."""
        return read_names(self._client, deadline=deadline)

    def lock(self, *, deadline: Deadline) -> Lock | None:
        """For how long the bucket locks what is written; None if it does not."""
        return read_lock(self._client, deadline=deadline)

    def uploads(self, *, deadline: Deadline) -> tuple[Upload, ...]:
        """What was begun to be written and never became an object."""
        return read_uploads(self._client, deadline=deadline)

    def remove(self, plan: RetentionPlan, *, deadline: Deadline) -> Removed:
        """Remove what the plan names, in an order that leaves something whole wherever it is broken off."""
        return remove(self._client, plan, deadline=deadline)

    def abort(self, upload: Upload, *, deadline: Deadline) -> bool:
        """Give up an upload; False if it has ended by now."""
        return abort(self._client, upload, deadline=deadline)


def _live_of(id: ObjectId) -> Live:
    return Live(id=id, uid="", version="", fingerprint="", labels={}, body=None)
