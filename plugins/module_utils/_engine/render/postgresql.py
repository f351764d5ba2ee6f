# SPDX-License-Identifier: BSD-2-Clause
"""What every PostgreSQL of ours is made of, whether it serves one project or many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from ..databases import LOADERS, READERS
from ..objects import Body, Desired
from ..project.life import Life
from ..project.model import Platform
from ..project.quantities import MIB, format_bytes, format_cpu
from ..project.vocabulary import PLATFORM_VARIABLE
from .context import CONTAINER_SECURITY, Context, empty_dir, guaranteed
from .files import Value, write_pg_ident

CONFIG_DIRECTORY = "/etc/supalove/postgresql"
CREDENTIALS_DIRECTORY = "/etc/supalove/credentials"
CLAIM = "postgresql-data"
DATA_MOUNT = "/var/lib/postgresql/data"
# Below the mount, because a volume's root may hold what is not PostgreSQL's (lost+found).
DATA_DIRECTORY = f"{DATA_MOUNT}/pgdata"
SOCKET_DIRECTORY = "/run/postgresql"
SOCKET_MOUNT: Body = {"name": "run", "mountPath": SOCKET_DIRECTORY}
# uid and gid of postgres in the image.
USER = 999

# With more PostgreSQL does not start: it counts in kB, or in pages of 8 kB, and in 31 bits (guc_tables.c).
MOST_SHARED_MIB = 8 * 1024**2 - 1
MOST_CACHE_MIB = 16 * 1024**2 - 1
MOST_WORK_KIB = 2**31 - 1
MOST_TEMPORARY_MIB = 2 * 1024**2 - 1

# Those of probes, reaper, quota, and the archiver with its base backup and its other work.
SUPERUSER_CONNECTIONS = 8
# Those of the archiver when it loads a dump, which it does as nobody who could do harm.
LOAD_CONNECTIONS = 2
# Who comes through the socket as the system user postgres may be such a login, if a rule names this map.
LOAD_MAP = "load"
# A fast shutdown ends sessions at once; the time goes into the last checkpoint.
SHUTDOWN_SECONDS = 180
PROBE_SECONDS = 5
ADDRESSES = ("0.0.0.0/0", "::/0")

# Makes an object in the namespace of the PostgreSQL, from api version, kind, name and the rest.
Make = Callable[..., Desired]


def common_settings(*, memory: int, storage: int, sessions: int) -> dict[str, Value]:
    """Settings that follow from memory and storage in bytes and from the sessions that work at once.

    Memory: a quarter is PostgreSQL's cache (the manual's advice for a dedicated server), and of the rest each session
    may sort in a share that lets all of them do so at once. WAL may take a tenth of the volume, and so may
    the temporary files of a session.
    """
    memory_mib = memory // MIB
    shared = min(MOST_SHARED_MIB, max(32, memory_mib // 4))
    work_kib = min(MOST_WORK_KIB, max(1024, (memory_mib - shared) * 1024 // (4 * sessions)))
    wal_mib = min(8 * 1024, max(64, storage // MIB // 10))
    return {
        "listen_addresses": "*",
        "unix_socket_directories": SOCKET_DIRECTORY,
        "hba_file": f"{CONFIG_DIRECTORY}/pg_hba.conf",
        "ident_file": f"{CONFIG_DIRECTORY}/pg_ident.conf",
        "superuser_reserved_connections": SUPERUSER_CONNECTIONS,
        "shared_buffers": f"{shared}MB",
        "effective_cache_size": f"{min(MOST_CACHE_MIB, memory_mib * 3 // 4)}MB",
        "work_mem": f"{work_kib}kB",
        "maintenance_work_mem": f"{max(16, min(1024, memory_mib // 16))}MB",
        "max_wal_size": f"{wal_mib}MB",
        "min_wal_size": f"{max(32, wal_mib // 4)}MB",
        # Not every provisioner holds a volume to its size.
        "temp_file_limit": temporary_files(storage, share=10),
        "huge_pages": "off",
        "password_encryption": "scram-sha-256",
        "log_statement": "none",
        "log_line_prefix": "%m [%p] %q%u@%d ",
        "log_timezone": "UTC",
        "timezone": "UTC",
    }


def temporary_files(storage: int, *, share: int) -> str:
    """What the temporary files of one session may take of a volume of so many bytes: one of `share` parts."""
    return f"{min(MOST_TEMPORARY_MIB, max(64, storage // MIB // share))}MB"


def local_rules(logins: Mapping[str, str]) -> tuple[tuple[str, ...], ...]:
    """Rules of pg_hba.conf for the pod's own socket: the superuser, and who loads a dump or makes one.

    `logins`: by the name of a database that of the login which may enter it, or regular expressions for them.
    """
    return (
        ("local", "all", "postgres", "peer"),
        *(("local", database, login, "peer", f"map={LOAD_MAP}") for database, login in logins.items()),
        ("local", "all", "all", "reject"),
    )


def ident_file() -> str:
    """pg_ident.conf: as which logins besides the superuser the system user of our containers may come."""
    return write_pg_ident([(LOAD_MAP, "postgres", f"/{logins}") for logins in (LOADERS, READERS)])


def service_spec(selector: Mapping[str, str]) -> Body:
    """An address that outlives the pod, so that poolers need no DNS to find its successor.

    It leads to the pod while that still starts, so that the pooler's first try after that succeeds.
    """
    port = {"name": "postgresql", "port": Context.POSTGRESQL_PORT, "protocol": "TCP"}
    return {
        "type": "ClusterIP",
        "publishNotReadyAddresses": True,
        "selector": dict(selector),
        "ports": [{**port, "targetPort": Context.POSTGRESQL_PORT}],
    }


def stateful_set_spec(*, selector: Mapping[str, str], template: Body, replicas: int = 1) -> Body:
    """One pod or none. Its volume is an object of its own, because that of a template can never grow."""
    return {
        "replicas": replicas,
        "serviceName": Context.POSTGRESQL,
        "selector": {"matchLabels": dict(selector)},
        # With OrderedReady a pod that cannot start is not replaced by one of a mended template.
        "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "RollingUpdate"},
        "template": template,
    }


def pod_spec(*, containers: list[Body], verifiers: Iterable[str], memory: int, claim: str = CLAIM) -> Body:
    """What the pod adds to the common template. `verifiers` are the logins whose passwords PostgreSQL checks."""
    return {
        "terminationGracePeriodSeconds": SHUTDOWN_SECONDS,
        "containers": containers,
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": claim}},
            {"name": "config", "configMap": {"name": Context.POSTGRESQL}},
            _verifiers(verifiers),
            empty_dir("run", "16Mi"),
            empty_dir("tmp", "64Mi"),
            empty_dir("shm", format_bytes(max(MIB, memory // 4 // MIB * MIB)), in_memory=True),
        ],
    }


def server_container(
    *, image: str, cpu: int, memory: int, database: str, more_env: Mapping[str, str] | None = None
) -> Body:
    """The server. It is ready when a SELECT in `database` answers; CPU in millicores, memory in bytes."""
    # Connecting to a database proves more than a listening server: recovery is over and bootstrap done.
    ask = ["psql", "-h", SOCKET_DIRECTORY, "-U", "postgres", "-d", database, "-qAtXc", "SELECT 1"]
    # The probes log in as superuser, and a tenant may have put anything into the schemas of its database.
    env = {"PGDATA": DATA_DIRECTORY, "PGOPTIONS": "-c search_path=pg_catalog", **(more_env or {})}
    return {
        "name": Context.POSTGRESQL,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": name, "value": value} for name, value in env.items()],
        "ports": [{"name": "postgresql", "containerPort": Context.POSTGRESQL_PORT, "protocol": "TCP"}],
        "resources": guaranteed(cpu=format_cpu(cpu), memory=format_bytes(memory)),
        "securityContext": dict(CONTAINER_SECURITY),
        "startupProbe": {
            "exec": {"command": ask},
            "periodSeconds": 2,
            "timeoutSeconds": PROBE_SECONDS,
            "failureThreshold": Context.START_SECONDS // 2,
        },
        "readinessProbe": {
            "exec": {"command": ask},
            "periodSeconds": 10,
            "timeoutSeconds": PROBE_SECONDS,
            "failureThreshold": 3,
        },
        "volumeMounts": [
            {"name": "data", "mountPath": DATA_MOUNT},
            {"name": "config", "mountPath": CONFIG_DIRECTORY, "readOnly": True},
            {"name": "credentials", "mountPath": CREDENTIALS_DIRECTORY, "readOnly": True},
            SOCKET_MOUNT,
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "shm", "mountPath": "/dev/shm"},
        ],
    }


def sidecar(name: str, *, image: str, program: str, cpu: int, memory: int, mounts: Iterable[Body] = ()) -> Body:
    """A program of the server's own image beside it, which works through its socket; millicores and bytes."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": [program],
        "resources": guaranteed(cpu=format_cpu(cpu), memory=format_bytes(memory)),
        "securityContext": dict(CONTAINER_SECURITY),
        "volumeMounts": [*mounts, SOCKET_MOUNT],
    }


def claim_of(life: Life | None) -> str:
    """The claim of the data; each life has a volume of its own, and that of the one before is kept."""
    return CLAIM if life is None else f"{CLAIM}-{life.number}"


def render_claim(make: Make, platform: Platform, life: Life | None, *, storage: int) -> Desired:
    """The claim of the data volume; storage in bytes."""
    spec = _claim_spec(storage=storage, storage_class=platform.storage_class)
    claim = make("v1", "PersistentVolumeClaim", claim_of(life), component=Context.POSTGRESQL, spec=spec)
    return replace(claim, fixed=_claim_fixed(expandable=platform.storage_expandable))


def _claim_fixed(*, expandable: bool) -> Body:
    """What of the claim cannot change where it lives, and why."""
    if expandable:
        return {}
    why = f"volumes of this platform do not grow: {PLATFORM_VARIABLE}.storage_expandable is false. Set it back"
    return {"spec.resources": why}


def _claim_spec(*, storage: int, storage_class: str) -> Body:
    return {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": storage_class,
        "volumeMode": "Filesystem",
        "resources": {"requests": {"storage": format_bytes(storage)}},
    }


def _verifiers(keys: Iterable[str]) -> Body:
    """The database's pod sees how to check passwords, never a password."""
    items = [{"key": f"{key}.verifier", "path": f"{key}.verifier"} for key in keys]
    return {
        "name": "credentials",
        "secret": {"secretName": Context.CREDENTIALS, "defaultMode": 0o440, "items": items},
    }
