# SPDX-License-Identifier: BSD-2-Clause
"""The project's namespace and what bounds it: quota, defaults, the identity of its pods, its credentials."""

from __future__ import annotations

from dataclasses import replace

from ..key_rotation import SIGNING, VERIFYING
from ..objects import Desired, GeneratedApiKeys, GeneratedCertificate, GeneratedKey, GeneratedLogin, Known
from ..project.names import PROJECT_LABEL, UID_LABEL
from ..project.placement import POOLERS_AT_ONCE
from ..project.quantities import MIB, format_bytes, format_cpu
from ..service_keys import AUTH, REST
from ..vault import DATABASE_FOLDER
from . import archive, quota
from .context import RESTRICTED, Context
from .pooler import CLIENT_LOGINS, PAUSER, PAUSER_KEY, pooler_limits, pooler_requests
from .secrets import render_secret
from .services import IDLE_CPU, IDLE_MEMORY, MOST_CPU, MOST_MEMORY

# For short-lived Jobs of the platform and for clients that run beside the database.
SPARE_CPU = 500
SPARE_MEMORY = 512 * MIB
# Database, pooler, the pooler's successor during an update, and the spare ones; and services with their successors.
PODS = 8
SERVICE_PODS = 4


def render_namespace(context: Context) -> tuple[Desired, ...]:
    """Namespace first: everything else lives in it."""
    bounds = (_namespace(context), _quota(context), _limits(context), _service_account(context))
    return (*bounds, *_credentials(context))


def _namespace(context: Context) -> Desired:
    labels = {PROJECT_LABEL: context.project.ref, UID_LABEL: context.uid, **RESTRICTED}
    meta = {"name": context.names.namespace, "labels": labels}
    return Desired(body={"apiVersion": "v1", "kind": "Namespace", "metadata": meta})


def _quota(context: Context) -> Desired:
    """The tier, and nothing that would lead around it: no node ports, no load balancers, one volume."""
    hard = {
        **_sums(context, "requests", pooler_requests(context)),
        **_sums(context, "limits", pooler_limits(context.project)),
        **_volumes(context),
        "pods": str(PODS + _service_pods(context)),
        "services.nodeports": "0",
        "services.loadbalancers": "0",
    }
    return context.object("v1", "ResourceQuota", "project", spec={"hard": hard})


def _sums(context: Context, what: str, pooler: tuple[int, int]) -> dict[str, str]:
    cpu, memory = pooler
    own_cpu, own_memory = _own(context)
    service_cpu, service_memory = (IDLE_CPU, IDLE_MEMORY) if what == "requests" else (MOST_CPU, MOST_MEMORY)
    services = _service_pods(context)
    own_cpu += services * service_cpu
    own_memory += services * service_memory
    runtime = context.platform.runtime_classes.get(context.project.tier.runtime_class or "")
    if runtime is not None:
        pods = services + POOLERS_AT_ONCE + (context.placement.cluster is None)
        own_cpu += pods * runtime.cpu
        own_memory += pods * runtime.memory
    return {
        f"{what}.cpu": format_cpu(own_cpu + POOLERS_AT_ONCE * cpu + SPARE_CPU),
        f"{what}.memory": format_bytes(own_memory + POOLERS_AT_ONCE * memory + SPARE_MEMORY),
    }


def _service_pods(context: Context) -> int:
    return SERVICE_PODS if context.project.tier.has_services else 0


def _own(context: Context) -> tuple[int, int]:
    """Millicores and bytes of the pod of its own PostgreSQL, if it has one."""
    if context.placement.cluster is not None:
        return 0, 0
    archiver = (archive.CPU, archive.MEMORY) if archive.is_archived(context.platform) else (0, 0)
    beside = (quota.CPU + archiver[0], quota.MEMORY + archiver[1])
    return context.project.cpu + beside[0], context.project.memory + beside[1]


def _volumes(context: Context) -> dict[str, str]:
    """One for the data; after a restore those of the lives before are kept, until an administrator deletes them."""
    life = context.placement.life
    count = 0 if context.placement.cluster is not None else life.number if life else 1
    return {
        "requests.storage": format_bytes(context.project.storage * count) if count else "0",
        "persistentvolumeclaims": str(count),
    }


def _limits(context: Context) -> Desired:
    """What a container gets that asks for nothing, so that the quota lets it in."""
    small = {"cpu": "100m", "memory": "128Mi"}
    limit = {"type": "Container", "default": small, "defaultRequest": dict(small)}
    return context.object("v1", "LimitRange", "project", spec={"limits": [limit]})


def _service_account(context: Context) -> Desired:
    return context.object("v1", "ServiceAccount", context.SERVICE_ACCOUNT, automountServiceAccountToken=False)


def _credentials(context: Context) -> tuple[Desired, ...]:
    generated = (
        GeneratedLogin(key=context.CLIENT_KEY, role=CLIENT_LOGINS[0], pooler=Known.VERIFIER),
        GeneratedLogin(key=context.SERVER_KEY, role=context.names.owner, in_postgresql=True, pooler=Known.PASSWORD),
        GeneratedLogin(key=context.PROBE_KEY, role=context.names.probe, in_postgresql=True, pooler=Known.PASSWORD),
        GeneratedLogin(key=PAUSER_KEY, role=PAUSER, pooler=Known.PASSWORD),
        # Of projects without services, too: a Secret is written once, and a gateway may come later.
        GeneratedLogin(key=REST, role=context.names.rest, in_postgresql=True, pooler=Known.PASSWORD),
        GeneratedLogin(key=AUTH, role=context.names.auth, in_postgresql=True, pooler=Known.PASSWORD),
        GeneratedKey(private=SIGNING, public=VERIFYING),
        GeneratedApiKeys(ref=context.project.ref),
        # It has a name only where there is a domain; a Secret from before gets one by `pooler_certificate`.
        *((GeneratedCertificate(host=context.sql_host),) if context.project.tier.has_services else ()),
    )
    secret = replace(context.object("v1", "Secret", context.CREDENTIALS, type="Opaque"), generates=generated)
    return render_secret(secret, context.platform, folder=DATABASE_FOLDER, name=context.uid)
