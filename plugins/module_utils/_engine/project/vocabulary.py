# SPDX-License-Identifier: BSD-2-Clause
"""Every key that a user may write, once: parsing, schemas, the record's definition and the reference read it here.

Those of a project's own settings of Auth are in auth_fields.py.
"""

from __future__ import annotations

from . import fields
from .fields import Field
from .names import REF_LONGEST
from .quantities import MIB

# The names under which users know the three inputs; paths of problems begin with them.
PLATFORM_VARIABLE = "supalove_platform"
TIERS_VARIABLE = "supalove_tiers"
PROJECTS_VARIABLE = "supalove_projects"
RUNTIMES_VARIABLE = f"{PLATFORM_VARIABLE}.runtime_classes"

DEDICATED = "dedicated"
SHARED = "shared"
# Whose keys archives are written with.
PER_ARCHIVE = "per_archive"
IDENTITIES = (PER_ARCHIVE, "shared")
# How projects are reached from outside: not at all, by HTTPRoutes, or by Routes of OpenShift.
NO_GATEWAY = "none"
HTTP_ROUTES = "gateway"
OPENSHIFT_ROUTES = "route"
GATEWAYS = (NO_GATEWAY, HTTP_ROUTES, OPENSHIFT_ROUTES)
# How the object store encrypts what it keeps, in the words of S3.
NOT_ENCRYPTED = "none"
ENCRYPTED_BY_KMS = "aws:kms"
ENCRYPTIONS = (NOT_ENCRYPTED, "AES256", ENCRYPTED_BY_KMS)
# In a record beside what the user wrote: who owns its spec.
MANAGED_BY = "managedBy"
MANAGERS = ("inventory", "api")
PRESENT = "present"
ABSENT = "absent"

# Listeners of its Gateway, of which the API allows 64.
MOST_DOMAINS = 16

LONGEST_TRANSACTION_SECONDS = 7 * 24 * 3600

NAME = fields.label(REF_LONGEST)

# What a tier fixes. The least memory is what PostgreSQL needs with its smallest settings.
LIMITS = (
    Field(
        name="cpu",
        kind=fields.cpu(100),
        about="Cores of the project's own PostgreSQL. Required for dedicated placement, refused for shared.",
    ),
    Field(
        name="memory",
        kind=fields.size(192 * MIB),
        about="Memory of the project's own PostgreSQL. Required for dedicated placement, refused for shared.",
    ),
    Field(
        name="storage",
        kind=fields.size(64 * MIB),
        about="Size of the project's own volume, at least 512Mi. For shared placement the most its database takes.",
    ),
    Field(
        name="connections",
        kind=fields.whole(1, 1000),
        about="Sessions of the project's pooler in PostgreSQL at once. By default 3 for shared placement, and for "
        "dedicated one for every 16Mi of memory, at least 10 and at most 100.",
    ),
    Field(
        name="clients",
        kind=fields.whole(1, 20_000),
        about="Connections of clients to the pooler at once. By default 20 times as many as connections.",
    ),
    Field(
        name="transaction_seconds",
        kind=fields.whole(1, LONGEST_TRANSACTION_SECONDS),
        about="The age at which the pooler ends a client's transaction. By default 300 for shared placement and 86400 "
        "for dedicated.",
    ),
)

ENGINES = ("wal-g", "barman-cloud")

# How a PostgreSQL is archived, if the platform has an object store: a project's own, or a shared cluster's.
ARCHIVING = (
    Field(
        name="archive_engine",
        kind=fields.choice(*ENGINES),
        about="What archives the PostgreSQL. Only wal-g encrypts before it sends, and makes deltas. By default wal-g. "
        "An archive that has begun is gone on with as it is, until the next restore.",
    ),
    Field(
        name="rpo_seconds",
        kind=fields.whole(10, 3600),
        about="The longest that a commit is not in the archive. Each period costs an object there. By default 60.",
    ),
    Field(
        name="backup_hours",
        kind=fields.whole(1, 168),
        about="Time from one base backup to the next. By default 24.",
    ),
    Field(
        name="full_backup_days",
        kind=fields.whole(1, 31),
        about="Time from one full base backup to the next; those between are deltas. By default 7.",
    ),
    Field(
        name="backup_bandwidth",
        kind=fields.size(MIB),
        about="The most that a base backup sends in a second. By default all it can.",
    ),
)

# Below the least a PostgreSQL that recovers does not start in time.
IOPS = tuple(
    Field(
        name=f"{what}_iops",
        kind=fields.whole(100, 1_000_000),
        about=f"{done} that each container of PostgreSQL's pod may ask of one of the node's disks in a second. "
        "For dedicated placement under the cluster's own runtime only, and the hosts must know it: the role blockio. "
        "By default any number.",
    )
    for what, done in (("read", "Reads"), ("write", "Writes"))
)

TIER = (
    Field(
        name="placement",
        kind=fields.choice(DEDICATED, SHARED),
        about="Where the databases of the tier live: each in a PostgreSQL of its own, or together on the shared "
        "clusters of the platform.",
    ),
    *LIMITS,
    Field(
        name="runtime_class",
        kind=NAME,
        about="Runtime of all of the project's pods, a name out of the platform's runtime_classes: of its pooler and "
        "services, and for dedicated placement of its PostgreSQL. By default the cluster's own runtime.",
    ),
    Field(
        name="priority",
        kind=fields.whole(0, 1_000_000),
        about="Whose pods go first when a node is full; higher wins. It cannot be changed later.",
    ),
    Field(
        name="requests_per_second",
        kind=fields.whole(1, 100_000),
        about="Requests that each node of the gateway lets through to one project, for each host name and path of its "
        "services, twice as many in a burst; what is more is answered with 429. By default 100.",
    ),
    *IOPS,
    *ARCHIVING,
)

PROJECT = (
    Field(
        name="state",
        kind=fields.choice(PRESENT, ABSENT),
        about="A project that is absent is stopped and keeps everything; present starts it again.",
    ),
    Field(
        name="canary",
        kind=fields.flag(),
        about="Whether a change that restarts many projects comes to this one first.",
    ),
    Field(
        name="domains",
        kind=fields.hosts(MOST_DOMAINS),
        about="Host names of its own at which its services are reached as well, once they are proven to be the "
        "project's. Only with gateway_kind gateway; none is the platform's domain or below it, and none two projects'.",
    ),
    *LIMITS,
)

SHARED_CLUSTER = (
    Field(name="cpu", kind=fields.cpu(250), about="Cores of the cluster's PostgreSQL."),
    Field(name="memory", kind=fields.size(512 * MIB), about="Memory of the cluster's PostgreSQL."),
    Field(name="storage", kind=fields.size(1024 * MIB), about="Size of the cluster's volume."),
    Field(name="max_databases", kind=fields.whole(1, 1000), about="Projects that the cluster takes."),
    Field(
        name="max_connections",
        kind=fields.whole(10, 10_000),
        about="Sessions that all poolers of the cluster's projects may open together. By default 8 for each project "
        "that the cluster takes.",
    ),
    Field(
        name="max_transaction_seconds",
        kind=fields.whole(1, LONGEST_TRANSACTION_SECONDS),
        about="The age at which the cluster itself ends a tenant's transaction, whatever the tenant has set.",
    ),
    Field(
        name="cordoned",
        kind=fields.flag(),
        about="A cordoned cluster keeps the projects that it has and takes no new ones.",
    ),
    Field(
        name="runtime_class",
        kind=NAME,
        about="Runtime of the cluster's own PostgreSQL, a name out of the platform's runtime_classes; tiers say that "
        "of projects' pods. By default the Kubernetes cluster's own runtime.",
    ),
    *ARCHIVING,
)

RUNTIME_CLASS = (
    Field(
        name="handler",
        kind=NAME,
        about="The runtime's name in the nodes' containerd. By default runsc for gvisor and kata-qemu for kata, "
        "required for other names.",
    ),
    Field(
        name="cpu",
        kind=fields.cpu(1),
        about="CPU that the runtime takes for itself in each pod. It counts in quotas and on nodes. By default 50m for "
        "gvisor, 250m for kata, none for others.",
    ),
    Field(
        name="memory",
        kind=fields.size(MIB),
        about="Memory that the runtime takes for itself in each pod, as its CPU. By default 64Mi for gvisor, 160Mi for "
        "kata, none for others.",
    ),
)

PLATFORM = (
    Field(
        name="namespace",
        kind=fields.OWN_NAMESPACE,
        about="Namespace of the records and of the lease.",
    ),
    Field(name="domain", kind=fields.DNS_NAME, about="Domain below which projects get host names."),
    Field(
        name="gateway_kind",
        kind=fields.choice(*GATEWAYS),
        about="How projects are reached from outside. With gateway each has Auth, PostgREST, and an HTTPRoute of the "
        "Gateway API to them below the domain; with route the same, and Routes of OpenShift instead, whose router "
        "checks no keys; with none it has its pooler alone.",
    ),
    Field(
        name="gateway_unchecked_keys_accepted",
        kind=fields.flag(),
        about="Says that requests may come without a key. Required to be true for the gateway_kind route, refused for "
        "others.",
    ),
    Field(
        name="auth_networks",
        kind=fields.networks(),
        about="Where projects' mail servers and OAuth providers are for the network policy of Auth. By default every "
        "IPv4 address that is not private. None of the cluster's own belongs here.",
    ),
    Field(name="cluster_domain", kind=fields.DNS_NAME, about="DNS domain of the Kubernetes cluster."),
    Field(name="storage_class", kind=fields.label(), about="StorageClass of the databases' volumes; it is made."),
    Field(name="storage_provisioner", kind=fields.PROVISIONER, about="Provisioner of that StorageClass."),
    Field(
        name="storage_expandable",
        kind=fields.flag(),
        about="Whether that provisioner can make a volume larger while it is used. The one of K3s cannot.",
    ),
    Field(
        name="vault_address",
        kind=fields.HTTPS_ADDRESS,
        about="Address of the Vault or OpenBao that keeps the platform's secrets. Without it they are kept in "
        "Kubernetes alone; with it, the next run takes over those that are there.",
    ),
    Field(
        name="vault_mount",
        kind=fields.label(),
        about="Mount of the version 2 key-value store in it.",
    ),
    Field(
        name="object_store_endpoint",
        kind=fields.HTTPS_ADDRESS,
        about="Address of the S3 object store that keeps the archives. Without it nothing is archived.",
    ),
    Field(name="object_store_region", kind=fields.label(), about="Region of the bucket."),
    Field(name="object_store_bucket", kind=fields.label(), about="Bucket of the archives; it is there."),
    Field(
        name="object_store_prefix",
        kind=fields.label(),
        about="Folder of this platform in the bucket. Two platforms never share one.",
    ),
    Field(
        name="object_store_ca",
        kind=fields.CERTIFICATES,
        about="Certificates by which the object store is verified. By default those that systems trust.",
    ),
    Field(
        name="object_store_networks",
        kind=fields.networks(),
        about="Where the object store is for the pods' network policies. By default the address of the endpoint; "
        "required where that is a name.",
    ),
    Field(
        name="object_store_identities",
        kind=fields.choice(*IDENTITIES),
        about="Whose keys archives are written with. With per_archive each has an identity of its own, made through "
        "the store's IAM API as SeaweedFS has it, that opens nothing else; with shared all use the given keys.",
    ),
    Field(
        name="object_store_encryption",
        kind=fields.choice(*ENCRYPTIONS),
        about="How the object store is asked to encrypt what is written: AES256 with a key of its own, aws:kms with "
        "object_store_kms_key, or none, which leaves it to the bucket.",
    ),
    Field(
        name="object_store_kms_key",
        kind=fields.KMS_KEY,
        about="Key of the store's key service that it encrypts with. Required for the encryption aws:kms, refused for "
        "others.",
    ),
    Field(
        name="object_store_lock_days",
        kind=fields.whole(0, 3650),
        about="For how many days the bucket is expected to lock what is written, at least recovery_window_days. "
        "Retention fails if it does not. With 0 no lock is expected.",
    ),
    Field(
        name="recovery_window_days",
        kind=fields.whole(1, 365),
        about="How far back every second can be restored.",
    ),
    Field(
        name="kept_database_days",
        kind=fields.whole(1, 365),
        about="How long a database stays on its server that a restore, an import or a move has replaced.",
    ),
)
