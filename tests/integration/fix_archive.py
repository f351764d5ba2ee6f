# SPDX-License-Identifier: GPL-3.0-or-later
"""A PostgreSQL of a project's own with its archiver beside it, as in the pod, and SeaweedFS as the object store."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import http.client
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.catalog import Catalog
from ansible_collections.supalove.platform.plugins.module_utils._engine.archives import (
    ACCESS_KEY,
    AWS_FILE,
    SECRET_KEY,
    archive_of,
    dumps_of,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.object_store.client import (
    ObjectStoreClient,
    Target,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.object_store.identities import (
    Access,
    Identity,
    ensure,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.object_store.observe import (
    read_archive,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.credentials import Secret
from ansible_collections.supalove.platform.plugins.module_utils._engine.deadline import Backoff, Deadline
from ansible_collections.supalove.platform.plugins.module_utils._engine.generation import new_texts
from ansible_collections.supalove.platform.plugins.module_utils._engine.objects import Desired
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.life import Life
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Inventory
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import Ref, Uid, names_of, new_uid
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.parse import parse
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.placement import Placement
from ansible_collections.supalove.platform.plugins.module_utils._engine.render import render
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.archive import (
    CONFIG_DIRECTORY as ARCHIVE_CONFIG,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.archive import (
    CREDENTIALS_DIRECTORY as ARCHIVE_CREDENTIALS,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.archive import SPOOL
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.postgresql import (
    CONFIG_DIRECTORY,
    CREDENTIALS_DIRECTORY,
    DATA_DIRECTORY,
    DATA_MOUNT,
    SOCKET_DIRECTORY,
    USER,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.quota import PROGRAM as QUOTA
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.restore import (
    DIRECTORY as RESTORE_CONFIG,
)
from fix_container import ROOT, as_postgres, container, image_of, logs, podman
from fix_object_store import REGION, ObjectStore
from fix_ports import free_port

WALG = ROOT / "tests/lab/walg/build.py"
SECONDS = 180
START_SECONDS = 180
# What a test leaves to chance begins with it; the Makefile says which it is.
SEED = int(os.environ.get("SUPALOVE_SEED", "0"))
REF = "acme"
TIER = {"cpu": "250m", "memory": "256Mi", "storage": "1Gi"}
ENGINES = ("wal-g", "barman-cloud")
# Both, the second where there is time.
FIRST_IN_CI = ("wal-g", pytest.param("barman-cloud", marks=pytest.mark.long))
FOLDERS = ("config", "credentials", "run", "data", "spool", "archive-config", "archive-credentials", "restore")


@functools.cache
def archiver_image() -> str:
    """The archiver with WAL-G's stand-in in it, or with the real one that WALG_BINARY names."""
    with tempfile.TemporaryDirectory() as folder:
        program = os.environ.get("WALG_BINARY", "")
        if not program:
            program = str(Path(folder, "wal-g"))
            subprocess.run([sys.executable, str(WALG), program], check=True)
        return image_of("archiver", "--binary", f"wal-g={program}")


class NoAnswer(Exception):
    """The archiver tells nothing, so not this figure either."""


class Silence(dict[str, Any]):
    """What is told by an archiver that does not answer: it is empty, and a figure looked for in it is an error."""

    def __missing__(self, figure: str) -> Any:
        raise NoAnswer(figure)


@dataclasses.dataclass
class Archived:
    """The pair. `directory` holds what their pod would mount."""

    directory: Path
    uid: Uid
    store: ObjectStore
    port: int
    stack: contextlib.ExitStack
    server: str = ""
    archiver: str = ""
    quota: str = ""

    @property
    def database(self) -> str:
        return names_of(Ref(REF), self.uid).database

    @property
    def archive(self) -> str:
        return archive_of(self.uid)

    def sql(self, text: str, database: str = "") -> str:
        """What the superuser gets for an answer, over the pod's socket; columns are parted by |."""
        with self.session(database) as connection:
            cursor = connection.execute(text.encode())
            rows = cursor.fetchall() if cursor.description else []
        return "\n".join("|".join("" if value is None else str(value) for value in row) for row in rows)

    def session(self, database: str = "", user: str = "postgres") -> psycopg.Connection[Any]:
        return as_postgres(
            lambda: psycopg.connect(
                host=str(self.directory / "run"), user=user, dbname=database or self.database, autocommit=True
            )
        )

    def tenant(self) -> psycopg.Connection[Any]:
        """A session of the owner's, as its pooler has them."""
        return self.session(user=names_of(Ref(REF), self.uid).owner)

    def status(self) -> dict[str, Any]:
        """What the archiver tells of itself; `Silence` if it does not answer."""
        done = subprocess.run(
            ["podman", "exec", self.archiver, "/usr/local/bin/supalove-archiver", "status"],
            capture_output=True,
            text=True,
            check=False,
        )
        return dict(json.loads(done.stdout)) if done.returncode == 0 else Silence()

    def told(self) -> dict[str, Any]:
        """The same without a program in the container."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/status")
            return dict(json.loads(connection.getresponse().read()))
        return Silence()

    def ask(self, path: str, **told: Any) -> tuple[int, str]:
        """What a request with an object in JSON gets for an answer: status and text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request("POST", path, body=json.dumps(told))
            answer = connection.getresponse()
            return answer.status, answer.read().decode().strip()

    def work(self, path: str, **told: Any) -> dict[str, Any]:
        """Have a dump, a load or a check done, and wait for its end: how that work has gone."""
        kind = path.removeprefix("/")
        ended = self.ended(kind)
        assert self.ask(path, **told) == (202, "begun")
        self.await_(lambda: self.ended(kind) > ended and not self.told()["busy"], f"{path} does not end")
        return dict(self.told()[kind])

    def ended(self, kind: str) -> int:
        """How often, well or not."""
        found = self.told()[kind]
        return int(found["done"]) + int(found["failures_ever"])

    def ask_backup(self) -> str:
        return podman("exec", self.archiver, "/usr/local/bin/supalove-archiver", "backup", "--full")

    @property
    def incarnation(self) -> str:
        return str(json.loads((self.directory / "data/pgdata.incarnation").read_text())["incarnation"])

    @property
    def prefix(self) -> str:
        """Of this incarnation in the bucket."""
        return f"platform/{self.archive}/{self.incarnation}"

    @contextlib.contextmanager
    def administrator(self) -> Iterator[ObjectStoreClient]:
        """The engine's client with the rights of a run."""
        target = Target(
            endpoint=self.store.address,
            region=REGION,
            bucket=self.store.bucket,
            prefix="platform/",
            ca_file=str(self.store.ca_file),
            access_key=Secret(self.store.access_key),
            secret_key=Secret(self.store.secret_key),
        )
        client = ObjectStoreClient(target, workers=2, backoff=Backoff())
        try:
            yield client
        finally:
            client.close()

    def catalogs(self) -> tuple[Catalog, ...]:
        """The archive as the engine reads it."""
        with self.administrator() as client:
            return read_archive(client, self.archive, deadline=Deadline(limit_seconds=SECONDS))

    def make_identity(self) -> None:
        """Let the keys of the archive into its prefix, and nowhere else."""
        keys = {name: (self.directory / "archive-credentials" / name).read_text() for name in (ACCESS_KEY, SECRET_KEY)}
        identity = Identity(
            name=self.archive,
            access_key=keys[ACCESS_KEY],
            secret_key=Secret(keys[SECRET_KEY]),
            prefix=f"{self.archive}/",
            access=Access.READ_WRITE,
            writes=dumps_of(self.archive),
        )
        with self.administrator() as client:
            ensure(client, identity, deadline=Deadline(limit_seconds=SECONDS))

    def last_segment(self) -> str:
        """The last one that is archived, as the engine sees it."""
        (found,) = (one for one in self.catalogs() if one.id == self.incarnation)
        return found.segments[-1].segment.name

    def names(self) -> set[str]:
        """Of the objects of this incarnation, without folders."""
        return {key.rsplit("/", 1)[-1] for key in self.store.keys(f"{self.prefix}/")}

    def segment(self) -> str:
        """End the running segment; its name."""
        return self.sql("SELECT pg_walfile_name(pg_switch_wal())")

    def await_archived(self, segment: str) -> None:
        self.await_(lambda: any(name.startswith(segment) for name in self.names()), f"{segment} is not archived")

    def await_(self, is_so: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
        """Until it is so. Servers that do not answer yet, or no longer, are asked again."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(psycopg.OperationalError, FileNotFoundError, NoAnswer):
                if is_so():
                    return
            time.sleep(0.2)
        pytest.fail(f"{what}: {self.status()}\n{self.logs()}")

    def stop(self) -> None:
        """As the pod is stopped: the server first."""
        podman("stop", "--time", "60", self.server)
        podman("stop", "--time", "60", self.archiver)

    def is_up(self) -> bool:
        """True if it answers. A server that has ended fails the test at once."""
        with contextlib.suppress(psycopg.OperationalError):
            return self.sql("SELECT 1") == "1"
        if podman("inspect", "--format", "{{.State.Running}}", self.server) != "true":
            pytest.fail(f"PostgreSQL ended: {self.logs()}")
        return False

    def logs(self) -> str:
        found = [subprocess.run(["podman", "logs", "--tail", "40", one], capture_output=True, text=True, check=False)
                 for one in (self.server, self.archiver) if one]  # fmt: skip
        return "\n".join(one.stdout + one.stderr for one in found)


def life_of(before: Archived, engine: str, *, target: str, value: str = "", last: str = "") -> Life:
    """A life that begins with the one base backup that there is."""
    found = sorted(before.store.keys(f"{before.prefix}/"))
    (name,) = {key.split("/")[5] for key in found if "/pg/base/" in key and key.endswith("backup.info")} or {
        key.split("/")[4].removesuffix("_backup_stop_sentinel.json") for key in found if key.endswith("_sentinel.json")
    }
    return Life(
        number=2,
        archive=archive_of(before.uid),
        incarnation=before.incarnation,
        engine=engine,
        backup=name,
        target=target,
        value=value,
        last_segment=last,
    )


def inventory(store: ObjectStore, address: str, engine: str, tier: Mapping[str, Any] = TIER) -> Inventory:
    platform = {
        "object_store_endpoint": address,
        "object_store_bucket": store.bucket,
        "object_store_ca": store.ca_file.read_text(),
        "object_store_encryption": store.encryption,
    }
    tiers = {"pro": {**tier, "archive_engine": engine, "rpo_seconds": 10}}
    return parse(projects={REF: {"tier": "pro"}}, tiers=tiers, platform=platform)


@contextlib.contextmanager
def archived(
    store: ObjectStore,
    engine: str,
    *,
    address: str = "",
    life: Life | None = None,
    before: Archived | None = None,
    volume_mib: int = 0,
) -> Iterator[Archived]:
    """The pair from nothing, or in a `life` that begins with a restore of the one `before` it.

    `address`: of the store, if not its own. `volume_mib`: the data are on a volume of that size, which is watched.
    """
    with laid_out(store, engine, address=address, life=life, before=before, volume_mib=volume_mib) as made:
        if life is not None:
            first = restoring(made)
            assert podman("wait", first) == "0", podman("logs", first)
        start(made)
        if volume_mib:
            watch(made)
        made.await_(made.is_up, "PostgreSQL did not get ready", START_SECONDS)
        yield made


@contextlib.contextmanager
def laid_out(
    store: ObjectStore,
    engine: str,
    *,
    address: str = "",
    life: Life | None = None,
    before: Archived | None = None,
    volume_mib: int = 0,
    place: Path | None = None,
    tier: Mapping[str, Any] = TIER,
) -> Iterator[Archived]:
    """What the pod mounts, as for `archived`; nothing runs yet. `place`: where, instead of in memory."""
    with contextlib.ExitStack() as stack:
        memory = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="supalove-test-", dir=place or memory)))
        directory.chmod(0o711)
        uid = before.uid if before else new_uid()
        made = Archived(directory=directory, uid=uid, store=store, port=free_port(), stack=stack)
        _write(made, inventory(store, address or store.address, engine, tier), life)
        if before is not None:
            inherit(made, before)
        if volume_mib:
            _mount(stack, directory / "data", volume_mib)
        made.make_identity()
        yield made


@contextlib.contextmanager
def scratch_copy(store: ObjectStore, engine: str, *, life: Life, before: Archived) -> Iterator[Archived]:
    """The archive of the one `before` in a server that nobody uses, as the engine makes its pod.

    It has the store's own keys: who may write dumps is not the archive's login.
    """
    with contextlib.ExitStack() as stack:
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="supalove-test-", dir=memory)))
        directory.chmod(0o711)
        made = Archived(directory=directory, uid=before.uid, store=store, port=free_port(), stack=stack)
        _write(made, inventory(store, store.address, engine), life)
        inherit(made, before)
        config = directory / "config"
        with (config / "postgresql.conf").open("a") as file:
            file.write("archive_mode = off\n")
        local = ["all postgres peer", "all supalove_dump trust", "all all reject"]
        (config / "pg_hba.conf").write_text("".join(f"local {rule}\n" for rule in local))
        (config / "pg_ident.conf").unlink()
        (config / "bootstrap.sql").write_text("")
        keys = f"[default]\naws_access_key_id={store.access_key}\naws_secret_access_key={store.secret_key}\n"
        (directory / "archive-credentials" / AWS_FILE).write_text(keys)
        first = restoring(made)
        assert podman("wait", first) == "0", podman("logs", first)
        start(made, mode="serve")
        made.await_(made.is_up, "PostgreSQL did not get ready", START_SECONDS)
        made.await_(lambda: (made.told().get("copy") or {}).get("ready"), "the copy did not get ready")
        yield made


@contextlib.contextmanager
def archiver_beside(directory: Path, store: ObjectStore) -> Iterator[Archived]:
    """An archiver beside a server that is there already. It has no login to the store, so it archives nothing."""
    with contextlib.ExitStack() as stack:
        made = Archived(directory=directory, uid=new_uid(), store=store, port=free_port(), stack=stack)
        found = inventory(store, store.address, "wal-g")
        objects = render(found.projects[0], found.platform, Placement(), made.uid)
        for folder in ("spool", "archive-config", "archive-credentials"):
            # Another module's archiver may have been beside the same server.
            shutil.rmtree(directory / folder, ignore_errors=True)
            (directory / folder).mkdir()
        (directory / "archive-config/archive.json").write_text(_config_map(objects, "archiver")["archive.json"])
        for folder in ("spool", "archive-config", "archive-credentials"):
            os.chown(directory / folder, USER, USER)
        made.archiver = archiver_of(made, "run")
        made.await_(made.told, "the archiver does not answer")
        yield made


def start(made: Archived, *, mode: str = "run") -> None:
    """Both containers, the archiver first."""
    made.archiver = archiver_of(made, mode)
    made.server = server_of(made)


def server_of(made: Archived) -> str:
    """The server's container."""
    credentials = ["--volume", f"{made.directory}/credentials:{CREDENTIALS_DIRECTORY}:ro"]
    return container(made.stack, *_shared(made), *credentials, image_of("postgresql"))


def archiver_of(made: Archived, mode: str) -> str:
    """The archiver's container."""
    return container(made.stack, *_shared(made), *_archiver(made), archiver_image(), mode, network="host")


def restoring(made: Archived) -> str:
    """The container of the program that fetches the base backup, which has just begun."""
    folder = ["--volume", f"{made.directory}/restore:{RESTORE_CONFIG}:ro"]
    return container(
        made.stack, *_shared(made), *_archiver(made), *folder, archiver_image(), "restore", network="host"
    )  # fmt: skip


def restored(made: Archived) -> None:
    """Fetch the base backup."""
    first = restoring(made)
    assert podman("wait", first) == "0", logs(first)


def watch(made: Archived) -> None:
    """The program beside the server that stops tenants when the volume gets full."""
    mounts = [
        *("--volume", f"{made.directory}/run:{SOCKET_DIRECTORY}"),
        *("--volume", f"{made.directory}/data:{DATA_MOUNT}:ro"),
        *("--env", f"PGDATA={DATA_DIRECTORY}"),
    ]
    made.quota = container(made.stack, *mounts, "--entrypoint", QUOTA, image_of("postgresql"))


def _shared(made: Archived) -> list[str]:
    """What both of them have."""
    return [
        *("--volume", f"{made.directory}/run:{SOCKET_DIRECTORY}"),
        *("--volume", f"{made.directory}/data:{DATA_MOUNT}"),
        *("--volume", f"{made.directory}/spool:{SPOOL}"),
        *("--volume", f"{made.directory}/config:{CONFIG_DIRECTORY}:ro"),
        *("--env", f"PGDATA={DATA_DIRECTORY}"),
        *("--env", f"SUPALOVE_ARCHIVER_PORT={made.port}"),
    ]


def _archiver(made: Archived) -> list[str]:
    return [
        *("--volume", f"{made.directory}/archive-config:{ARCHIVE_CONFIG}:ro"),
        *("--volume", f"{made.directory}/archive-credentials:{ARCHIVE_CREDENTIALS}:ro"),
    ]


def _mount(stack: contextlib.ExitStack, place: Path, mib: int) -> None:
    """A volume in memory, for the user of the server."""
    options = f"size={mib}m,uid={USER},gid={USER}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True)
    stack.callback(subprocess.run, ["umount", str(place)], check=True)


def inherit(made: Archived, before: Archived) -> None:
    """The Secrets of a project stay the same when it is restored."""
    for folder in ("credentials", "archive-credentials"):
        for path in (before.directory / folder).iterdir():
            (made.directory / folder / path.name).write_bytes(path.read_bytes())


def _write(made: Archived, found: Inventory, life: Life | None) -> None:
    (project,) = found.projects
    names = names_of(Ref(REF), made.uid)
    write(
        made,
        render(project, found.platform, Placement(life=life), made.uid),
        first_rule=f"local {names.database} {names.owner} trust\n",
    )


def write(made: Archived, objects: tuple[Desired, ...], *, first_rule: str = "") -> dict[str, str]:
    """What the rendered objects make the pod mount, the files of a restore among them; what is in `credentials`.

    `first_rule`: of pg_hba.conf, before the platform's.
    """
    texts: dict[str, dict[str, str]] = {}
    for one in objects:
        if one.generates:
            texts[one.id.name] = new_texts(one.generates, secrets.token_bytes)
    logins = texts.get("credentials", {})
    verifiers = {key: text for key, text in logins.items() if key.endswith(".verifier")}
    config = {**_config_map(objects, "postgresql")}
    # The tests' machine may have a PostgreSQL of its own; this one is reached over its socket.
    config["postgresql.conf"] += "listen_addresses = ''\ntrack_commit_timestamp = on\n"
    config["pg_hba.conf"] = first_rule + config["pg_hba.conf"]
    contents: dict[str, dict[str, str]] = {
        "config": config,
        "credentials": verifiers,
        "archive-config": _config_map(objects, "archiver"),
        "archive-credentials": texts["archive"],
        "restore": _config_map(objects, "restore"),
    }
    for folder in FOLDERS:
        place = made.directory / folder
        place.mkdir()
        for name, text in contents.get(folder, {}).items():
            (place / name).write_text(text)
        os.chown(place, USER, USER)
    return logins


def _config_map(objects: tuple[Desired, ...], name: str) -> dict[str, str]:
    """Its data; none if there is no such one."""
    found = [one.body["data"] for one in objects if one.id.kind == "ConfigMap" and one.id.name == name]
    return dict(found[0]) if found else {}
