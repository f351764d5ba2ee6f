# SPDX-License-Identifier: BSD-2-Clause
"""Which projects a run is about: the chosen ones, and with prune those that are no longer listed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .backends.kubernetes.records import STOPPED, Record
from .errors import InvalidSpec
from .guard import refuse_mass_prune, refuse_wrong_purge
from .project.model import Inventory, Project
from .project.names import Ref
from .project.parse import retired
from .project.vocabulary import MANAGERS
from .settings import Settings
from .sight import Run
from .steps import Failure, Outcome, Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The projects of a run, and the outcomes of projects that could not even be worked out."""

    projects: tuple[Project, ...]
    failed: tuple[Outcome, ...] = ()


def scope_of(run: Run, known: Mapping[Ref, Record]) -> Scope:
    """Raises SafetyStop or InvalidSpec where a guard refuses."""
    refuse_wrong_purge(run.inventory, run.settings, known)
    chosen = chosen_of(run.inventory, run.settings)
    if not run.settings.prune:
        return Scope(projects=chosen)
    stopping, failed = _retired(run.inventory, known)
    refuse_mass_prune([project for project in stopping if not _is_stopped(known[project.ref])], run.settings)
    projects = sorted((*chosen, *stopping), key=lambda project: project.ref)
    return Scope(projects=tuple(projects), failed=failed)


def chosen_of(inventory: Inventory, settings: Settings) -> tuple[Project, ...]:
    """The listed projects on which the run is to act."""
    only = settings.only
    return tuple(project for project in inventory.projects if only is None or project.ref in only)


def _retired(inventory: Inventory, known: Mapping[Ref, Record]) -> tuple[tuple[Project, ...], tuple[Outcome, ...]]:
    """What prune stops; a project whose record no longer fits the tiers cannot be worked out and fails."""
    listed = {project.ref for project in inventory.projects}
    stopping: list[Project] = []
    failed: list[Outcome] = []
    for ref, record in known.items():
        if ref in listed or record.managed_by != MANAGERS[0]:
            continue
        try:
            stopping.append(retired(ref, record.spec, inventory.tiers))
        except InvalidSpec as error:
            failed.append(_unfit(record, error))
    return tuple(stopping), tuple(failed)


def _unfit(record: Record, error: InvalidSpec) -> Outcome:
    why = "; ".join(str(problem) for problem in error.problems)
    failure = Failure(step="prune", object=str(record.live.id), reason=f"its record no longer fits the tiers: {why}")
    return Outcome(ref=record.ref, uid=record.uid or "", result=Result.FAILED, failure=failure)


def _is_stopped(record: Record) -> bool:
    return record.status is not None and record.status.phase == STOPPED
