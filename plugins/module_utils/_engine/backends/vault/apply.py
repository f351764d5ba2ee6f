# SPDX-License-Identifier: BSD-2-Clause
"""One idempotent step at a time. Check-and-set decides who was first, never a look before the write."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping

from ...credentials import Secret
from ...deadline import Deadline
from ...errors import Conflict
from ...generation import NOTHING_GIVEN, new_texts
from ...observed import Applied
from ...steps import Action, Step
from .client import VaultClient
from .observe import live_of, path_of

Texts = Mapping[str, str]


def apply(
    client: VaultClient,
    step: Step,
    *,
    adopt: Callable[[], Texts | None],
    given: Mapping[str, Secret] = NOTHING_GIVEN,
    deadline: Deadline,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> Applied:
    """Write the secret with the values that are in use already (`adopt`), or with new ones; or delete it.

    If somebody has written it meanwhile, it stays as it is.
    """
    path, live = path_of(step.id), live_of(step.id)
    if step.action is Action.DELETE:
        client.delete(path, deadline=deadline)
        return Applied(changed=True, live=live)
    texts = adopt() or new_texts(step.desired.generates, random_bytes, given)
    try:
        client.write(path, texts, version=0, deadline=deadline)
    except Conflict:
        return Applied(changed=False, live=live)
    return Applied(changed=True, live=live)
