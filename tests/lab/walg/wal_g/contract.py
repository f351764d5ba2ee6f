# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract as data: read once, asked by everybody."""

from __future__ import annotations

import functools
import pkgutil
import tomllib
from collections.abc import Mapping
from typing import Any


class Failure(Exception):
    """It ends with exit code 1; the text goes to standard error."""


class Absent(Failure):
    """The store says that the object is not there."""


@functools.cache
def contract() -> Mapping[str, Any]:
    return tomllib.loads((pkgutil.get_data(__package__, "contract.toml") or b"").decode())


def message(name: str, /, **values: object) -> str:
    """A line of WAL-G's own wording, filled in."""
    text: str = contract()["messages"][name]["text"]
    return text.format(**values)


def exit_code(name: str) -> int:
    code: int = contract()["exits"][name]["code"]
    return code


def suffix(method: str) -> str:
    """What the name of an object ends in, without its dot."""
    found: str = contract()["suffixes"][method]["name"]
    return found


def folder(name: str) -> str:
    found: str = contract()["objects"][name]["name"]
    return found


def backup_object(kind: str, backup: str, /, **values: object) -> str:
    """The name of one of a backup's objects, below the prefix."""
    name: str = contract()["objects"][kind]["name"]
    return folder("backups") + name.format(backup=backup, **values)


def record(kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with the contract's fields in their order; what is not given is left out, what is foreign fails."""
    fields = contract()["json"][kind]["fields"]
    foreign = sorted(set(values) - set(fields))
    if foreign:
        raise ValueError(f"not fields of {kind}: {', '.join(foreign)}")
    return {field: values[field] for field in fields if field in values}
