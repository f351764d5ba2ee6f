# SPDX-License-Identifier: BSD-2-Clause
"""Readers of single values. Each returns the parsed value or raises ValueError whose text says what is allowed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from ..errors import Problem
from .names import is_dns_label
from .quantities import format_bytes, format_cpu, parse_bytes, parse_cpu

Reader = Callable[[object], object]

_IMAGE = re.compile(r"[a-z0-9][a-z0-9.:/_-]*[a-z0-9](?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(?:@sha256:[0-9a-f]{64})?")
_DNS_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_PROVISIONER = re.compile(r"[a-z0-9]([-a-z0-9./]*[a-z0-9])?")


def cpu(least: int) -> Reader:
    """Reader of a CPU quantity of at least `least` millicores."""

    def read(value: object) -> int:
        found = parse_cpu(
            str(value) if isinstance(value, int | float) and not isinstance(value, bool) else _text(value)
        )
        if found < least:
            raise ValueError(f"at least {format_cpu(least)}")
        return found

    return read


def size(least: int) -> Reader:
    """Reader of a memory or storage quantity of at least `least` bytes."""

    def read(value: object) -> int:
        found = parse_bytes(_text(value))
        if found < least:
            raise ValueError(f"at least {format_bytes(least)}")
        return found

    return read


def whole(least: int, most: int) -> Reader:
    """Reader of a whole number; text of digits will do, because templates make text of numbers."""

    def read(value: object) -> int:
        text = str(value)
        if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,12}", text) or not least <= int(text) <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return int(text)

    return read


def choice(*allowed: str) -> Reader:
    """Reader of one of some words."""

    def read(value: object) -> str:
        if value not in allowed:
            raise ValueError("one of " + ", ".join(sorted(allowed)) if allowed else "nothing, as none is defined")
        return str(value)

    return read


def label(value: object) -> str:
    """Read a DNS label."""
    return _matching(
        value, "a DNS label: lower-case letters, digits and -, at most 63", is_right=is_dns_label(_text(value))
    )


def own_namespace(value: object) -> str:
    """Read the name of a namespace that is not Kubernetes' own."""
    name = label(value)
    wanted = "a DNS label that is neither default nor begins with kube-, as those namespaces are Kubernetes' own"
    return _matching(name, wanted, is_right=name != "default" and not name.startswith("kube-"))


def dns_name(value: object) -> str:
    """Read a DNS name without a dot at its end."""
    return _matching(value, "a DNS name such as example.org", is_right=_DNS_NAME.fullmatch(_text(value)) is not None)


def provisioner(value: object) -> str:
    """Read the name of a storage provisioner."""
    wanted = "a provisioner's name such as rancher.io/local-path"
    return _matching(value, wanted, is_right=_PROVISIONER.fullmatch(_text(value)) is not None)


def image(value: object) -> str:
    """Read an image reference that names a tag or a digest."""
    text = _text(value)
    pinned = ":" in text.rsplit("/", 1)[-1] and not text.endswith(":latest")
    wanted = "an image with a tag other than latest, or a digest"
    return _matching(value, wanted, is_right=pinned and _IMAGE.fullmatch(text) is not None)


def _text(value: object) -> str:
    return value if isinstance(value, str) else repr(value)


def _matching(value: object, allowed: str, *, is_right: bool) -> str:
    if not is_right:
        raise ValueError(allowed)
    return str(value)


class Section:
    """Reads one mapping key by key and collects what is wrong with it into `problems`."""

    def __init__(self, path: str, value: object, problems: list[Problem]) -> None:
        self._path = path
        self._problems = problems
        self._known: set[str] = set()
        self._values: Mapping[object, object] = {}
        if isinstance(value, Mapping):
            self._values = value
        elif value is not None:
            self.refuse("", value, "a mapping")

    def refuse(self, key: str, value: object, allowed: str) -> None:
        """Note a problem with `key` (with the whole section if empty)."""
        self._problems.append(Problem(path=f"{self._path}.{key}" if key else self._path, value=value, allowed=allowed))

    def read(self, key: str, reader: Reader, default: object = None, *, required: bool = False) -> object:
        """The value at `key`, or `default` where it is absent or wrong."""
        self._known.add(key)
        value = self._values.get(key)
        if value is None and not required:
            return default
        try:
            if value is None:
                reader(None)
            return reader(value)
        except ValueError as error:
            self.refuse(key, value, str(error))
            return default

    def section(self, key: str) -> Section:
        """The mapping at `key`."""
        self._known.add(key)
        return Section(f"{self._path}.{key}", self._values.get(key), self._problems)

    def refuse_unknown(self) -> None:
        """Note every key that nobody has read, so that a misspelt one is not ignored."""
        for key in self._values:
            if key not in self._known:
                self.refuse("", key, "a key out of " + ", ".join(sorted(self._known)))
