# SPDX-License-Identifier: BSD-2-Clause
"""The life that a PostgreSQL begins with a restore, out of the way that was planned to its target. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import replace

from .archive.catalog import Catalog
from .archive.recovery import AtLsn, AtPoint, AtTime, RecoveryPlan, Target
from .archive.segments import format_lsn
from .errors import SafetyStop
from .project.life import LATEST, LSN, NAME, TIME, Life
from .project.names import Ref
from .project.placement import Placement
from .settings import Settings


def life_of(before: Life | None, catalogs: tuple[Catalog, ...], plan: RecoveryPlan, target: Target) -> Life:
    """The life that a plan leads to.

    A target behind the end of the archive is its end: PostgreSQL would not open a cluster that met no later commit.
    """
    kind, value = (LATEST, "") if plan.is_beyond_archive else _told(plan, target)
    return Life(
        number=(before.number if before else 1) + 1,
        archive=plan.archive,
        incarnation=plan.incarnation,
        engine=_engine_of(catalogs, plan),
        backup=plan.backup,
        target=kind,
        value=value,
        last_segment=plan.last_segment.name,
    )


def _told(plan: RecoveryPlan, target: Target) -> tuple[str, str]:
    if isinstance(target, AtTime):
        return TIME, target.time.astimezone(datetime.UTC).isoformat(sep=" ")
    if isinstance(target, AtLsn):
        return LSN, format_lsn(target.lsn)
    if isinstance(target, AtPoint):
        return NAME, target.name if plan.point is None else plan.point.record
    return LATEST, ""


def _engine_of(catalogs: tuple[Catalog, ...], plan: RecoveryPlan) -> str:
    (found,) = (one.incarnation for one in catalogs if one.id == plan.incarnation and one.incarnation is not None)
    return found.engine.value


def revived(places: Mapping[Ref, Placement], settings: Settings) -> dict[Ref, Placement]:
    """With the lives that this run begins, and where it moves to. Raises SafetyStop if one was begun since it chose."""
    lives = {ref: replace(places[Ref(ref)], life=life) for ref, life in settings.lives.items() if Ref(ref) in places}
    for ref in lives:
        began, begins = places[Ref(ref)].life, settings.lives[ref]
        if began not in (None, begins) and began.number >= begins.number:
            raise SafetyStop(f"another run has begun to restore {ref} since this one chose its backup; run again")
    moved = {ref: place for ref, place in settings.places.items() if Ref(ref) in places}
    return {ref: {**lives, **moved}.get(ref, place) for ref, place in places.items()}
