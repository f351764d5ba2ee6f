# SPDX-License-Identifier: GPL-3.0-or-later
"""One tenant's database out of a shared cluster with many, stage by stage: as the engine has it done, and by hand."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.segments import SEGMENT_BYTES
from ansible_collections.supalove.platform.plugins.module_utils._engine.archives import (
    AWS_FILE,
    archive_of_cluster,
    dumps_of,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.life import Life
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Platform, SharedCluster
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import new_uid
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.archive import (
    ENCRYPTION_KEY,
    SERVE,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.cluster import render_cluster
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.postgresql import USER
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.scratch import Scratch, render_scratch
from fix_archive import Archived, inventory, server_of, start, write
from fix_container import container, image_of, podman
from fix_object_store import ObjectStore
from fix_ports import free_port
from fix_postgresql import CLUSTER, Server, Shared, Tenant
from fix_proxy import Proxy

from . import workload
from .backups import LONGEST_SECONDS, fetch, newest_life
from .cluster import Figures
from .servers import (
    ADMIN_DATABASE,
    MIB,
    NO_ARCHIVE,
    PROGRAM,
    WALG_ENGINE,
    disk,
    in_container,
    noise,
    object_store,
    seconds_of,
    settled,
    walg_environment,
    walg_program,
)
from .sizes import Sizes

# Who measures has no limit; what a tenant has made is the tenant's.
PATIENT = "SET transaction_timeout = 0"
# Bytes that a row takes with its place in both indexes.
ROW_BYTES = 460
ROWS = """
CREATE SCHEMA app;
CREATE TABLE app.rows (id bigint, word text NOT NULL, words text NOT NULL);
INSERT INTO app.rows SELECT n, md5(n::text), {words} FROM generate_series(1, {count}) AS n;
ALTER TABLE app.rows ADD PRIMARY KEY (id);
CREATE INDEX words_by_word ON app.rows (word);
"""
COUNT = "SELECT count(*) FROM app.rows"
# A neighbour's, after the base backup: so many MiB of WAL, whatever is compressed.
WAL = "CREATE TABLE app.noise AS SELECT {words} AS words FROM generate_series(1, {count}) AS n"
SCHEMA = "CREATE SCHEMA app"
NOISE_ROW_BYTES = 1100
KEPT = "_20261126t034450z"
STAGES = ("fetch", "recover", "dump", "load", "swap")
PLATFORM_PREFIX = Platform().object_store_prefix
# In the container in which it is done by hand.
WORK, LIVE_SOCKETS = "/work", "/live"
# What an exit code means to PostgreSQL: 1 is the end of the archive, above 125 a reason to stop.
RESTORE_COMMAND = f"""#!/bin/sh
. {WORK}/archive.env
{PROGRAM} wal-fetch "$1" "$2"
code=$?
case $code in 0) exit 0 ;; 74) exit 1 ;; *) exit 255 ;; esac
"""
COPY_CONF = f"""
restore_command = '{WORK}/restore %f %p'
recovery_target_timeline = 'current'
archive_mode = off
listen_addresses = ''
unix_socket_directories = '{WORK}/run'
hot_standby = off
fsync = off
full_page_writes = off
autovacuum = off
max_locks_per_transaction = 1024
"""
RECOVER = f"""
cp {WORK}/copy.conf {WORK}/data/postgresql.auto.conf
touch {WORK}/data/recovery.signal
chmod 0700 {WORK}/data
pg_ctl start --pgdata={WORK}/data --silent --log={WORK}/run/log
for try in $(seq 36000); do
  psql -qAtX -h {WORK}/run -U postgres -c 'SELECT 1' > /dev/null 2>&1 && exit 0
  sleep 0.1
done
exit 1
"""
LOAD = f"""
export PGOPTIONS='-c transaction_timeout=0 -c client_min_messages=warning'
psql -qX -h {LIVE_SOCKETS} -U postgres -c 'CREATE DATABASE by_hand OWNER {{owner}} TEMPLATE template0'
pg_dump -h {WORK}/run -U postgres -Fc {{live}} |
  pg_restore -h {LIVE_SOCKETS} -U postgres -d by_hand --no-owner --role={{owner}} --exit-on-error
psql -qX -h {LIVE_SOCKETS} -U postgres -d by_hand -c ANALYZE
"""
SWAP = f"""
psql -qX -v ON_ERROR_STOP=1 -h {LIVE_SOCKETS} -U postgres <<'END'
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{{live}}' \\g /dev/null
BEGIN;
ALTER DATABASE {{live}} RENAME TO {{live}}_before;
ALTER DATABASE by_hand RENAME TO {{live}};
COMMIT;
END
"""  # noqa: S608 (names of our own making)


def measure(sizes: Sizes) -> Figures:
    """The stages of both, one after the other, on the same shared cluster and out of the same archive."""
    with object_store() as store, disk() as place, _cluster(store, place) as live:
        victim, neighbour = _fill(live, sizes)
        rows = int(live.sql(COUNT, victim.database))
        figures: Figures = {
            "databases": int(live.sql("SELECT count(*) FROM pg_database WHERE datname ~ '^p_'")),
            "database_bytes": int(live.sql(f"SELECT pg_database_size('{victim.database}')")),
            "cluster_bytes": int(live.sql("SELECT sum(pg_database_size(oid)) FROM pg_database")),
            "postgresql": live.sql("SHOW server_version").split()[0],
        }
        _archive(live)
        figures["segments"] = _write_more(live, neighbour, sizes)
        life = newest_life(live, WALG_ENGINE)
        for way, restore in (("engine", _by_engine), ("by_hand", _by_hand)):
            print(f"  {way}", flush=True)
            figures[way] = restore(live, victim, life, place)
            _must_be_whole(live, victim, rows)
    return figures


@dataclass
class _Cluster(Archived):
    """The shared cluster, or a copy of it. `logins`: what is in its Secret."""

    logins: dict[str, str] = field(default_factory=dict)

    @property
    def archive(self) -> str:
        return archive_of_cluster(CLUSTER.name)

    @property
    def database(self) -> str:
        """The one that is asked where none is named."""
        return ADMIN_DATABASE


def _declared() -> SharedCluster:
    """As in case 6, under the name by which the tenants of the integration tests know it."""
    return replace(workload.the_cluster(), name=CLUSTER.name)


def _platform(store: ObjectStore) -> Platform:
    return inventory(store, store.address, WALG_ENGINE).platform


@contextlib.contextmanager
def _cluster(store: ObjectStore, place: Path) -> Iterator[_Cluster]:
    """New, and not archived yet: what it is filled with is in the base backup, not in WAL."""
    with _folder_of(store, place, "live") as made:
        made.logins = write(made, render_cluster(_declared(), _platform(store)))
        made.make_identity()
        settings = made.directory / "config/postgresql.conf"
        # The engine comes by TCP, as the end of a port-forward does.
        text = f"{settings.read_text()}listen_addresses = 'localhost'\n"
        settings.write_text(text + NO_ARCHIVE)
        made.server = server_of(made)
        made.await_(made.is_up, "PostgreSQL did not get ready")
        settings.write_text(text)
        yield made


@contextlib.contextmanager
def _folder_of(store: ObjectStore, place: Path, name: str) -> Iterator[_Cluster]:
    directory = place / name
    directory.mkdir(mode=0o711)
    with contextlib.ExitStack() as stack:
        yield _Cluster(directory=directory, uid=new_uid(), store=store, port=free_port(), stack=stack)


def _fill(live: _Cluster, sizes: Sizes) -> tuple[Tenant, Tenant]:
    """The tenants' databases as the engine makes them; the one that will be restored, and a neighbour."""
    server = Server(id=live.server, directory=live.directory, secret=live.logins)
    proxy = Proxy(server.connect_inside)
    shared = Shared(server=server, proxy=proxy, secrets={})
    tenants = [shared.tenant() for _number in range(max(2, sizes.shared_databases))]
    shared.bring(tuple(one for tenant in tenants for one in tenant.desired()))
    proxy.close()
    victim, neighbour, *_others = tenants
    _as_owner(live, victim, ROWS.format(words=noise(2), count=sizes.database_mib * MIB // ROW_BYTES))
    _as_owner(live, neighbour, SCHEMA)
    return victim, neighbour


def _as_owner(live: _Cluster, tenant: Tenant, text: str) -> None:
    with live.session(tenant.database) as session:
        for one in (PATIENT, f"SET SESSION AUTHORIZATION {tenant.owner}", text):
            session.execute(one.encode())


def _archive(live: _Cluster) -> None:
    """Serve it from now on with its archiver, until the first base backup is made."""
    podman("stop", "--time", "60", live.server)
    start(live)
    live.await_(live.is_up, "PostgreSQL did not get ready")
    live.await_(lambda: settled(live), "no base backup was made", LONGEST_SECONDS)


def _write_more(live: _Cluster, neighbour: Tenant, sizes: Sizes) -> int:
    """So much WAL after the base backup; how many segments a recovery from it reads."""
    count = sizes.replayed_segments * SEGMENT_BYTES // NOISE_ROW_BYTES
    _as_owner(live, neighbour, WAL.format(words=noise(8), count=count))
    live.await_archived(live.segment())
    (catalog,) = (one for one in live.catalogs() if one.id == live.incarnation)
    first = catalog.backups[-1].first_segment.number
    return sum(one.segment.number >= first for one in catalog.segments)


class _Stages:
    """Seconds of each stage, from the end of the one before."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def end(self, stage: str) -> None:
        self.seconds[stage] = seconds_of(self._since)
        print(f"    {stage}: {self.seconds[stage]:.1f} s", flush=True)
        self._since = time.perf_counter()


def _by_engine(live: _Cluster, victim: Tenant, life: Life, place: Path) -> dict[str, float]:
    """What restore_database asks for, of the same programs, without Kubernetes between."""
    with _copy(live, life, place) as copy:
        stages = _Stages()
        fetch(copy)
        stages.end("fetch")
        start(copy, mode=SERVE)
        copy.await_(lambda: (copy.told().get("copy") or {}).get("ready"), "the copy is not ready", LONGEST_SECONDS)
        stages.end("recover")
        key = f"{PLATFORM_PREFIX}/{dumps_of('scratch-bench')}{victim.database}.dump"
        _well(copy.work("/dump", database=victim.database, key=key))
        stages.end("dump")
        told = {"Bucket": live.store.bucket, "Key": key}
        url = live.store.client().generate_presigned_url("get_object", Params=told, ExpiresIn=3600)
        _well(live.work("/load", database=victim.database, owner=victim.owner, url=url, same_project=True))
        stages.end("load")
        status, text = live.ask("/swap", database=victim.database, kept=f"{victim.database}{KEPT}")
        if status != 200:
            raise RuntimeError(text)
        stages.end("swap")
    return stages.seconds


@contextlib.contextmanager
def _copy(live: _Cluster, life: Life, place: Path) -> Iterator[_Cluster]:
    """What the pod of a copy mounts, with the store's own keys: who may write dumps is not the archive's login."""
    cluster = _declared()
    scratch = Scratch(
        name="scratch-bench",
        archive=live.archive,
        archiving=cluster.archiving,
        life=life,
        storage=cluster.storage,
        expires=round(time.time() + LONGEST_SECONDS),
        seconds=round(LONGEST_SECONDS),
    )
    with _folder_of(live.store, place, "copy") as made:
        write(made, render_scratch(_platform(live.store), scratch))
        ours, theirs = (one.directory / "archive-credentials" for one in (made, live))
        (ours / ENCRYPTION_KEY).write_bytes((theirs / ENCRYPTION_KEY).read_bytes())
        store = live.store
        keys = f"[default]\naws_access_key_id={store.access_key}\naws_secret_access_key={store.secret_key}\n"
        (ours / AWS_FILE).write_text(keys)
        yield made


def _by_hand(live: _Cluster, victim: Tenant, life: Life, place: Path) -> dict[str, float]:
    """The runbook: the whole cluster elsewhere, with WAL-G alone, then pg_dump into pg_restore, then two new names.

    Elsewhere is this machine; the server there is told to leave out what a copy needs not, as the engine's is.
    """
    with contextlib.ExitStack() as stack:
        host = _host(stack, live, life, place)
        stages = _Stages()
        in_container(host, "sh", "-euc", f". {WORK}/archive.env; {PROGRAM} backup-fetch {WORK}/data {life.backup}")
        stages.end("fetch")
        in_container(host, "sh", "-euc", RECOVER)
        stages.end("recover")
        names = {"live": victim.database, "owner": victim.owner}
        in_container(host, "bash", "-euo", "pipefail", "-c", LOAD.format(**names))
        stages.end("load")
        in_container(host, "sh", "-euc", SWAP.format(**names))
        stages.end("swap")
    return stages.seconds


def _host(stack: contextlib.ExitStack, live: _Cluster, life: Life, place: Path) -> str:
    """A container with PostgreSQL, wal-g and its settings, and the live server's socket."""
    work = place / "elsewhere"
    work.mkdir()
    environment = {
        **walg_environment(live.store, f"{WORK}/credentials", f"{WORK}/ca.crt"),
        "WALG_S3_PREFIX": f"s3://{live.store.bucket}/{PLATFORM_PREFIX}/{life.archive}/{life.incarnation}",
    }
    files = {
        "archive.env": "".join(f"export {name}='{value}'\n" for name, value in environment.items()),
        "ca.crt": live.store.ca_file.read_text(),
        "restore": RESTORE_COMMAND,
        "copy.conf": COPY_CONF,
    }
    for name, text in files.items():
        (work / name).write_text(text)
    (work / "restore").chmod(0o755)
    for folder in ("data", "run"):
        (work / folder).mkdir(mode=0o700)
        os.chown(work / folder, USER, USER)
    mounts = [
        *("--volume", f"{work}:{WORK}"),
        *("--volume", f"{walg_program(work)}:{PROGRAM}:ro"),
        *("--volume", f"{live.directory}/archive-credentials:{WORK}/credentials:ro"),
        *("--volume", f"{live.directory}/run:{LIVE_SOCKETS}"),
    ]
    return container(stack, *mounts, image_of("walg", folder="tests/lab/images"), network="host")


def _well(work: Figures) -> None:
    if work["error"]:
        raise RuntimeError(work["error"])


def _must_be_whole(live: _Cluster, victim: Tenant, rows: int) -> None:
    """Raises RuntimeError unless what is in use now has all rows."""
    found = int(live.sql(COUNT, victim.database))
    if found != rows:
        raise RuntimeError(f"{found} rows were restored, not {rows}")
