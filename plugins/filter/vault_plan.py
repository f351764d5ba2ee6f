# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide who founds a Vault, who signs its certificates and in which order it is restarted, from what was seen."""

from __future__ import annotations

DOCUMENTATION = r"""
name: vault_plan
short_description: Decide what each server of a Vault is to do, from what the servers showed
version_added: 0.1.0
author:
  - Supalove contributors (@supalove)
description:
  - Decides from what was observed, never from a host's position, unless no server has ever been started.
options:
  _input:
    description: The names of the servers.
    type: list
    elements: str
    required: true
  nodes:
    description: Of every server, the result of M(supalove.platform.vault_node).
    type: list
    elements: dict
    required: true
  traces:
    description:
      - Of every server, the result of M(ansible.builtin.find) for the authority's key (C(ca.key)), the database
        (C(vault.db)) and the answer of an initialisation that is not delivered yet (C(init.json)).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Decide what each server is to do
  ansible.builtin.set_fact:
    plan: "{{ groups.vault | supalove.platform.vault_plan(nodes=nodes.results, traces=traces.results) }}"
"""

RETURN = r"""
_value:
  description:
    - C(founder), the server to initialise or to ask; C(authority), the one that signs; C(initialized), whether there
      is a Vault; C(exists), whether there may be one; C(pending), the server with an answer that is not delivered, or
      an empty text; C(silent), those that do not answer; C(order), in which they are restarted, the one that leads
      last; and C(problems), a list of sentences.
  type: dict
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What one server showed."""

    name: str
    answers: bool
    initialized: bool
    active: bool
    has_authority: bool
    has_database: bool
    has_answer: bool


def server_from(name: str, node: Mapping[str, Any], trace: Mapping[str, Any]) -> Server:
    """Read one server's two results; what a host that was not asked has is not there."""
    seen = node.get("node") or {}
    files = {file["path"].rsplit("/", 1)[1] for file in trace.get("files", [])}
    return Server(
        name=name,
        answers=bool(seen.get("answers")),
        initialized=bool(seen.get("initialized")),
        active=bool(seen.get("active")),
        has_authority="ca.key" in files,
        has_database="vault.db" in files,
        has_answer=bool(files & {"init.json", "init.json.part"}),
    )


def founder_of(servers: Sequence[Server]) -> Server:
    """Give the server to initialise or to ask.

    1. The one that leads.
    2. Else one that belongs to a Vault; one whose initialisation is not delivered first.
    3. If none does, the one with the authority: an earlier run chose it.
    4. Else the first.
    """
    rules = (
        [server for server in servers if server.active],
        [server for server in servers if server.initialized and server.has_answer],
        [server for server in servers if server.initialized],
        [server for server in servers if server.has_authority],
        servers,
    )
    return next(candidates[0] for candidates in rules if candidates)


def problems_of(servers: Sequence[Server]) -> list[str]:
    """Give a sentence for each thing that forbids to act."""
    authorities = [server.name for server in servers if server.has_authority]
    problems = []
    if len(authorities) > 1:
        problems.append(
            f"these hosts each have an authority of their own: {', '.join(authorities)}. "
            "Move the key (ca.key) of all but the one that signed the certificates in use away"
        )
    leaders = [server.name for server in servers if server.active]
    if len(leaders) > 1:
        problems.append(
            f"these servers lead a Vault each: {', '.join(leaders)}. "
            "Take those of the other Vault out of the inventory group, or reset them"
        )
    return problems


def vault_plan(
    names: Sequence[str], *, nodes: Sequence[Mapping[str, Any]], traces: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Give the decisions with every problem that forbids to act on them."""
    servers = [server_from(*results) for results in zip(names, nodes, traces, strict=True)]
    founder = founder_of(servers)
    return {
        "founder": founder.name,
        "authority": next((server.name for server in servers if server.has_authority), founder.name),
        "initialized": any(server.initialized for server in servers),
        "exists": any(server.initialized or server.has_database for server in servers),
        "pending": next((server.name for server in servers if server.has_answer), ""),
        "silent": [server.name for server in servers if not server.answers],
        "order": [server.name for server in sorted(servers, key=lambda server: server.active)],
        "problems": problems_of(servers),
    }


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, Any]:
        """Give the filters by name."""
        return {"vault_plan": vault_plan}
