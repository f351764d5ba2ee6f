# SPDX-License-Identifier: GPL-3.0-or-later
"""`lab`: throwaway hosts for the roles, on this machine.

Everything it makes carries its own label in podman and lies under one cache
folder ($SUPALOVE_CACHE, default ~/.cache/supalove); `down` removes the former.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from . import artifacts, binaries, cluster, demo, hosts, inventory, layout, vm
from .shell import say, timed


def main(argv: Sequence[str]) -> int:
    # Options after `kubectl` are kubectl's own.
    arguments = _parser().parse_args([*argv[:1], "--", *argv[1:]] if argv[:1] == ["kubectl"] else argv)
    result = arguments.act(arguments)
    return int(result or 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lab", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, act: object, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(act=act)
        return added

    def topology(added: argparse.ArgumentParser) -> None:
        added.add_argument(
            "--topology", choices=layout.TOPOLOGIES, default="cluster", help="which hosts (default: cluster)"
        )

    up = command("up", _up, "build what is missing, start the mirror and the hosts, write the inventory")
    topology(up)
    up.add_argument("--inventory", type=Path, help="where to write it (default: inventories/lab/hosts.yml)")
    command("demo", _demo, "up, then playbooks/site.yml, then what came of it as a table")
    down = command("down", _down, "remove the lab's hosts, or with no topology everything it made in podman")
    down.add_argument("--topology", choices=layout.TOPOLOGIES, help="only these hosts")
    down.add_argument("--images", action="store_true", help="also the hosts' image, which takes a minute to build")
    command("status", _status, "what runs, and where")
    ssh = command("ssh", _ssh, "a shell or a command on a host")
    ssh.add_argument("host")
    ssh.add_argument("command", nargs=argparse.REMAINDER)
    kubectl = command("kubectl", _kubectl, "kubectl with the kubeconfig that the k3s role wrote")
    kubectl.add_argument("arguments", nargs=argparse.REMAINDER)
    psql = command("psql", _psql, "psql in a project, through its PgBouncer, from a pod of that project")
    psql.add_argument("project")
    psql.add_argument("arguments", nargs=argparse.REMAINDER)
    logs = command("logs", _logs, "the journal of K3s on a host")
    logs.add_argument("host")
    logs.add_argument("-f", "--follow", action="store_true")
    command("images", _images, "build the images and the mirror's tree; list them")
    for name, act, text in (
        ("power-cut", _cut, "end a host as a power failure does"),
        ("power-on", _on, "start it again"),
    ):
        command(name, act, text).add_argument("host")
    built = command("binaries", _binaries, "build the upstream programs; with a name, print that program's path")
    built.add_argument("verb", choices=("build", "path"), nargs="?", default="build")
    built.add_argument("name", nargs="?")
    return parser


def _up(arguments: argparse.Namespace) -> None:
    members = layout.TOPOLOGIES[arguments.topology]
    binaries.build_all()
    with timed("images and mirror"):
        artifacts.build()
    if any(host.virtual for host in members):
        vm.require()
        artifacts.gvisor()
    hosts.up(members)
    path = (
        arguments.inventory
        or layout.INVENTORIES.get(arguments.topology)
        or layout.state() / f"{arguments.topology}.yml"
    )
    inventory.write(members, path)
    say(f"inventory: {os.path.relpath(path)}")


def _demo(arguments: argparse.Namespace) -> int:
    began = time.monotonic()
    arguments.topology, arguments.inventory = "cluster", None
    _up(arguments)
    return demo.run(began)


def _down(arguments: argparse.Namespace) -> None:
    hosts.down(layout.TOPOLOGIES[arguments.topology] if arguments.topology else None)
    if not arguments.topology:
        layout.INVENTORIES["cluster"].unlink(missing_ok=True)
        shutil.rmtree(layout.state(), ignore_errors=True)
    if arguments.images:
        hosts.remove_images()


def _status(_arguments: argparse.Namespace) -> int:
    found = hosts.states()
    topology = {host: name for name, members in reversed(layout.TOPOLOGIES.items()) for host in members}
    for host in layout.known():
        print(f"{host.name:12} {host.address:14} {topology[host]:8} {found.get(host.container, 'absent')}")
    print(f"{'outside':12} {layout.OUTSIDE_GATEWAY:14} {'':8} {found.get(layout.OUTSIDE, 'absent')}")
    print(f"{'mirror':12} {layout.MIRROR_ADDRESS:14} {'':8} {found.get(f'{layout.PREFIX}-mirror', 'absent')}")
    return 0 if found else 3


def _ssh(arguments: argparse.Namespace) -> int:
    return subprocess.run(hosts.ssh_command(layout.host(arguments.host), *arguments.command), check=False).returncode


def _kubectl(arguments: argparse.Namespace) -> int:
    # Whether the mark before kubectl's own options is left in differs between versions of argparse.
    words = arguments.arguments[1:] if arguments.arguments[:1] == ["--"] else arguments.arguments
    return subprocess.run(cluster.of_lab().command(*words), check=False).returncode


def _psql(arguments: argparse.Namespace) -> int:
    found = cluster.of_lab()
    namespace = f"p-{arguments.project}"
    found.start_client(namespace)
    terminal = ["-t"] if sys.stdin.isatty() else []
    command = found.command("exec", "-i", *terminal, "-n", namespace, cluster.CLIENT, "--")
    return subprocess.run([*command, "psql", *arguments.arguments], check=False).returncode


def _logs(arguments: argparse.Namespace) -> int:
    follow = ["-f"] if arguments.follow else []
    argv = ["journalctl", "--no-pager", "-u", "k3s", "-u", "k3s-agent", *follow]
    return subprocess.run(hosts.ssh_command(layout.host(arguments.host), *argv), check=False).returncode


def _images(_arguments: argparse.Namespace) -> None:
    binaries.build_all()
    artifacts.build()
    print("host", artifacts.host_image())
    for name, path in artifacts.image_archives().items():
        print(name, path, f"{path.stat().st_size / 1e6:.0f} MB")


def _cut(arguments: argparse.Namespace) -> None:
    hosts.power_cut(layout.host(arguments.host))


def _on(arguments: argparse.Namespace) -> None:
    hosts.power_on(layout.host(arguments.host))


def _binaries(arguments: argparse.Namespace) -> None:
    if arguments.verb == "build":
        binaries.build_all()
    elif not arguments.name:
        raise SystemExit("lab: binaries path NAME")
    else:
        print(binaries.ensure(binaries.target(arguments.name)) / arguments.name)
