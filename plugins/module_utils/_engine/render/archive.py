# SPDX-License-Identifier: BSD-2-Clause
"""The archive of a PostgreSQL: its keys, what the archiver beside the server is told, and the server's part in it.

The server has no key to the archive and no way to it but the archiver, which shares its volume, socket and a spool.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from ..archives import ARCHIVE_API, ARCHIVE_KIND, AWS_FILE
from ..objects import Body, Desired, Generated, GeneratedAccess, GeneratedText, ObjectId, canonical_json
from ..project.model import Archiving, Platform
from ..project.parse import address_of
from ..project.quantities import MIB, format_bytes, format_cpu
from ..project.vocabulary import NOT_ENCRYPTED, PER_ARCHIVE
from ..vault import ARCHIVE_FOLDER
from .context import CONTAINER_SECURITY, empty_dir, guaranteed
from .files import Value
from .postgresql import CONFIG_DIRECTORY as SERVER_CONFIG
from .postgresql import DATA_DIRECTORY, DATA_MOUNT, SOCKET_MOUNT, Make
from .secrets import render_secret

NAME = "archiver"
SECRET = "archive"
ENCRYPTION_KEY = "encryption_key"
PROGRAM = "/usr/local/bin/supalove-archiver"
CONFIG_DIRECTORY = "/etc/supalove/archive/config"
CREDENTIALS_DIRECTORY = "/etc/supalove/archive/credentials"
SPOOL = "/run/supalove-archive"
SPOOL_MOUNT: Body = {"name": "spool", "mountPath": SPOOL}
# WAL files on their way: those that are sent are not copied, those that are fetched are a few.
SPOOL_SIZE = "256Mi"
# Where Barman Cloud and WAL-G put parts of a backup before they send them.
SCRATCH_SIZE = "2Gi"
# Of the archive engine, whose needs do not grow with the database.
CPU = 250
MEMORY = 512 * MIB

SCHEMA = "supalove_archive"
# What the archiver does: it keeps an archive, or it only fetches from one, for a copy that is thrown away.
RUN, SERVE = "run", "serve"


def is_archived(platform: Platform) -> bool:
    """True if the platform has somewhere to archive to."""
    return platform.object_store_endpoint is not None


def render_archive(make: Make, platform: Platform, archiving: Archiving, *, archive: str) -> tuple[Desired, ...]:
    """Keys, the identity that they open the store as, and the configuration; nothing without an object store."""
    if not is_archived(platform):
        return ()
    secret = replace(make("v1", "Secret", SECRET, type="Opaque"), generates=archive_keys(platform))
    kept = render_secret(secret, platform, folder=ARCHIVE_FOLDER, name=archive)
    identity = (identity_of(platform, archive, secret.id),) if platform.object_store_identities == PER_ARCHIVE else ()
    config = make(
        "v1", "ConfigMap", NAME, component=NAME, data={"archive.json": archive_json(platform, archiving, archive)}
    )
    return (*kept, *identity, config)


def archive_keys(platform: Platform) -> tuple[Generated, ...]:
    """What the Secret holds: keys of the object store, and the one that contents are encrypted with."""
    access = GeneratedAccess(is_given=platform.object_store_identities != PER_ARCHIVE)
    return (access, GeneratedText(key=ENCRYPTION_KEY, random_bytes=32))


def identity_of(platform: Platform, archive: str, secret: ObjectId) -> Desired:
    """Who may read and write below the archive's prefix, and nowhere else, with the keys of the Secret."""
    return Desired(
        body={
            "apiVersion": ARCHIVE_API,
            "kind": ARCHIVE_KIND,
            "metadata": {"namespace": platform.object_store_prefix, "name": archive},
            "spec": {"endpoint": platform.object_store_endpoint, "bucket": platform.object_store_bucket},
        },
        values_from=secret,
    )


def archive_json(platform: Platform, archiving: Archiving, archive: str) -> str:
    """The file that the archiver reads; `Config` in the image says what it means."""
    return canonical_json(
        {
            "endpoint": platform.object_store_endpoint,
            "region": platform.object_store_region,
            "bucket": platform.object_store_bucket,
            "prefix": platform.object_store_prefix,
            "archive": archive,
            "engine": archiving.archive_engine,
            "rpo_seconds": archiving.rpo_seconds,
            "backup_hours": archiving.backup_hours,
            "full_days": archiving.full_backup_days,
            "rate_limit": archiving.backup_bandwidth,
            "ca": platform.object_store_ca or "",
            **encryption_of(platform),
        }
    )


def encryption_of(platform: Platform) -> dict[str, str]:
    """How the store is asked to encrypt, and with which key of its own; empty where it is not asked."""
    asked = platform.object_store_encryption
    return {
        "encryption": "" if asked == NOT_ENCRYPTED else asked,
        "kms_key": platform.object_store_kms_key or "",
    }


def archive_settings(platform: Platform, archiving: Archiving) -> Mapping[str, Value]:
    """The server's settings; a segment is ended at the RPO even if it is not full."""
    if not is_archived(platform):
        return {}
    return {
        "archive_mode": "on",
        "archive_command": "/usr/local/bin/supalove-archived %f",
        "archive_timeout": f"{archiving.rpo_seconds}s",
    }


def archive_sql() -> tuple[str, ...]:
    """In the database postgres: the row whose change is the heartbeat.

    A commit at least once in an RPO, so that a recovery finds one after every target, and the timeline has no gaps.
    """
    first = f"INSERT INTO {SCHEMA}.heartbeat SELECT pg_catalog.clock_timestamp() WHERE NOT EXISTS"
    return (
        f"CREATE SCHEMA IF NOT EXISTS {SCHEMA};",
        f"CREATE TABLE IF NOT EXISTS {SCHEMA}.heartbeat (at timestamptz NOT NULL);",
        f"{first} (SELECT FROM {SCHEMA}.heartbeat);",
    )


def with_archiver(pod: Body, platform: Platform, *, command: str = RUN) -> Body:
    """The pod of a PostgreSQL with the archiver beside the server, which is its first container.

    Kubernetes starts it before the server and ends it after it (a sidecar: KEP-753), so that the last WAL is archived.
    """
    if not is_archived(platform):
        return pod
    server, *others = pod["containers"]
    server = {**server, "volumeMounts": [*server["volumeMounts"], SPOOL_MOUNT]}
    items = [{"key": key, "path": key} for key in (AWS_FILE, ENCRYPTION_KEY)]
    volumes = [
        {"name": "archive-config", "configMap": {"name": NAME}},
        {"name": "archive-credentials", "secret": {"secretName": SECRET, "defaultMode": 0o440, "items": items}},
        empty_dir("spool", SPOOL_SIZE),
        empty_dir("archive-tmp", SCRATCH_SIZE),
    ]
    return {
        **pod,
        "initContainers": [_container(platform.images["archiver"], command)],
        "containers": [server, *others],
        "volumes": [*pod["volumes"], *volumes],
    }


def _container(image: str, command: str) -> Body:
    return {
        "name": NAME,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": [command],
        "restartPolicy": "Always",
        "env": [{"name": "PGDATA", "value": DATA_DIRECTORY}],
        "resources": guaranteed(cpu=format_cpu(CPU), memory=format_bytes(MEMORY)),
        "securityContext": dict(CONTAINER_SECURITY),
        "volumeMounts": [
            {"name": "data", "mountPath": DATA_MOUNT},
            # Barman Cloud backs up the server's files of settings, too, and fails if it does not see them.
            {"name": "config", "mountPath": SERVER_CONFIG, "readOnly": True},
            {"name": "archive-config", "mountPath": CONFIG_DIRECTORY, "readOnly": True},
            {"name": "archive-credentials", "mountPath": CREDENTIALS_DIRECTORY, "readOnly": True},
            SOCKET_MOUNT,
            SPOOL_MOUNT,
            {"name": "archive-tmp", "mountPath": "/tmp"},
        ],
    }


def asks_names(platform: Platform) -> bool:
    """True if the object store is known by a name, for which DNS has to be asked."""
    endpoint = platform.object_store_endpoint
    return endpoint is not None and address_of(endpoint) is None


def archive_egress(platform: Platform) -> list[Body]:
    """Rules of a NetworkPolicy: from the PostgreSQL's pod to the object store."""
    endpoint = platform.object_store_endpoint
    if endpoint is None:
        return []
    networks = platform.object_store_networks or (address_of(endpoint),)
    port = {"protocol": "TCP", "port": _port(endpoint)}
    return [{"to": [{"ipBlock": {"cidr": network}} for network in networks], "ports": [port]}]


def _port(endpoint: str) -> int:
    return urlsplit(endpoint).port or 443
