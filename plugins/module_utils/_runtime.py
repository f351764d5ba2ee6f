# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This file is private to the collection; its interface may change in any release.
"""The options of the module runtime, and what they say, as the engine takes it."""

from __future__ import annotations

import typing as t

from ._engine.errors import InvalidSpec, Problem
from ._engine.project.model import Platform
from ._engine.project.vocabulary import RUNTIMES_VARIABLE
from ._engine.runtimes import Proof
from ._specs import Spec, connection_spec


def runtime_spec() -> Spec:
    """The options of the module runtime."""
    return {
        **connection_spec(),
        "platform": {"type": "dict", "default": {}},
        "name": {"type": "str", "required": True},
        "version": {"type": "str", "required": True},
        "nodes": {"type": "list", "elements": "str", "required": True},
        "absent_nodes": {"type": "list", "elements": "str", "default": []},
        "image": {"type": "str"},
        "expects": {"type": "str"},
        "own_kernel": {"type": "bool", "default": False},
    }


def proof_from(params: t.Mapping[str, t.Any], platform: Platform) -> Proof:
    """What a node has to show, out of the module's arguments. Raises InvalidSpec with everything that is wrong."""
    problems = []
    if params["name"] not in platform.runtime_classes:
        allowed = f"a name out of {RUNTIMES_VARIABLE}: {', '.join(platform.runtime_classes) or 'none is defined'}"
        problems.append(Problem(path="name", value=params["name"], allowed=allowed))
    both = sorted({*params["nodes"]} & {*params["absent_nodes"]})
    problems += [Problem(path="absent_nodes", value=node, allowed="none that is in nodes, too") for node in both]
    if problems:
        raise InvalidSpec(tuple(problems))
    return Proof(
        runtime=params["name"],
        version=params["version"],
        image=params["image"] or platform.images["pgbouncer"],
        expects=params["expects"] or "",
        own_kernel=params["own_kernel"],
    )
