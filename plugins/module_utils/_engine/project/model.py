# SPDX-License-Identifier: BSD-2-Clause
"""What the user writes, without holes: every default is resolved, every quantity is in base units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar

from .names import Ref
from .quantities import MIB
from .vocabulary import NO_GATEWAY, NOT_ENCRYPTED, PER_ARCHIVE

# Of our own the tags are those of images/<name>/recipe.yml; a test compares them.
IMAGES: Mapping[str, str] = MappingProxyType(
    {
        "postgresql": "registry.supalove.cloud/platform/postgresql:17-5",
        "pgbouncer": "registry.supalove.cloud/platform/pgbouncer:1.26-4",
        "archiver": "registry.supalove.cloud/platform/archiver:17-4",
        "traefik": "docker.io/library/traefik:v3.7.15",
        "verifier": "registry.supalove.cloud/platform/verifier:1-2",
        # Their digests could not be computed, so they are named by tags.
        "auth": "docker.io/supabase/gotrue:v2.196.0",
        "rest": "docker.io/postgrest/postgrest:v14.17",
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
class RuntimeClass:
    """What runs containers on the nodes that have it. `cpu`, `memory`: what it takes for itself in each pod."""

    handler: str
    cpu: int = 0
    memory: int = 0


# Whose roles are in this collection. Kata's figures are those that others use with it; gVisor's are an
# allowance that nobody has measured.
KNOWN_RUNTIMES: Mapping[str, RuntimeClass] = MappingProxyType(
    {
        "gvisor": RuntimeClass(handler="runsc", cpu=50, memory=64 * MIB),
        "kata": RuntimeClass(handler="kata-qemu", cpu=250, memory=160 * MIB),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """Named limits of a project. CPU in millicores, memory and storage in bytes.

    `cpu`, `memory`: 0 for shared placement, where a project has none to itself.
    `connections`: sessions of one pooler in PostgreSQL at once. `clients`: connections to the pooler at once.
    `overrides`: the most that a project may set itself, for each limit that it may set at all.
    `runtime_class`: None runs the pods with the cluster's default runtime.
    `priority`: whose pods go first when a node is full; higher wins.
    `requests_per_second`: to one path of one host name of a project, through one node of the gateway.
    `read_iops`, `write_iops`: what each container of PostgreSQL's pod may ask of a disk in a second, 0 for any number.
    `has_services`: its projects have Auth and PostgREST, as the platform has a gateway to them.
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
    requests_per_second: int
    archiving: Archiving = Archiving()
    read_iops: int = 0
    write_iops: int = 0
    has_services: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """The mail server of a project's Auth. `user`: None if it asks for none. `sender_name`: None for no name."""

    PORT: ClassVar[int] = 587

    host: str
    sender: str
    port: int = PORT
    sender_name: str | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """A project's own settings of Auth.

    `site_url`: None for the project's own address. `mail`: None as long as no mail is sent. `providers`: names in their
    order, each with the id that the project has there. `secret`: of the namespace, with what may not be told here; None
    if there is no such thing.
    """

    site_url: str | None = None
    redirect_urls: tuple[str, ...] = ()
    signup: bool = True
    anonymous_users: bool = False
    mail: Mail | None = None
    providers: tuple[tuple[str, str], ...] = ()
    secret: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """One tenant. The limits are those of the tier unless `spec`, what its user wrote, overrides them.

    `is_stopped`: nothing of it runs, everything is kept. `is_canary`: big changes come to it first. `domains`: its own
    host names, proven or not.
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
    domains: tuple[str, ...] = ()
    auth: Auth = Auth()
    spec: Mapping[str, object] = field(hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedCluster:
    """One PostgreSQL on the data plane that many projects share. CPU in millicores, memory and storage in bytes.

    `max_databases`: projects that it takes. `max_connections`: sessions of all their poolers together.
    `max_transaction_seconds`: the age at which the reaper ends a tenant's transaction.
    `cordoned`: it keeps what it has and takes nothing new.
    `runtime_class`: None runs its pod with the Kubernetes cluster's default runtime.
    """

    name: str
    cpu: int
    memory: int
    storage: int
    max_databases: int
    max_connections: int
    max_transaction_seconds: int
    cordoned: bool
    runtime_class: str | None = None
    archiving: Archiving = Archiving()


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What all projects share. `domain` is None as long as projects have no public host names.

    `auth_networks`: where mail servers and OAuth providers are; None for every public address.
    `vault_address`: None as long as secrets are kept in Kubernetes alone. `object_store_endpoint`: None as long as
    nothing is archived. `object_store_networks`: None for the endpoint's own address. `object_store_kms_key`: None
    unless the store encrypts with a key of its key service. `object_store_lock_days`: 0 if the bucket need not lock.
    """

    namespace: str = "supalove-system"
    domain: str | None = None
    gateway_kind: str = NO_GATEWAY
    gateway_unchecked_keys_accepted: bool = False
    auth_networks: tuple[str, ...] | None = None
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
    object_store_encryption: str = NOT_ENCRYPTED
    object_store_kms_key: str | None = None
    object_store_lock_days: int = 0
    recovery_window_days: int = 7
    kept_database_days: int = 7
    images: Mapping[str, str] = field(default_factory=lambda: IMAGES, hash=False)
    # In the order of their names.
    runtime_classes: Mapping[str, RuntimeClass] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    shared_clusters: tuple[SharedCluster, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """All that the user wrote: projects in the order of their refs, tiers by name, the platform."""

    projects: tuple[Project, ...]
    tiers: Mapping[str, Tier] = field(hash=False)
    platform: Platform
