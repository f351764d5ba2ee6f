# SPDX-License-Identifier: BSD-2-Clause
"""What a shared cluster is: one PostgreSQL on the data plane for many projects, in a namespace of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..archives import archive_of_cluster
from ..databases import ADMIN, ADMIN_KEY, DATABASES, LOADED_DATABASES, LOADERS, READERS
from ..objects import Body, Desired, GeneratedLogin, ObjectId
from ..project.life import Life
from ..project.model import Platform, SharedCluster
from ..project.names import (
    CLUSTER_LABEL,
    COMPONENT_LABEL,
    CONFIG_ANNOTATION,
    CREDENTIALS_ANNOTATION,
    LIFE_ANNOTATION,
    PLATFORM_LABEL,
    PROJECT_LABEL,
    cluster_namespace_of,
)
from ..project.quantities import MIB
from ..vault import CLUSTERS_FOLDER
from .archive import archive_egress, archive_settings, asks_names, render_archive, with_archiver
from .cluster_sql import ADMIN_CONNECTIONS, LOGINS, cluster_bootstrap_sql, reaper_sql
from .context import RESTRICTED, Context, digest_of, pod_template
from .files import Value, write_pg_hba, write_postgresql_conf
from .isolation import dns_egress
from .platform import SHARED_PRIORITY_CLASS
from .postgresql import (
    ADDRESSES,
    CONFIG_DIRECTORY,
    LOAD_CONNECTIONS,
    SUPERUSER_CONNECTIONS,
    USER,
    claim_of,
    common_settings,
    ident_file,
    local_rules,
    pod_spec,
    render_claim,
    server_container,
    service_spec,
    sidecar,
    stateful_set_spec,
    temporary_files,
)
from .quota import quota_container
from .restore import render_restore, with_restore
from .secrets import render_secret

REAPER = "reaper"
REAPER_PROGRAM = "/usr/local/bin/supalove-reaper"
REAPER_CPU = 20
REAPER_MEMORY = 32 * MIB
SERVICE_ACCOUNT = "cluster"

WORKERS = 6
# What a process maps besides the cache: program and libraries, and for each session its share in the tables of locks
# and statistics. Measured with 51 sessions: 88 MiB in all.
PROCESS_BASE = 128 * MIB
PROCESS_SHARE_OF_SESSION = MIB // 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cluster:
    """A cluster and the few words that several of its objects share."""

    cluster: SharedCluster
    platform: Platform
    secret_uid: str
    life: Life | None

    @property
    def labels(self) -> dict[str, str]:
        return {PLATFORM_LABEL: self.platform.namespace, CLUSTER_LABEL: self.cluster.name}

    @property
    def pod_labels(self) -> dict[str, str]:
        """By which Service and StatefulSet know the pod."""
        return {CLUSTER_LABEL: self.cluster.name, COMPONENT_LABEL: Context.POSTGRESQL}

    def object(self, api_version: str, kind: str, name: str, *, component: str | None = None, **rest: Any) -> Desired:
        labels = self.labels if component is None else {**self.labels, COMPONENT_LABEL: component}
        meta = {"name": name, "namespace": cluster_namespace_of(self.cluster.name), "labels": labels}
        return Desired(body={"apiVersion": api_version, "kind": kind, "metadata": meta, **rest})


def render_cluster(
    cluster: SharedCluster, platform: Platform, secret_uid: str = "", life: Life | None = None
) -> tuple[Desired, ...]:
    """Every object of a shared cluster in the order in which it is applied.

    `secret_uid` is the uid that the API server gave to the Secret of credentials, empty before there is one. `life`:
    what it was last restored from. The namespace keeps that, and is written first.
    """
    context = _Cluster(cluster=cluster, platform=platform, secret_uid=secret_uid, life=life)
    files = cluster_files(cluster, platform)
    archive = archive_of_cluster(cluster.name)
    name = Context.POSTGRESQL
    return (
        _namespace(context),
        _network_policy(context),
        context.object("v1", "ServiceAccount", SERVICE_ACCOUNT, automountServiceAccountToken=False),
        *_credentials(context),
        *render_archive(context.object, platform, cluster.archiving, archive=archive),
        *render_restore(context.object, platform, life),
        context.object("v1", "ConfigMap", name, component=name, data=files),
        context.object("v1", "Service", name, component=name, spec=service_spec(context.pod_labels)),
        render_claim(context.object, platform, life, storage=cluster.storage),
        _stateful_set(context, files),
    )


def cluster_namespace_object_of(cluster: str) -> ObjectId:
    """Where its life is kept."""
    return ObjectId(kind="Namespace", name=cluster_namespace_of(cluster))


def cluster_server_of(cluster: str) -> ObjectId:
    """What runs it."""
    return ObjectId(kind="StatefulSet", namespace=cluster_namespace_of(cluster), name=Context.POSTGRESQL)


def cluster_claim_of(cluster: str, life: Life | None) -> ObjectId:
    """Where its data are."""
    return ObjectId(kind="PersistentVolumeClaim", namespace=cluster_namespace_of(cluster), name=claim_of(life))


def cluster_credentials_of(cluster: SharedCluster) -> ObjectId:
    """The Secret with the password of the platform's login."""
    return ObjectId(kind="Secret", namespace=cluster_namespace_of(cluster.name), name=Context.CREDENTIALS)


def cluster_files(cluster: SharedCluster, platform: Platform) -> dict[str, str]:
    """The files that the image's programs read."""
    return {
        "postgresql.conf": write_postgresql_conf(cluster_settings(cluster, platform)),
        "pg_hba.conf": write_pg_hba(_hba_rules()),
        "pg_ident.conf": ident_file(),
        "bootstrap.sql": cluster_bootstrap_sql(),
        "reaper.sql": reaper_sql(max_transaction_seconds=cluster.max_transaction_seconds),
    }


def cluster_settings(cluster: SharedCluster, platform: Platform) -> dict[str, Value]:
    """PostgreSQL's settings for many small databases of tenants that are strangers to each other."""
    memory_mib = cluster.memory // MIB
    return {
        **common_settings(memory=cluster.memory, storage=cluster.storage, sessions=cluster.max_connections),
        **_connection_settings(cluster),
        **_vacuum_settings(memory_mib),
        **_sharing_settings(cluster),
        **archive_settings(platform, cluster.archiving),
        # One WAL for all: fewer full pages, and a write for each of them compressed.
        "checkpoint_timeout": "15min",
        "wal_compression": "lz4",
        # After a crash PostgreSQL would otherwise open every file: some 300 for each database.
        "recovery_init_sync_method": "syncfs",
        # No replicas and no slots: a slot of a tenant that has gone would hold the WAL of all.
        "wal_level": "replica",
        "max_wal_senders": 0,
        "max_replication_slots": 0,
        # A statement may hold what its tenant keeps secret.
        "log_min_error_statement": "panic",
        "jit": "off",
    }


def _connection_settings(cluster: SharedCluster) -> dict[str, Value]:
    """The poolers' sessions, and places that they cannot take: the admin's and the archiver's, and the superuser's."""
    reserved = ADMIN_CONNECTIONS + LOAD_CONNECTIONS
    return {
        "max_connections": cluster.max_connections + reserved + SUPERUSER_CONNECTIONS,
        "reserved_connections": reserved,
        "authentication_timeout": "10s",
        # A pooler that went away with its node must not keep its sessions.
        "tcp_keepalives_idle": 60,
        "tcp_keepalives_interval": 10,
        "tcp_keepalives_count": 3,
        "client_connection_check_interval": "10s",
        # For those who mean well. A session can lift these limits; the reaper then ends it.
        "transaction_timeout": f"{cluster.max_transaction_seconds}s",
        "idle_in_transaction_session_timeout": f"{min(60, cluster.max_transaction_seconds)}s",
    }


def _vacuum_settings(memory_mib: int) -> dict[str, Value]:
    """A database is visited once in naptime: at the default of a minute, 200 databases want a worker every 0.3 s.

    So the visits are rarer, and the workers are more and have more to spend, that a few busy tenants may not
    starve the others. The budget is one for all workers.
    """
    return {
        "autovacuum_naptime": "5min",
        "autovacuum_max_workers": WORKERS,
        "autovacuum_vacuum_cost_limit": 200 * WORKERS,
        "autovacuum_work_mem": f"{max(16, min(256, memory_mib // 64))}MB",
    }


def _sharing_settings(cluster: SharedCluster) -> dict[str, Value]:
    """What one tenant could otherwise take from all."""
    return {
        # The table of locks is one for all sessions; a dump or a migration locks every relation it touches.
        "max_locks_per_transaction": 256,
        # Sessions times files: all of them count against the node's limit.
        "max_files_per_process": 256,
        # A parallel query would take several of few CPUs; sessions may ask for it, and share these two.
        "max_worker_processes": 2,
        "max_parallel_workers": 2,
        "max_parallel_workers_per_gather": 0,
        "max_parallel_maintenance_workers": 0,
        "max_logical_replication_workers": 0,
        # Of one session; the common share of the volume is for a server with one tenant.
        "temp_file_limit": temporary_files(cluster.storage, share=100),
        # The queue of NOTIFY is one for all databases: 64 MiB.
        "max_notify_queue_pages": 8192,
    }


def process_memory(cluster: SharedCluster) -> int:
    """Bytes of address space of one process: what all share, and an eighth of the memory for itself.

    A session that wants more gets an error. It would otherwise be the kernel that ends a process when memory runs out,
    and PostgreSQL then restarts with all sessions of all tenants.
    """
    shared = PROCESS_BASE + cluster.memory // 4 + cluster.max_connections * PROCESS_SHARE_OF_SESSION
    return shared + max(128 * MIB, cluster.memory // 8)


def _hba_rules() -> tuple[tuple[str, ...], ...]:
    """Who may try to log in; which database a login may enter is then decided by its right to connect.

    The admin comes by a port-forward, which ends in the pod's own network. Replication has no rule, so it is refused.
    """
    local = tuple(("host", "postgres", ADMIN, address, "scram-sha-256") for address in ("127.0.0.1/32", "::1/128"))
    tenants = tuple(("host", f"/{DATABASES}", f"/{LOGINS}", address, "scram-sha-256") for address in ADDRESSES)
    others = tuple(("host", "all", "all", address, "reject") for address in ADDRESSES)
    own = local_rules({f"/{LOADED_DATABASES}": f"/{LOADERS}", f"/{DATABASES}": f"/{READERS}"})
    return (*own, *local, *tenants, *others)


def _namespace(context: _Cluster) -> Desired:
    meta: Body = {"name": cluster_namespace_of(context.cluster.name), "labels": {**context.labels, **RESTRICTED}}
    if context.life is not None:
        meta["annotations"] = {LIFE_ANNOTATION: str(context.life)}
    return Desired(body={"apiVersion": "v1", "kind": "Namespace", "metadata": meta})


def _network_policy(context: _Cluster) -> Desired:
    """In, only from projects' poolers to the database's port; out, only to the object store."""
    projects = {"matchExpressions": [{"key": PROJECT_LABEL, "operator": "Exists"}]}
    poolers = {"namespaceSelector": projects, "podSelector": {"matchLabels": {COMPONENT_LABEL: Context.POOLER}}}
    port = {"protocol": "TCP", "port": Context.POSTGRESQL_PORT}
    names = [dns_egress()] if asks_names(context.platform) else []
    egress = [*names, *archive_egress(context.platform)]
    spec = {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [poolers], "ports": [port]}],
        **({"egress": egress} if egress else {}),
    }
    return context.object("networking.k8s.io/v1", "NetworkPolicy", "cluster", spec=spec)


def _credentials(context: _Cluster) -> tuple[Desired, ...]:
    login = GeneratedLogin(key=ADMIN_KEY, role=ADMIN, in_postgresql=True)
    secret = replace(context.object("v1", "Secret", Context.CREDENTIALS, type="Opaque"), generates=(login,))
    return render_secret(secret, context.platform, folder=CLUSTERS_FOLDER, name=context.cluster.name)


def _stateful_set(context: _Cluster, files: Mapping[str, str]) -> Desired:
    cluster, life, image = context.cluster, context.life, context.platform.images["postgresql"]
    server = server_container(
        image=image,
        cpu=cluster.cpu,
        memory=cluster.memory,
        database="postgres",
        more_env={"SUPALOVE_PROCESS_KIB": str(process_memory(cluster) // 1024)},
    )
    containers = [server, _reaper(image), quota_container(image)]
    pod = pod_spec(containers=containers, verifiers=(ADMIN_KEY,), memory=cluster.memory, claim=claim_of(life))
    template = pod_template(
        labels={**context.labels, **context.pod_labels},
        annotations={CONFIG_ANNOTATION: digest_of(files), CREDENTIALS_ANNOTATION: context.secret_uid},
        service_account=SERVICE_ACCOUNT,
        priority_class=SHARED_PRIORITY_CLASS,
        runtime_class=cluster.runtime_class,
        user=USER,
        spec=with_restore(with_archiver(pod, context.platform), life),
    )
    spec = stateful_set_spec(selector=context.pod_labels, template=template)
    return context.object("apps/v1", "StatefulSet", Context.POSTGRESQL, component=Context.POSTGRESQL, spec=spec)


def _reaper(image: str) -> Body:
    config: Body = {"name": "config", "mountPath": CONFIG_DIRECTORY, "readOnly": True}
    return sidecar(REAPER, image=image, program=REAPER_PROGRAM, cpu=REAPER_CPU, memory=REAPER_MEMORY, mounts=[config])
