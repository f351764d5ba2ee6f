# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the file tree of an image. Runs programs as root: mmdebstrap, apt-get, chroot."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from .key import binary
from .recipe import Check, Debian, Recipe, RecipeError, User

Say = Callable[[str], None]

# Nobody reads these in a container; copyright files stay, their licences ask for it.
EXCLUDED = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/lintian/*")
INCLUDED = ("/usr/share/doc/*/copyright",)
# mmdebstrap copies the first two from the building machine; the container engine mounts its own.
LEFTOVERS = ("etc/resolv.conf", "etc/hostname", "var/lib/apt/lists/*", "var/cache/*/*", "var/log/*.log", "var/log/apt")
# A mirror that is held back serves testing suites whose Release file says "valid for 7 days"; apt would refuse it.
DAYS_A_MIRROR_MAY_LAG = 90
SECONDS_TO_CHECK = 30
LINES_KEPT = 30


def make(recipe: Recipe, binaries: Mapping[str, Path], root: Path, say: Say) -> None:
    """Fill the empty directory `root`; raises RecipeError if a step fails or the check refuses the result."""
    if recipe.debian is not None:
        _bootstrap(recipe.debian, recipe.users, root, say)
    _remove(root, LEFTOVERS)
    _copy_files(recipe.files, root)
    for name, place in recipe.binaries:
        _install(binary(recipe, binaries, name), root / place.lstrip("/"), executable=True)
    for command in recipe.run:
        say(f"run {shlex.join(command)}")
        in_root(root, command)
    _remove(root, recipe.remove)
    if recipe.check is not None:
        say(f"check passed: version {checked(recipe.check, in_root(root, recipe.check.command))}")


def sources(suites: Iterable[str], index_targets: str) -> list[str]:
    r"""One apt source line per suite, on the mirrors that this machine itself uses.

    `index_targets` is what `apt-get indextargets` prints in the format LABEL, one blank, REPO_URI.

    >>> sources(["trixie", "trixie-security"], "Debian http://a/debian/\nDebian-Security http://b/sec/\n")
    ['deb http://a/debian/ trixie main', 'deb http://b/sec/ trixie-security main']
    """
    mirrors: dict[str, str] = {}
    for line in index_targets.splitlines():
        label, _blank, uri = line.partition(" ")
        mirrors.setdefault(label, uri)
    lines = []
    for suite in suites:
        label = "Debian-Security" if suite.endswith("-security") else "Debian"
        if label not in mirrors:
            raise RecipeError(f"apt has no {label} repository for {suite}: add one to its sources, run apt-get update")
        lines.append(f"deb {mirrors[label]} {suite} main")
    return lines


def version_of(text: str) -> tuple[int, ...]:
    """The numbers of a version, so that 1.10 is above 1.9.

    >>> version_of("1.25.2")
    (1, 25, 2)
    """
    return tuple(int(number) for number in re.findall(r"\d+", text))


def checked(check: Check, output: str) -> str:
    """The version that `output` shows; RecipeError if there is none or it is too old."""
    match = re.search(check.pattern, output)
    if match is None:
        raise RecipeError(f"{shlex.join(check.command)} printed no version: {output.strip()[:200]!r}")
    if version_of(match[1]) < version_of(check.at_least):
        raise RecipeError(f"{check.command[0]} is version {match[1]}; at least {check.at_least} is needed")
    return match[1]


def in_root(root: Path, command: Iterable[str]) -> str:
    """Run a program inside the tree and return what it printed."""
    done = subprocess.run(
        ["chroot", str(root), *command],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=SECONDS_TO_CHECK,
    )
    if done.returncode != 0:
        raise RecipeError(f"{shlex.join(command)} failed with code {done.returncode}: {done.stdout.strip()[-500:]}")
    return done.stdout


def accounts(users: Iterable[User]) -> str:
    """A shell command for mmdebstrap's hook: `$1` is the root. Written by hand, useradd is not there yet."""
    lines = ["set -eu"]
    for user in users:
        passwd = f"{user.name}:x:{user.uid}:{user.gid}::{user.home}:/bin/sh"
        lines += [
            f'echo {shlex.quote(passwd)} >> "$1/etc/passwd"',
            f'echo {shlex.quote(f"{user.name}:x:{user.gid}:")} >> "$1/etc/group"',
            f'install -d -m 0755 -o {user.uid} -g {user.gid} "$1{shlex.quote(user.home)}"',
        ]
    return "\n".join(lines)


def _bootstrap(debian: Debian, users: Iterable[User], root: Path, say: Say) -> None:
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    command = [
        "mmdebstrap",
        f"--variant={debian.variant}",
        f"--include={','.join(debian.packages)}",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in EXCLUDED),
        *(f"--dpkgopt=path-include={pattern}" for pattern in INCLUDED),
        '--aptopt=Acquire::Languages "none"',
        "--aptopt=Acquire::Retries 3",
        f"--aptopt=Acquire::Min-ValidTime {DAYS_A_MIRROR_MAY_LAG * 86400}",
    ]
    if debian.variant != "extract":
        command.append(f"--essential-hook={accounts(users)}")
    _stream([*command, debian.suites[0], str(root), *sources(debian.suites, targets)], say)


def _stream(command: list[str], say: Say) -> None:
    """Run a long program; its milestones are shown, its last lines come with the error."""
    last: deque[str] = deque(maxlen=LINES_KEPT)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout or ():
            last.append(line.rstrip())
            if line.startswith("I: "):
                say(line[3:].strip())
    if process.returncode != 0:
        raise RecipeError(f"{command[0]} failed with code {process.returncode}; its last lines:\n" + "\n".join(last))


def _remove(root: Path, patterns: Iterable[str]) -> None:
    for pattern in patterns:
        if ".." in Path(pattern).parts:
            raise RecipeError(f"remove: {pattern!r} leaves the image; name a path below its root")
        for path in sorted(root.glob(pattern)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def _copy_files(files: Path, root: Path) -> None:
    for path in sorted(files.rglob("*")):
        target = root / path.relative_to(files)
        if path.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path.readlink())
        elif path.is_file():
            _install(path, target, executable=bool(path.stat().st_mode & 0o100))


def _install(source: Path, target: Path, *, executable: bool) -> None:
    """Owner root and one of two modes, whatever the umask of the checkout was."""
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755 if executable else 0o644)


def measured(started: float) -> str:
    """Seconds since `started` (a monotonic time), for progress lines."""
    return f"{time.monotonic() - started:.0f} s"
