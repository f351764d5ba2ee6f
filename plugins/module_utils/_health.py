# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The options of the module health, and what they say, as the engine takes it."""

from __future__ import annotations

import os
import typing as t

from ._engine.backends.gateway.client import Target
from ._engine.errors import InvalidSpec, Problem
from ._engine.health import Patience
from ._engine.restarts import Rules
from ._engine.settings import Settings
from ._specs import Spec, connection_spec


def health_spec() -> Spec:
    """The options of the module health."""
    target, patience, rules = Target(), Patience(), Rules()
    return {
        **connection_spec(),
        "refs": {"type": "list", "elements": "str"},
        "platform": {"type": "dict", "default": {}},
        "gateway_address": {"type": "str"},
        "gateway_port": {"type": "int", "default": target.port},
        "ca_file": {"type": "path"},
        "tries": {"type": "int", "default": patience.tries},
        "pause_seconds": {"type": "int", "default": round(patience.pause_seconds)},
        "answer_seconds": {"type": "int", "default": round(target.answer_seconds)},
        "restart": {"type": "bool", "default": rules.enabled},
        "restarts_a_day": {"type": "int", "default": rules.most_a_day},
        "restart_limit": {"type": "int", "default": rules.at_once},
        "recovery_seconds": {"type": "int", "default": round(patience.recovery_seconds)},
        "workers": {"type": "int", "default": Settings().workers},
    }


def target_from(params: t.Mapping[str, t.Any]) -> Target:
    """Where the gateway is, out of the module's arguments. Raises InvalidSpec for a file that cannot be read."""
    path = params["ca_file"] or None
    if path and not (os.path.isfile(path) and os.access(path, os.R_OK)):
        allowed = "a readable file of certificates, or none for those that the host trusts"
        raise InvalidSpec((Problem(path="ca_file", value=path, allowed=allowed),))
    return Target(
        address=params["gateway_address"] or None,
        port=params["gateway_port"],
        ca_file=path,
        answer_seconds=float(params["answer_seconds"]),
    )


def patience_from(params: t.Mapping[str, t.Any]) -> Patience:
    """For how long to ask, out of the module's arguments."""
    return Patience(
        tries=params["tries"],
        pause_seconds=float(params["pause_seconds"]),
        recovery_seconds=float(params["recovery_seconds"]),
    )


def rules_from(params: t.Mapping[str, t.Any]) -> Rules:
    """What may be restarted, out of the module's arguments."""
    return Rules(enabled=params["restart"], most_a_day=params["restarts_a_day"], at_once=params["restart_limit"])
