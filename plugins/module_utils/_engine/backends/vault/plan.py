# SPDX-License-Identifier: BSD-2-Clause
"""What has to be done in Vault: a secret that is there is left alone, because its values are in use."""

from __future__ import annotations

from collections.abc import Iterable

from ...objects import Desired
from ...observed import Observed
from ...steps import Action, Plan, Step


def plan_secrets(desired: Iterable[Desired], observed: Observed) -> Plan:
    """Steps in the order of `desired`."""
    return Plan.of(_plan_secret(one, observed) for one in desired)


def _plan_secret(desired: Desired, observed: Observed) -> Step | None:
    if observed.find(desired.id) is not None:
        return None
    source = desired.values_from
    reason = "it does not exist"
    if source is not None and observed.find(source) is not None:
        reason += f", and takes over the values of {source}"
    return Step(action=Action.CREATE, id=desired.id, reason=reason, desired=desired, before=None)
