# SPDX-License-Identifier: BSD-2-Clause
"""One plan out of those of all backends."""

from __future__ import annotations

from collections.abc import Iterable

from .archives import ARCHIVE_KIND
from .authority import CERTIFICATE_KIND
from .backends.kubernetes.kinds import KINDS
from .backends.kubernetes.plan import plan_objects
from .backends.object_store.plan import plan_identities
from .backends.postgresql.plan import plan_databases
from .backends.vault.plan import plan_secrets
from .databases import DATABASE_KINDS
from .objects import Desired
from .observed import Observed
from .pooler_certificate import plan_certificates
from .project.model import Platform, Project
from .project.names import UID_LABEL, Uid
from .project.placement import Placement
from .render.context import context_of
from .render.isolation import asks_outside, auth_policy_of, render_way_out
from .steps import Plan
from .vault import VAULT_KIND


def plan_all(desired: tuple[Desired, ...], observed: Observed) -> Plan:
    """The steps of every backend in the order of `desired`."""
    plans = (
        plan_objects(of_kubernetes(desired), observed),
        plan_databases((one for one in desired if one.id.kind in DATABASE_KINDS), observed),
        plan_secrets((one for one in desired if one.id.kind == VAULT_KIND), observed),
        plan_identities((one for one in desired if one.id.kind == ARCHIVE_KIND), observed),
        plan_certificates((one for one in desired if one.id.kind == CERTIFICATE_KIND), observed),
    )
    order = {one.id: number for number, one in enumerate(desired)}
    steps = sorted((step for plan in plans for step in plan.steps), key=lambda step: order[step.id])
    return Plan(steps=tuple(steps), unchanged=sum(plan.unchanged for plan in plans))


def closed_ways(
    project: Project, platform: Platform, placement: Placement, uid: Uid, observed: Observed
) -> tuple[Desired, ...]:
    """What a project has of before and needs no more: it is closed and stays, as no run removes a policy."""
    live = observed.find(auth_policy_of(project.ref))
    if live is None or live.labels.get(UID_LABEL) != uid or asks_outside(project):
        return ()
    return (render_way_out(context_of(project, platform, placement, uid)),)


def of_kubernetes(desired: Iterable[Desired]) -> tuple[Desired, ...]:
    """What is an object of the API server."""
    return tuple(one for one in desired if one.id.kind in KINDS)
