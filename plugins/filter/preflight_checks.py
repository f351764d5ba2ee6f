# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge hosts and inventory before anything is changed."""

from __future__ import annotations

DOCUMENTATION = r"""
name: preflight_checks
short_description: Judge hosts and inventory before anything is changed
version_added: 0.1.0
author:
  - Supalove contributors (@supalove)
description:
  - Compares what M(supalove.platform.host_info) found on every host, and the inventory, with what a cluster needs.
  - Decides only. It reads nothing.
options:
  _input:
    description:
      - By host name, the result of M(supalove.platform.host_info), or that of a host which did not answer.
    type: dict
    required: true
  pools:
    description: By pool (V(control_plane), V(data_plane)), the names of its hosts.
    type: dict
    required: true
  limits:
    description: What is allowed, see the variables of the role P(supalove.platform.preflight#role).
    type: dict
    required: true
  hostvars:
    description: The variables of every host. C(k3s_node_name) is read.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: List the problems
  ansible.builtin.debug:
    msg: >-
      {{ results | supalove.platform.preflight_checks(pools=pools, limits=limits, hostvars=hostvars)
      | rejectattr('ok') }}
"""

RETURN = r"""
_value:
  description:
    - Every check as C(host) (empty for the inventory), C(name), C(found), C(wanted), C(remedy), C(ok),
      and C(text), the whole in one sentence.
  type: list
  elements: dict
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

UNITS = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
K3S_UNITS = ("k3s.service", "k3s-agent.service")
# A DNS subdomain, no longer than the label kubernetes.io/hostname may be.
NODE_NAME = re.compile(r"(?=.{1,63}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
# Firmware and kernel take their part of what is sold as 8 GiB.
MEMORY_TOLERANCE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question, what was found, what is wanted, and what to do if they differ."""

    host: str
    name: str
    found: str
    wanted: str
    remedy: str
    ok: bool

    @property
    def text(self) -> str:
        """The check in one sentence."""
        return f"{self.host or 'inventory'}: {self.name}: found {self.found}, wanted {self.wanted}. {self.remedy}."


def quantity(text: str) -> int:
    """Give the bytes of a quantity in Kubernetes' binary notation.

    >>> quantity("2Gi")
    2147483648
    """
    matched = re.fullmatch(r"(\d+)(Ki|Mi|Gi|Ti|)", str(text))
    if not matched:
        raise ValueError(f"{text!r} is no size: allowed is a whole number with Ki, Mi, Gi or Ti, for example 8Gi")
    return int(matched[1]) * UNITS[matched[2]]


def version_key(text: str) -> tuple[int, ...]:
    """Give the leading numbers of a version, so that versions compare.

    >>> version_key("6.1.0-18-amd64") >= version_key("5.10")
    True
    """
    matched = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in matched[0].split(".")) if matched else ()


def human(size: float) -> str:
    """Write bytes for people.

    >>> human(8 * 2**30)
    '8.0Gi'
    """
    return f"{size / 2**30:.1f}Gi"


def check_servers(servers: Sequence[str], data: Sequence[str]) -> Iterator[Check]:
    """Count the pools: one server or an odd number of at least three (etcd's quorum), and a host for tenants."""
    count = len(servers)
    yield Check(
        host="",
        name="servers",
        found=f"{count} host(s) in the group control_plane",
        wanted="1, or an odd number of at least 3",
        remedy="Put 1, 3 or 5 hosts into the inventory group control_plane",
        ok=count % 2 == 1,
    )
    yield Check(
        host="",
        name="data plane",
        found=f"{len(data)} host(s) in the group data_plane",
        wanted="at least 1",
        remedy="Put the hosts that shall run tenants into the inventory group data_plane; a host may be in both",
        ok=bool(data),
    )


def check_networks(limits: Mapping[str, Any]) -> Iterator[Check]:
    """The cluster's two networks must be networks and must not share an address."""
    networks = []
    for variable in ("k3s_cluster_cidr", "k3s_service_cidr"):
        value = limits[variable]
        try:
            networks.append(ipaddress.ip_network(value))
        except ValueError as error:
            yield Check(
                host="",
                name=variable,
                found=str(error),
                wanted="a network such as 10.42.0.0/16",
                remedy=f"Correct {variable}",
                ok=False,
            )
    if len(networks) == 2:
        yield Check(
            host="",
            name="pod and service networks",
            found=f"k3s_cluster_cidr {networks[0]} and k3s_service_cidr {networks[1]}",
            wanted="two networks that do not overlap",
            remedy="Change k3s_cluster_cidr or k3s_service_cidr",
            ok=not overlap(networks[0], networks[1]),
        )


def overlap(first: Any, second: Any) -> bool:
    """Whether two networks of any family share an address."""
    return first.version == second.version and bool(first.overlaps(second))


def check_names(infos: Mapping[str, Any], hostvars: Mapping[str, Any]) -> Iterator[Check]:
    """Nodes are known by their names; host names must differ too, as everything on a node logs under them."""
    nodes = {host: str(hostvars[host].get("k3s_node_name", host)) for host in infos}
    for host, node in nodes.items():
        yield Check(
            host=host,
            name="node name",
            found=node,
            wanted="lower-case letters, digits, '-' and '.' between them, at most 63 characters",
            remedy="Set k3s_node_name, or rename the host in the inventory and give its address as ansible_host",
            ok=bool(NODE_NAME.fullmatch(node)),
        )
    hostnames = {host: info["hostname"] for host, info in infos.items() if "hostname" in info}
    yield from check_distinct("node name", nodes, remedy="Give every host a k3s_node_name of its own")
    yield from check_distinct("host name", hostnames, remedy="Set it with hostnamectl set-hostname")


def check_distinct(kind: str, names: Mapping[str, str], *, remedy: str) -> Iterator[Check]:
    """No two hosts may have one name."""
    for host, name in names.items():
        others = sorted(other for other, same in names.items() if same == name and other != host)
        yield Check(
            host=host,
            name=kind,
            found=f"{name}, as on {', '.join(others)}" if others else name,
            wanted="a name of its own",
            remedy=remedy,
            ok=not others,
        )


def check_system(host: str, info: Mapping[str, Any], limits: Mapping[str, Any]) -> Iterator[Check]:
    """Operating system, kernel, cgroups, swap and clock."""
    system, systems = info["system"], limits["systems"]
    minimum = str(systems.get(system["id"], ""))
    known = ", ".join(f"{name} {version}" for name, version in sorted(systems.items()))
    yield Check(
        host=host,
        name="operating system",
        found=system["name"] or f"{system['id']} {system['version']}".strip() or "nothing in /etc/os-release",
        wanted=f"at least one of {known}",
        remedy="Install one of these, or add yours to preflight_systems after trying it",
        ok=bool(minimum) and version_key(system["version"]) >= version_key(minimum),
    )
    yield Check(
        host=host,
        name="kernel",
        found=info["kernel"],
        wanted=f"{limits['kernel']} or newer",
        remedy="Upgrade the kernel",
        ok=version_key(info["kernel"]) >= version_key(str(limits["kernel"])),
    )
    yield Check(
        host=host,
        name="cgroups",
        found=info["cgroup"],
        wanted="v2",
        remedy="Boot with systemd.unified_cgroup_hierarchy=1, or set preflight_cgroup_v1_allowed if kubelet takes v1",
        ok=info["cgroup"] == "v2" or limits["cgroup_v1_allowed"],
    )
    yield Check(
        host=host,
        name="swap",
        found=f"{human(info['swap_bytes'])} in use" if info["swap_bytes"] else "none",
        wanted="none",
        remedy="Turn it off (swapoff --all, and its line in /etc/fstab), or set preflight_swap_allowed",
        ok=not info["swap_bytes"] or limits["swap_allowed"],
    )
    yield Check(
        host=host,
        name="clock",
        found="synchronised" if info["clock_synchronized"] else "not synchronised",
        wanted="synchronised by NTP",
        remedy="Start chrony or systemd-timesyncd, or set preflight_clock_check_enabled to false in containers",
        ok=info["clock_synchronized"] or not limits["clock_check_enabled"],
    )


def check_size(host: str, info: Mapping[str, Any], pools: Sequence[str], limits: Mapping[str, Any]) -> Iterator[Check]:
    """The floors of every pool that the host is in, and free space at every path that is written to."""
    floors = {pool: limits["floors"][pool] for pool in pools}
    disk = info["filesystems"][limits["data_path"]]["total_bytes"]
    measured = {"cpus": info["cpus"], "memory": info["memory_bytes"], "disk": disk}
    for pool, floor in floors.items():
        for name, value in measured.items():
            wanted = quantity(str(floor[name]))
            least = wanted * MEMORY_TOLERANCE if name == "memory" else wanted
            yield Check(
                host=host,
                name=f"{name} for {pool}",
                found=str(value) if name == "cpus" else human(value),
                wanted=f"at least {floor[name]}",
                remedy=f"Use a larger host, or lower preflight_floors.{pool}.{name} if you know what you run",
                ok=value >= least,
            )
    for path, size in info["filesystems"].items():
        yield Check(
            host=host,
            name=f"free space at {path}",
            found=human(size["free_bytes"]),
            wanted=f"at least {limits['free_space']}",
            remedy=f"Free space on the file system of {path}, or grow it",
            ok=size["free_bytes"] >= quantity(limits["free_space"]),
        )


def check_use(host: str, info: Mapping[str, Any], limits: Mapping[str, Any]) -> Iterator[Check]:
    """Ports that something else holds, and networks of the host that the cluster would hide."""
    for holder in info["listeners"]:
        yield Check(
            host=host,
            name=f"port {holder['port']}",
            found=f"held by {holder['process']}" + (f" ({holder['unit']})" if holder["unit"] else ""),
            wanted="free, or held by K3s",
            remedy="Stop that program or move it to another port",
            ok=holder["unit"] in K3S_UNITS,
        )
    for variable in ("k3s_cluster_cidr", "k3s_service_cidr"):
        try:
            network = ipaddress.ip_network(limits[variable])
        except ValueError:
            continue
        hit = [own for own in info["networks"] if overlap(network, ipaddress.ip_interface(own["cidr"]).network)]
        yield Check(
            host=host,
            name=variable,
            found=", ".join(f"{own['cidr']} on {own['interface']}" for own in hit) or "no overlap",
            wanted=f"no network of the host inside {network}",
            remedy=f"Choose another {variable}",
            ok=not hit,
        )


def check_host(host: str, info: Mapping[str, Any], pools: Sequence[str], limits: Mapping[str, Any]) -> Iterator[Check]:
    """All checks of one host; one that did not answer has only that."""
    if "hostname" not in info:
        yield Check(
            host=host,
            name="connection",
            found=" ".join(str(info.get("msg") or "no answer").split()),
            wanted="a host that answers",
            remedy="Bring it up or correct ansible_host, ansible_user and its key; else take it out of the inventory",
            ok=False,
        )
        return
    yield from check_system(host, info, limits)
    yield from check_size(host, info, pools, limits)
    yield from check_use(host, info, limits)


def preflight_checks(
    results: Mapping[str, Mapping[str, Any]],
    *,
    pools: Mapping[str, Any],
    limits: Mapping[str, Any],
    hostvars: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Give every check of the inventory and of every host, in a stable order."""
    infos = {host: result.get("host") or {"msg": result.get("msg")} for host, result in results.items()}
    checks = [*check_servers(pools["control_plane"], pools["data_plane"]), *check_networks(limits)]
    checks += check_names(infos, hostvars)
    for host, info in infos.items():
        member = [pool for pool in ("control_plane", "data_plane") if host in pools[pool]]
        checks += check_host(host, info, member, limits)
    return [{**asdict(check), "text": check.text} for check in checks]


class FilterModule:
    """The door for Ansible."""

    def filters(self) -> dict[str, Any]:
        """Name the filters of this file."""
        return {"preflight_checks": preflight_checks}
