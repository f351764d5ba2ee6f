# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide which server founds the cluster, or already serves it, from what the servers showed."""

from __future__ import annotations

DOCUMENTATION = r"""
name: k3s_founder
short_description: Decide which server founds or serves the cluster
version_added: 0.1.0
author:
  - Supalove contributors (@supalove)
description:
  - Decides from what was observed, never from a host's position, unless no server has ever been started.
  - Tells whom to ask now from who founded the cluster, so that a founder which is only stopped changes no setting.
  - Finds what contradicts the choices that were made when the cluster was founded.
options:
  _input:
    description: The names of the servers.
    type: list
    elements: str
    required: true
  answers:
    description: Of every server, the result of M(ansible.builtin.uri) on its C(/cacerts).
    type: list
    elements: dict
    required: true
  traces:
    description: Of every server, the result of M(ansible.builtin.find) for its database (C(db)) and its record.
    type: list
    elements: dict
    required: true
  records:
    description: Of every server, the result of M(ansible.builtin.slurp) on its record, or a skipped one.
    type: list
    elements: dict
    required: true
  choices:
    description: The first-boot choices that the inventory asks for, by variable.
    type: dict
    required: true
  record_path:
    description: Where the record is kept, for the messages.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Decide who founds the cluster
  ansible.builtin.set_fact:
    founder: >-
      {{ groups.control_plane | supalove.platform.k3s_founder(answers=answers.results, traces=traces.results,
      records=records.results, choices=choices, record_path='/etc/rancher/k3s/first-boot.yaml') }}
"""

RETURN = r"""
_value:
  description:
    - C(host), the server to ask now; C(founder), the one that founds the cluster or has founded it, to which the
      others are led; C(has_database), whether that one was started before; C(serves), whether C(host) answers
      already; C(reason), why it is C(host); and C(problems), a list of sentences.
  type: dict
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

CERTIFICATE = "-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What one server showed. An empty ``ca`` means that it does not answer, an empty ``record`` that it has none.

    ``damage`` says why a record that is there cannot be read.
    """

    name: str
    ca: str
    has_database: bool
    record: Mapping[str, Any]
    damage: str


def server_from(name: str, answer: Mapping[str, Any], trace: Mapping[str, Any], record: Mapping[str, Any]) -> Server:
    """Read one server's three results; an answer that is no certificate counts as none."""
    content = str(answer.get("content", "")) if answer.get("status") == 200 else ""
    written, damage = record_from(base64.b64decode(record.get("content", "")))
    return Server(
        name=name,
        ca=content.strip() if CERTIFICATE in content else "",
        has_database=any(file["path"].endswith("/db") for file in trace.get("files", [])),
        record=written,
        damage=damage,
    )


def record_from(content: bytes) -> tuple[Mapping[str, Any], str]:
    """Read a record, or say what is wrong with it; an empty one, as a power cut leaves it, counts as none.

    >>> record_from(b"founder: a"), record_from(b""), record_from(b"- a")
    (({'founder': 'a'}, ''), ({}, ''), ({}, 'a list'))
    """
    try:
        written = yaml.safe_load(content)
    except yaml.YAMLError as error:
        return {}, " ".join(str(error).split())
    if isinstance(written, dict):
        return written, ""
    return {}, "" if written is None else f"a {type(written).__name__}"


def decide(servers: Sequence[Server]) -> tuple[Server, str]:
    """Give the server to ask now and why.

    1. A server that answers serves the cluster; of several, the one that founded it, else the first.
    2. If none answers, one that has a database, the founder first: its cluster is only stopped.
    3. If none has a database, the one on which the choice was written down: a run was killed before its first start.
    4. Else the first server of the group.
    """
    founders_first = sorted(servers, key=lambda server: server.record.get("founder") != server.name)
    chosen = [server for server in servers if server.record.get("founder") == server.name]
    rules = (
        ("it serves the cluster", [server for server in founders_first if server.ca]),
        ("it has the cluster's database", [server for server in founders_first if server.has_database]),
        ("an earlier run chose it", chosen),
        ("no server was ever started, and it is the first of its group", founders_first),
    )
    return next((candidates[0], reason) for reason, candidates in rules if candidates)


def founder_of(servers: Sequence[Server], host: Server) -> Server:
    """Give the server that the others' configuration names: the recorded one, stopped or not.

    ``host`` takes its place if it has left the group, or was rebuilt: without its database, or with a record that
    sends it to another server, it would found a second cluster.
    """
    recorded = [
        server for server in servers if server.name == host.record.get("founder") == server.record.get("founder")
    ]
    return next((server for server in recorded if server.has_database), host)


def contradictions(host: Server, choices: Mapping[str, Any], record_path: str) -> list[str]:
    """Give a sentence for each choice that differs from the recorded one."""
    return [
        f"{variable}: found {asked!r} in the inventory, but the cluster was founded with {host.record[variable]!r} "
        f"(written in {host.name}:{record_path}). This cannot be changed later: "
        f"set {variable} back, or build a new cluster"
        for variable, asked in choices.items()
        if variable in host.record and host.record[variable] != asked
    ]


def disagreements(servers: Sequence[Server]) -> list[str]:
    """Give a sentence if servers serve different clusters."""
    authorities: dict[str, list[str]] = {}
    for server in servers:
        if server.ca:
            authorities.setdefault(server.ca, []).append(server.name)
    if len(authorities) < 2:
        return []
    sides = " against ".join(", ".join(names) for names in authorities.values())
    problem = (
        f"these servers serve different clusters: {sides} (their certificate authorities differ). "
        "Take those of the other cluster out of the group control_plane, or reset them"
    )
    return [problem]


def k3s_founder(
    names: Sequence[str],
    *,
    answers: Sequence[Mapping[str, Any]],
    traces: Sequence[Mapping[str, Any]],
    records: Sequence[Mapping[str, Any]],
    choices: Mapping[str, Any],
    record_path: str,
) -> dict[str, Any]:
    """Give the decision with every problem that forbids to act on it."""
    servers = [server_from(*results) for results in zip(names, answers, traces, records, strict=True)]
    host, reason = decide(servers)
    founder = founder_of(servers, host)
    problems = disagreements(servers)
    problems += [
        f"{server.name}:{record_path} is damaged: found {server.damage}. Copy that file from another server, or write "
        f"it with founder (the name of the server that founded the cluster) and the values of {', '.join(choices)}"
        for server in servers
        if server.damage
    ]
    if host.has_database and not host.record and not host.damage:
        problems.append(
            f"{host.name} has a K3s database, but no {record_path} says how it was founded. "
            f"Write that file with founder ({host.name}) and the values of {', '.join(choices)}, or reset the host"
        )
    problems += contradictions(host, choices, record_path)
    return {
        "host": host.name,
        "founder": founder.name,
        "has_database": founder.has_database,
        "serves": bool(host.ca),
        "reason": reason,
        "problems": problems,
    }


class FilterModule:
    """The door for Ansible."""

    def filters(self) -> dict[str, Any]:
        """Name the filters of this file."""
        return {"k3s_founder": k3s_founder}
