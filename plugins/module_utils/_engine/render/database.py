# SPDX-License-Identifier: BSD-2-Clause
"""What a dedicated database is: a PostgreSQL of its own, sized by its tier, on a volume that outlives it."""

from __future__ import annotations

from ..objects import Body, Desired
from ..project.model import Project
from ..project.placement import PROBE_SESSIONS, login_sessions, sessions_of
from ..project.quantities import MIB, format_bytes, format_cpu
from .bootstrap import CREDENTIALS_DIRECTORY, bootstrap_sql
from .context import CONTAINER_SECURITY, Context, empty_dir, guaranteed
from .files import Value, write_pg_hba, write_postgresql_conf

CONFIG_DIRECTORY = "/etc/supalove/postgresql"
DATA_MOUNT = "/var/lib/postgresql/data"
# Below the mount, because a volume's root may hold what is not PostgreSQL's (lost+found).
DATA_DIRECTORY = f"{DATA_MOUNT}/pgdata"
SOCKET_DIRECTORY = "/run/postgresql"
# uid and gid of postgres in the image.
USER = 999

SUPERUSER_CONNECTIONS = 3
# A fast shutdown ends sessions at once; the time goes into the last checkpoint.
SHUTDOWN_SECONDS = 180
PROBE_SECONDS = 5


def render_database(context: Context) -> tuple[Desired, ...]:
    """Configuration, Service and StatefulSet."""
    files = config_files(context)
    return (
        context.object("v1", "ConfigMap", context.POSTGRESQL, component=context.POSTGRESQL, data=files),
        _service(context),
        _stateful_set(context, files),
    )


def config_files(context: Context) -> dict[str, str]:
    """The files that the image's entrypoint reads."""
    return {
        "postgresql.conf": write_postgresql_conf(postgresql_settings(context.project)),
        "pg_hba.conf": write_pg_hba(_hba_rules(context)),
        "bootstrap.sql": bootstrap_sql(
            context.names,
            connections=login_sessions(context.project),
            probe_connections=PROBE_SESSIONS,
        ),
    }


def postgresql_settings(project: Project) -> dict[str, Value]:
    """Settings that follow from memory, storage and connections of the project; the rest is PostgreSQL's default.

    Memory: a quarter is PostgreSQL's cache (the manual's advice for a dedicated server), and of the rest each session
    may sort in a share that lets all of them do so at once. WAL may take a tenth of the volume, and so may
    the temporary files of a session.
    """
    memory_mib = project.memory // MIB
    shared = max(32, memory_mib // 4)
    work_kib = max(1024, (memory_mib - shared) * 1024 // (4 * project.connections))
    wal_mib = min(8 * 1024, max(64, project.storage // MIB // 10))
    return {
        "listen_addresses": "*",
        "unix_socket_directories": SOCKET_DIRECTORY,
        "hba_file": f"{CONFIG_DIRECTORY}/pg_hba.conf",
        "max_connections": sessions_of(project) + SUPERUSER_CONNECTIONS,
        "superuser_reserved_connections": SUPERUSER_CONNECTIONS,
        "shared_buffers": f"{shared}MB",
        "effective_cache_size": f"{memory_mib * 3 // 4}MB",
        "work_mem": f"{work_kib}kB",
        "maintenance_work_mem": f"{max(16, min(1024, memory_mib // 16))}MB",
        "max_wal_size": f"{wal_mib}MB",
        "min_wal_size": f"{max(32, wal_mib // 4)}MB",
        # Of one session. Not every provisioner holds a volume to its size.
        "temp_file_limit": f"{max(64, project.storage // MIB // 10)}MB",
        "huge_pages": "off",
        "password_encryption": "scram-sha-256",
        "log_statement": "none",
        "log_line_prefix": "%m [%p] %q%u@%d ",
        "log_timezone": "UTC",
        "timezone": "UTC",
    }


def _hba_rules(context: Context) -> tuple[tuple[str, ...], ...]:
    """The superuser comes only through the socket, as the same system user; the project's roles only to its database.

    Which pods reach the port is the NetworkPolicy's business.
    """
    names = context.names
    tenants = tuple(
        ("host", names.database, role, address, "scram-sha-256")
        for role in (names.owner, names.probe)
        for address in ("0.0.0.0/0", "::/0")
    )
    return (("local", "all", "postgres", "peer"), ("local", "all", "all", "reject"), *tenants)


def _service(context: Context) -> Desired:
    """Headless. Its name resolves while the database starts, so that the pooler's first try after that succeeds."""
    spec = {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": context.labels(context.POSTGRESQL),
        "ports": [
            {
                "name": "postgresql",
                "port": context.POSTGRESQL_PORT,
                "protocol": "TCP",
                "targetPort": context.POSTGRESQL_PORT,
            }
        ],
    }
    return context.object("v1", "Service", context.POSTGRESQL, component=context.POSTGRESQL, spec=spec)


def _stateful_set(context: Context, files: dict[str, str]) -> Desired:
    pod = {
        "terminationGracePeriodSeconds": SHUTDOWN_SECONDS,
        "containers": [_container(context)],
        "volumes": [
            {"name": "config", "configMap": {"name": context.POSTGRESQL}},
            _verifiers(context),
            empty_dir("run", "16Mi"),
            empty_dir("tmp", "64Mi"),
            empty_dir("shm", format_bytes(max(MIB, context.project.memory // 4 // MIB * MIB)), in_memory=True),
        ],
    }
    spec = {
        "replicas": context.replicas,
        "serviceName": context.POSTGRESQL,
        "selector": {"matchLabels": context.labels(context.POSTGRESQL)},
        # With OrderedReady a pod that cannot start is not replaced by one of a mended template.
        "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "RollingUpdate"},
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
        "template": context.pod_template(context.POSTGRESQL, config=files, user=USER, spec=pod),
        "volumeClaimTemplates": [_claim(context)],
    }
    return context.object("apps/v1", "StatefulSet", context.POSTGRESQL, component=context.POSTGRESQL, spec=spec)


def _container(context: Context) -> Body:
    project = context.project
    # Connecting to the project's database proves more than a listening server: recovery is over and bootstrap done.
    ask = ["psql", "-h", SOCKET_DIRECTORY, "-U", "postgres", "-d", context.names.database, "-qAtXc", "SELECT 1"]
    return {
        "name": context.POSTGRESQL,
        "image": context.platform.images["postgresql"],
        "imagePullPolicy": "IfNotPresent",
        # The probes log in as superuser, and a tenant may have put anything into the schemas of its database.
        "env": [
            {"name": "PGDATA", "value": DATA_DIRECTORY},
            {"name": "PGOPTIONS", "value": "-c search_path=pg_catalog"},
        ],
        "ports": [{"name": "postgresql", "containerPort": context.POSTGRESQL_PORT, "protocol": "TCP"}],
        "resources": guaranteed(cpu=format_cpu(project.cpu), memory=format_bytes(project.memory)),
        "securityContext": dict(CONTAINER_SECURITY),
        "startupProbe": {
            "exec": {"command": ask},
            "periodSeconds": 2,
            "timeoutSeconds": PROBE_SECONDS,
            "failureThreshold": context.START_SECONDS // 2,
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
            {"name": "run", "mountPath": SOCKET_DIRECTORY},
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "shm", "mountPath": "/dev/shm"},
        ],
    }


def _verifiers(context: Context) -> Body:
    """The database's pod sees how to check passwords, never a password."""
    items = [{"key": f"{key}.verifier", "path": f"{key}.verifier"} for key in ("owner", "probe")]
    secret = {"secretName": context.CREDENTIALS, "defaultMode": 0o440, "items": items}
    return {"name": "credentials", "secret": secret}


def _claim(context: Context) -> Body:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "labels": context.labels(context.POSTGRESQL)},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": context.platform.storage_class,
            "volumeMode": "Filesystem",
            "resources": {"requests": {"storage": format_bytes(context.project.storage)}},
        },
    }
