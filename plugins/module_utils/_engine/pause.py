# SPDX-License-Identifier: BSD-2-Clause
"""Restarting a database behind its pooler: clients are held meanwhile, instead of losing what they do."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from .backends.kubernetes.apply import create
from .backends.kubernetes.client import Client
from .backends.kubernetes.delete import remove
from .backends.kubernetes.observe import read_object
from .backends.kubernetes.readiness import WORKLOAD, State, readiness_of
from .deadline import Deadline
from .errors import BackendError, DeadlineExceeded
from .objects import Body, ObjectId
from .progress import Progress
from .project.model import Project
from .render.context import Context, context_of
from .render.pause import LONGEST_SECONDS, render_pause
from .sight import Run, Sight
from .steps import Action, Step

POLL_SECONDS = 1.0
# A pod has to start for it, and transactions may end.
BEGIN_SECONDS = 40.0


def needs_pause(project: Project, step: Step) -> bool:
    """True for a step that replaces the pod of a PostgreSQL that runs and goes on running."""
    if step.action is not Action.UPDATE or step.id.kind != WORKLOAD or project.is_stopped:
        return False
    before = (step.before or {}).get("spec") or {}
    after = step.after["spec"]
    return bool(before.get("replicas") == after["replicas"] and before.get("template") != after["template"])


@contextlib.contextmanager
def paused(run: Run, sight: Sight, deadline: Deadline) -> Iterator[Callable[[ObjectId], None]]:
    """Clients are held while the database restarts. Gives the function that waits for it."""
    context = context_of(sight.project, run.platform, sight.placement, sight.uid)
    with clients_held(run.client, context, progress=run.progress, deadline=deadline):
        yield lambda id: _await_back(run.client, id, deadline)


@contextlib.contextmanager
def clients_held(client: Client, context: Context, *, progress: Progress, deadline: Deadline) -> Iterator[None]:
    """A project's clients are held while this lasts, LONGEST_SECONDS at most: the Job keeps that bound after a kill.

    A pooler that cannot be paused stops nothing: then its clients notice what is done meanwhile.
    """
    until = round(time.time() + BEGIN_SECONDS + LONGEST_SECONDS)
    job = render_pause(context, until)
    try:
        create(client, job, deadline=deadline)
        held = _await(client, job.id, _is_paused, Deadline(limit_seconds=min(BEGIN_SECONDS, deadline.remaining())))
        progress.note(f"{context.project.ref}: {'its clients are held' if held else 'its pooler does not pause'}")
        yield
    finally:
        with contextlib.suppress(BackendError, DeadlineExceeded):
            remove(client, job.id, deadline=Deadline(limit_seconds=LONGEST_SECONDS))


def _await_back(client: Client, id: ObjectId, deadline: Deadline) -> None:
    """Until the database answers, or its clients have been held for as long as they may."""
    _await(client, id, _is_back, Deadline(limit_seconds=min(LONGEST_SECONDS, deadline.remaining())))


def _await(client: Client, id: ObjectId, is_so: Callable[[Body], bool], deadline: Deadline) -> bool:
    while deadline.remaining() > POLL_SECONDS:
        live = read_object(client, id, deadline=deadline)
        if live is not None and live.body is not None and is_so(live.body):
            return True
        time.sleep(POLL_SECONDS)
    return False


def _is_paused(job: Body) -> bool:
    return bool((job.get("status") or {}).get("ready"))


def _is_back(workload: Body) -> bool:
    return readiness_of(workload).state is State.READY
