# SPDX-License-Identifier: BSD-2-Clause
"""A copy of a PostgreSQL as it was at a moment, in a namespace of its own, which is thrown away after use.

It is restored as a life of a PostgreSQL is, but archives nothing, and nobody is let in but the programs in its pod.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..objects import Body, Desired
from ..project.life import Life
from ..project.model import Archiving, Platform
from ..project.names import COMPONENT_LABEL, EXPIRES_ANNOTATION, POSTGRESQL_POD, SCRATCH_LABEL
from ..project.quantities import MIB, format_bytes
from .archive import NAME as ARCHIVER
from .archive import SECRET, SERVE, archive_egress, archive_json, archive_keys, asks_names, with_archiver
from .context import RESTRICTED, Context, empty_dir, pod_template
from .files import write_pg_hba, write_postgresql_conf
from .isolation import dns_egress
from .postgresql import USER, common_settings, pod_spec, server_container
from .restore import render_restore, with_restore

SERVICE_ACCOUNT = "scratch"
# The login that dumps a database, who is no superuser; the archiver makes it.
DUMPER = "supalove_dump"
# Millicores and bytes; recovery works with one process.
CPU = 500
MEMORY = 512 * MIB
SESSIONS = 8
# WAL-G is started for each segment, and a copy has to come to its moment soon.
FETCHING: Body = {"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}}
# It has WAL beside what the volume held, and what a check writes.
SPARE = 1024 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Scratch:
    """What a copy is made of. `name`: of its namespace. `storage`: bytes of the volume that is restored.

    `runtime_class`: as of the pod that it copies, whose tenant's code may run in it.
    `expires`: when it ends by itself, in seconds since the epoch; `seconds` from its start.
    """

    name: str
    archive: str
    archiving: Archiving
    life: Life
    storage: int
    expires: int
    seconds: int
    runtime_class: str | None = None


def render_scratch(platform: Platform, scratch: Scratch) -> tuple[Desired, ...]:
    """Everything in the order in which it is made, the pod last."""

    def make(api_version: str, kind: str, name: str, *, component: str | None = None, **rest: Any) -> Desired:
        labels = {SCRATCH_LABEL: platform.namespace, **({COMPONENT_LABEL: component} if component else {})}
        meta = {"name": name, "namespace": scratch.name, "labels": labels}
        return Desired(body={"apiVersion": api_version, "kind": kind, "metadata": meta, **rest})

    files = _files(scratch)
    config = {"archive.json": archive_json(platform, scratch.archiving, scratch.archive)}
    secret = make("v1", "Secret", SECRET, type="Opaque")
    return (
        _namespace(platform, scratch),
        make("networking.k8s.io/v1", "NetworkPolicy", "scratch", spec=_policy(platform)),
        make("v1", "ServiceAccount", SERVICE_ACCOUNT, automountServiceAccountToken=False),
        Desired(body=secret.body, generates=archive_keys(platform)),
        make("v1", "ConfigMap", ARCHIVER, component=ARCHIVER, data=config),
        *render_restore(make, platform, scratch.life),
        make("v1", "ConfigMap", Context.POSTGRESQL, component=Context.POSTGRESQL, data=files),
        make("v1", "Pod", POSTGRESQL_POD, component=Context.POSTGRESQL, spec=_pod(platform, scratch)),
    )


def _namespace(platform: Platform, scratch: Scratch) -> Desired:
    labels = {SCRATCH_LABEL: platform.namespace, **RESTRICTED}
    meta = {"name": scratch.name, "labels": labels, "annotations": {EXPIRES_ANNOTATION: str(scratch.expires)}}
    return Desired(body={"apiVersion": "v1", "kind": "Namespace", "metadata": meta})


def _policy(platform: Platform) -> Body:
    """Nobody in; out, only to the object store."""
    names = [dns_egress()] if asks_names(platform) else []
    egress = [*names, *archive_egress(platform)]
    return {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "egress": egress}


def _files(scratch: Scratch) -> dict[str, str]:
    """It lives for an hour and can be made anew: nothing has to reach the disk in order."""
    settings = {
        **common_settings(memory=MEMORY, storage=scratch.storage, sessions=SESSIONS),
        "max_connections": SESSIONS + 8,
        "archive_mode": "off",
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "autovacuum": "off",
        # A dump locks every relation of a database.
        "max_locks_per_transaction": 1024,
        "log_min_error_statement": "panic",
    }
    rules = (
        ("local", "all", "postgres", "peer"),
        ("local", "all", DUMPER, "trust"),
        ("local", "all", "all", "reject"),
    )
    return {
        "postgresql.conf": write_postgresql_conf(settings),
        "pg_hba.conf": write_pg_hba(rules),
        # Roles and databases are what they were.
        "bootstrap.sql": "SELECT;\n",
    }


def _pod(platform: Platform, scratch: Scratch) -> Body:
    server = server_container(image=platform.images["postgresql"], cpu=CPU, memory=MEMORY, database="postgres")
    size = format_bytes(scratch.storage + SPARE)
    server = {
        **server,
        "volumeMounts": [one for one in server["volumeMounts"] if one["name"] != Context.CREDENTIALS],
        # So that it goes where there is room for it, and its neighbours are not evicted for it.
        "resources": {
            **server["resources"],
            "requests": {**server["resources"]["requests"], "ephemeral-storage": size},
        },
    }
    spec = pod_spec(containers=[server], verifiers=(), memory=MEMORY)
    data = empty_dir("data", size)
    others = [one for one in spec["volumes"] if one["name"] not in ("data", Context.CREDENTIALS)]
    spec = {
        **spec,
        "restartPolicy": "Never",
        "activeDeadlineSeconds": scratch.seconds,
        "terminationGracePeriodSeconds": 1,
        "volumes": [data, *others],
    }
    spec = with_restore(with_archiver(spec, platform, command=SERVE), scratch.life)
    spec = {**spec, "initContainers": [{**one, "resources": FETCHING} for one in spec["initContainers"]]}
    template = pod_template(
        labels={},
        annotations={},
        service_account=SERVICE_ACCOUNT,
        priority_class="",
        runtime_class=scratch.runtime_class,
        user=USER,
        spec=spec,
    )
    pod: Body = template["spec"]
    return pod
