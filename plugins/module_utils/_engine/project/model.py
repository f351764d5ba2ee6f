# SPDX-License-Identifier: BSD-2-Clause
"""What the user writes, without holes: every default is resolved, every quantity is in base units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from .names import Ref
from .vocabulary import PER_ARCHIVE

# The tags are those of images/<name>/recipe.yml; a test compares them.
IMAGES: Mapping[str, str] = MappingProxyType(
    {
        "postgresql": "registry.supalove.cloud/platform/postgresql:17-5",
        "pgbouncer": "registry.supalove.cloud/platform/pgbouncer:1.26-4",
        "archiver": "registry.supalove.cloud/platform/archiver:17-2",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Archiving:
    """How a PostgreSQL is archived, where the platform has an object store.

    `rpo_seconds`: the longest that a commit is not in the archive. `backup_bandwidth`: bytes per second, 0 for any.
    """

    archive_engine: str = "wal-g"
    rpo_seconds: int = 60
    backup_hours: int = 24
    full_backup_days: int = 7
    backup_bandwidth: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """Named limits of a project. CPU in millicores, memory and storage in bytes.

    `cpu`, `memory`: 0 for shared placement, where a project has none to itself.
    `connections`: sessions of one pooler in PostgreSQL at once. `clients`: connections to the pooler at once.
    `overrides`: the most that a project may set itself, for each limit that it may set at all.
    `runtime_class`: None runs the pods with the cluster's default runtime.
    `priority`: whose pods go first when a node is full; higher wins.
    """

    name: str
    placement: str
    cpu: int
    memory: int
    storage: int
    connections: int
    clients: int
    transaction_seconds: int
    overrides: Mapping[str, int] = field(hash=False)
    runtime_class: str | None
    priority: int
    archiving: Archiving = Archiving()


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """One tenant. The limits are those of the tier unless `spec`, what its user wrote, overrides them.

    `is_stopped`: nothing of it runs, everything is kept. `is_canary`: big changes come to it first.
    """

    ref: Ref
    tier: Tier
    cpu: int
    memory: int
    storage: int
    connections: int
    clients: int
    transaction_seconds: int
    is_stopped: bool
    is_canary: bool
    spec: Mapping[str, object] = field(hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedCluster:
    """One PostgreSQL on the data plane that many projects share. CPU in millicores, memory and storage in bytes.

    `max_databases`: projects that it takes. `max_connections`: sessions of all their poolers together.
    `max_transaction_seconds`: the age at which the reaper ends a tenant's transaction.
    `cordoned`: it keeps what it has and takes nothing new.
    """

    name: str
    cpu: int
    memory: int
    storage: int
    max_databases: int
    max_connections: int
    max_transaction_seconds: int
    cordoned: bool
    archiving: Archiving = Archiving()


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What all projects share. `domain` is None as long as projects have no public host names.

    `vault_address`: None as long as secrets are kept in Kubernetes alone. `object_store_endpoint`: None as long as
    nothing is archived. `object_store_networks`: None for the endpoint's own address.
    """

    namespace: str = "supalove-system"
    domain: str | None = None
    cluster_domain: str = "cluster.local"
    storage_class: str = "supalove-retain"
    storage_provisioner: str = "rancher.io/local-path"
    storage_expandable: bool = False
    vault_address: str | None = None
    vault_mount: str = "supalove"
    object_store_endpoint: str | None = None
    object_store_region: str = "us-east-1"
    object_store_bucket: str = "supalove"
    object_store_prefix: str = "platform"
    object_store_ca: str | None = None
    object_store_networks: tuple[str, ...] | None = None
    object_store_identities: str = PER_ARCHIVE
    recovery_window_days: int = 7
    kept_database_days: int = 7
    images: Mapping[str, str] = field(default_factory=lambda: IMAGES, hash=False)
    # In the order of their names.
    shared_clusters: tuple[SharedCluster, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """All that the user wrote: projects in the order of their refs, tiers by name, the platform."""

    projects: tuple[Project, ...]
    tiers: Mapping[str, Tier] = field(hash=False)
    platform: Platform
