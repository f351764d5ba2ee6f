# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine against the API server of fix_apiserver, and what stands in for the controllers that it lacks."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.access import Access, Archives, Vault
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.client import (
    Client,
    connect,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import Unreachable
from ansible_collections.supalove.platform.plugins.module_utils._engine.prepare import prepare
from ansible_collections.supalove.platform.plugins.module_utils._engine.progress import Lines
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import (
    CLUSTER_LABEL,
    PROJECT_LABEL,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.parse import parse
from ansible_collections.supalove.platform.plugins.module_utils._engine.reconcile import reconcile
from ansible_collections.supalove.platform.plugins.module_utils._engine.settings import Settings
from ansible_collections.supalove.platform.plugins.module_utils._engine.steps import Report
from fix_apiserver import ApiServer
from standin_databases import MemoryDatabases

OVERRIDES = {"cpu": 2, "memory": "4Gi", "storage": "50Gi", "connections": 100, "clients": 5000}
FREE = {"cpu": "250m", "memory": "256Mi", "storage": "1Gi", "connections": 20, "overrides": OVERRIDES}
TIERS = {"free": FREE}
NAMESPACE = "supalove-system"
RECORDS = f"/apis/supalove.cloud/v1alpha1/namespaces/{NAMESPACE}/supaloveprojects"
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/supalove-reconcile"

_numbers = itertools.count(1)


class Killed(BaseException):
    """What SIGKILL is to a process: nothing catches it, and nothing is sent after it."""


class DyingClient(Client):
    """A client whose process is killed when it would send one write more than it may."""

    may_write = 0

    def send(self, verb: str, path: str, **rest: Any) -> Any:
        if self.may_write < 0 or (verb != "GET" and self.writes >= self.may_write):
            self.may_write = -1
            raise Killed
        return super().send(verb, path, **rest)


class LosingClient(Client):
    """A client that loses the answer to its first write of an object, which it then repeats."""

    def __init__(self, *args: Any, path: str, **rest: Any) -> None:
        super().__init__(*args, **rest)
        self._losing = path

    def _request(self, verb: str, path: str, *rest: Any) -> Any:
        response = super()._request(verb, path, *rest)
        if verb != "GET" and path in (self._losing, self._losing.rpartition("/")[0]):
            self._losing = ""
            raise Unreachable(subject=path, verb=verb, reason="the answer was lost")
        return response


@dataclasses.dataclass(frozen=True)
class Engine:
    """Runs of the engine, each with a client of its own, as separate runs of a module have."""

    server: ApiServer
    lines: list[str] = dataclasses.field(default_factory=list)
    namespace: str = NAMESPACE
    databases: MemoryDatabases = dataclasses.field(default_factory=MemoryDatabases)
    archives: Archives | None = None

    @contextlib.contextmanager
    def client(self, kind: Callable[..., Client] = Client) -> Iterator[Client]:
        settings = Settings()
        made = connect(
            kubeconfig=str(self.server.kubeconfig), context=None, workers=settings.workers, backoff=settings.backoff
        )
        with kind(made._api_client, backoff=settings.backoff) as client:
            yield client

    def prepare(
        self,
        *,
        tiers: dict[str, Any] = TIERS,
        platform: dict[str, Any] | None = None,
        vault: Vault | None = None,
        **settings: Any,
    ) -> Report:
        inventory = parse(projects={}, tiers=tiers, platform=platform or {})
        with self.client() as client:
            access = Access(client=client, databases=self.databases, vault=vault)
            return prepare(access, inventory, settings=Settings(**settings), progress=Lines(self.lines.append))

    def reconcile(
        self,
        projects: dict[str, Any],
        *,
        dies_after: int | None = None,
        tiers: dict[str, Any] = TIERS,
        platform: dict[str, Any] | None = None,
        client: Callable[..., Client] = Client,
        vault: Vault | None = None,
        **settings: Any,
    ) -> Report:
        """One run; without controllers it does not wait unless told to."""
        inventory = parse(projects=projects, tiers=tiers, platform={"namespace": self.namespace, **(platform or {})})
        wanted = Settings(**{"wait": False, "timeout_seconds": 30.0, **settings})
        with self.client(client if dies_after is None else DyingClient) as made:
            if isinstance(made, DyingClient):
                made.may_write = dies_after or 0
            access = Access(client=made, databases=self.databases, vault=vault, archives=self.archives)
            return reconcile(access, inventory, settings=wanted, progress=Lines(self.lines.append))

    def settle(self, projects: dict[str, Any], **rest: Any) -> Report:
        """A run that waits, while workloads get ready by themselves."""
        with self.ready_workloads(*projects):
            return self.reconcile(projects, wait=True, **rest)

    def add_node(self, **allocatable: str) -> None:
        """A node of the data plane that is there by name only."""
        meta = {"name": f"node-{next(_numbers)}", "labels": {"node.supalove.cloud/data-plane": "true"}}
        self.server.request("POST", "/api/v1/nodes", {"metadata": meta})
        status = {"status": {"allocatable": allocatable, "capacity": allocatable}}
        self.server.merge(f"/api/v1/nodes/{meta['name']}/status", status)

    def record_path(self, ref: str) -> str:
        return f"/apis/supalove.cloud/v1alpha1/namespaces/{self.namespace}/supaloveprojects/{ref}"

    def record(self, ref: str) -> Any:
        return self.server.request("GET", self.record_path(ref))

    def secret(self, ref: str) -> dict[str, str]:
        data = self.server.request("GET", f"/api/v1/namespaces/p-{ref}/secrets/credentials")["data"]
        return {key: base64.b64decode(text).decode() for key, text in data.items()}

    def free_lease(self) -> None:
        """What time does to the lease of a dead holder."""
        self._merge_lease({"holderIdentity": None})

    def shorten_lease(self) -> None:
        """The next run waits for the end of a dead holder's lease, and not for as long as a live one needs it."""
        self._merge_lease({"leaseDurationSeconds": 3})

    def _merge_lease(self, spec: dict[str, Any]) -> None:
        path = LEASE.replace(NAMESPACE, self.namespace)
        if self.server.exists(path):
            self.server.merge(path, {"spec": spec})

    @contextlib.contextmanager
    def ready_workloads(self, *refs: str, jobs_only: bool = False) -> Iterator[None]:
        """Does the controllers' part: every workload of the projects, or of namespaces s-..., becomes ready.

        With `jobs_only` clients can be held while a PostgreSQL restarts, and it does not come back.
        """
        plurals = () if jobs_only else ("statefulsets", "deployments")
        stop = threading.Event()
        clusters = [ref.removeprefix("s-") for ref in refs if ref.startswith("s-")]
        label, names = (CLUSTER_LABEL, clusters) if clusters else (PROJECT_LABEL, refs)
        query = urlencode({"labelSelector": f"{label} in ({','.join(names)})"})

        def work() -> None:
            while not stop.wait(0.1):
                for plural in plurals:
                    # The server may be one that a test has stopped.
                    with contextlib.suppress(OSError):
                        self._make_ready(plural, query)
                with contextlib.suppress(OSError):
                    self._run_jobs(query)

        thread = threading.Thread(target=work, name="controllers")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _run_jobs(self, query: str) -> None:
        """Every Job has a pod that is ready; none ends by itself."""
        for item in self.server.request("GET", f"/apis/batch/v1/jobs?{query}")["items"]:
            if not item.get("status", {}).get("ready"):
                path = f"/apis/batch/v1/namespaces/{item['metadata']['namespace']}/jobs/{item['metadata']['name']}"
                status = {"active": 1, "ready": 1, "startTime": "2026-01-01T00:00:00Z"}
                self.server.merge(f"{path}/status", {"status": status})

    def _make_ready(self, plural: str, query: str) -> None:
        for item in self.server.request("GET", f"/apis/apps/v1/{plural}?{query}")["items"]:
            meta, generation = item["metadata"], item["metadata"]["generation"]
            if item.get("status", {}).get("observedGeneration") == generation:
                continue
            counts = ("replicas", "readyReplicas", "updatedReplicas", "availableReplicas")
            status = {"observedGeneration": generation, **dict.fromkeys(counts, item["spec"]["replicas"])}
            if plural == "statefulsets":
                status |= {"currentRevision": "a", "updateRevision": "a"}
            path = f"/apis/apps/v1/namespaces/{meta['namespace']}/{plural}/{meta['name']}/status"
            self.server.merge(path, {"status": status})


@pytest.fixture(scope="session")
def prepared(api_server: ApiServer) -> Engine:
    engine = Engine(server=api_server)
    engine.add_node(cpu="10k", memory="100Ti", pods="100k")
    report = engine.prepare()
    assert report.succeeded, report
    return engine


@pytest.fixture
def engine(prepared: Engine) -> Engine:
    """A prepared platform that nobody holds."""
    prepared.free_lease()
    prepared.lines.clear()
    return dataclasses.replace(prepared, databases=MemoryDatabases())


@pytest.fixture
def own_engine(engine: Engine) -> Engine:
    """A platform whose records are those of one test: what prune sees."""
    namespace = f"own-{next(_numbers)}"
    engine.server.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    return dataclasses.replace(engine, namespace=namespace)


@pytest.fixture
def ref() -> str:
    """A name that no other test has: nothing is cleaned up."""
    return f"t{next(_numbers)}"
