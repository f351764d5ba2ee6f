# SPDX-License-Identifier: GPL-3.0-or-later
"""NetworkPolicy as an nftables ruleset for one node. Pure: objects in, text out.

The meaning is that of the API reference (networking.k8s.io/v1 NetworkPolicy):
a pod that some policy selects for a direction may only do in that direction
what one of these policies allows. K3s enforces with kube-router's controller,
which no registry reached by the lab carries; this one keeps its habits: traffic
between a node and its own pods is free, established connections live on.

Shape: two verdict maps lead from a local pod's address to its own chain, so
that a packet crosses two chains however many pods there are. Peers that are
selectors become named sets, shared by all rules with the same selector.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

TABLE = "k3s_network_policy"
Object = Mapping[str, Any]


def matches(selector: Object, labels: Mapping[str, str]) -> bool:
    """A LabelSelector against labels; the empty selector matches everything.

    >>> matches({"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}, {"a": "b"})
    True
    """
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for each in selector.get("matchExpressions") or ():
        found, values = labels.get(each["key"]), each.get("values") or ()
        holds = {
            "In": found in values,
            "NotIn": found not in values,
            "Exists": found is not None,
            "DoesNotExist": found is None,
        }[each["operator"]]
        if not holds:
            return False
    return True


@dataclass(slots=True)
class _Ruleset:
    """What has been said so far: sets by name, chains by name."""

    pods: Sequence[Object]
    namespaces: Mapping[str, Mapping[str, str]]
    sets: dict[str, list[str]] = field(default_factory=dict)
    chains: dict[str, list[str]] = field(default_factory=dict)

    def peers(self, peer: Object, home: str) -> list[Object]:
        """The pods that a selector peer means; `home` is the policy's namespace."""
        spaces = peer.get("namespaceSelector")
        return [
            pod
            for pod in self.pods
            if (
                pod["metadata"]["namespace"] == home
                if spaces is None
                else matches(spaces, self.namespaces.get(pod["metadata"]["namespace"], {}))
            )
            and matches(peer.get("podSelector") or {}, pod["metadata"].get("labels") or {})
        ]

    def set_of(self, addresses: Iterable[str]) -> str:
        """The name of the set with these addresses, made when new."""
        members = sorted(set(addresses))
        name = "peers_" + hashlib.sha256(" ".join(members).encode()).hexdigest()[:16]
        self.sets[name] = members
        return name


def ruleset(node: str, pods: Iterable[Object], namespaces: Iterable[Object], policies: Iterable[Object]) -> str:
    """The whole table for `node`, to be loaded by `nft -f -` in one transaction."""
    alive = _by_address(pods)
    spaces = {n["metadata"]["name"]: n["metadata"].get("labels") or {} for n in namespaces}
    rules = _Ruleset(pods=alive, namespaces=spaces)
    ordered = sorted(policies, key=lambda p: (p["metadata"]["namespace"], p["metadata"]["name"]))
    maps: dict[str, list[str]] = {"egress": [], "ingress": []}
    for pod in alive:
        if pod["spec"].get("nodeName") != node:
            continue
        chosen = [p for p in ordered if _selects(p, pod)]
        for direction, members in maps.items():
            said = [p for p in chosen if direction in _directions(p)]
            if said:
                chain = f"{direction}_{pod['status']['podIP'].replace('.', '_')}"
                lines = [line for p in said for line in _allowed(rules, p, direction, pod)]
                rules.chains[chain] = [*dict.fromkeys(lines), "counter drop"]
                members.append(f"{pod['status']['podIP']} : jump {chain}")
    return _render(rules, maps)


def _by_address(pods: Iterable[Object]) -> list[Object]:
    """Whoever has an address now: after a host lost its power, old pods still claim what new ones were given."""
    claims = sorted((p for p in pods if _has_own_address(p)), key=lambda p: str(p["status"].get("startTime", "")))
    owners = {str(pod["status"]["podIP"]): pod for pod in claims}
    return [owners[address] for address in sorted(owners)]


def _has_own_address(pod: Object) -> bool:
    status = pod.get("status") or {}
    ended = status.get("phase") in ("Succeeded", "Failed")
    return bool(status.get("podIP")) and not pod["spec"].get("hostNetwork") and not ended


def _selects(policy: Object, pod: Object) -> bool:
    same = policy["metadata"]["namespace"] == pod["metadata"]["namespace"]
    return same and matches(policy["spec"].get("podSelector") or {}, pod["metadata"].get("labels") or {})


def _directions(policy: Object) -> set[str]:
    spec = policy["spec"]
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    return {t.lower() for t in types}


def _allowed(rules: _Ruleset, policy: Object, direction: str, pod: Object) -> list[str]:
    """The accepting lines of one policy for one pod."""
    side, peers_key = ("saddr", "from") if direction == "ingress" else ("daddr", "to")
    lines = []
    for rule in policy["spec"].get(direction) or ():
        for peer in rule.get(peers_key) or [None]:
            ends = _ends(rules, peer, policy["metadata"]["namespace"])
            for address in _addresses(rules, peer, ends, side):
                targets = [pod] if direction == "ingress" else ends
                lines += [f"{address} {port} return".strip() for port in _ports(rule.get("ports"), targets)]
    return [" ".join(line.split()) for line in lines]


def _ends(rules: _Ruleset, peer: Object | None, home: str) -> list[Object]:
    if peer is None:
        return list(rules.pods)
    return [] if "ipBlock" in peer else rules.peers(peer, home)


def _addresses(rules: _Ruleset, peer: Object | None, ends: Sequence[Object], side: str) -> list[str]:
    """How the other end is recognised: nothing to say for "anybody"."""
    if peer is None:
        return [""]
    if block := peer.get("ipBlock"):
        if ipaddress.ip_network(block["cidr"]).version != 4:
            return []
        excepted = ", ".join(block.get("except") or ())
        return [f"ip {side} {block['cidr']}" + (f" ip {side} != {{ {excepted} }}" if excepted else "")]
    return [f"ip {side} @{rules.set_of(p['status']['podIP'] for p in ends)}"] if ends else []


def _ports(ports: Sequence[Object] | None, targets: Sequence[Object]) -> list[str]:
    """Port conditions; named ports are looked up in the pods they would be reached on."""
    if not ports:
        return [""]
    lines = []
    for each in ports:
        protocol = each.get("protocol", "TCP").lower()
        port = each.get("port")
        if port is None:
            lines.append(f"meta l4proto {protocol}")
        elif isinstance(port, int):
            last = each.get("endPort")
            lines.append(f"{protocol} dport {port}" + (f"-{last}" if last else ""))
        else:
            numbers = {n for pod in targets for n in _named(pod, port, protocol)}
            lines += [f"{protocol} dport {n}" for n in sorted(numbers)]
    return lines


def _named(pod: Object, name: str, protocol: str) -> list[int]:
    return [
        port["containerPort"]
        for container in pod["spec"].get("containers", ())
        for port in container.get("ports") or ()
        if port.get("name") == name and port.get("protocol", "TCP").lower() == protocol
    ]


def _render(rules: _Ruleset, maps: Mapping[str, Sequence[str]]) -> str:
    lines = [f"table inet {TABLE}", f"delete table inet {TABLE}", f"table inet {TABLE} {{"]
    for name, members in sorted(rules.sets.items()):
        lines += [f"  set {name} {{", "    type ipv4_addr", f"    elements = {{ {', '.join(members)} }}", "  }"]
    for name, body in sorted(rules.chains.items()):
        lines += [f"  chain {name} {{", *(f"    {line}" for line in body), "  }"]
    egress, ingress = (
        [f"    ip {side} vmap {{ {', '.join(maps[direction])} }}"] if maps[direction] else []
        for side, direction in (("saddr", "egress"), ("daddr", "ingress"))
    )
    established = "    ct state established,related accept"
    # A packet to the node itself passes `input`, one to another pod or host `forward`.
    lines += ["  chain input {", "    type filter hook input priority -5; policy accept;", established, *egress, "  }"]
    lines += ["  chain forward {", "    type filter hook forward priority -5; policy accept;", established]
    lines += [*egress, *ingress, "  }", "}", ""]
    return "\n".join(lines)
