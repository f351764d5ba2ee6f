# SPDX-License-Identifier: BSD-2-Clause
"""Carrying out what retention decided, in an order that leaves something whole wherever it is broken off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...archive.retention import Removal, RetentionPlan
from ...deadline import Deadline
from ...errors import BackendError, DeadlineExceeded, NotFound
from .client import BATCH, ObjectStoreClient, Refused
from .observe import Upload


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What was removed, in that order; what the store refused; and the error that ended it all, if there was one."""

    keys: tuple[str, ...]
    refused: tuple[Refused, ...]
    failure: BackendError | DeadlineExceeded | None = None

    @property
    def is_complete(self) -> bool:
        """True if all of the plan was carried out."""
        return not self.refused and self.failure is None


def remove(client: ObjectStoreClient, plan: RetentionPlan, *, deadline: Deadline) -> Removed:
    """Remove what the plan names.

    1. Of each incarnation first restore points, then the objects that make backups exist, deltas before what they build
       upon, then the parts of those backups, what was left over of others, WAL from its oldest on, and the description
       as the last.
    2. If the store refuses an object, nothing of the steps after it is removed from that incarnation: parts of a backup
       that still seems to exist, or WAL that it needs.
    3. An error ends it. The next plan finds what is left, as unfinished backups and as WAL without a use.
    """
    keys: list[str] = []
    refused: list[Refused] = []
    try:
        for removal in plan.removals:
            for batch in _batches(removal):
                deleted = client.delete(batch, deadline=deadline)
                keys += deleted.keys
                refused += deleted.refused
                if deleted.refused:
                    break
    except (BackendError, DeadlineExceeded) as error:
        return Removed(keys=tuple(keys), refused=tuple(refused), failure=error)
    return Removed(keys=tuple(keys), refused=tuple(refused))


def abort(client: ObjectStoreClient, upload: Upload, *, deadline: Deadline) -> bool:
    """Give up an upload, so that its parts go; False if it has ended by now."""
    target = client.target
    subject = f"upload of {target.bucket}/{target.prefix}{upload.key} of {target.endpoint}"
    of = {"Key": f"{target.prefix}{upload.key}", "UploadId": upload.id}
    try:
        client.call("abort_multipart_upload", subject, deadline=deadline, counted="writes", **of)
    except NotFound:
        return False
    return True


def _batches(removal: Removal) -> Iterator[Sequence[str]]:
    """In order; no batch holds keys of two steps, as a store may delete those of one in any order."""
    last = [(key,) for key in removal.rest]
    for step in (removal.points, *removal.markers, removal.parts, removal.leftovers, removal.wal, *last):
        for start in range(0, len(step), BATCH):
            yield step[start : start + BATCH]
