# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of the engine as a process of its own, which ends itself at a chosen write; started by test_killed.py.

Standard input has the run in JSON. The process is ended by a signal, as by an administrator, AWX or the kernel: no
handler of ours sees it, and no thread gets any further.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, os.environ["SUPALOVE_COLLECTIONS"])

from ansible_collections.supalove.platform.plugins.module_utils._engine.access import Access
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.client import (
    Client,
    connect,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.deadline import Deadline
from ansible_collections.supalove.platform.plugins.module_utils._engine.observed import Applied
from ansible_collections.supalove.platform.plugins.module_utils._engine.progress import Silent
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.parse import parse
from ansible_collections.supalove.platform.plugins.module_utils._engine.reconcile import reconcile
from ansible_collections.supalove.platform.plugins.module_utils._engine.settings import Settings
from ansible_collections.supalove.platform.plugins.module_utils._engine.steps import Step
from standin_files import FileDatabases


class Fuse:
    """Counts writes to whatever system; a moment after the last one allowed is begun, the process ends.

    Within the moment that write is on its way, answered, or followed by others.
    """

    def __init__(self, *, writes: int, milliseconds: float, signal: int) -> None:
        self._left = writes
        self._lock = threading.Lock()
        self._bomb = threading.Timer(milliseconds / 1000, os.kill, (os.getpid(), signal))

    def burn(self) -> None:
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self._bomb.start()


class FusedClient(Client):
    fuse: Fuse

    def send(self, verb: str, path: str, **rest: Any) -> Any:
        if verb != "GET":
            self.fuse.burn()
        return super().send(verb, path, **rest)


class FusedDatabases(FileDatabases):
    fuse: Fuse

    def apply(self, step: Step, *, deadline: Deadline) -> Applied:
        self.fuse.burn()
        return super().apply(step, deadline=deadline)


def main() -> None:
    run = json.load(sys.stdin)
    settings = Settings(**run["settings"])
    inventory = parse(**run["inventory"])
    databases = FusedDatabases(Path(run["databases"]))
    made = connect(kubeconfig=run["kubeconfig"], context=None, workers=settings.workers, backoff=settings.backoff)
    with FusedClient(made._api_client, backoff=settings.backoff) as client:
        client.fuse = databases.fuse = Fuse(**run["fuse"])
        reconcile(Access(client=client, databases=databases), inventory, settings=settings, progress=Silent())


if __name__ == "__main__":
    main()
