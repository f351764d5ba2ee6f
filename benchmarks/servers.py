# SPDX-License-Identifier: GPL-3.0-or-later
"""A PostgreSQL of a project's own on the machine's disk, and an object store beside it: the same data are served again
and again, now archived by this, now by that, now not at all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.layout import incarnation_id
from ansible_collections.supalove.platform.plugins.module_utils._engine.archives import AWS_FILE
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import random_letters
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.archive import CREDENTIALS_DIRECTORY, RUN
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.postgresql import (
    CONFIG_DIRECTORY,
    DATA_DIRECTORY,
    DATA_MOUNT,
    SOCKET_DIRECTORY,
)
from fix_archive import WALG, Archived, archiver_of, laid_out, server_of
from fix_certificates import write_certificates
from fix_container import container, image_of, podman
from fix_object_store import REGION, ObjectStore, await_answer, serve
from fix_ports import free_port

# The site's own directory for this: what is measured is a disk.
PREFIX = "supalove-bench-"
TIER = {"cpu": 2, "memory": "4Gi", "storage": "20Gi", "connections": 60}
WALG_ENGINE, BARMAN_ENGINE = "wal-g", "barman-cloud"
# Ways of archiving beside the engines: none; and by the archive_command of every tutorial, run by the server itself.
NONE, BY_HAND = "none", "by hand"
NO_ARCHIVE = "archive_mode = off\n"
# For pg_basebackup, which comes as a replica does.
FOR_BACKUPS = "max_wal_senders = 4\n"
REPLICATION_RULE = "local replication postgres peer\n"
ADMIN_DATABASE = "postgres"
SCRIPT = "archive-by-hand"
PROGRAM = "/opt/walg/wal-g"
CA = f"{CONFIG_DIRECTORY}/ca.crt"
MIB = 2**20


def is_standin() -> bool:
    """True unless a real WAL-G is named, as in the integration tests."""
    return not os.environ.get("WALG_BINARY")


@contextlib.contextmanager
def object_store(*options: str) -> Iterator[ObjectStore]:
    """SeaweedFS with a bucket, its data on the machine's disk; `options` for its command line."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        write_certificates(Path(folder))
        store = serve(Path(folder), options=options)
        try:
            await_answer(store)
            store = dataclasses.replace(store, bucket="bench")
            store.client().create_bucket(Bucket=store.bucket)
            yield store
        finally:
            store.program.stop()


@contextlib.contextmanager
def disk() -> Iterator[Path]:
    """A folder for servers, which others may enter."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


def walg_program(folder: Path) -> Path:
    """The program that is in the archiver's image, as a file."""
    program = folder / "wal-g"
    if is_standin():
        subprocess.run([sys.executable, str(WALG), str(program)], check=True)
    else:
        shutil.copy(os.environ["WALG_BINARY"], program)
    program.chmod(0o755)
    return program


def noise(count: int) -> str:
    """An expression of SQL: so many times 128 hexadecimal digits that differ for each `n`; half could be saved."""
    return " || ".join(f"encode(sha512('{number} ' || n::text::bytea), 'hex')" for number in range(count))


class OneServer:
    """One data directory. Each way of archiving it writes into an incarnation of its own."""

    def __init__(self, made: Archived) -> None:
        self._made = made
        self._program = walg_program(made.directory)
        self._settings = made.directory / "config/postgresql.conf"
        self._settings_text = self._settings.read_text() + FOR_BACKUPS
        rules = made.directory / "config/pg_hba.conf"
        rules.write_text(REPLICATION_RULE + rules.read_text())
        self._waiting = made.directory / "data/pgdata/pg_wal/archive_status"
        self._lives: dict[str, str] = {}
        self._write_script()

    @contextlib.contextmanager
    def archived(self, way: str) -> Iterator[Archived]:
        """The server while it is archived in a way, from when nothing else is left to do; then it is stopped.

        A checkpoint finds WAL that was written while there was no archive, and has that archived, too.
        """
        with contextlib.ExitStack() as stack:
            made = dataclasses.replace(self._made, stack=stack, port=free_port())
            self._configure(way)
            if way not in (NONE, BY_HAND):
                made.archiver = archiver_of(made, RUN)
            made.server = self._served_by_hand(stack) if way == BY_HAND else server_of(made)
            made.await_(made.is_up, "PostgreSQL did not get ready")
            if made.archiver:
                made.await_(functools.partial(settled, made), "no base backup was made")
            made.sql("CHECKPOINT", ADMIN_DATABASE)
            if way != NONE:
                made.await_(lambda: not any(self._waiting.glob("*.ready")), "there is WAL that is not archived")
            yield made
            podman("stop", "--time", "60", made.server)
            if made.archiver:
                podman("stop", "--time", "60", made.archiver)

    def wal_folder(self, way: str) -> str:
        """Where in the bucket the segments of a way lie."""
        below = "pg/wals" if way == BARMAN_ENGINE else "wal_005"
        return f"{self._place(way)}/{below}/"

    def _place(self, way: str) -> str:
        return f"platform/{self._made.archive}/{self._lives[way]}"

    def _configure(self, way: str) -> None:
        config = self._made.directory / "archive-config/archive.json"
        if way in (WALG_ENGINE, BARMAN_ENGINE):
            config.write_text(json.dumps({**json.loads(config.read_text()), "engine": way}))
        if way not in self._lives:
            self._lives[way] = incarnation_id(datetime.now(UTC), random_letters(8))
        life = {"incarnation": self._lives[way], "parent": None}
        (self._made.directory / "data/pgdata.incarnation").write_text(json.dumps(life))
        more = {NONE: NO_ARCHIVE, BY_HAND: f"archive_command = '{CONFIG_DIRECTORY}/{SCRIPT} %p {self._lives[way]}'\n"}
        self._settings.write_text(self._settings_text + more.get(way, ""))

    def _served_by_hand(self, stack: contextlib.ExitStack) -> str:
        """The same release of PostgreSQL with the same files, and wal-g in the same container, which has the keys."""
        folders = {
            "run": SOCKET_DIRECTORY,
            "data": DATA_MOUNT,
            "config": f"{CONFIG_DIRECTORY}:ro",
            "archive-credentials": f"{CREDENTIALS_DIRECTORY}:ro",
        }
        mounts = [word for name, to in folders.items() for word in ("--volume", f"{self._made.directory / name}:{to}")]
        mounts += ["--volume", f"{self._program}:{PROGRAM}:ro", "--env", f"PGDATA={DATA_DIRECTORY}"]
        image = image_of("walg", folder="tests/lab/images")
        server = ["postgres", "-c", f"config_file={CONFIG_DIRECTORY}/postgresql.conf"]
        return container(stack, *mounts, "--stop-signal", "SIGINT", image, *server, network="host")

    def _write_script(self) -> None:
        """As the archiver calls it: the same compression and encryption, and nothing is overwritten."""
        made = self._made
        (made.directory / "config" / Path(CA).name).write_bytes(made.store.ca_file.read_bytes())
        prefix = f"s3://{made.store.bucket}/platform/{made.archive}"
        words = [f"{name}={value}" for name, value in walg_environment(made.store, CREDENTIALS_DIRECTORY, CA).items()]
        script = made.directory / "config" / SCRIPT
        script.write_text(
            f'#!/bin/sh\nexec env {" ".join(words)} WALG_S3_PREFIX="{prefix}/$2" {PROGRAM} wal-push "$1"\n'
        )
        script.chmod(0o755)


@contextlib.contextmanager
def one_server(store: ObjectStore, place: Path) -> Iterator[OneServer]:
    """A data directory that is not made yet."""
    with laid_out(store, WALG_ENGINE, place=place, tier=TIER) as made:
        yield OneServer(made)


def walg_environment(store: ObjectStore, credentials: str, authority: str) -> dict[str, str]:
    """WAL-G's variables but for the prefix, as the archiver has them."""
    return {
        "AWS_SHARED_CREDENTIALS_FILE": f"{credentials}/{AWS_FILE}",
        "AWS_REGION": REGION,
        "AWS_ENDPOINT": store.address,
        "AWS_S3_FORCE_PATH_STYLE": "true",
        "WALG_S3_CA_CERT_FILE": authority,
        "WALG_COMPRESSION_METHOD": "zstd",
        "WALG_LIBSODIUM_KEY_PATH": f"{credentials}/encryption_key",
        "WALG_LIBSODIUM_KEY_TRANSFORM": "hex",
        "WALG_PREVENT_WAL_OVERWRITE": "true",
        "WALG_DOWNLOAD_CONCURRENCY": "1",
    }


def in_container(id: str, *words: str, seconds: float = 600) -> str:
    """What a program in a container says; raises CalledProcessError."""
    done = subprocess.run(["podman", "exec", id, *words], check=True, capture_output=True, text=True, timeout=seconds)
    return done.stdout


def seconds_of(began: float) -> float:
    """Since a moment of time.perf_counter()."""
    return time.perf_counter() - began


def settled(made: Archived) -> bool:
    """True if the archive has a base backup, and none is made now."""
    told: dict[str, Any] = made.told()
    return bool(told) and told["newest_backup_at"] > 0 and not told["backup_running"] and not told["refused"]
