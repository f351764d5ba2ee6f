# SPDX-License-Identifier: GPL-3.0-or-later
"""A real SeaweedFS on loopback with TLS and its IAM API, and a bucket of its own for each test."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.config
import botocore.exceptions
import pytest
from ansible_collections.supalove.platform.plugins.modules import object_store_bucket
from fix_apiserver import Program
from fix_certificates import write_certificates
from fix_ports import free_port

START_SECONDS = 60
REGION = "us-east-1"
# Parts of the server; each has a second port for its own protocol.
PARTS = ("master", "volume", "filer")

_numbers = itertools.count(1)


@dataclasses.dataclass(frozen=True)
class ObjectStore:
    """The server as its administrator sees it, and one bucket. `encryption`: what archives in it are to ask for."""

    address: str
    ca_file: Path
    access_key: str
    secret_key: str
    program: Program
    bucket: str = ""
    encryption: str = "none"

    def client(self, access_key: str = "", secret_key: str = "", service: str = "s3") -> Any:
        """boto3's client for the administrator, or for somebody else."""
        return boto3.client(
            service,
            endpoint_url=self.address,
            region_name=REGION,
            aws_access_key_id=access_key or self.access_key,
            aws_secret_access_key=secret_key or self.secret_key,
            verify=str(self.ca_file),
            config=botocore.config.Config(
                retries={"total_max_attempts": 1},
                connect_timeout=5,
                read_timeout=20,
                s3={"addressing_style": "path"},
            ),
        )

    def keys(self, prefix: str = "") -> list[str]:
        """Every object below a prefix."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [one["Key"] for page in pages for one in page.get("Contents", ())]

    def get(self, key: str) -> bytes:
        found: bytes = self.client().get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return found

    def put(self, key: str, data: bytes) -> None:
        self.client().put_object(Bucket=self.bucket, Key=key, Body=data)

    def port(self) -> int:
        return int(self.address.rsplit(":", 1)[1])


@pytest.fixture(scope="session")
def object_store_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    directory = tmp_path_factory.mktemp("object-store")
    write_certificates(directory)
    store = serve(directory)
    try:
        await_answer(store)
        yield store
    finally:
        store.program.stop()


@pytest.fixture
def object_store(object_store_server: ObjectStore) -> ObjectStore:
    """The server with a bucket that no other test has."""
    return with_bucket(object_store_server)


def with_bucket(server: ObjectStore) -> ObjectStore:
    """The same server with a new bucket."""
    store = dataclasses.replace(server, bucket=f"test-{next(_numbers)}")
    store.client().create_bucket(Bucket=store.bucket)
    return store


@pytest.fixture
def locked_store(object_store_server: ObjectStore) -> ObjectStore:
    """The server with a bucket that locks for a day, made as the role makes it; archives in it are encrypted."""
    store = dataclasses.replace(object_store_server, bucket=f"locked-{next(_numbers)}", encryption="AES256")
    options = {"url": store.address, "access_key": store.access_key, "secret_key": store.secret_key, "region": REGION}
    params = {**options, "ca_path": str(store.ca_file), "timeout_seconds": 10, "name": store.bucket}
    wanted = object_store_bucket.wanted_of({**params, "lock_days": 1, "lock_mode": "GOVERNANCE"})
    object_store_bucket.ensure(object_store_bucket.Buckets(params), wanted, check_mode=False)
    return store


def serve(
    directory: Path, *, port: int = 0, launcher: tuple[str, ...] = (), options: tuple[str, ...] = ()
) -> ObjectStore:
    """A server on a directory that has certificates; `launcher` is put before its command line, `options` after."""
    port = port or free_port()
    access_key, secret_key = secrets.token_hex(10), secrets.token_hex(20)
    credentials = [{"accessKey": access_key, "secretKey": secret_key}]
    admin = {"name": "admin", "credentials": credentials, "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
    with open(directory / "s3.json", "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        json.dump({"identities": [admin]}, file)
    # In the directory that it is started in. Without a key it refuses to encrypt.
    (directory / "security.toml").write_text(f'[s3.sse]\nkek = "{secrets.token_hex(32)}"\n')
    (directory / "data").mkdir(exist_ok=True)
    program = Program(arguments=[*launcher, *_arguments(directory, port), *options], log=directory / "log")
    store = ObjectStore(
        address=f"https://127.0.0.1:{port}",
        ca_file=directory / "ca.crt",
        access_key=access_key,
        secret_key=secret_key,
        program=program,
    )
    program.start()
    return store


def await_answer(store: ObjectStore) -> None:
    """Until it lists its buckets."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        assert store.program.is_up(), store.program.log.read_text()[-3000:]
        with contextlib.suppress(botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
            store.client().list_buckets()
            return
        time.sleep(0.2)
    pytest.fail(f"SeaweedFS did not get ready\n{store.program.log.read_text()[-3000:]}")


def _arguments(directory: Path, port: int) -> list[str]:
    parts = [f"-{part}.{name}={free_port()}" for part in PARTS for name in ("port", "port.grpc")]
    return [
        str(shutil.which("weed")),
        "server",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-dir={directory / 'data'}",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=64",
        "-volume.max=1000",
        *parts,
        "-s3",
        f"-s3.port={port}",
        f"-s3.port.grpc={free_port()}",
        f"-s3.config={directory / 's3.json'}",
        f"-s3.cert.file={directory / 'server.crt'}",
        f"-s3.key.file={directory / 'server.key'}",
        "-s3.iam.readOnly=false",
        # Catalogs of tables, each on a port that it chooses itself and that a second server would miss.
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
    ]
