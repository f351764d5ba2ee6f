# SPDX-License-Identifier: BSD-2-Clause
"""What has to be done in the object store: an identity that is there has its keys, unless these are made anew."""

from __future__ import annotations

from collections.abc import Iterable

from ...objects import Desired
from ...observed import Observed
from ...steps import Action, Plan, Step


def plan_identities(desired: Iterable[Desired], observed: Observed) -> Plan:
    """Steps in the order of `desired`."""
    return Plan.of(_plan_identity(one, observed) for one in desired)


def _plan_identity(desired: Desired, observed: Observed) -> Step | None:
    source = desired.values_from
    if observed.find(desired.id) is None:
        return Step(action=Action.CREATE, id=desired.id, reason="it does not exist", desired=desired, before=None)
    if source is not None and observed.find(source) is None:
        reason = f"its keys are those of {source}, which does not exist"
        return Step(action=Action.UPDATE, id=desired.id, reason=reason, desired=desired, before=desired.body)
    return None
