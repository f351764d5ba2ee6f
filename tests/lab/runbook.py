# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of docs/runbooks.md, run as they are printed there, with the lab's names in place of the page's."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from . import binaries, layout, playbook

PAGE = layout.CHECKOUT / "docs/runbooks.md"
SECTION = r"^## {number}\. .*?(?=^## |\Z)"
CONSOLE = re.compile(r"^ *```console\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
# What the page calls the inventory, a project with a PostgreSQL of its own, and one on the shared cluster.
NAMES = {"inventories/production": str(layout.INVENTORIES["cluster"]), "acme": "demo", "blog": "notes"}
MOMENT = "2026-11-25T14:03:59+00:00"


def commands(number: int) -> tuple[str, ...]:
    """What stands in the console blocks of a runbook, a command each, in their order."""
    (section,) = re.findall(SECTION.format(number=number), PAGE.read_text(), re.MULTILINE | re.DOTALL)
    text = "".join(CONSOLE.findall(section))
    return tuple(" ".join(line.split()) for line in text.replace("\\\n", " ").splitlines())


def run(command: str, names: Mapping[str, str] | None = None, more: str = "") -> str:
    """Run one in a shell, as somebody who reads the page; returns what it prints. AssertionError if it fails."""
    done = attempt(command, names, more)
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}"
    return done.stdout


def attempt(command: str, names: Mapping[str, str] | None = None, more: str = "") -> subprocess.CompletedProcess[str]:
    """The same of one that may fail."""
    # Those of the one who calls come first: they are longer.
    for printed, own in [*(names or {}).items(), *NAMES.items()]:
        command = command.replace(printed, own)
    environment = playbook.environment(Path(os.devnull))
    kubectl = binaries.ensure(binaries.target("kube"))
    environment |= {"PATH": f"{kubectl}:{environment['PATH']}", "KUBECONFIG": str(layout.KUBECONFIG)}
    return subprocess.run(
        ["bash", "-c", f"{command} {more}"],
        cwd=layout.CHECKOUT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
