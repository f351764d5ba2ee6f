# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolve which node every host is, with the labels and taints of its pools and its own."""

from __future__ import annotations

DOCUMENTATION = r"""
name: k3s_nodes
short_description: Resolve the labels and taints of every node
version_added: 0.1.0
author:
  - Supalove contributors (@supalove)
description:
  - Merges the labels of a host's pools with its own, which win, and adds its own taints to those of its pool.
  - A host in both pools carries no pool taint, as nothing could run on it.
  - The pool V(gateway) gives its hosts, which are in another one too, a label and no taint.
options:
  _input:
    description: By pool (V(control_plane), V(data_plane), V(gateway)), the names of its hosts.
    type: dict
    required: true
  hostvars:
    description:
      - The variables of every host. C(k3s_node_name), C(k3s_node_ip), C(ansible_host), C(k3s_node_labels) and
        C(k3s_node_taints) are read.
    type: dict
    required: true
  labels:
    description: The labels by pool.
    type: dict
    required: true
  taints:
    description: The taints by pool, each as V(key=value:Effect).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show what every node shall carry
  ansible.builtin.debug:
    msg: "{{ pools | supalove.platform.k3s_nodes(hostvars=hostvars, labels=k3s_pool_labels, taints=k3s_pool_taints) }}"
"""

RETURN = r"""
_value:
  description:
    - By host, C(name), C(address), C(labels) and C(taints) of its node, and C(registration), the labels that it may
      give itself.
  type: dict
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

TAINT = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_./]*(=[-A-Za-z0-9_.]*)?:(NoSchedule|PreferNoSchedule|NoExecute)")
# Every host is in one of these, or in both.
HOMES = ("control_plane", "data_plane")
# The kubelet refuses to label its own node under these, K3s refuses to start.
RESERVED_DOMAINS = ("kubernetes.io", "k8s.io")


def reserved(key: str) -> bool:
    """Whether only the API, not the node itself, may set a label.

    >>> [reserved(key) for key in ("node-role.kubernetes.io/db", "kubernetes.io/os", "example.org/x", "plain")]
    [True, True, False, False]
    """
    prefix, slash, _name = key.partition("/")
    return bool(slash) and any(prefix == domain or prefix.endswith("." + domain) for domain in RESERVED_DOMAINS)


def label_value(value: Any) -> str:
    """Write a label's value as the API has it: YAML's true becomes "true"."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def node_of(
    host: str, pools: Sequence[str], own: Mapping[str, Any], labels: Mapping[str, Any], taints: Mapping[str, Any]
) -> dict[str, Any]:
    """Give the node of one host.

    1. Labels: those of its pools, then its own, which win.
    2. Taints: those of its pool if it is in exactly one, then its own; by key and effect the own one wins.
    """
    homes = [pool for pool in pools if pool in HOMES]
    merged = {key: value for pool in pools for key, value in labels.get(pool, {}).items()}
    merged = {key: label_value(value) for key, value in {**merged, **own.get("k3s_node_labels", {})}.items()}
    asked = [*(taints.get(homes[0], []) if len(homes) == 1 else []), *own.get("k3s_node_taints", [])]
    wrong = [taint for taint in asked if not TAINT.fullmatch(taint)]
    if wrong:
        raise AnsibleFilterError(
            f"{host}: k3s_node_taints or k3s_pool_taints: found {', '.join(wrong)}, "
            "allowed is key=value:Effect with NoSchedule, PreferNoSchedule or NoExecute"
        )
    by_key = {(re.split("[=:]", taint, maxsplit=1)[0], taint.rsplit(":", 1)[1]): taint for taint in asked}
    return {
        "name": own.get("k3s_node_name", host),
        "address": str(own.get("k3s_node_ip") or own.get("ansible_host") or host).partition(",")[0],
        "labels": dict(sorted(merged.items())),
        "taints": sorted(by_key.values()),
        "registration": {key: value for key, value in sorted(merged.items()) if not reserved(key)},
    }


def k3s_nodes(
    pools: Mapping[str, Sequence[str]],
    *,
    hostvars: Mapping[str, Any],
    labels: Mapping[str, Any],
    taints: Mapping[str, Any],
) -> dict[str, dict[str, Any]]:
    """Give the node of every host of both pools, by host name."""
    hosts = dict.fromkeys(host for pool in HOMES for host in pools[pool])
    member = {host: [pool for pool in (*HOMES, "gateway") if host in pools.get(pool, ())] for host in hosts}
    return {host: node_of(host, member[host], hostvars[host], labels, taints) for host in hosts}


class FilterModule:
    """The door for Ansible."""

    def filters(self) -> dict[str, Any]:
        """Name the filters of this file."""
        return {"k3s_nodes": k3s_nodes}
