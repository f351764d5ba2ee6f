# SPDX-License-Identifier: BSD-2-Clause
"""A project's tokens are signed with another key: one step for each run, so that time lies between them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping

from .backends.kubernetes.restart import restart
from .errors import SafetyStop, TooSoon
from .keeper import Keeper
from .key_rotation import SIGNING, announced, ended, has_previous, is_announced, seconds_left, signing, taken_anew
from .service_keys import SERVICES
from .vault import Kept

# How long whoever verifies has to read a key that was announced: a kubelet brings a mounted Secret up to date in two
# minutes.
SETTLE_SECONDS = 600.0
MARK_BYTES = 4
# How long a token is good for.
TOKEN_SECONDS = 3600.0


def renew_key(keeper: Keeper, settle_seconds: float | None) -> None:
    """Announce a key; in the next run let it sign. A run that was killed between Vault and the Secret took its step in
    vain: it is taken anew, and its time begins anew.
    """
    kept = keeper.read()
    was_lagging = keeper.copy(kept.texts)
    if SIGNING not in kept.texts:
        raise SafetyStop("the project has no signing key, as it was made by an earlier release; make it anew")
    now = time.time()
    if was_lagging:
        keeper.write(kept, taken_anew(kept.texts, now=now))
        return
    if not is_announced(kept.texts):
        if has_previous(kept.texts):
            raise TooSoon("tokens of the key before the last one may be in use; end it first with end_previous")
        _write(keeper, kept, announced(kept.texts, now=now))
        return
    seconds = SETTLE_SECONDS if settle_seconds is None else settle_seconds
    left = seconds_left(kept.texts, now=now, settle_seconds=seconds)
    if left > 0:
        raise TooSoon(
            f"a key was announced, and who verifies tokens may not have read it for {left:.0f} s yet; "
            "run again then, or set settle_seconds"
        )
    _write(keeper, kept, signing(kept.texts, now=now))


def end_key(keeper: Keeper, settle_seconds: float | None) -> None:
    """Accept no key but the one that signs."""
    kept = keeper.read()
    if keeper.copy(kept.texts):
        kept = keeper.write(kept, taken_anew(kept.texts, now=time.time()))
    if is_announced(kept.texts):
        raise TooSoon("a key was announced and does not sign yet; rotate first, then end the one before it")
    if not has_previous(kept.texts):
        return
    seconds = SETTLE_SECONDS + TOKEN_SECONDS if settle_seconds is None else settle_seconds
    left = seconds_left(kept.texts, now=time.time(), settle_seconds=seconds)
    if left > 0:
        raise TooSoon(
            f"tokens that the key before has signed may be good for {left:.0f} s yet; "
            "run again then, or set settle_seconds"
        )
    _write(keeper, kept, ended(kept.texts))


def _write(keeper: Keeper, kept: Kept, texts: Mapping[str, str]) -> None:
    """And let services begin anew, which read keys when they begin."""
    keeper.write(kept, texts)
    if not keeper.check:
        mark = secrets.token_hex(MARK_BYTES)
        restart(keeper.access.client, keeper.namespace, SERVICES, mark=mark, deadline=keeper.deadline)
