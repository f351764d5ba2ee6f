# SPDX-License-Identifier: GPL-3.0-or-later
"""The key of an image: the same inputs give the same key, and any other input gives another."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from .recipe import Recipe, RecipeError

# Raise it when the builder puts other bytes into an image for the same recipe.
BUILDER_VERSION = "1"
KEY_LENGTH = 12


def key_of(recipe: Recipe, binaries: Mapping[str, Path]) -> str:
    """Hash builder version, recipe.yml, the files beside it and the programs put in; 12 hexadecimal digits."""
    digest = hashlib.sha256(BUILDER_VERSION.encode())
    for label, content in _inputs(recipe, binaries):
        digest.update(f"\0{label}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:KEY_LENGTH]


def _inputs(recipe: Recipe, binaries: Mapping[str, Path]) -> Iterator[tuple[str, bytes]]:
    yield "recipe.yml", (recipe.folder / "recipe.yml").read_bytes()
    for path in sorted(recipe.files.rglob("*")):
        label = f"root/{path.relative_to(recipe.files)}"
        if path.is_symlink():
            yield f"{label} link", os.readlink(path).encode()
        elif path.is_file():
            mode = "executable" if os.access(path, os.X_OK) else "plain"
            yield f"{label} {mode}", path.read_bytes()
    for name, _place in recipe.binaries:
        yield f"binary {name}", hashlib.sha256(binary(recipe, binaries, name).read_bytes()).digest()


def binary(recipe: Recipe, binaries: Mapping[str, Path], name: str) -> Path:
    """The file that goes in as `name`; RecipeError if the caller gave none."""
    path = binaries.get(name)
    if path is None or not path.is_file():
        found = "nothing" if path is None else f"{path}, which is no file"
        raise RecipeError(f"{recipe.folder}: needs the program {name}, found {found}; give --binary {name}=PATH")
    return path
