# SPDX-License-Identifier: BSD-2-Clause
"""What the platform says of its projects, for those who only look."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

from .backends.kubernetes import records
from .backends.kubernetes.client import Client
from .backends.kubernetes.observe import observe
from .backends.kubernetes.readiness import WAITED_KINDS, State, readiness_of
from .backends.kubernetes.records import Record
from .deadline import Deadline
from .errors import NotFound
from .objects import Body
from .observed import NOTHING, Observed
from .project.model import Platform
from .project.names import PROJECT_LABEL, Ref, namespace_of
from .settings import Settings


class Description(TypedDict):
    """One project as project_info returns it."""

    ref: str
    uid: str
    spec: Body
    phase: str
    message: str
    placement: str
    ready: bool
    waiting_for: list[str]
    endpoints: dict[str, str]


def describe(
    client: Client | None, platform: Platform, *, refs: Iterable[str] | None, settings: Settings
) -> list[Description]:
    """The projects that have a record, all or some, in the order of their refs. No platform yet means no projects."""
    if client is None:
        return []
    deadline = Deadline(limit_seconds=settings.timeout_seconds)
    try:
        known = records.read_records(client, platform.namespace, deadline=deadline)
    except NotFound:
        return []
    wanted = set(known) if refs is None else set(known) & {Ref(ref) for ref in refs}
    live = NOTHING
    if wanted:
        live = observe(
            client, WAITED_KINDS, selector=PROJECT_LABEL, full=True, workers=settings.workers, deadline=deadline
        )
    return [_description(known[ref], live) for ref in sorted(wanted)]


def _description(record: Record, observed: Observed) -> Description:
    status = record.status
    waiting = _waiting_for(record, observed)
    return Description(
        ref=record.ref,
        uid=status.uid if status else "",
        spec=record.spec,
        phase=status.phase if status else "",
        message=status.message if status else "",
        placement=status.placement if status else "",
        ready=not waiting,
        waiting_for=waiting,
        endpoints=dict(status.endpoints) if status else {},
    )


def _waiting_for(record: Record, observed: Observed) -> list[str]:
    namespace = namespace_of(record.ref)
    found = [live for id, live in sorted(observed.objects.items()) if id.namespace == namespace]
    missing = sorted(WAITED_KINDS - {live.id.kind for live in found})
    answers = [(live.id, readiness_of(live.body)) for live in found if live.body is not None]
    laggards = [f"{id}: {answer.reason}" for id, answer in answers if answer.state is not State.READY]
    return [f"{kind}/{namespace}: it does not exist" for kind in missing] + laggards
