# SPDX-License-Identifier: BSD-2-Clause
"""Where the API server keeps the kinds that we use. A table, because discovery would cost requests in every run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ...objects import ObjectId
from ...project.names import GROUP, RECORD_KIND, RECORD_PLURAL, VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind's API version and plural. `immutable` lists the fields that no update can change."""

    api_version: str
    plural: str
    namespaced: bool = True
    immutable: tuple[str, ...] = ()


def _cluster(api_version: str, plural: str, *immutable: str) -> Kind:
    return Kind(api_version=api_version, plural=plural, namespaced=False, immutable=immutable)


def _namespaced(api_version: str, plural: str, *immutable: str) -> Kind:
    return Kind(api_version=api_version, plural=plural, immutable=immutable)


PLATFORM_KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "Namespace": _cluster("v1", "namespaces"),
        "CustomResourceDefinition": _cluster("apiextensions.k8s.io/v1", "customresourcedefinitions", "spec.scope"),
        "StorageClass": _cluster(
            "storage.k8s.io/v1", "storageclasses", "provisioner", "reclaimPolicy", "volumeBindingMode"
        ),
        "PriorityClass": _cluster("scheduling.k8s.io/v1", "priorityclasses", "value"),
    }
)

PROJECT_KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "Namespace": PLATFORM_KINDS["Namespace"],
        "ResourceQuota": _namespaced("v1", "resourcequotas"),
        "LimitRange": _namespaced("v1", "limitranges"),
        "ServiceAccount": _namespaced("v1", "serviceaccounts"),
        "Secret": _namespaced("v1", "secrets", "type"),
        "NetworkPolicy": _namespaced("networking.k8s.io/v1", "networkpolicies"),
        "ConfigMap": _namespaced("v1", "configmaps"),
        "Service": _namespaced("v1", "services", "spec.clusterIP"),
        "StatefulSet": _namespaced(
            "apps/v1",
            "statefulsets",
            "spec.selector",
            "spec.serviceName",
            "spec.podManagementPolicy",
            "spec.volumeClaimTemplates",
        ),
        "Deployment": _namespaced("apps/v1", "deployments", "spec.selector"),
    }
)

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        **PLATFORM_KINDS,
        **PROJECT_KINDS,
        RECORD_KIND: _namespaced(f"{GROUP}/{VERSION}", RECORD_PLURAL),
        "Lease": _namespaced("coordination.k8s.io/v1", "leases"),
        "Pod": _namespaced("v1", "pods"),
    }
)


def collection_path(kind: str, namespace: str = "") -> str:
    """The path of all objects of a kind, in one namespace or in all."""
    known = KINDS[kind]
    base = f"/api/{known.api_version}" if "/" not in known.api_version else f"/apis/{known.api_version}"
    scope = f"/namespaces/{namespace}" if known.namespaced and namespace else ""
    return f"{base}{scope}/{known.plural}"


def object_path(id: ObjectId) -> str:
    """The path of one object."""
    return f"{collection_path(id.kind, id.namespace)}/{id.name}"
