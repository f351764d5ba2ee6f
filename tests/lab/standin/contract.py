# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract as data: read once, asked by everybody."""

from __future__ import annotations

import functools
import pkgutil
from dataclasses import dataclass, field
from typing import Any

import yaml


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One configuration key of K3s; see the head of contract.yaml for the fields."""

    name: str
    type: str
    commands: tuple[str, ...]
    source: str
    default: Any = None
    env: str = ""
    critical: bool = False
    acts: bool = True
    lacks: str = ""
    choices: tuple[str, ...] = field(default=())


@functools.cache
def _data() -> dict[str, Any]:
    raw = pkgutil.get_data(__package__, "contract.yaml") or b""
    loaded: dict[str, Any] = yaml.safe_load(raw)
    return loaded


@functools.cache
def keys(command: str) -> dict[str, Key]:
    """The keys that a command (`server` or `agent`) knows, by name."""
    found = {}
    for name, line in _data()["keys"].items():
        if command in line["for"]:
            rest = {k: v for k, v in line.items() if k not in ("for", "choices")}
            found[name] = Key(name=name, commands=tuple(line["for"]), choices=tuple(line.get("choices", ())), **rest)
    return found


def message(name: str, **values: str) -> str:
    """A line of K3s' own wording, filled in."""
    text: str = _data()["messages"][name]
    return text.format(**values)


def message_names() -> list[str]:
    return list(_data()["messages"])


def file(name: str) -> str:
    path: str = _data()["files"][name]
    return path


def label_rules() -> dict[str, list[str]]:
    rules: dict[str, list[str]] = _data()["node_labels"]
    return rules
