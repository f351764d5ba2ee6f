# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: `k3s server|agent|kubectl|ctr|crictl|token`, or the name it is called by."""

from __future__ import annotations

import json
import os
import pkgutil
import sys
from pathlib import Path

from . import agent, contract, server, settings, token

USAGE = """\
usage: k3s COMMAND [OPTIONS]   (the lab's stand-in: K3s' interface over the upstream components)

  server    run a server (control plane, datastore and node)
  agent     run a node
  kubectl   kubectl with this cluster's kubeconfig
  ctr       containerd's client, namespace k8s.io
  crictl    containers through the CRI: ps, pods, images, version
  token     generate a join token
  --version, --help
"""


def build() -> dict[str, str]:
    """What this file was built with: `version` and `bin`, the components' folder on the host."""
    raw = pkgutil.get_data(__package__, "build.json")
    if raw is None:
        raise SystemExit("k3s: build.json is missing: this is no built stand-in")
    found: dict[str, str] = json.loads(raw)
    return found


def main(argv: list[str]) -> None:
    built = build()
    os.environ["PATH"] = f"{built['bin']}:/usr/sbin:/usr/bin:/sbin:/bin"
    called = Path(argv[0]).name
    command, rest = (called, argv[1:]) if called in ("kubectl", "ctr", "crictl") else ("", argv[1:])
    if not command:
        command, rest = (rest[0], rest[1:]) if rest else ("--help", [])
    if command in ("kubectl", "ctr", "crictl"):
        _become(command, rest)
    elif command in ("server", "agent"):
        try:
            loaded = settings.load(command, rest, os.environ)
            (server if command == "server" else agent).main(loaded)
        except settings.Refused as error:
            raise SystemExit(f'level=fatal msg="{error}"') from None
    elif command == "token":
        token.main(rest)
    elif command in ("--version", "-v"):
        print(f"k3s version {built['version']} (lab stand-in)\ngo version go1.26")
    else:
        print(USAGE)
        raise SystemExit(0 if command in ("--help", "-h", "help") else 1)


def _become(program: str, argv: list[str]) -> None:
    socket = contract.file("containerd_socket")
    if program == "kubectl":
        os.environ.setdefault("KUBECONFIG", "/etc/rancher/k3s/k3s.yaml")
    elif program == "ctr":
        os.environ.setdefault("CONTAINERD_ADDRESS", socket)
        os.environ.setdefault("CONTAINERD_NAMESPACE", "k8s.io")
    else:
        os.environ.setdefault("CONTAINER_RUNTIME_ENDPOINT", f"unix://{socket}")
    os.execvp(program, [program, *argv])  # noqa: S606  (no shell, on purpose)


if __name__ == "__main__":
    main(sys.argv)
