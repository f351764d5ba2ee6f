# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract as data, and the settings that are held to it."""

from __future__ import annotations

import functools
import json
import pkgutil
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TRUE = ("1", "t", "T", "TRUE", "true", "True")
FALSE = ("0", "f", "F", "FALSE", "false", "False")
DURATION = re.compile(r"([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+|0")
# What godotenv takes as it stands: within single quotes, and bare without anything that it would expand or cut.
Check = Callable[[str], str]
LINE = re.compile(r"(?:export )?([A-Z0-9_]+)=(?:'([^'\n]*)'|([^\s'\"$#\\`]*))")
SHORTEST_SECRET = 32


class Unusable(Exception):
    """Settings are wrong; all faults, one a line. No value that is secret is in the text."""


@functools.cache
def contract(service: str) -> Mapping[str, Any]:
    data = tomllib.loads((pkgutil.get_data(__package__, "contract.toml") or b"").decode())
    found: Mapping[str, Any] = data[service]
    return found


def read(service: str, command: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Every variable of the contract that is set or has a default, for one of the service's commands.

    Raises Unusable for what is unknown, missing, or not of its form.
    """
    told = contract(service)
    known = {**told["variables"], **told.get("told", {})}
    families = [re.compile(one["pattern"]) for one in told["families"]]
    faults, found = [], {name: line["default"] for name, line in known.items() if "default" in line}
    for name, value in sorted(environment.items()):
        if name in known:
            fault = check(known[name], value)
            faults += [f"{name}: {fault}"] if fault else []
            found[name] = value
        elif any(one.fullmatch(name) for one in families):
            found[name] = value
        elif name.startswith(tuple(told["strict_prefixes"])):
            faults.append(f"{name}: is not a variable of {service} {told['version']}")
    if command == "serve":
        faults += _lonely(told.get("together", ()), found)
    for name, line in known.items():
        if command in line.get("need", ()) and not found.get(name):
            faults.append(f"{name}: is missing")
        elif (
            name not in environment
            and "choices" in line
            and line.get("default", line["choices"][0]) not in line["choices"]
        ):
            faults.append(f"{name}: its default {line['default']!r} is not in the stand-in; set {line['choices'][0]!r}")
    if faults:
        raise Unusable("\n".join(faults))
    return found


def _lonely(rules: Iterable[Mapping[str, Any]], found: Mapping[str, str]) -> Iterator[str]:
    """What is missing beside a variable that does not stand alone."""
    for rule in rules:
        for name in sorted(found):
            given = re.fullmatch(rule["given"], name)
            if given is not None and found[name] not in ("", *FALSE):
                needed = (one.format(*given.groups()) for one in rule["need"])
                yield from (f"{one}: is missing beside {name}" for one in needed if not found.get(one))


def check(line: Mapping[str, Any], value: str) -> str:
    """What is wrong with a value of a variable; nothing if it is right."""
    shown = "its value" if line.get("hidden") else repr(value)
    fault = FORMS[line["type"]](value)
    if fault:
        return f"{shown} {fault}"
    if line["type"] == "bool":
        value = "true" if value in TRUE else "false"
    if "choices" in line and value not in line["choices"]:
        return f"{shown} is not one of {', '.join(map(repr, line['choices']))}"
    if "pattern" in line and not re.fullmatch(line["pattern"], value):
        return f"{shown} does not match {line['pattern']}"
    if "minimum" in line and int(value) < line["minimum"]:
        return f"{shown} is less than {line['minimum']}"
    return ""


def is_true(value: str) -> bool:
    return value in TRUE


def read_env_file(path: Path) -> dict[str, str]:
    """The part of godotenv's form in which nothing is expanded. Raises Unusable."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise Unusable(f"open {path}: {error.strerror}") from error
    found = {}
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            match = LINE.fullmatch(line)
            if match is None:
                raise Unusable(f"{path}: line {number} is not NAME='value' or NAME=value")
            found[match[1]] = match[2] if match[2] is not None else match[3]
    return found


def read_value(value: str) -> str:
    """The text itself, or for @FILE that of the file without its last line break. Raises Unusable."""
    if not value.startswith("@"):
        return value
    try:
        return Path(value[1:]).read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise Unusable(f"{value[1:]}: {error.strerror}") from error


def check_secret(text: str) -> str:
    if text.lstrip().startswith("{"):
        try:
            parsed = json.loads(text)
        except ValueError:
            return "is not JSON"
        keys = parsed.get("keys", [parsed])
        return "" if keys and all(isinstance(one, dict) and _key_fault(one) == "" for one in keys) else "is not a JWKS"
    return "" if len(text) >= SHORTEST_SECRET else f"has less than {SHORTEST_SECRET} characters"


def check_uri(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("postgres", "postgresql") or not parts.hostname or not parts.username:
        return "is not postgres://USER:PASSWORD@HOST/DATABASE"
    return ""


def _check_keys(text: str) -> str:
    try:
        keys = json.loads(text)
    except ValueError:
        return "is not JSON"
    if not isinstance(keys, list) or not all(isinstance(one, dict) for one in keys):
        return "is not a list of JWK"
    faults = [fault for fault in map(_key_fault, keys) if fault]
    signing = [one for one in keys if "sign" in one.get("key_ops", ())]
    if len(signing) != 1:
        faults.append(f"has {len(signing)} signing keys, only 1 is supported")
    elif signing[0].get("kty") == "EC" and "d" not in signing[0]:
        faults.append("has a signing key that is public")
    return "; ".join(faults)


def _key_fault(key: Mapping[str, Any]) -> str:
    needed = {"EC": ("crv", "x", "y", "kid"), "oct": ("k",)}.get(str(key.get("kty")))
    if needed is None:
        return "has a key that is neither EC nor oct"
    missing = [name for name in needed if not key.get(name)]
    return f"has a key of kty {key['kty']} without {', '.join(missing)}" if missing else ""


def _matching(pattern: str, expected: str) -> Callable[[str], str]:
    return lambda value: "" if re.fullmatch(pattern, value) else f"is not {expected}"


def _in_file(form: Callable[[str], str]) -> Callable[[str], str]:
    """What stands in a file is checked when that is read."""
    return lambda value: "" if value.startswith("@") else form(value)


FORMS: dict[str, Callable[[str], str]] = {
    "text": lambda _value: "",
    "int": _matching(r"-?[0-9]{1,9}", "a number"),
    "bool": lambda value: "" if value in TRUE + FALSE else "is not true or false",
    "duration": lambda value: "" if DURATION.fullmatch(value) else "is not a duration like 10m",
    "url": _matching(r"https?://[^\s/]+(/\S*)?", "a URL"),
    "uri": _in_file(check_uri),
    "secret": _in_file(check_secret),
    "keys": _check_keys,
}
