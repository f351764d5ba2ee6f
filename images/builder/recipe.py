# SPDX-License-Identifier: GPL-3.0-or-later
"""What a recipe may say. Parsing is strict: an unknown key is an error, so that a misspelt one cannot be ignored."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

OUTPUTS = ("archive", "podman")
VARIANTS = ("minbase", "extract")
REPOSITORY = re.compile(r"^[a-z0-9][a-z0-9.-]*(/[a-z0-9][a-z0-9._-]*)+$")
TAG = re.compile(r"^(\{key\}|[A-Za-z0-9_][A-Za-z0-9._-]{0,127})$")


class RecipeError(Exception):
    """A recipe or an input of the build is wrong. The text names file, key and remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """An account that exists before any package is installed, so that its ids are ours and not the package's."""

    name: str
    uid: int
    gid: int
    home: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Debian:
    """The packages of the image; the first suite is the base, the others (security, updates) are added to it."""

    suites: tuple[str, ...]
    packages: tuple[str, ...]
    variant: str = "minbase"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A program run in the finished tree: `pattern`'s first group is a version and must not be below `at_least`."""

    command: tuple[str, ...]
    pattern: str
    at_least: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The part of the OCI image configuration that we set."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    user: str = ""
    workdir: str = ""
    stopsignal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One image. `binaries` maps the name of a program built elsewhere to its place in the image."""

    folder: Path
    name: str
    tag: str
    output: str = "archive"
    debian: Debian | None = None
    users: tuple[User, ...] = ()
    binaries: tuple[tuple[str, str], ...] = ()
    run: tuple[tuple[str, ...], ...] = ()
    remove: tuple[str, ...] = ()
    config: Config = Config()
    check: Check | None = None

    @property
    def files(self) -> Path:
        """The tree that is copied over the image's root; it need not exist."""
        return self.folder / "root"


def load(folder: Path) -> Recipe:
    """Read `folder/recipe.yml`; RecipeError lists the first fault of each top-level key."""
    path = folder / "recipe.yml"
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror}); give a folder with a recipe.yml") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{path}: is not YAML: {error}") from error
    return parse(raw, folder)


def parse(raw: object, folder: Path) -> Recipe:
    """Turn the YAML document into a Recipe; all faults are reported together."""
    if not isinstance(raw, dict):
        raise RecipeError(f"{folder}/recipe.yml: found {type(raw).__name__}, expected a mapping")
    problems = [f"unknown key {key!r}; known: {', '.join(PARSERS)}" for key in raw if key not in PARSERS]
    problems += [f"{key}: is missing" for key in ("name", "tag") if key not in raw]
    values: dict[str, Any] = {}
    for key, parser in PARSERS.items():
        if key in raw:
            try:
                values[key] = parser(raw[key])
            except (ValueError, TypeError, KeyError) as error:
                problems.append(f"{key}: {error}")
    if problems:
        raise RecipeError("\n".join(f"{folder}/recipe.yml: {problem}" for problem in problems))
    return Recipe(folder=folder, name=values.pop("name"), tag=values.pop("tag"), **values)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"found {value!r}, expected a string (quote numbers)")
    return value


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise ValueError(f"found {value!r}, expected a number")
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"found {value!r}, expected a list of strings")
    return tuple(_text(item) for item in value)


def _commands(value: object) -> tuple[tuple[str, ...], ...]:
    if not isinstance(value, list):
        raise ValueError(f"found {value!r}, expected a list of commands")
    return tuple(_texts(item) for item in value)


def _pairs(value: object) -> tuple[tuple[str, str], ...]:
    return tuple((_text(key), _text(item)) for key, item in _mapping(value).items())


def _mapping(value: object, allowed: tuple[str, ...] = ()) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"found {value!r}, expected a mapping")
    unknown = [key for key in value if allowed and key not in allowed]
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r}; known: {', '.join(allowed)}")
    return value


def _matching(pattern: re.Pattern[str]) -> Callable[[object], str]:
    def parser(value: object) -> str:
        if not pattern.match(_text(value)):
            raise ValueError(f"found {value!r}, expected something like {pattern.pattern}")
        return _text(value)

    return parser


def _one_of(choices: tuple[str, ...]) -> Callable[[object], str]:
    def parser(value: object) -> str:
        if value not in choices:
            raise ValueError(f"found {value!r}, allowed: {', '.join(choices)}")
        return str(value)

    return parser


def _debian(value: object) -> Debian:
    raw = _mapping(value, ("suites", "packages", "variant"))
    suites = _texts(raw["suites"])
    if not suites:
        raise ValueError("suites: at least one is needed")
    return Debian(
        suites=suites,
        packages=_texts(raw["packages"]),
        variant=_one_of(VARIANTS)(raw.get("variant", "minbase")),
    )


def _users(value: object) -> tuple[User, ...]:
    users = []
    for name, item in _mapping(value).items():
        raw = _mapping(item, ("uid", "gid", "home"))
        users.append(User(name=name, uid=_number(raw["uid"]), gid=_number(raw["gid"]), home=_text(raw["home"])))
    return tuple(users)


def _config(value: object) -> Config:
    parsers: dict[str, Callable[[object], Any]] = {
        "entrypoint": _texts,
        "cmd": _texts,
        "env": _pairs,
        "user": _text,
        "workdir": _text,
        "stopsignal": _text,
    }
    raw = _mapping(value, tuple(parsers))
    return Config(**{key: parsers[key](item) for key, item in raw.items()})


def _check(value: object) -> Check:
    raw = _mapping(value, ("command", "pattern", "at_least"))
    if re.compile(_text(raw["pattern"])).groups != 1:
        raise ValueError(f"pattern: {raw['pattern']!r} needs exactly one group, around the version")
    return Check(command=_texts(raw["command"]), pattern=raw["pattern"], at_least=_text(raw["at_least"]))


PARSERS: dict[str, Callable[[object], Any]] = {
    "name": _matching(REPOSITORY),
    "tag": _matching(TAG),
    "output": _one_of(OUTPUTS),
    "debian": _debian,
    "users": _users,
    "binaries": _pairs,
    "run": _commands,
    "remove": _texts,
    "config": _config,
    "check": _check,
}
