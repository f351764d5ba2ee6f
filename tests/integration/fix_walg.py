# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with PostgreSQL 17 and wal-g: a container on the machine's own network, so that it reaches the object store.

WALG_BINARY names a real wal-g to run in the place of the stand-in.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import secrets
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.postgresql import USER
from fix_container import ROOT, container, image_of
from fix_object_store import REGION, ObjectStore

REAL = os.environ.get("WALG_BINARY", "")
PROGRAM = "/opt/walg/wal-g"
DATA = "/work/data"
START_SECONDS = 60
SETTINGS = """
listen_addresses = ''
unix_socket_directories = '/work/run'
archive_mode = on
archive_command = '/work/archive %p'
fsync = off
shared_buffers = 32MB
autovacuum = off
"""
ARCHIVE = f"""#!/bin/bash
set -a; . /work/archive.env; set +a
exec {PROGRAM} wal-push "$1"
"""
# What DESIGN asks of a wrapper: only what the store does not have is the end of the archive.
RESTORE = f"""#!/bin/bash
set -a; . /work/archive.env; set +a
{PROGRAM} wal-fetch "$1" "$2"
code=$?
case $code in 0) exit 0 ;; 74) exit 1 ;; *) exit 255 ;; esac
"""

_numbers = itertools.count(1)


@dataclasses.dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


@dataclasses.dataclass(frozen=True)
class Archive:
    """A prefix in the bucket of these tests. A bucket for each would take more volumes than the server has."""

    store: ObjectStore
    prefix: str

    def url(self) -> str:
        return f"s3://{self.store.bucket}/{self.prefix}"

    def names(self) -> list[str]:
        """Its objects, without the prefix."""
        return [one.removeprefix(f"{self.prefix}/") for one in self.store.keys(f"{self.prefix}/")]

    def get(self, name: str) -> bytes:
        return self.store.get(f"{self.prefix}/{name}")

    def put(self, name: str, data: bytes) -> None:
        self.store.put(f"{self.prefix}/{name}", data)

    def remove(self, name: str) -> None:
        self.store.client().delete_object(Bucket=self.store.bucket, Key=f"{self.prefix}/{name}")


@dataclasses.dataclass(frozen=True)
class Host:
    """The container; `directory` is its /work."""

    id: str
    directory: Path
    store: ObjectStore

    def archive(self) -> Archive:
        """One that nobody else has."""
        return Archive(self.store, f"uid-{next(_numbers)}/pg17")

    def environment(self, archive: Archive, **more: str) -> dict[str, str]:
        """For wal-g; empty values of `more` take a variable away."""
        store = archive.store
        values = {
            "WALG_S3_PREFIX": archive.url(),
            "AWS_ACCESS_KEY_ID": store.access_key,
            "AWS_SECRET_ACCESS_KEY": store.secret_key,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT": store.address,
            "AWS_S3_FORCE_PATH_STYLE": "true",
            "WALG_S3_CA_CERT_FILE": "/work/ca.crt",
            "WALG_S3_MAX_RETRIES": "1",
            "WALG_COMPRESSION_METHOD": "zstd",
            "PGHOST": "/work/run",
            "PGUSER": "postgres",
            **more,
        }
        return {name: value for name, value in values.items() if value}

    def walg(self, environment: Mapping[str, str], *words: str, before: tuple[str, ...] = ()) -> Done:
        return self.run(*before, PROGRAM, *words, environment=environment)

    def run(self, *words: str, environment: Mapping[str, str] | None = None) -> Done:
        variables = [word for name, value in (environment or {}).items() for word in ("--env", f"{name}={value}")]
        command = ["podman", "exec", "--workdir", "/work", *variables, self.id, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        return Done(done.returncode, done.stdout, done.stderr)

    def must(self, *words: str) -> str:
        done = self.run(*words)
        assert done.code == 0, f"{words}\n{done.out}\n{done.err}"
        return done.out.strip()

    def sql(self, text: str, sockets: str = "/work/run") -> str:
        return self.must("psql", "-X", "-h", sockets, "-U", "postgres", "-Atc", text)

    def file(self, data: bytes, name: str) -> str:
        """A file of the database's user; its place in the container."""
        place = self.directory / str(next(_numbers)) / name
        place.parent.mkdir()
        place.write_bytes(data)
        os.chown(place.parent, USER, USER)
        os.chown(place, USER, USER)
        return self.inside(place)

    def place(self) -> Path:
        """A path that nothing has yet."""
        return self.directory / f"new-{next(_numbers)}"

    def inside(self, path: Path) -> str:
        return f"/work/{path.relative_to(self.directory)}"


@dataclasses.dataclass(frozen=True)
class Site:
    """A running server whose archive has a full backup, a delta of it, another full one, and WAL around them."""

    host: Host
    archive: Archive
    environment: dict[str, str]
    backups: tuple[str, ...]
    rows: int

    def walg(self, *words: str, **more: str) -> Done:
        return self.host.walg({**self.environment, **more}, *words)

    def copy(self) -> tuple[Archive, dict[str, str]]:
        """The same archive at a test's own prefix, and the environment for it."""
        made, client = self.host.archive(), self.archive.store.client()
        place = {"Bucket": self.archive.store.bucket}
        for name in self.archive.names():
            source = {**place, "Key": f"{self.archive.prefix}/{name}"}
            client.copy_object(**place, Key=f"{made.prefix}/{name}", CopySource=source)
        return made, {**self.environment, "WALG_S3_PREFIX": made.url()}

    def elsewhere(self, **more: str) -> tuple[Archive, dict[str, str]]:
        """The same settings for an archive that is empty."""
        made = self.host.archive()
        return made, {**self.environment, "WALG_S3_PREFIX": made.url(), **more}


@pytest.fixture(scope="session")
def host(object_store_server: ObjectStore) -> Iterator[Host]:
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="supalove-walg-", dir=memory) as directory, contextlib.ExitStack() as stack:
        os.chmod(directory, 0o711)  # noqa: S103 (the container has another user)
        work = Path(directory, "work")
        work.mkdir()
        os.chown(work, USER, USER)
        (work / "ca.crt").write_bytes(object_store_server.ca_file.read_bytes())
        program = f"{REAL}:{PROGRAM}:ro" if REAL else f"{ROOT}/tests/lab/walg:/opt/walg:ro"
        mounts = ["--volume", f"{work}:/work", "--volume", program, "--env", "PYTHONPYCACHEPREFIX=/work/cache"]
        image = image_of("walg", folder="tests/lab/images")
        id = container(stack, *mounts, image, network="host")
        store = dataclasses.replace(object_store_server, bucket="walg")
        store.client().create_bucket(Bucket=store.bucket)
        yield Host(id=id, directory=work, store=store)


@pytest.fixture
def archive(host: Host) -> Archive:
    return host.archive()


@pytest.fixture(scope="session")
def site(host: Host) -> Iterator[Site]:
    archive = host.archive()
    environment = host.environment(
        archive,
        WALG_LIBSODIUM_KEY=secrets.token_hex(32),
        WALG_LIBSODIUM_KEY_TRANSFORM="hex",
        WALG_PREVENT_WAL_OVERWRITE="true",
        WALG_VERIFY_PAGE_CHECKSUMS="true",
        WALG_STOP_BACKUP_TIMEOUT="60s",
        WALG_SENTINEL_USER_DATA=json.dumps({"projects": ["acme"]}),
    )
    _write(host, environment)
    host.must("initdb", "-D", DATA, "-U", "postgres", "--auth=trust", "--data-checksums", "--no-sync")
    with (host.directory / "data/postgresql.conf").open("a") as file:
        file.write(SETTINGS)
    host.must("pg_ctl", "-D", DATA, "-w", "-l", "/work/log", "start")
    host.sql("CREATE TABLE accounts (id int PRIMARY KEY, filler text)")
    add(host, 5000)
    # A delta takes over files that are older than its base by more than a second.
    time.sleep(1.1)
    for more in ({}, {"WALG_DELTA_MAX_STEPS": "6"}, {"WALG_COMPRESSION_METHOD": "none"}):
        small = {"WALG_TAR_SIZE_THRESHOLD": str(8 << 20), "WALG_S3_MAX_PART_SIZE": str(5 << 20)}
        done = host.walg({**environment, **small, **more}, "backup-push", DATA)
        assert done.code == 0, done.err
        add(host, 1000)
    archive_all(host)
    listed = json.loads(host.walg(environment, "backup-list", "--json").out)
    rows = int(host.sql("SELECT count(*) FROM accounts"))
    names = tuple(one["backup_name"] for one in listed)
    yield Site(host=host, archive=archive, environment=environment, backups=names, rows=rows)
    host.run("pg_ctl", "-D", DATA, "-m", "immediate", "stop")


def add(host: Host, count: int) -> None:
    host.sql(
        "INSERT INTO accounts SELECT top + n, repeat('x', 84) FROM"
        f" (SELECT coalesce(max(id), 0) AS top FROM accounts) AS before, generate_series(1, {count}) AS n"
    )


def archive_all(host: Host) -> None:
    """Until the segment of now is in the store."""
    name = host.sql("SELECT pg_walfile_name(pg_switch_wal())")
    end = time.monotonic() + START_SECONDS
    while (last := host.sql("SELECT last_archived_wal FROM pg_stat_archiver")) < name:
        assert time.monotonic() < end, f"{name} was not archived, only {last}\n{(host.directory / 'log').read_text()}"
        time.sleep(0.2)


def recover(host: Host, data: Path) -> str:
    """Start what was fetched, to the end of the archive and promoted; the directory of its socket."""
    sockets = host.place()
    sockets.mkdir()
    os.chown(sockets, USER, USER)
    settings = {
        "restore_command": "/work/restore %f %p",
        "recovery_target_timeline": "latest",
        "archive_mode": "off",
        "unix_socket_directories": host.inside(sockets),
    }
    with (data / "postgresql.auto.conf").open("a") as file:
        file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
    (data / "recovery.signal").touch()
    os.chown(data / "recovery.signal", USER, USER)
    place = host.inside(data)
    started = host.run("pg_ctl", "-D", place, "-w", "-l", f"{place}.log", "start")
    assert started.code == 0, Path(f"{data}.log").read_text()
    end = time.monotonic() + START_SECONDS
    while host.sql("SELECT pg_is_in_recovery()", host.inside(sockets)) == "t":
        assert time.monotonic() < end, Path(f"{data}.log").read_text()
        time.sleep(0.2)
    return host.inside(sockets)


def _write(host: Host, environment: Mapping[str, Any]) -> None:
    lines = "".join(f"{name}='{value}'\n" for name, value in environment.items() if name.startswith(("WALG", "AWS")))
    for name, text, mode in (("archive.env", lines, 0o600), ("archive", ARCHIVE, 0o755), ("restore", RESTORE, 0o755)):
        path = host.directory / name
        path.write_text(text)
        path.chmod(mode)
        os.chown(path, USER, USER)
    (host.directory / "run").mkdir()
    os.chown(host.directory / "run", USER, USER)
