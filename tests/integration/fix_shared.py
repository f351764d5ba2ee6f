# SPDX-License-Identifier: GPL-3.0-or-later
"""A shared cluster with its archiver beside it, as in its pod, and copies of it as they were at a moment."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.supalove.platform.plugins.module_utils._engine.archives import AWS_FILE, archive_of_cluster
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.life import Life
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import (
    Archiving,
    Platform,
    SharedCluster,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import new_uid
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.archive import ENCRYPTION_KEY, SERVE
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.cluster import render_cluster
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.scratch import Scratch, render_scratch
from fix_archive import START_SECONDS, Archived, inventory, restored, start, write
from fix_object_store import ObjectStore
from fix_ports import free_port
from fix_postgresql import CLUSTER, Server, Shared
from fix_proxy import Proxy

RPO_SECONDS = 10
COPY_SECONDS = 3600


@dataclasses.dataclass
class ArchivedCluster(Archived):
    """The shared cluster, or a copy of it. `logins`: what is in its Secret."""

    declared: SharedCluster = CLUSTER
    logins: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def archive(self) -> str:
        return archive_of_cluster(self.declared.name)

    @property
    def database(self) -> str:
        """The one that is asked where none is named."""
        return "postgres"

    @contextlib.contextmanager
    def reached(self) -> Iterator[Shared]:
        """As the engine reaches it."""
        server = Server(id=self.server, directory=self.directory, secret=self.logins)
        proxy = Proxy(server.connect_inside)
        try:
            yield Shared(server=server, proxy=proxy, secrets={})
        finally:
            proxy.close()


@contextlib.contextmanager
def archived_cluster(store: ObjectStore, engine: str, *, address: str = "") -> Iterator[ArchivedCluster]:
    """From nothing. `address`: of the store, if not its own."""
    declared = dataclasses.replace(CLUSTER, archiving=Archiving(archive_engine=engine, rpo_seconds=RPO_SECONDS))
    with _laid_out(store, declared) as made:
        made.logins = write(made, render_cluster(declared, _platform(store, address or store.address, engine)))
        made.make_identity()
        with (made.directory / "config/postgresql.conf").open("a") as file:
            # The engine comes by TCP, as the end of a port-forward does.
            file.write("listen_addresses = 'localhost'\n")
        start(made)
        made.await_(made.is_up, "PostgreSQL did not get ready", START_SECONDS)
        yield made


@contextlib.contextmanager
def copy_of_cluster(live: ArchivedCluster, life: Life) -> Iterator[ArchivedCluster]:
    """What the pod of a copy mounts, with the store's own keys: who may write dumps is not the archive's login."""
    store = live.store
    scratch = Scratch(
        name="scratch-test",
        archive=live.archive,
        archiving=live.declared.archiving,
        life=life,
        storage=live.declared.storage,
        expires=round(time.time()) + COPY_SECONDS,
        seconds=COPY_SECONDS,
    )
    with _laid_out(store, live.declared) as made:
        write(made, render_scratch(_platform(store, store.address, life.engine), scratch))
        ours, theirs = (one.directory / "archive-credentials" for one in (made, live))
        (ours / ENCRYPTION_KEY).write_bytes((theirs / ENCRYPTION_KEY).read_bytes())
        keys = f"[default]\naws_access_key_id={store.access_key}\naws_secret_access_key={store.secret_key}\n"
        (ours / AWS_FILE).write_text(keys)
        restored(made)
        start(made, mode=SERVE)
        made.await_(made.is_up, "PostgreSQL did not get ready", START_SECONDS)
        made.await_(lambda: (made.told().get("copy") or {}).get("ready"), "the copy is not ready")
        yield made


def _platform(store: ObjectStore, address: str, engine: str) -> Platform:
    return inventory(store, address, engine).platform


@contextlib.contextmanager
def _laid_out(store: ObjectStore, declared: SharedCluster) -> Iterator[ArchivedCluster]:
    with contextlib.ExitStack() as stack:
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="supalove-test-", dir=memory)))
        directory.chmod(0o711)
        yield ArchivedCluster(
            directory=directory,
            uid=new_uid(),
            store=store,
            port=free_port(),
            stack=stack,
            declared=declared,
        )
