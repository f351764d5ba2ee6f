# SPDX-License-Identifier: BSD-2-Clause
"""Reading a mapping key by key, so that all that is wrong with it is known at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import Problem
from .fields import Field, Kind


class Section:
    """Reads one mapping and collects what is wrong with it into `problems`."""

    def __init__(self, path: str, value: object, problems: list[Problem]) -> None:
        self._path = path
        self._problems = problems
        self._before = len(problems)
        self._known: set[str] = set()
        self._values: Mapping[object, object] = {}
        if isinstance(value, Mapping):
            self._values = value
        elif value is not None:
            self.refuse("", value, "a mapping")

    @property
    def is_sound(self) -> bool:
        """True if nothing has been found wrong since this section was begun."""
        return len(self._problems) == self._before

    def refuse(self, key: str, value: object, allowed: str) -> None:
        """Note a problem with `key` (with the whole section if empty)."""
        self._problems.append(Problem(path=f"{self._path}.{key}" if key else self._path, value=value, allowed=allowed))

    def says(self, key: str) -> bool:
        """True if the user wrote something at `key`."""
        return self._values.get(key) is not None

    def read(self, key: str, kind: Kind, default: object = None, *, required: bool = False) -> Any:
        """The value at `key`, or `default` where it is absent or wrong."""
        self._known.add(key)
        value = self._values.get(key)
        if value is None and not required:
            return default
        try:
            return kind.read(value)
        except ValueError as error:
            self.refuse(key, value, str(error))
            return default

    def read_all(self, fields: tuple[Field, ...], defaults: Mapping[str, object]) -> dict[str, Any]:
        """The values of several fields; one that has no default here is required."""
        return {
            one.name: self.read(one.name, one.kind, defaults.get(one.name), required=one.name not in defaults)
            for one in fields
        }

    def section(self, key: str) -> Section:
        """The mapping at `key`."""
        self._known.add(key)
        return Section(f"{self._path}.{key}", self._values.get(key), self._problems)

    def entries(self, key: str) -> list[tuple[str, object]]:
        """The entries of the mapping from name to settings at `key`."""
        self._known.add(key)
        return entries(self._values.get(key), f"{self._path}.{key}", self._problems)

    def sections(self, key: str) -> list[tuple[str, Section]]:
        """The mapping from name to settings at `key`, each of them to be read in its turn."""
        path = f"{self._path}.{key}"
        return [(name, Section(f"{path}.{name}", value, self._problems)) for name, value in self.entries(key)]

    def refuse_unknown(self) -> None:
        """Note every key that nobody has read, so that a misspelt one is not ignored."""
        for key in self._values:
            if key not in self._known:
                self.refuse("", key, "a key out of " + ", ".join(sorted(self._known)))


def entries(value: object, path: str, problems: list[Problem]) -> list[tuple[str, object]]:
    """The entries of a mapping from name to settings.

    A key that is no text is a problem (YAML reads 12: as a number).
    """
    if value is None:
        return []
    if not isinstance(value, Mapping):
        problems.append(Problem(path=path, value=value, allowed="a mapping from name to settings"))
        return []
    wrong = [key for key in value if not isinstance(key, str)]
    problems.extend(Problem(path=path, value=key, allowed="names as text; put it in quotes") for key in wrong)
    return [(key, spec) for key, spec in value.items() if isinstance(key, str)]
