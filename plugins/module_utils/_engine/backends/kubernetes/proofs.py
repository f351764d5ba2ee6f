# SPDX-License-Identifier: BSD-2-Clause
"""What drills have proven, an entry for each archive, in a ConfigMap of the platform's namespace."""

from __future__ import annotations

from collections.abc import Mapping

from ...archive.drills import Proof
from ...deadline import Deadline
from ...errors import Conflict, NotFound
from ...objects import Desired, ObjectId
from ...project.names import PLATFORM_LABEL
from .apply import create
from .client import Client
from .merge import merge
from .observe import read_object

NAME = "drills"


def read_proofs(client: Client, namespace: str, *, deadline: Deadline) -> Mapping[str, Proof]:
    """The last one of each archive; what cannot be read is not there."""
    live = read_object(client, _id(namespace), deadline=deadline)
    data = (live.body.get("data") or {}) if live is not None and live.body is not None else {}
    found = {archive: Proof.from_text(text) for archive, text in data.items()}
    return {archive: proof for archive, proof in found.items() if proof is not None}


def write_proof(client: Client, namespace: str, archive: str, proof: Proof, *, deadline: Deadline) -> None:
    """Note one, and leave those of other archives as they are."""
    id = _id(namespace)
    entry = {"data": {archive: proof.to_text()}}
    try:
        merge(client, id, entry, deadline=deadline)
    except NotFound:
        meta = {"name": NAME, "namespace": namespace, "labels": {PLATFORM_LABEL: namespace}}
        desired = Desired(body={"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, **entry})
        try:
            create(client, desired, deadline=deadline)
        except Conflict:
            # Another drill was faster.
            merge(client, id, entry, deadline=deadline)


def _id(namespace: str) -> ObjectId:
    return ObjectId(kind="ConfigMap", namespace=namespace, name=NAME)
