# SPDX-License-Identifier: BSD-2-Clause
"""What a dedicated database is: a PostgreSQL of its own, sized by its tier, on a volume that outlives it."""

from __future__ import annotations

from ..archives import archive_of
from ..databases import LOADED_SUFFIX, loader_of, reader_of
from ..objects import Desired, ObjectId
from ..project.disk import disk_class
from ..project.life import Life
from ..project.model import Platform, Project
from ..project.names import Ref, namespace_of
from ..project.placement import PROBE_SESSIONS, login_sessions, service_sessions, sessions_of
from ..service_keys import AUTH, REST
from .archive import NAME as ARCHIVER
from .archive import archive_settings, render_archive, with_archiver
from .bootstrap import bootstrap_sql
from .context import Context
from .files import Value, write_pg_hba, write_postgresql_conf
from .postgresql import (
    ADDRESSES,
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
    stateful_set_spec,
)
from .quota import quota_container, volume_limit
from .restore import CONFIG as RESTORE
from .restore import render_restore, with_restore

WORKLOAD = "StatefulSet"
# Read by containerd, for each container of a pod (intel/goresctrl, pkg/blockio/kubernetes.go). It refuses to make one
# whose class the node does not know.
DISK_CLASS_ANNOTATION = "blockio.resources.beta.kubernetes.io/pod"


def render_database(context: Context) -> tuple[Desired, ...]:
    """Archive, configuration, Service, volume and StatefulSet."""
    files, archiving = config_files(context), context.project.tier.archiving
    return (
        *render_archive(context.object, context.platform, archiving, archive=archive_of(context.uid)),
        *render_restore(context.object, context.platform, context.placement.life),
        context.object("v1", "ConfigMap", context.POSTGRESQL, component=context.POSTGRESQL, data=files),
        context.object(
            "v1",
            "Service",
            context.POSTGRESQL,
            component=context.POSTGRESQL,
            spec=service_spec(context.labels(context.POSTGRESQL)),
        ),
        render_claim(context.object, context.platform, context.placement.life, storage=context.project.storage),
        _stateful_set(context, files),
    )


def workload_of(ref: Ref) -> tuple[ObjectId, ...]:
    """What runs, and what it is told; not its volume, nor the keys of its archive. In the order of its removal."""
    named = (
        (WORKLOAD, Context.POSTGRESQL),
        ("Service", Context.POSTGRESQL),
        ("ConfigMap", Context.POSTGRESQL),
        ("ConfigMap", ARCHIVER),
        ("ConfigMap", RESTORE),
    )
    return tuple(ObjectId(kind=kind, namespace=namespace_of(ref), name=name) for kind, name in named)


def claim_id_of(ref: Ref, life: Life | None) -> ObjectId:
    """Where its data are."""
    return ObjectId(kind="PersistentVolumeClaim", namespace=namespace_of(ref), name=claim_of(life))


def config_files(context: Context) -> dict[str, str]:
    """The files that the image's programs read."""
    return {
        "postgresql.conf": write_postgresql_conf(postgresql_settings(context.project, context.platform)),
        "pg_hba.conf": write_pg_hba(_hba_rules(context)),
        "pg_ident.conf": ident_file(),
        "bootstrap.sql": bootstrap_sql(
            context.names,
            connections=login_sessions(context.project),
            probe_connections=PROBE_SESSIONS,
            storage_limit=volume_limit(context.project),
            service_connections=service_sessions(context.project),
        ),
    }


def postgresql_settings(project: Project, platform: Platform) -> dict[str, Value]:
    """Settings that follow from memory, storage and connections of the project; the rest is PostgreSQL's default."""
    return {
        **common_settings(memory=project.memory, storage=project.storage, sessions=project.connections),
        **archive_settings(platform, project.tier.archiving),
        "max_connections": sessions_of(project) + LOAD_CONNECTIONS + SUPERUSER_CONNECTIONS,
        "reserved_connections": LOAD_CONNECTIONS,
    }


def _hba_rules(context: Context) -> tuple[tuple[str, ...], ...]:
    """The superuser comes only through the socket, as the same system user; the project's roles only to its database.

    Which pods reach the port is the NetworkPolicy's business.
    """
    names = context.names
    services = (names.rest, names.auth) if context.project.tier.has_services else ()
    tenants = tuple(
        ("host", names.database, role, address, "scram-sha-256")
        for role in (names.owner, names.probe, *services)
        for address in ADDRESSES
    )
    loaded = f"{names.database}{LOADED_SUFFIX}"
    own = local_rules({loaded: loader_of(context.uid), names.database: reader_of(context.uid)})
    return (*own, *tenants)


def _stateful_set(context: Context, files: dict[str, str]) -> Desired:
    project, labels, life = context.project, context.labels(context.POSTGRESQL), context.placement.life
    container = server_container(
        image=context.platform.images["postgresql"],
        cpu=project.cpu,
        memory=project.memory,
        database=context.names.database,
    )
    containers = [container, quota_container(context.platform.images["postgresql"])]
    pod = pod_spec(
        containers=containers,
        verifiers=(context.SERVER_KEY, context.PROBE_KEY, *((REST, AUTH) if project.tier.has_services else ())),
        memory=project.memory,
        claim=claim_of(life),
    )
    spec = stateful_set_spec(
        replicas=context.replicas,
        selector=labels,
        template=context.pod_template(
            context.POSTGRESQL,
            config=files,
            user=USER,
            spec=with_restore(with_archiver(pod, context.platform), life),
            annotations=_disk_limits(project),
        ),
    )
    return context.object("apps/v1", WORKLOAD, context.POSTGRESQL, component=context.POSTGRESQL, spec=spec)


def _disk_limits(project: Project) -> dict[str, str]:
    name = disk_class(project.tier.read_iops, project.tier.write_iops)
    return {} if name is None else {DISK_CLASS_ANNOTATION: name}
