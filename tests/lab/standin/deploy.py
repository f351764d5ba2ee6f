# SPDX-License-Identifier: GPL-3.0-or-later
"""server/manifests: what lies there is applied, at start and on change.

As K3s does (docs/installation/packaged-components.md): bundled files are
written anew at every start, `<file>.skip` leaves one alone, deleting a file
deletes no object, disabling a component deletes its objects.
"""

from __future__ import annotations

import hashlib
import pkgutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from . import processes

BUNDLED = {"rolebindings.yaml": "", "coredns.yaml": "coredns", "local-storage.yaml": "local-storage"}
POLL_SECONDS = 5


def write_bundled(folder: Path, disabled: list[str], values: Mapping[str, str]) -> list[Path]:
    """Put the bundled manifests in place; return those of disabled components that were there."""
    folder.mkdir(parents=True, exist_ok=True)
    leftovers = []
    for name, component in BUNDLED.items():
        path = folder / name
        if component in disabled:
            leftovers += [path] if path.exists() else []
            continue
        raw = pkgutil.get_data(__package__, f"manifests/{name}") or b""
        text = raw.decode()
        for key, value in values.items():
            text = text.replace(f"%{{{key}}}", value)
        path.write_text(text)
    return leftovers


class Deployer:
    def __init__(self, folder: Path, kubeconfig: Path) -> None:
        self._folder, self._kubeconfig = folder, kubeconfig
        self._applied: dict[str, str] = {}

    def remove(self, manifests: list[Path]) -> None:
        for path in manifests:
            if self._kubectl("delete", "--ignore-not-found", "-f", str(path)):
                path.unlink()

    def apply_all(self) -> None:
        for path in sorted(self._folder.glob("*.yaml")):
            if Path(f"{path}.skip").exists():
                continue
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            if self._applied.get(path.name) != digest and self._kubectl(
                "apply", "--server-side", "--force-conflicts", "--field-manager=deploy@k3s", "-f", str(path)
            ):
                self._applied[path.name] = digest

    def watch(self) -> None:
        while True:
            self.apply_all()
            time.sleep(POLL_SECONDS)

    def _kubectl(self, *argv: str) -> bool:
        done = subprocess.run(
            ["kubectl", "--kubeconfig", str(self._kubeconfig), *argv], capture_output=True, text=True, check=False
        )
        if done.returncode:
            processes.log(f"Failed to process config: {done.stderr.strip()[:300]}")
        return done.returncode == 0
