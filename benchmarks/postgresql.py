# SPDX-License-Identifier: GPL-3.0-or-later
"""A real shared cluster in a container: the engine's way into it, and the plain statements that it is compared with."""

from __future__ import annotations

import base64
import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.kinds import (
    collection_path,
    object_path,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.postgresql.clusters import (
    CREDENTIALS,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.databases import ADMIN_KEY
from ansible_collections.supalove.platform.plugins.module_utils._engine.objects import ObjectId
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import (
    POSTGRESQL_POD,
    cluster_namespace_of,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.context import Context
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.postgresql import SOCKET_DIRECTORY
from fix_kubelet import NODE, running_kubelet
from fix_postgresql import Server, running_cluster

from . import workload
from .cluster import Cluster

# What a user's shell would do, in the server's container, over its socket, as its superuser.
SCRIPTS = {
    "loop": 'for n in $(seq "$1"); do psql -qX -c "CREATE DATABASE plain_$n"; done',
    "session": 'for n in $(seq "$1"); do echo "CREATE DATABASE plain_$n;"; done | psql -qX -v ON_ERROR_STOP=1',
}
BEGUN, DONE = "begun\n", "done\n"


@contextlib.contextmanager
def started() -> Iterator[Server]:
    """The shared cluster of the workload as nobody has used it yet, its data on the machine's disk."""
    with tempfile.TemporaryDirectory(prefix="supalove-bench-") as folder:
        # The container has another user.
        Path(folder).chmod(0o711)
        with running_cluster(Path(folder), workload.the_cluster()) as server:
            yield server


@contextlib.contextmanager
def pod_of(cluster: Cluster, server: Server) -> Iterator[None]:
    """Let the server be the pod that the API server knows: a port-forward to it ends there, its password is right."""
    namespace = cluster_namespace_of(workload.the_cluster().name)
    api = cluster.server
    stateful_set = ObjectId(kind="StatefulSet", namespace=namespace, name=Context.POSTGRESQL)
    secret = ObjectId(kind="Secret", namespace=namespace, name=CREDENTIALS)
    key = f"{ADMIN_KEY}.password"
    with running_kubelet(api, server.connect_inside, cluster.root):
        template = api.request("GET", object_path(stateful_set))["spec"]["template"]
        pod = {
            "metadata": {**template["metadata"], "name": POSTGRESQL_POD},
            "spec": {**template["spec"], "nodeName": NODE},
        }
        api.request("POST", collection_path("Pod", namespace), pod)
        api.merge(object_path(secret), {"data": {key: base64.b64encode(server.secret[key].encode()).decode()}})
        yield


@contextlib.contextmanager
def making(server: Server, count: int) -> Iterator[None]:
    """Raises RuntimeError unless so many databases more are there in the end."""
    asked = "SELECT count(*) FROM pg_database"
    before = int(server.sql(asked))
    yield
    made = int(server.sql(asked)) - before
    if made != count:
        raise RuntimeError(f"{made} databases were made, not {count}")


def run(server: Server, script: str, count: int) -> float:
    """Seconds of one of SCRIPTS, without those of getting into the container."""
    shell = f"echo {BEGUN.strip()}; {SCRIPTS[script]}; echo {DONE.strip()}"
    inside = ["podman", "exec", "--env", f"PGHOST={SOCKET_DIRECTORY}", server.id]
    argv = [*inside, "sh", "-euc", shell, "sh", str(count)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        begun = child.stdout.readline()
        started = time.perf_counter()
        done = child.stdout.readline()
        seconds = time.perf_counter() - started
    if (begun, done) != (BEGUN, DONE) or child.returncode:
        raise RuntimeError(f"the script {script} ended with {child.returncode}")
    return seconds
