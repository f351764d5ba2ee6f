# SPDX-License-Identifier: GPL-3.0-or-later
"""Pod networking of one node: CNI file, routes to the other nodes, policy.

flannel's CNI plugin cannot be had; the ptp plugin with a route per other node
does what flannel's host-gw backend does.
"""

from __future__ import annotations

import json
import subprocess
import threading
from pathlib import Path
from typing import Any

from . import policy, processes
from .api import Api
from .components import Node

ROUTE_PROTOCOL = "77"  # marks the routes that are ours (ip-route(8), `proto`)
SETTLE_SECONDS = 0.3


def _run(*argv: str, stdin: str | None = None) -> str:
    return subprocess.run(argv, input=stdin, capture_output=True, text=True, check=True).stdout


def prepare(node: Node) -> None:
    """Forwarding on, and pods leave the cluster with the node's address (as flannel's masquerade rule)."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    table = "table ip k3s_masquerade"
    rule = f"ip saddr {node.cluster_cidr} ip daddr != {node.cluster_cidr} masquerade"
    chain = f"chain postrouting {{ type nat hook postrouting priority 101; policy accept; {rule}; }}"
    _run("nft", "-f", "-", stdin=f"{table}\ndelete {table}\n{table} {{\n{chain}\n}}\n")


def cni_configuration(pod_cidr: str) -> dict[str, Any]:
    ipam = {
        "type": "host-local",
        "dataDir": "/run/k3s/cni",  # addresses are free again after a reboot, like the pods that held them
        "ranges": [[{"subnet": pod_cidr}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    return {
        "cniVersion": "1.0.0",
        "name": "cbr0",
        "plugins": [
            {"type": "ptp", "ipMasq": False, "ipam": ipam},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def follow_nodes(api: Api, node: Node, cni: Path) -> None:
    """Keep the CNI file and the routes in step with the Node objects, for ever."""

    def on_change(nodes: dict[str, dict[str, Any]]) -> None:
        routes = {}
        for each in nodes.values():
            cidr = each["spec"].get("podCIDR")
            if not cidr:
                continue
            if each["metadata"]["name"] == node.name:
                _write_once(cni, json.dumps(cni_configuration(cidr), indent=2))
            else:
                addresses = each["status"].get("addresses", ())
                gateway = next((a["address"] for a in addresses if a["type"] == "InternalIP"), None)
                if gateway:
                    routes[cidr] = gateway
        _set_routes(routes)

    api.follow("/api/v1/nodes", on_change)


def _write_once(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}")
        partial.write_text(text)
        partial.replace(path)


def _set_routes(wanted: dict[str, str]) -> None:
    listed = json.loads(_run("ip", "-j", "route", "show", "proto", ROUTE_PROTOCOL) or "[]")
    present = {route["dst"]: route.get("gateway") for route in listed}
    for cidr in present.keys() - wanted.keys():
        _run("ip", "route", "del", cidr, "proto", ROUTE_PROTOCOL)
    for cidr, gateway in wanted.items():
        if present.get(cidr) != gateway:
            _run("ip", "route", "replace", cidr, "via", gateway, "proto", ROUTE_PROTOCOL)


WATCHED = {
    "pods": "/api/v1/pods",
    "namespaces": "/api/v1/namespaces",
    "policies": "/apis/networking.k8s.io/v1/networkpolicies",
}


class PolicyEnforcer:
    """Loads the ruleset again whenever pods, namespaces or policies change."""

    def __init__(self, api: Api, node: str) -> None:
        self._api = api
        self._node = node
        self._seen: dict[str, list[dict[str, Any]]] = {}
        self._changed = threading.Event()
        self._loaded = ""

    def run(self) -> None:
        for kind, path in WATCHED.items():
            threading.Thread(target=self._api.follow, args=(path, self._receiver(kind)), daemon=True).start()
        while True:
            self._changed.wait()
            self._changed.clear()
            if len(self._seen) == len(WATCHED):
                self._load()
            threading.Event().wait(SETTLE_SECONDS)

    def _receiver(self, kind: str) -> Any:
        def receive(objects: dict[str, dict[str, Any]]) -> None:
            self._seen[kind] = list(objects.values())
            self._changed.set()

        return receive

    def _load(self) -> None:
        text = policy.ruleset(self._node, self._seen["pods"], self._seen["namespaces"], self._seen["policies"])
        if text == self._loaded:
            return
        try:
            _run("nft", "-f", "-", stdin=text)
            self._loaded = text
        except subprocess.CalledProcessError as error:
            processes.log(f"network policy not loaded: {error.stderr.strip()[:300]}")
            self._changed.set()
