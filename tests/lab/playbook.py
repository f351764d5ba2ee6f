# SPDX-License-Identifier: GPL-3.0-or-later
"""Running the collection's playbooks over the lab, with what they did as data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import layout

CALLBACKS = Path(__file__).parent / "callbacks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run.

    `code` is the exit code, `output` empty when it went to the terminal, `plays` are names with seconds, `changes`
    are (host, task) and `hosts` is the recap.
    """

    code: int
    output: str
    plays: tuple[tuple[str, float], ...]
    changes: frozenset[tuple[str, str]]
    hosts: Mapping[str, Mapping[str, int]]

    def seconds(self) -> float:
        return sum(seconds for _, seconds in self.plays)


def environment(stages: Path) -> dict[str, str]:
    """What ansible-playbook gets: the collection's path, the lab's callbacks, no colour in files."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS),
        "ANSIBLE_CALLBACKS_ENABLED": "stages,results",
        "ANSIBLE_COLLECTIONS_PATH": os.environ.get("ANSIBLE_COLLECTIONS_PATH") or _collections(),
        "LAB_STAGES": str(stages),
        "LC_ALL": "C.UTF-8",
    }


def _collections() -> str:
    """A collections folder with this checkout in it, where the galaxy layout wants it."""
    home = layout.state() / "collections"
    link = home / "ansible_collections/supalove/platform"
    if link.resolve() != layout.CHECKOUT:
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(layout.CHECKOUT)
    return str(home)


def command(name: str, inventory: Path, *options: str) -> list[str]:
    """The line a user would type."""
    return ["ansible-playbook", "-i", str(inventory), *options, str(layout.CHECKOUT / f"playbooks/{name}.yml")]


def run(name: str, inventory: Path, *options: str, show: bool = False) -> Run:
    """Run a playbook to its end; `show` sends its output to the terminal."""
    with tempfile.TemporaryDirectory() as folder:
        stages = Path(folder, "stages.json")
        done = subprocess.run(
            command(name, inventory, *options),
            env=environment(stages), text=True, check=False,
            stdout=None if show else subprocess.PIPE, stderr=None if show else subprocess.STDOUT,
        )  # fmt: skip
        told: dict[str, Any] = json.loads(stages.read_text().splitlines()[-1]) if stages.exists() else {}
    plays = tuple((play["name"], play["seconds"]) for play in told.get("plays", ()))
    changes = frozenset((host, task) for host, task in told.get("changed", ()))
    return Run(
        code=done.returncode, output=done.stdout or "", plays=plays, changes=changes, hosts=told.get("hosts", {})
    )


def succeeds(command: Sequence[str]) -> bool:
    """Whether a program ends with 0; what it prints is nobody's business."""
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned, the first row as the head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
