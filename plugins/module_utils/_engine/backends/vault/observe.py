# SPDX-License-Identifier: BSD-2-Clause
"""What is there: the names of all secrets, one LIST for each folder. No value is read for it."""

from __future__ import annotations

from ...deadline import Deadline
from ...objects import ObjectId
from ...observed import Live, Observed
from ...parallel import in_parallel
from ...vault import FOLDERS, VAULT_KIND
from .client import VaultClient


def observe(client: VaultClient, *, deadline: Deadline) -> Observed:
    """Every secret of ours by its name."""
    found = in_parallel(lambda folder: client.names(folder, deadline=deadline), FOLDERS, workers=len(FOLDERS))
    ids = (
        ObjectId(kind=VAULT_KIND, namespace=folder, name=name)
        for folder, names in zip(FOLDERS, found, strict=True)
        for name in names
    )
    return Observed(objects={id: live_of(id) for id in ids})


def live_of(id: ObjectId) -> Live:
    """A secret of which no more is known than that it is there."""
    return Live(id=id, uid="", version="", fingerprint="", labels={}, body=None)


def path_of(id: ObjectId) -> str:
    """Below the mount."""
    return f"{id.namespace}/{id.name}"
