# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of retention as a process of its own, which is killed at a chosen deletion; started by test_retention.py.

Standard input has the run in JSON. The signal comes a moment after the request is sent: it is on its way, or answered.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from datetime import timedelta

sys.path.insert(0, os.environ["SUPALOVE_COLLECTIONS"])

from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.client import connect
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.object_store.client import (
    Deleted,
    ObjectStoreClient,
    Target,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.object_store.store import ArchiveStore
from ansible_collections.supalove.platform.plugins.module_utils._engine.credentials import Secret
from ansible_collections.supalove.platform.plugins.module_utils._engine.deadline import Backoff, Deadline
from ansible_collections.supalove.platform.plugins.module_utils._engine.progress import Silent
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Platform
from ansible_collections.supalove.platform.plugins.module_utils._engine.retain import retain
from ansible_collections.supalove.platform.plugins.module_utils._engine.retained import Choice, Rules
from ansible_collections.supalove.platform.plugins.module_utils._engine.settings import Settings
from killed_run import Fuse

# Longer than the fuse burns.
LINGER_SECONDS = 5.0


class FusedObjectStore(ObjectStoreClient):
    fuse: Fuse

    def delete(self, keys: Sequence[str], *, deadline: Deadline) -> Deleted:
        self.fuse.burn()
        return super().delete(keys, deadline=deadline)


def main() -> None:
    run = json.load(sys.stdin)
    settings, backoff = Settings(timeout_seconds=60.0), Backoff()
    keys = {name: Secret(run["target"].pop(name)) for name in ("access_key", "secret_key")}
    store = FusedObjectStore(Target(**run["target"], **keys), workers=settings.workers, backoff=backoff)
    store.fuse = Fuse(writes=run["writes"], milliseconds=run["milliseconds"], signal=signal.SIGKILL)
    rules = {name: timedelta(seconds=seconds) for name, seconds in run["rules"].items()}
    with (
        connect(kubeconfig=run["kubeconfig"], context=None, workers=settings.workers, backoff=backoff) as client,
        ArchiveStore(store, manages_identities=False) as archives,
    ):
        retain(
            client,
            archives,
            Platform(),
            choice=Choice(),
            rules=Rules(**rules, removal_limit_percent=100),
            settings=settings,
            progress=Silent(),
        )
        time.sleep(LINGER_SECONDS)


if __name__ == "__main__":
    main()
