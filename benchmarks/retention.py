# SPDX-License-Identifier: GPL-3.0-or-later
"""What of 1,000 archives may go: how fast that is decided, and what it asks of the object store, beside what the
archive engines' own programs do.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import secrets
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.catalog import Catalog, Engine
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.layout import catalogs_of, documents_of
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.retention import plan_retention
from ansible_collections.supalove.platform.plugins.module_utils._engine.archives import AWS_FILE
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.object_store.client import (
    ObjectStoreClient,
    Target,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.object_store.store import ArchiveStore
from ansible_collections.supalove.platform.plugins.module_utils._engine.credentials import Secret
from ansible_collections.supalove.platform.plugins.module_utils._engine.deadline import Backoff, Deadline
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Platform
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.archive import (
    CREDENTIALS_DIRECTORY,
    ENCRYPTION_KEY,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.postgresql import USER
from ansible_collections.supalove.platform.plugins.module_utils._engine.retained import MARGIN
from fix_archive import archiver_image
from fix_container import container
from fix_object_store import REGION, ObjectStore
from fix_ports import free_port

from .catalogs import FULL_DAYS, Archive
from .cluster import Figures
from .servers import disk, in_container, object_store, seconds_of, walg_environment
from .sizes import Sizes

WINDOW_DAYS = 7
PREFIX = Platform().object_store_prefix
# Objects in an answer to a LIST.
PAGE = 1000
CA = f"{CREDENTIALS_DIRECTORY}/ca.crt"
# Of an archive of WAL-G's in which, on this day, a chain of deltas is needed no more.
ENDING = FULL_DAYS - 1
WRITERS = 8
LIMIT_SECONDS = 600.0
# What SeaweedFS counts of its S3 API, by the kind of request.
COUNTED = re.compile(r'^SeaweedFS_s3_request_total\{.*type="(\w+)"\} ([0-9.e+]+)$', re.MULTILINE)


def measure(sizes: Sizes) -> Figures:
    """Deciding in memory; then reading, deciding and removing with one archive of each engine, by us and by it."""
    now = datetime.now(UTC)
    engines = [Engine(name) for name in sizes.archive_engines]
    return {
        "planned": {str(engine): _planned(sizes, engine, now) for engine in engines},
        "stored": _stored(sizes, engines, now),
    }


def _planned(sizes: Sizes, engine: Engine, now: datetime) -> Figures:
    """So many plans, in turns over archives that differ, and what it takes to make sense of these' listings."""
    known: list[tuple[Catalog, ...]] = []
    objects = documents = pages = 0
    reading = 0.0
    for number in range(min(sizes.distinct_archives, sizes.archives)):
        archive = Archive(
            name=f"p-{number:012}", engine=engine, number=number, now=now, segments_a_day=sizes.segments_a_day
        )
        listing, content = archive.listing()
        objects, documents = objects + len(listing), documents + len(content)
        pages += -(-len(listing) // PAGE)
        began = time.perf_counter()
        documents_of(listing)
        known.append(catalogs_of(archive.name, listing, content))
        reading += seconds_of(began)
    backups = removed = 0
    began = time.perf_counter()
    for number in range(sizes.archives):
        plan = plan_retention(known[number % len(known)], window=_window(), now=now)
        backups, removed = backups + len(plan.verdicts), removed + len(plan.keys)
    seconds = seconds_of(began)
    share = sizes.archives / len(known)
    print(f"  {engine}: {sizes.archives} plans in {seconds:.2f} s", flush=True)
    return {
        "seconds": seconds,
        "reading_seconds": reading * share,
        "backups": backups,
        "objects": round(objects * share),
        "removed": removed,
        "lists": round(pages * share),
        "gets": round(documents * share),
    }


def _window() -> timedelta:
    return timedelta(days=WINDOW_DAYS) + MARGIN


def _stored(sizes: Sizes, engines: list[Engine], now: datetime) -> Figures:
    port = free_port()
    figures: Figures = {}
    with object_store(f"-metricsPort={port}") as store, _tools(store) as tools:
        for engine in engines:
            ours, theirs = (
                Archive(name=name, engine=engine, number=ENDING, now=now, segments_a_day=sizes.stored_a_day)
                for name in (f"p-ours-{engine}", f"p-theirs-{engine}")
            )
            figures[str(engine)] = {
                "objects": _put(store, ours),
                "ours": _counted(port, store, ours, functools.partial(_by_us, store, ours, now)),
            }
            _put(store, theirs)
            work = functools.partial(_by_them, tools, store, theirs, now)
            figures[str(engine)]["theirs"] = _counted(port, store, theirs, work)
    return figures


def _put(store: ObjectStore, archive: Archive) -> int:
    """Write it object by object; how many. What nobody reads has a byte."""
    client = store.client()

    def put(one: tuple[str, bytes | None]) -> None:
        path, content = one
        key = f"{PREFIX}/{archive.name}/{archive.id}/{path}"
        client.put_object(Bucket=store.bucket, Key=key, Body=content or b"-")

    with ThreadPoolExecutor(max_workers=WRITERS) as pool:
        return len(list(pool.map(put, archive.objects())))


def _counted(port: int, store: ObjectStore, archive: Archive, act: Callable[[], object]) -> Figures:
    """Seconds, requests by their kind, and how many objects went."""
    prefix = f"{PREFIX}/{archive.name}/"
    there = len(store.keys(prefix))
    before, began = _requests(port), time.perf_counter()
    act()
    seconds, after = seconds_of(began), _requests(port)
    requests = {kind: count - before.get(kind, 0) for kind, count in after.items() if count > before.get(kind, 0)}
    removed = there - len(store.keys(prefix))
    print(f"  {archive.name}: {seconds:.2f} s, {sum(requests.values())} requests, {removed} objects gone", flush=True)
    return {"seconds": seconds, "requests": requests, "removed": removed}


def _requests(port: int) -> dict[str, int]:
    """All that SeaweedFS has answered, by their kind."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    found: dict[str, int] = {}
    for kind, count in COUNTED.findall(text):
        found[kind] = found.get(kind, 0) + int(float(count))
    return found


def _by_us(store: ObjectStore, archive: Archive, now: datetime) -> None:
    """What a run does with each archive, in its one process. Raises RuntimeError if it is not done whole."""
    target = Target(
        endpoint=store.address,
        region=REGION,
        bucket=store.bucket,
        prefix=f"{PREFIX}/",
        ca_file=str(store.ca_file),
        access_key=Secret(store.access_key),
        secret_key=Secret(store.secret_key),
    )
    limit = Deadline(limit_seconds=LIMIT_SECONDS)
    client = ObjectStoreClient(target, workers=WRITERS, backoff=Backoff())
    with ArchiveStore(client, manages_identities=False) as archives:
        catalogs = archives.catalogs(archive.name, deadline=limit)
        done = archives.remove(plan_retention(catalogs, window=_window(), now=now), deadline=limit)
    if not done.is_complete:
        raise RuntimeError(f"{archive.name}: {done.failure or done.refused}")


def _by_them(tools: str, store: ObjectStore, archive: Archive, now: datetime) -> None:
    """The engine's own program, which is started for each archive anew."""
    place = f"s3://{store.bucket}/{PREFIX}/{archive.name}/{archive.id}"
    if archive.engine is Engine.BARMAN:
        variables = {
            "AWS_SHARED_CREDENTIALS_FILE": f"{CREDENTIALS_DIRECTORY}/{AWS_FILE}",
            "AWS_CA_BUNDLE": CA,
            "AWS_DEFAULT_REGION": REGION,
        }
        window = f"RECOVERY WINDOW OF {WINDOW_DAYS} DAYS"
        words = ["barman-cloud-backup-delete", "--endpoint-url", store.address, "-r", window, place, "pg"]
    else:
        variables = {**walg_environment(store, CREDENTIALS_DIRECTORY, CA), "WALG_S3_PREFIX": place}
        start = (now - timedelta(days=WINDOW_DAYS)).isoformat()
        words = ["wal-g", "delete", "before", "FIND_FULL", start, "--use-sentinel-time", "--confirm"]
    in_container(tools, "env", *(f"{name}={value}" for name, value in variables.items()), *words)


@contextlib.contextmanager
def _tools(store: ObjectStore) -> Iterator[str]:
    """A container with the engines' programs, and the store's keys."""
    with disk() as folder, contextlib.ExitStack() as stack:
        keys = f"[default]\naws_access_key_id={store.access_key}\naws_secret_access_key={store.secret_key}\n"
        files = {AWS_FILE: keys, ENCRYPTION_KEY: secrets.token_hex(32), "ca.crt": store.ca_file.read_text()}
        for name, text in files.items():
            (folder / name).write_text(text)
            os.chown(folder / name, USER, USER)
        mounts = ["--volume", f"{folder}:{CREDENTIALS_DIRECTORY}:ro", "--entrypoint", "sleep"]
        yield container(stack, *mounts, archiver_image(), "infinity", network="host")
