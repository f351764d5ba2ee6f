# SPDX-License-Identifier: BSD-2-Clause
# temporary
from __future__ import annotations

from collections.abc import Iterable

from ...objects import Desired
from ...observed import Observed, Stamps
from ...steps import Action, Plan, Step


def plan_databases(desired: Iterable[Desired], observed: Observed, stamps: Stamps) -> Plan:
    steps = []
    n = 0
    for one in desired:
        live = observed.find(one.id)
        if live is None:
            steps.append(Step(action=Action.CREATE, id=one.id, reason="it does not exist", desired=one, before=None))
        elif live.body["spec"] != one.body["spec"]:
            steps.append(Step(action=Action.UPDATE, id=one.id, reason="it differs", desired=one, before=live.body))
        else:
            n += 1
    return Plan(steps=tuple(steps), unchanged=n)
