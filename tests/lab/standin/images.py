# SPDX-License-Identifier: GPL-3.0-or-later
"""Images from agent/images/ (docs/installation/airgap.md): imported at start and when a file appears."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from . import processes

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.zst")
POLL_SECONDS = 5


class Importer:
    """Imports each archive once; what was imported is remembered beside containerd's own data."""

    def __init__(self, folder: Path, memory: Path, socket: str) -> None:
        self._folder, self._memory, self._socket = folder, memory, socket

    def import_all(self) -> None:
        try:
            done = json.loads(self._memory.read_text())
        except (OSError, json.JSONDecodeError):
            done = {}
        for archive in sorted(self._folder.glob("*")):
            if not archive.name.endswith(SUFFIXES):
                continue
            stat = archive.stat()
            stamp = [stat.st_size, stat.st_mtime_ns]
            if done.get(archive.name) != stamp and self._import(archive):
                done[archive.name] = stamp
                self._memory.write_text(json.dumps(done))

    def watch(self) -> None:
        while True:
            time.sleep(POLL_SECONDS)
            self.import_all()

    def _import(self, archive: Path) -> bool:
        processes.log(f"Importing images from {archive}")
        argv = [
            "ctr",
            "-a",
            self._socket,
            "-n",
            "k8s.io",
            "images",
            "import",
            "--label",
            "io.cri-containerd.pinned=pinned",
            str(archive),
        ]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            processes.log(f"Failed to import {archive}: {done.stderr.strip()[:300]}")
        return done.returncode == 0
