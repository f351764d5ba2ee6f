# SPDX-License-Identifier: BSD-2-Clause
"""New pods for a project's services, one after the other, where nothing that is rendered for them has changed.

They read keys and what is in the database when they begin, and not again.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...deadline import Deadline
from ...errors import NotFound
from ...objects import Body, ObjectId
from ...project.names import RESTARTED_ANNOTATION, RESTARTS_ANNOTATION
from .client import Client
from .merge import merge


def restart(client: Client, namespace: str, names: Iterable[str], *, mark: str, deadline: Deadline) -> tuple[str, ...]:
    """As `kubectl rollout restart` does it, on Deployments that are there; their names. `mark`: another each time."""
    return tuple(name for name in names if _restart(client, namespace, name, mark, deadline))


def restart_noted(client: Client, id: ObjectId, *, mark: str, note: str, deadline: Deadline) -> None:
    """The same of one that is down, and in the same write why and when, for the next time. Raises NotFound."""
    meta = {"annotations": {RESTARTS_ANNOTATION: note}}
    merge(client, id, {"metadata": meta, **_renewed(mark)}, deadline=deadline)


def _restart(client: Client, namespace: str, name: str, mark: str, deadline: Deadline) -> bool:
    id = ObjectId(kind="Deployment", namespace=namespace, name=name)
    try:
        merge(client, id, _renewed(mark), deadline=deadline)
    except NotFound:
        return False
    return True


def _renewed(mark: str) -> Body:
    return {"spec": {"template": {"metadata": {"annotations": {RESTARTED_ANNOTATION: mark}}}}}
