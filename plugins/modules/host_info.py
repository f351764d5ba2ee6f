#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host is, in one call: the facts that decide whether it can carry a node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_info
short_description: Read what decides whether a host can be a Kubernetes node
version_added: 0.1.0
description:
  - Reads operating system, kernel, cgroup version, processors, memory, swap, clock, file systems, ports and networks.
  - Changes nothing, and starts no program but C(ip).
author:
  - Supalove contributors (@supalove)
attributes:
  check_mode:
    support: full
    description: Can run in check mode and return the same values.
  diff_mode:
    support: none
    description: There is nothing to change.
options:
  paths:
    description:
      - Directories whose file systems are measured. A directory that does not exist yet counts as its nearest parent.
    type: list
    elements: path
    default: []
  ports:
    description:
      - Ports to look at, each as V(number/protocol), for example V(6443/tcp).
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Read what the host is
  supalove.platform.host_info:
    paths: [/var/lib/rancher]
    ports: [6443/tcp, 8472/udp]
  register: host
"""

RETURN = r"""
host:
  description: The facts.
  returned: always
  type: dict
  contains:
    hostname:
      description: The kernel's host name.
      type: str
    system:
      description: V(id), V(version) and V(name) from os-release.
      type: dict
    kernel:
      description: The kernel's release.
      type: str
    machine:
      description: The machine's architecture, as C(uname -m) prints it.
      type: str
    cpus:
      description: Processors that this host may use.
      type: int
    memory_bytes:
      description: Memory that the kernel manages.
      type: int
    swap_bytes:
      description: Swap in use by the kernel.
      type: int
    cgroup:
      description: V(v2), V(hybrid) or V(v1).
      type: str
    clock_synchronized:
      description: Whether the kernel's clock is disciplined, by its own estimate of the error.
      type: bool
    filesystems:
      description: By path, the bytes in total and the bytes free.
      type: dict
    listeners:
      description: Of the asked ports, those that a process listens on, with the process and its systemd unit.
      type: list
      elements: dict
    networks:
      description: Addresses with prefix length, by interface, without those that Kubernetes made.
      type: list
      elements: dict
"""

import ctypes
import json
import os
import platform
import re
import struct
import typing as t

from ansible.module_utils.basic import AnsibleModule

# Same limit as systemd-timedated: the kernel's largest error estimate means "never set".
UNSYNCHRONIZED_ERROR_MICROSECONDS = 16_000_000
TCP_LISTEN = "0A"
UDP_BOUND = "07"
KUBERNETES_INTERFACES = re.compile(r"^(lo$|cni|flannel|kube-|veth|cali)")


def parse_os_release(text: str) -> dict[str, str]:
    r"""Give ``id``, ``version`` and ``name`` of an os-release(5) file; what is missing is empty.

    >>> parse_os_release('ID=debian\nVERSION_ID="12"\n')
    {'id': 'debian', 'version': '12', 'name': ''}
    """
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    unquoted = {key: value.strip().strip("\"'") for key, value in values.items()}
    return {
        "id": unquoted.get("ID", ""),
        "version": unquoted.get("VERSION_ID", ""),
        "name": unquoted.get("PRETTY_NAME", ""),
    }


def parse_meminfo(text: str) -> dict[str, int]:
    r"""Give the bytes of every line of /proc/meminfo that has a size.

    >>> parse_meminfo('MemTotal:  2 kB\nHugePages_Total:  0\n')
    {'MemTotal': 2048}
    """
    found = re.findall(r"^(\w+):\s+(\d+) kB$", text, flags=re.MULTILINE)
    return {name: int(kib) * 1024 for name, kib in found}


def parse_sockets(text: str, *, state: str) -> dict[int, set[str]]:
    """Give the inodes by local port of one of /proc/net/{tcp,tcp6,udp,udp6}, for sockets in ``state``."""
    found: dict[int, set[str]] = {}
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == state:
            found.setdefault(int(fields[1].rsplit(":", 1)[1], 16), set()).add(fields[9])
    return found


def unit_of(cgroup_text: str) -> str:
    r"""Give the systemd service in a /proc/<pid>/cgroup file, or an empty string.

    >>> unit_of('4:pids:/system.slice/k3s.service/x\n')
    'k3s.service'
    """
    found = re.search(r"/([^/\s]+\.service)(/|$)", cgroup_text, flags=re.MULTILINE)
    return found.group(1) if found else ""


def parse_addresses(addresses: list[dict[str, t.Any]]) -> list[dict[str, str]]:
    """Give interface and CIDR of every address of ``ip -json address``, without Kubernetes' own interfaces."""
    return [
        {"interface": link["ifname"], "cidr": f"{address['local']}/{address['prefixlen']}"}
        for link in addresses
        if not KUBERNETES_INTERFACES.match(link.get("ifname", "lo"))
        for address in link.get("addr_info", [])
        if address.get("scope") == "global" and "local" in address
    ]


def read(path: str) -> str:
    """Give a file's text, or an empty string if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def cgroup_version() -> str:
    """Tell v2, hybrid (v1 with the v2 tree beside it) and v1 apart by the files systemd mounts."""
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        return "v2"
    return "hybrid" if os.path.exists("/sys/fs/cgroup/unified/cgroup.controllers") else "v1"


def clock_synchronized() -> bool:
    """Ask the kernel (adjtimex(2), read only) how far off its clock may be."""
    buffer = ctypes.create_string_buffer(512)
    if ctypes.CDLL(None, use_errno=True).adjtimex(buffer) < 0:
        return False
    return bool(struct.unpack_from("@I3l", buffer.raw)[3] < UNSYNCHRONIZED_ERROR_MICROSECONDS)


def filesystem_of(path: str) -> dict[str, int]:
    """Measure the file system that a directory is on, or will be on."""
    while not os.path.isdir(path) and path != "/":
        path = os.path.dirname(path)
    status = os.statvfs(path)
    return {"total_bytes": status.f_blocks * status.f_frsize, "free_bytes": status.f_bavail * status.f_frsize}


def owners(inodes: set[str]) -> dict[str, tuple[str, str]]:
    """Give process name and unit by socket inode, for the sockets that a process holds."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[str, tuple[str, str]] = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            links = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")]
        except OSError:
            continue
        for inode in (wanted[link] for link in links if link in wanted):
            found.setdefault(inode, (read(f"/proc/{pid}/comm").strip(), unit_of(read(f"/proc/{pid}/cgroup"))))
    return found


def listeners(ports: list[str]) -> list[dict[str, str]]:
    """Say who listens on each of ``ports``; a socket of the kernel itself (vxlan) has no owner and is left out."""
    tables = {
        "tcp": [parse_sockets(read(f"/proc/net/{name}"), state=TCP_LISTEN) for name in ("tcp", "tcp6")],
        "udp": [parse_sockets(read(f"/proc/net/{name}"), state=UDP_BOUND) for name in ("udp", "udp6")],
    }
    inodes: dict[str, set[str]] = {}
    for port in ports:
        number, protocol = port.split("/")
        inodes[port] = {inode for table in tables[protocol] for inode in table.get(int(number), set())}
    held = owners(set().union(*inodes.values())) if inodes else {}
    return [
        {"port": port, "process": held[inode][0], "unit": held[inode][1]}
        for port, candidates in inodes.items()
        for inode in sorted(candidates)
        if inode in held
    ]


def networks(module: AnsibleModule) -> list[dict[str, str]]:
    """Ask iproute2 for the host's addresses."""
    ip = module.get_bin_path("ip", required=True)
    _code, output, _error = module.run_command([ip, "-json", "address", "show"], check_rc=True)
    return parse_addresses(json.loads(output))


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "paths": {"type": "list", "elements": "path", "default": []},
            "ports": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    malformed = [port for port in module.params["ports"] if not re.fullmatch(r"\d+/(tcp|udp)", port)]
    if malformed:
        module.fail_json(msg=f"ports: found {', '.join(malformed)}, allowed is number/tcp or number/udp")
    memory = parse_meminfo(read("/proc/meminfo"))
    module.exit_json(
        changed=False,
        host={
            "hostname": platform.node(),
            "system": parse_os_release(read("/etc/os-release")),
            "kernel": platform.release(),
            "machine": platform.machine(),
            "cpus": len(os.sched_getaffinity(0)),
            "memory_bytes": memory.get("MemTotal", 0),
            "swap_bytes": memory.get("SwapTotal", 0),
            "cgroup": cgroup_version(),
            "clock_synchronized": clock_synchronized(),
            "filesystems": {path: filesystem_of(path) for path in module.params["paths"]},
            "listeners": listeners(module.params["ports"]),
            "networks": networks(module),
        },
    )


if __name__ == "__main__":
    main()
