# SPDX-License-Identifier: GPL-3.0-or-later
"""A shared cluster: PostgreSQL from our image with the rendered files mounted as in the pod, its reaper and the keeper
of quotas beside it.

The container has no network but its own loopback. Connections are made from within its network namespace, as those of
a port-forward are.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.postgresql.client import (
    Session,
    Target,
    connect,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.postgresql.clusters import Clusters
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.postgresql.observe import observe
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.postgresql.plan import (
    plan_databases,
    plan_removal,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.credentials import (
    SALT_BYTES,
    Secret,
    generate_password,
    scram_verifier,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.databases import TENANT
from ansible_collections.supalove.platform.plugins.module_utils._engine.deadline import Deadline
from ansible_collections.supalove.platform.plugins.module_utils._engine.generation import new_texts
from ansible_collections.supalove.platform.plugins.module_utils._engine.objects import Desired, SecretKey
from ansible_collections.supalove.platform.plugins.module_utils._engine.observed import Observed
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Platform, SharedCluster
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import new_uid
from ansible_collections.supalove.platform.plugins.module_utils._engine.render import quota
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.cluster import (
    REAPER_PROGRAM,
    cluster_files,
    process_memory,
    render_cluster,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.postgresql import (
    CONFIG_DIRECTORY,
    CREDENTIALS_DIRECTORY,
    DATA_DIRECTORY,
    DATA_MOUNT,
    SOCKET_DIRECTORY,
    USER,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.steps import Step
from fix_container import as_postgres, container, image_of, in_network_of, podman
from fix_proxy import Proxy

START_SECONDS = 60
# Bytes of a tenant's database, of which an empty one takes 8 MiB.
LIMIT = 24 * 1024**2
CLUSTER = SharedCluster(
    name="main",
    cpu=1000,
    memory=512 * 1024**2,
    storage=2 * 1024**3,
    max_databases=50,
    max_connections=40,
    max_transaction_seconds=3,
    cordoned=False,
)


@dataclasses.dataclass(frozen=True)
class Server:
    """The running cluster. `secret` is the data of its Secret; `directory` holds what is mounted."""

    id: str
    directory: Path
    secret: dict[str, str]
    # The process in the container, as long as it is the same one.
    found: list[int] = dataclasses.field(default_factory=list)
    # The containers beside it, by the name of their program.
    beside: dict[str, str] = dataclasses.field(default_factory=dict)

    def connect_inside(self, port: int = 5432, *, source: str = "127.0.0.1") -> socket.socket:
        """A connection to the pod's own loopback; raises ConnectionRefusedError if nobody listens."""

        def connect_here() -> socket.socket:
            return socket.create_connection(("127.0.0.1", port), source_address=(source, 0))

        return in_network_of(self.pid(), connect_here)

    def pid(self) -> int:
        if not self.found:
            self.found.append(int(podman("inspect", "--format", "{{.State.Pid}}", self.id)))
        return self.found[0]

    def sql(self, text: str, database: str = "postgres") -> str:
        """What the platform's superuser gets for an answer, over the pod's socket; columns are parted by |."""
        with self.superuser(database) as connection:
            cursor = connection.execute(text.encode())
            rows = cursor.fetchall() if cursor.description else []
        return "\n".join("|".join("" if value is None else str(value) for value in row) for row in rows)

    def superuser(self, database: str = "postgres") -> psycopg.Connection[Any]:
        socket_directory = str(self.directory / "run")
        return as_postgres(
            lambda: psycopg.connect(
                host=socket_directory,
                user="postgres",
                dbname=database,
                autocommit=True,
                options="-c search_path=pg_catalog",
            )
        )

    def log(self) -> str:
        done = subprocess.run(["podman", "logs", self.id], capture_output=True, text=True, check=True)
        return done.stdout + done.stderr

    def stop(self) -> None:
        """As when the pod is told to stop."""
        podman("stop", "--time", "20", self.id)
        self.found.clear()

    def start(self) -> None:
        """As when the pod comes back on the same volume."""
        podman("start", self.id)
        # Who asked while it was down has noted that there is no process.
        self.found.clear()
        self.await_ready()

    @contextlib.contextmanager
    def without(self, program: str) -> Iterator[None]:
        """One of the containers beside it is killed, and comes back afterwards."""
        podman("kill", self.beside[program])
        podman("wait", self.beside[program])
        yield
        podman("start", self.beside[program])

    def run(self, text: str, database: str) -> str:
        """Statements as the image's programs run them, meta-commands of psql among them; what is printed."""
        options = "-c search_path=pg_catalog -c client_min_messages=warning"
        psql = ["psql", "-h", SOCKET_DIRECTORY, "-U", "postgres", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database]
        command = ["podman", "exec", "-i", "--env", f"PGOPTIONS={options}", self.id, *psql]
        return subprocess.run(command, input=text, text=True, check=True, capture_output=True).stdout

    def kill_a_process(self) -> None:
        """As when the kernel runs out of memory: PostgreSQL ends all sessions and recovers."""
        pid = self.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'")
        podman("exec", self.id, "sh", "-c", f"kill -9 {pid}")

    def await_ready(self) -> None:
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                self.sql("SELECT 1")
            except psycopg.OperationalError as error:
                if time.monotonic() > end:
                    pytest.fail(f"PostgreSQL did not get ready: {error}\n{self.log()[-3000:]}")
                time.sleep(0.1)
            else:
                return


@dataclasses.dataclass(frozen=True)
class Shared:
    """The cluster as the engine reaches it, through a proxy that can fail, and what is in its tenants' Secrets."""

    server: Server
    proxy: Proxy
    secrets: dict[SecretKey, Secret]

    def target(self) -> Target:
        password = Secret(self.server.secret["admin.password"])
        return Target(cluster=CLUSTER.name, host="127.0.0.1", port=self.proxy.port, password=password)

    @contextlib.contextmanager
    def session(self, kind: Callable[..., Session] = Session) -> Iterator[Session]:
        with connect(self.target(), deadline=deadline()) as made:
            yield kind(made._connection, made.cluster)

    def clusters(self, kind: Callable[..., Session] = Session) -> Clusters:
        return Clusters(lambda _name, _deadline: self.session(kind), lambda key, _deadline: self.secrets[key])

    def observed(self) -> Observed:
        with self.session() as session:
            return observe(session, deadline=deadline())

    def bring(self, desired: tuple[Desired, ...], kind: Callable[..., Session] = Session) -> list[Step]:
        """Plan and apply as a run does; the steps that changed something."""
        with self.clusters(kind) as clusters:
            found = clusters.observe([CLUSTER.name], deadline=deadline())[CLUSTER.name]
            assert isinstance(found, Observed), found
            steps = plan_databases(desired, found).steps
            return [step for step in steps if clusters.apply(step, deadline=deadline()).changed]

    def remove(self, desired: tuple[Desired, ...], kind: Callable[..., Session] = Session) -> list[Step]:
        with self.clusters(kind) as clusters:
            steps = plan_removal(desired, self.observed()).steps
            return [step for step in steps if clusters.apply(step, deadline=deadline()).changed]

    def tenant(self) -> Tenant:
        """A project that no other test has, not brought in yet."""
        uid = new_uid()
        passwords = {key: generate_password() for key in ("owner", "probe")}
        tenant = Tenant(shared=self, uid=uid, passwords=passwords)
        for key, password in passwords.items():
            verifier = scram_verifier(password, salt=secrets.token_bytes(SALT_BYTES))
            self.secrets[tenant.secret_key(key)] = Secret(verifier)
        return tenant


@dataclasses.dataclass(frozen=True)
class Tenant:
    """One project on the cluster: what is wanted of it, and its user's way in."""

    shared: Shared
    uid: str
    passwords: dict[str, Secret]

    @property
    def database(self) -> str:
        return f"p_{self.uid}"

    @property
    def owner(self) -> str:
        return f"p_{self.uid}_owner"

    @property
    def probe(self) -> str:
        return f"p_{self.uid}_probe"

    def secret_key(self, key: str) -> SecretKey:
        return SecretKey(namespace=f"p-{self.uid}", secret="credentials", key=f"{key}.verifier")

    def desired(self, *, running: bool = True, connections: int = 4, made: str = "a") -> tuple[Desired, ...]:
        """Two roles and a database, as the platform renders them; `made` stands for the uid of the Secret."""
        grants = {self.owner: ["CONNECT", "CREATE", "TEMPORARY"], self.probe: ["CONNECT"]}
        base = {
            "connectionLimit": connections + 2,
            "allowConnections": running,
            "storageLimit": LIMIT,
            "grants": grants,
        }
        return (
            self._role("owner", connections, [TENANT], login=running, made=made),
            self._role("probe", 2, [], login=running, made=made),
            self._object("Database", self.database, base),
        )

    def connect(self, database: str = "", *, role: str = "", **rest: Any) -> psycopg.Connection[Any]:
        """As the tenant's own user, straight to the server. Connections that a test forgets end with their object."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.shared.proxy.port,
            user=role or self.owner,
            password=self.passwords["owner"].reveal(),
            dbname=database or self.database,
            autocommit=True,
            sslmode="disable",
            **rest,
        )

    def _role(self, key: str, connections: int, groups: list[str], *, login: bool, made: str) -> Desired:
        source = self.secret_key(key)
        verifier = {"namespace": source.namespace, "secret": source.secret, "key": source.key, "uid": made}
        spec = {"login": login, "connectionLimit": connections, "memberOf": groups, "verifier": verifier}
        return self._object("DatabaseRole", f"{self.database}_{key}", spec)

    @staticmethod
    def _object(kind: str, name: str, spec: dict[str, Any]) -> Desired:
        meta = {"namespace": CLUSTER.name, "name": name}
        return Desired(body={"apiVersion": "postgresql", "kind": kind, "metadata": meta, "spec": spec})


def deadline(seconds: float = 30.0) -> Deadline:
    return Deadline(limit_seconds=seconds)


@pytest.fixture
def shared(postgresql: Server) -> Iterator[Shared]:
    proxy = Proxy(postgresql.connect_inside)
    yield Shared(server=postgresql, proxy=proxy, secrets={})
    proxy.close()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    # In memory where that is possible: every database that is made or dropped waits for the disk.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="supalove-test-", dir=memory) as directory:
        os.chmod(directory, 0o711)  # noqa: S103 (the container has another user)
        with running_cluster(Path(directory), CLUSTER) as server:
            yield server


@contextlib.contextmanager
def running_cluster(directory: Path, cluster: SharedCluster) -> Iterator[Server]:
    secret = _write_mounts(directory, cluster)
    image = image_of("postgresql")
    mounts = [
        *("--volume", f"{directory}/config:{CONFIG_DIRECTORY}:ro"),
        *("--volume", f"{directory}/run:{SOCKET_DIRECTORY}"),
    ]
    server_mounts = [
        *("--volume", f"{directory}/credentials:{CREDENTIALS_DIRECTORY}:ro"),
        *("--volume", f"{directory}/data:{DATA_MOUNT}"),
    ]
    env = {
        "PGDATA": DATA_DIRECTORY,
        "PGOPTIONS": "-c search_path=pg_catalog",
        "SUPALOVE_PROCESS_KIB": str(process_memory(cluster) // 1024),
    }
    variables = [word for name, value in env.items() for word in ("--env", f"{name}={value}")]
    with contextlib.ExitStack() as stack:
        started = container(stack, *mounts, *server_mounts, *variables, image)
        server = Server(id=started, directory=directory, secret=secret)
        server.await_ready()
        often = ["--env", "SUPALOVE_QUOTA_SECONDS=1"]
        for program, more in ((REAPER_PROGRAM, []), (quota.PROGRAM, often)):
            server.beside[program] = container(stack, *mounts, *more, "--entrypoint", program, image)
        yield server


def _write_mounts(directory: Path, cluster: SharedCluster) -> dict[str, str]:
    (desired,) = [one for one in render_cluster(cluster, Platform()) if one.generates]
    secret = new_texts(desired.generates, secrets.token_bytes)
    verifiers = {key: text for key, text in secret.items() if key.endswith(".verifier")}
    for folder, files in {
        "config": cluster_files(cluster, Platform()),
        "credentials": verifiers,
        "run": {},
        "data": {},
    }.items():
        place = directory / folder
        place.mkdir()
        for name, text in files.items():
            (place / name).write_text(text)
        os.chown(place, USER, USER)
    return secret
