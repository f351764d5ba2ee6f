# SPDX-License-Identifier: BSD-2-Clause
"""What is there: the names of all secrets, one LIST for each folder. No value is read for it."""

from __future__ import annotations

from collections.abc import Sequence

from ...deadline import Deadline
from ...objects import ObjectId
from ...observed import Live, Observed
from ...parallel import in_parallel
from ...vault import VAULT_KIND
from .client import VaultClient


def observe(client: VaultClient, folders: Sequence[str], *, deadline: Deadline) -> Observed:
    """Every secret in these folders by its name."""
    found = in_parallel(lambda folder: client.names(folder, deadline=deadline), folders, workers=len(folders))
    ids = (
        ObjectId(kind=VAULT_KIND, namespace=folder, name=name)
        for folder, names in zip(folders, found, strict=True)
        for name in names
        if not name.endswith("/")
    )
    return Observed(objects={id: live_of(id) for id in ids})


def below(client: VaultClient, folder: str, *, deadline: Deadline) -> tuple[ObjectId, ...]:
    """Every secret in a folder and in those below it."""
    found: list[ObjectId] = []
    for name in client.names(folder, deadline=deadline):
        if name.endswith("/"):
            found += below(client, f"{folder}/{name[:-1]}", deadline=deadline)
        else:
            found.append(ObjectId(kind=VAULT_KIND, namespace=folder, name=name))
    return tuple(found)


def live_of(id: ObjectId) -> Live:
    """A secret of which no more is known than that it is there."""
    return Live(id=id, uid="", version="", fingerprint="", labels={}, body=None)


def path_of(id: ObjectId) -> str:
    """Below the mount."""
    return f"{id.namespace}/{id.name}"
