# SPDX-License-Identifier: GPL-3.0-or-later
"""Throwaway hosts: podman containers with systemd and sshd, on a bridge of their own. Virtual ones are vm.py's.

The flags are those that were found to work (docs/lab.md tells why each).
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from . import artifacts, layout, vm
from .layout import Host
from .shell import podman, run, say, timed

BOOT_SECONDS, VIRTUAL_BOOT_SECONDS = 90, 240
MADE_OF = f"{layout.LABEL}.made-of"
VOLUMES = {"rancher": "/var/lib/rancher", "kubelet": "/var/lib/kubelet"}  # overlay on overlay does not work
# A host that dies during a task is noticed within seconds, not when TCP gives up.
ALIVE = ("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3")
SSH_OPTIONS = ("-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=10", *ALIVE)


def key() -> Path:
    return layout.state() / "id_ed25519"


def _public_key() -> str:
    return key().with_suffix(".pub").read_text()


def known_hosts() -> Path:
    """As ssh takes it: a file for each address, so that checkouts that know other hosts leave each other's alone."""
    return layout.state() / "known_hosts.d/%h"


def up(hosts: Iterable[Host]) -> None:
    """Make what is missing: network, mirror, the host outside, hosts. What runs is left alone."""
    _ensure_key()
    _ensure_network()
    image = artifacts.host_image()
    _ensure_mirror(image)
    _ensure_outside(image)
    hosts = list(hosts)
    with timed(f"starting {', '.join(h.name for h in hosts)}"):
        for host in hosts:
            _ensure_host(host, image)
        for host in _virtual(hosts):
            vm.ensure(host, artifacts.vm_image(), _public_key())
        for host in hosts:
            _wait_booted(host)
    _write_known_hosts(hosts)


def down(hosts: Iterable[Host] | None = None) -> None:
    """Remove these hosts, or everything the lab ever made; with their server, the ways into what is on it."""
    label = f"label={layout.LABEL}"
    wanted = {h.container for h in hosts} if hosts is not None else None
    _stop_virtual(wanted)
    for name in running():
        if wanted is None or name in wanted:
            podman("rm", "-f", "-t", "0", name)
    used = [f"{h.container}-{v}" for h in hosts for v in VOLUMES] if hosts is not None else None
    if wanted is None or layout.CLUSTER[0].container in wanted:
        # A run against new hosts would take them for those hosts', and find nobody there.
        for path in (layout.KUBECONFIG, *layout.VAULT_FILES, *layout.OBJECT_STORE_FILES):
            path.unlink(missing_ok=True)
    for volume in podman("volume", "ls", "-q", "--filter", label).split():
        if used is None or volume in used:
            podman("volume", "rm", "-f", volume)
    if hosts is None:
        for network in podman("network", "ls", "-q", "--filter", label).split():
            podman("network", "rm", "-f", network)


def _stop_virtual(wanted: set[str] | None) -> None:
    """Those among `wanted`, or all; nodes of a server that goes would go on for nobody."""
    for host in _virtual(layout.known()):
        if wanted is None or wanted & {host.container, layout.CLUSTER[0].container}:
            vm.stop(host)


def renew(hosts: Sequence[Host]) -> None:
    """The same hosts, new."""
    down(hosts)
    up(hosts)


def remove_images() -> None:
    """Every version of the hosts' images that podman holds."""
    for name in ("host", "vm"):
        for image in podman("images", "-q", "--filter", f"reference=localhost/supalove-lab/{name}").split():
            podman("rmi", "-f", image)


def running() -> dict[str, str]:
    """State of each container of ours, by its name."""
    return {name: each["State"] for name, each in _containers().items()}


def states() -> dict[str, str]:
    """The same with the virtual machines that there are."""
    found = {host.container: vm.state(host) for host in _virtual(layout.known())}
    return {**running(), **{name: state for name, state in found.items() if state != "absent"}}


def _virtual(hosts: Iterable[Host]) -> list[Host]:
    return [host for host in hosts if host.virtual]


def _containers() -> dict[str, dict[str, Any]]:
    found = json.loads(podman("ps", "-a", "--filter", f"label={layout.LABEL}", "--format", "json") or "[]")
    return {each["Names"][0]: each for each in found}


def _made_of(image: str, mounted: Path) -> str:
    """What a container is made of. One of another image, or of a folder that was deleted since, is of no use."""
    return f"{image} {mounted} {mounted.stat().st_ino}"


def _is_current(name: str, made_of: str) -> bool:
    return bool(_containers().get(name, {}).get("Labels", {}).get(MADE_OF) == made_of)


def ssh_command(host: Host, *command: str) -> list[str]:
    base = ["ssh", "-i", str(key()), "-o", f"UserKnownHostsFile={known_hosts()}", *SSH_OPTIONS]
    return [*base, f"root@{host.address}", *command]


def run_on(host: Host, command: str) -> str:
    """What the command prints, whatever its exit code."""
    return subprocess.run(ssh_command(host, command), capture_output=True, text=True, check=False).stdout


def has_path(host: Host, path: str) -> bool:
    return run_on(host, f"ls -d {path} 2>/dev/null").strip() == path


def power_cut(host: Host) -> None:
    """End the host as a power failure does: no signal reaches anything inside."""
    podman("kill", "--signal", "KILL", host.container)


def power_on(host: Host) -> None:
    podman("start", host.container)
    _wait_booted(host)


def _ensure_key() -> None:
    layout.state().mkdir(parents=True, exist_ok=True, mode=0o700)
    if not key().exists():
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "supalove-lab", "-f", str(key())])


def _ensure_network() -> None:
    if subprocess.run(["podman", "network", "exists", layout.NETWORK], check=False).returncode:
        podman(
            "network", "create", "--label", layout.LABEL, "--subnet", layout.SUBNET, "--gateway", layout.GATEWAY,
            "--disable-dns", "--internal", layout.NETWORK,
        )  # fmt: skip


def _ensure_mirror(image: str) -> None:
    name = f"{layout.PREFIX}-mirror"
    made_of = _made_of(image, artifacts.tree())
    if running().get(name) == "running" and _is_current(name, made_of):
        return
    subprocess.run(["podman", "rm", "-f", name], capture_output=True, check=False)
    serve = ("-u", "-m", "http.server", "80", "--directory", "/srv")
    mount = ("-v", f"{artifacts.tree()}:/srv:ro", "--entrypoint", "/usr/bin/python3")
    podman(*_run_flags(name, layout.MIRROR_ADDRESS, made_of), *mount, image, *serve)


def _ensure_outside(image: str) -> None:
    """All that there is outside: a metadata service and a stranger, in one network namespace that leads nowhere."""
    addresses = f"{layout.METADATA_ADDRESS} {layout.OUTSIDE_ADDRESS}"
    made_of = f"{image} {addresses}"
    if running().get(layout.OUTSIDE) != "running" or not _is_current(layout.OUTSIDE, made_of):
        subprocess.run(["podman", "rm", "-f", layout.OUTSIDE], capture_output=True, check=False)
        add = f"for one in {addresses}; do ip address add $one/32 dev lo || exit; done"
        serve = f"mkdir /srv/empty; {add}; exec python3 -u -m http.server 80 --directory /srv/empty"
        flags = ("--cap-add", "NET_ADMIN", "--sysctl", "net.ipv4.ip_forward=0", "--entrypoint", "")
        podman(*_run_flags(layout.OUTSIDE, layout.OUTSIDE_GATEWAY, made_of), *flags, image, "sh", "-c", serve)
    _require_no_way_out()


def _require_no_way_out() -> None:
    """It passes nothing on, and knows no way but to the lab's own network."""
    asked = "cat /proc/sys/net/ipv4/ip_forward; ip -4 route show"
    forwards, *routes = podman("exec", layout.OUTSIDE, "sh", "-c", asked).splitlines()
    others = [route for route in routes if not route.startswith(f"{layout.SUBNET} ")]
    if forwards != "0" or others:
        raise SystemExit(
            f"lab: {layout.OUTSIDE} may pass packets on (ip_forward {forwards}, routes {others}); no packet of a test "
            f"may leave the machine. Remove it with `podman rm -f {layout.OUTSIDE}`, then run again."
        )


def _run_flags(name: str, address: str, made_of: str) -> list[str]:
    return [
        "run", "-d", "--runtime", "runc", "--name", name, "--hostname", name.removeprefix(f"{layout.PREFIX}-"),
        "--label", layout.LABEL, "--label", f"{MADE_OF}={made_of}", "--cgroupns=private",
        "--network", layout.NETWORK, "--ip", address,
        "--ulimit", "nofile=20000:20000", "--ulimit", "nproc=30000:30000",
    ]  # fmt: skip


def _ensure_host(host: Host, image: str) -> None:
    if host.virtual:
        return
    mounted = layout.cache() / "binaries"
    made_of = _made_of(image, mounted)
    state = running().get(host.container)
    if state and _is_current(host.container, made_of):
        if state != "running":
            podman("start", host.container)
        return
    down([host])
    volumes = []
    for name, path in VOLUMES.items():
        volume = f"{host.container}-{name}"
        podman("volume", "create", "--label", layout.LABEL, volume)
        volumes += ["-v", f"{volume}:{path}"]
    volumes += ["-v", f"{mounted}:{layout.BINARIES_ON_HOST}:ro"]
    system = ("--privileged", "--systemd=always", "--tmpfs", "/tmp", "--tmpfs", "/run")
    podman(*_run_flags(host.container, host.address, made_of), *system, *volumes, image, "/sbin/init")


def _wait_booted(host: Host) -> None:
    """Until the host can be worked on. Units that wait for other hosts may still be starting."""
    _require_bridge()
    if host.virtual:
        _wait_virtual(host)
        return
    deadline = time.monotonic() + BOOT_SECONDS
    seen = "nothing"
    while time.monotonic() < deadline:
        asked = ["podman", "exec", host.container, "systemctl", "is-system-running"]
        seen = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
        if seen in ("starting", "running", "degraded") and _settle(host) and _accepts_ssh(host):
            return
        time.sleep(0.3)
    raise SystemExit(f"lab: {host.name} did not boot within {BOOT_SECONDS}s; systemd last said {seen!r}")


def _wait_virtual(host: Host) -> None:
    deadline = time.monotonic() + VIRTUAL_BOOT_SECONDS
    while not _accepts_ssh(host):
        if time.monotonic() > deadline:
            said = vm.console(host)[-1000:]
            raise SystemExit(f"lab: {host.name} did not boot within {VIRTUAL_BOOT_SECONDS}s; its console:\n{said}")
        time.sleep(1)


def _require_bridge() -> None:
    """Without an address on the bridge this machine would send the lab's packets to its own gateway."""
    if f" {layout.GATEWAY}/" not in run(["ip", "-oneline", "address", "show"]):
        raise SystemExit(
            f"lab: no link of this machine has {layout.GATEWAY}, the lab's bridge. Is podman's netavark installed? "
            f"Remove what another network backend made with `tests/lab/lab down --images`, then run again."
        )


def _accepts_ssh(host: Host) -> bool:
    """It is sshd that answers; a gateway on the way may accept any connection."""
    try:
        with socket.create_connection((host.address, 22), timeout=1) as s:
            return s.recv(4) == b"SSH-"
    except OSError:
        return False


def _settle(host: Host) -> bool:
    """Let our key in, and give the host a default route: K3s and Service addresses want one
    (docs/installation/airgap.md), and the mirror, which has no way out, ends what it takes. So does the host outside.
    """
    script = (
        "umask 077; mkdir -p /root/.ssh; cat > /root/.ssh/authorized_keys;"
        f"for one in {layout.METADATA_ADDRESS} {layout.OUTSIDE_ADDRESS};"
        f" do ip route replace $one via {layout.OUTSIDE_GATEWAY} || exit; done;"
        f"ip route replace default via {layout.MIRROR_ADDRESS} && test -s /etc/ssh/ssh_host_ed25519_key.pub"
    )
    argv = ["podman", "exec", "-i", host.container, "sh", "-c", script]
    return subprocess.run(argv, input=_public_key(), capture_output=True, text=True, check=False).returncode == 0


def _write_known_hosts(hosts: Sequence[Host]) -> None:
    """Host keys are read inside the hosts, or were given to them, so that the first connection is verified too."""
    known_hosts().parent.mkdir(exist_ok=True)
    for host in hosts:
        asked = ("exec", host.container, "cat", "/etc/ssh/ssh_host_ed25519_key.pub")
        text = vm.public_host_key(host) if host.virtual else podman(*asked)
        known_hosts().with_name(host.address).write_text(f"{host.address} {' '.join(text.split()[:2])}\n")
    say(f"{len(hosts)} host keys known")
