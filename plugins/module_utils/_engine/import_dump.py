# SPDX-License-Identifier: BSD-2-Clause
"""A dump becomes the database of a project: the way in from elsewhere, and back from an export."""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import dataclass, replace

from .access import Access, Archives
from .archives import IMPORTS
from .backends.kubernetes import records
from .deadline import Deadline
from .errors import BackendError, DeadlineExceeded
from .progress import Progress
from .project.model import Inventory
from .reconcile import reconcile
from .restore import party_of
from .restore_database import load, require_well, swap
from .settings import Settings
from .steps import Report

END_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What was done; `kept` is the name of the database of before, empty in check mode."""

    report: Report
    kept: str


def import_dump(
    access: Access,
    inventory: Inventory,
    *,
    ref: str,
    file: str | None,
    key: str | None,
    with_grants: bool,
    settings: Settings,
    progress: Progress,
) -> Imported:
    """Load a dump in pg_dump's custom format: a file of this machine, or an object below the platform's prefix.

    1. A file is put into the object store for as long as this lasts.
    2. The dump is loaded beside the database that is in use, with the rights of the project's own login.
    3. While the project's clients are held, the two change names. The one of before is kept.

    Raises InvalidSpec for an unknown ref, SafetyStop without an object store, BackendError with what could not be
    loaded.
    """
    deadline = Deadline(limit_seconds=settings.timeout_seconds)
    archives, kept = access.required_archives, ""
    known = records.read_records(access.client, inventory.platform.namespace, deadline=deadline)
    into = party_of(known, inventory, "ref", ref)
    if not settings.check:
        with contextlib.ExitStack() as stack:
            if file is not None:
                key = f"{IMPORTS}/{secrets.token_hex(8)}.dump"
                stack.callback(_discard, archives, key)
                progress.note(f"{ref}: {file} is put into the object store")
                archives.upload(file, key, deadline=deadline)
            only = replace(settings, only=frozenset({ref}), data_lost=frozenset({ref}))
            require_well(reconcile(access, inventory, settings=only, progress=progress))
            load(access, into, key or "", with_grants=with_grants, progress=progress, deadline=deadline)
        kept = swap(access, inventory.platform, into, settings=settings, progress=progress, deadline=deadline)
    only = replace(settings, only=frozenset({ref}))
    return Imported(report=reconcile(access, inventory, settings=only, progress=progress), kept=kept)


def _discard(archives: Archives, key: str) -> None:
    with contextlib.suppress(BackendError, DeadlineExceeded):
        archives.discard([key], deadline=Deadline(limit_seconds=END_SECONDS))
