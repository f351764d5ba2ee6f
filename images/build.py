# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds images from recipe folders, as in `python3 images/build.py build images/postgresql`.

Results go to standard output, one line each; progress goes to standard error.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from builder import archive, rootfs
from builder.key import key_of
from builder.recipe import Recipe, RecipeError, load


def cache() -> Path:
    """Where everything that can be made again lives."""
    return Path(os.environ.get("SUPALOVE_CACHE") or Path.home() / ".cache" / "supalove")


def result_of(recipe: Recipe, key: str, out: Path) -> tuple[str, str, str]:
    """Name, tag and place: the file of the archive, or podman's reference."""
    tag = recipe.tag.format(key=key)
    if recipe.output == "podman":
        return recipe.name, tag, f"{recipe.name}:{tag}"
    return recipe.name, tag, str(out / f"{recipe.folder.name}-{key}.tar.zst")


def exists(recipe: Recipe, place: str) -> bool:
    """Whether the result is there already."""
    return archive.in_podman(place) if recipe.output == "podman" else Path(place).is_file()


def build(recipe: Recipe, binaries: Mapping[str, Path], out: Path) -> tuple[str, str, str]:
    """Make the image unless it exists; a result appears under its name only when it is complete."""
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"[{recipe.folder.name} {rootfs.measured(started)}] {text}", file=sys.stderr, flush=True)

    name, tag, place = result_of(recipe, key_of(recipe, binaries), out)
    if exists(recipe, place):
        say(f"exists: {place}")
        return name, tag, place
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="building-", dir=out) as work:
        root, layer, finished = Path(work, "root"), Path(work, "layer.tar"), Path(work, "finished")
        root.mkdir(mode=0o755)
        rootfs.make(recipe, binaries, root, say)
        archive.pack(root, layer)
        say(f"packing {layer.stat().st_size / 1e6:.0f} MB")
        if recipe.output == "podman":
            archive.import_into_podman(layer, place, recipe.config)
        else:
            archive.write_docker_archive(layer, finished, recipe.config, f"{name}:{tag}", _architecture())
            finished.rename(place)
    say(f"done: {place}")
    return name, tag, place


def _architecture() -> str:
    done = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _binary(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected NAME=PATH")
    return name, Path(path)


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=("build", "list", "key"), help="build, or only show")
    parser.add_argument("recipes", nargs="+", type=Path, metavar="RECIPE_DIR", help="folder with a recipe.yml")
    parser.add_argument("--out", type=Path, default=cache() / "images", help="where archives go (default: %(default)s)")
    parser.add_argument("--binary", action="append", default=[], type=_binary, metavar="NAME=PATH")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    """Run one verb over all recipes, in the order given."""
    arguments = _arguments(argv)
    binaries = dict(arguments.binary)
    try:
        recipes = [load(folder.resolve()) for folder in arguments.recipes]
        for recipe in recipes:
            if arguments.verb == "build":
                print(*build(recipe, binaries, arguments.out), flush=True)
            elif arguments.verb == "list":
                print(*result_of(recipe, key_of(recipe, binaries), arguments.out))
            else:
                print(key_of(recipe, binaries))
    except RecipeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
