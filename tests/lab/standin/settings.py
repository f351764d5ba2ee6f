# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuration as K3s reads it: file, drop-ins, environment, command line.

Order (k3s:pkg/configfilearg/parser.go): config.yaml, then config.yaml.d/*.yaml
by name; the last value wins, a key with `+` at its end appends. The file's
values become flags, so they win over the environment; real flags win over both
and replace whole lists.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from . import contract

TRUE = {"true", "1", "t"}
FALSE = {"false", "0", "f", ""}


class Refused(Exception):
    """The configuration is not one K3s would start with; the text is for the operator."""


class Settings:
    """All keys of a command with their values: `settings["cluster-cidr"]`."""

    def __init__(self, command: str, values: Mapping[str, Any]) -> None:
        self.command = command
        self._values = dict(values)

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    @property
    def data_dir(self) -> Path:
        return Path(self["data-dir"])

    def critical(self) -> dict[str, Any]:
        """The settings that must be equal on all servers (docs/cli/server.md)."""
        known = contract.keys("server")
        found = {name: self._values[name] for name, key in known.items() if key.critical}
        found["disable=servicelb"] = "servicelb" in self["disable"]
        return found


def load(command: str, argv: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """Read everything there is; raise Refused for what K3s would not accept."""
    flags = _parse_flags(command, argv)
    path = Path(flags.pop("config", None) or environ.get("K3S_CONFIG_FILE") or contract.file("config"))
    values: dict[str, Any] = {}
    for name, key in contract.keys(command).items():
        values[name] = _absent(key)
        if key.default is not None:
            values[name] = key.default
        if key.env and environ.get(key.env):
            values[name] = _convert(key, environ[key.env])
    values.update(_known(command, merge_files(path)))
    values.update(flags)
    _check(command, values)
    return Settings(command, values)


def _absent(key: contract.Key) -> Any:
    return {"list": [], "bool": False}.get(key.type)


def merge_files(path: Path) -> dict[str, Any]:
    """config.yaml and its drop-ins as one mapping (docs/installation/configuration.md)."""
    merged: dict[str, Any] = {}
    dropins = Path(f"{path}.d")
    for each in [path, *sorted(p for p in dropins.glob("*") if p.suffix in (".yaml", ".yml"))]:
        if not each.exists():
            continue
        data = yaml.safe_load(each.read_text()) or {}
        if not isinstance(data, dict):
            raise Refused(f"{each}: expected a mapping of flags, found {type(data).__name__}")
        for key, value in data.items():
            name = key.removesuffix("+")
            merged[name] = _as_list(merged.get(name, [])) + _as_list(value) if key != name else value
    return merged


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]


def _known(command: str, merged: Mapping[str, Any]) -> dict[str, Any]:
    known = contract.keys(command)
    values = {}
    for name, value in merged.items():
        if name in known:
            values[name] = _convert(known[name], value)
        elif command == "server":
            print(f'level=warning msg="{contract.message("unknown_server_key", key=name)}"', file=sys.stderr)
        else:
            raise Refused(contract.message("unknown_agent_key", key=name))
    return values


def _convert(key: contract.Key, value: Any) -> Any:
    if key.type == "list":
        return [str(item) for item in _as_list(value)]
    if isinstance(value, list):
        if len(value) != 1:
            raise Refused(f"{key.name}: expected one value, found {len(value)}")
        value = value[0]
    if key.type == "bool":
        word = str(value).lower()
        if word not in TRUE | FALSE:
            raise Refused(f'invalid boolean value "{value}" for -{key.name}: parse error')
        return word in TRUE
    if key.type == "int":
        try:
            return int(value)
        except ValueError:
            raise Refused(f'invalid value "{value}" for flag -{key.name}: parse error') from None
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _parse_flags(command: str, argv: Sequence[str]) -> dict[str, Any]:
    known = contract.keys(command)
    values: dict[str, Any] = {}
    queue = list(argv)
    while queue:
        arg = queue.pop(0)
        if not arg.startswith("-"):
            raise Refused(f"unexpected argument {arg!r}")
        name, equals, value = arg.lstrip("-").partition("=")
        if name in ("config", "c"):
            values["config"] = value or queue.pop(0)
            continue
        if name not in known:
            raise Refused(contract.message("unknown_agent_key", key=name))
        key = known[name]
        if not equals:
            value = "true" if key.type == "bool" else (queue.pop(0) if queue else "")
        converted = _convert(key, value)
        values[name] = values.get(name, []) + converted if key.type == "list" else converted
    return values


def _check(command: str, values: dict[str, Any]) -> None:
    for name, key in contract.keys(command).items():
        value = values[name]
        chosen = value if key.type == "list" else [value]
        if key.choices and value and (wrong := [v for v in chosen if v not in key.choices]):
            raise Refused(f"{name}: {wrong[0]!r} is not one of {', '.join(key.choices)}")
        if not key.acts and value not in (_absent(key), key.default):
            raise Refused(f"the lab's stand-in does not implement {name} (K3s does)")
    if command == "agent":
        if not (values["token"] or values["token-file"]):
            raise Refused(contract.message("token_missing"))
        if not values["server"]:
            raise Refused(contract.message("server_missing"))
    if os.path.exists(contract.file("registries")):
        raise Refused("the lab's stand-in does not implement registries.yaml (K3s does)")
    for label in values["node-label"]:
        if is_reserved(label.partition("=")[0]):
            raise Refused(contract.message("reserved_label", label=label.partition("=")[0]))


def is_reserved(label: str) -> bool:
    """Whether a node may not give itself this label.

    >>> is_reserved("node-role.kubernetes.io/control-plane"), is_reserved("node.supalove.cloud/data-plane")
    (True, False)
    """
    rules = contract.label_rules()
    prefix = label.partition("/")[0] if "/" in label else ""

    def within(domain: str) -> bool:
        return prefix == domain or prefix.endswith("." + domain)

    if label in rules["allowed_names"] or any(within(p) for p in rules["allowed_prefixes"]):
        return False
    return any(within(domain) for domain in rules["reserved_domains"])


def read_token(settings: Settings, key: str) -> str:
    """The token given directly or by file; empty when neither is set."""
    value: str = settings[key] or ""
    if not value and settings[f"{key}-file"]:
        value = Path(settings[f"{key}-file"]).read_text().strip()
    return value
