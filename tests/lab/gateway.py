# SPDX-License-Identifier: GPL-3.0-or-later
"""The definitions that the role gateway downloads, out of the Go modules of the same tags.

A module is the repository at its tag, and what is downloaded of it is checked against the Go checksum database.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from . import binaries, layout

ROLE = layout.CHECKOUT / "roles/gateway"
MODULES = {"kubernetes-sigs/gateway-api": "sigs.k8s.io/gateway-api", "traefik/traefik": "github.com/traefik/traefik/v3"}


def checksums() -> dict[str, str]:
    """What the role pins, by <owner>/<repository>/<tag>/<path>."""
    variables = yaml.safe_load((ROLE / "vars/main.yml").read_text())
    known: dict[str, str] = variables["__gateway_known_checksums"]
    return known


def definitions() -> dict[str, Path]:
    """The file of each of them. SystemExit if one is not what the role pins."""
    found = {name: _file(name) for name in checksums()}
    wrong = [name for name, path in found.items() if _sha256(path) != checksums()[name]]
    if wrong:
        raise SystemExit(f"lab: the role gateway pins other digests of {', '.join(wrong)}")
    return found


def _file(name: str) -> Path:
    owner, repository, tag, path = name.split("/", 3)
    return module_folder(MODULES[f"{owner}/{repository}"], tag) / path


@cache
def module_folder(module: str, version: str) -> Path:
    """The folder of a module, downloaded when it is not there."""
    done: dict[str, Any] = json.loads(binaries.go_output(["mod", "download", "-json", f"{module}@{version}"]))
    return Path(done["Dir"])


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
