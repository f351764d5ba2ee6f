# SPDX-License-Identifier: BSD-2-Clause
"""Where the API server keeps the kinds that we use. A table, because discovery would cost requests in every run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ...objects import ANYTHING, NOWHERE, Exact, ObjectId
from ...project.model import Platform
from ...project.names import GATEWAY_API, GATEWAY_GROUP, GROUP, RECORD_KIND, RECORD_PLURAL, TRAEFIK_API, VERSION
from ...project.vocabulary import HTTP_ROUTES, OPENSHIFT_ROUTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind's API version and plural.

    `immutable` lists the fields that no update can change, `exact` those to which nobody may add anything.
    `counted`: the place in managedFields below which a write by others counts as a change; everywhere if empty. A
    controller that binds a volume writes into its claim. `growing`: quantities that can only grow. `generated`: its
    values are made once and change by rotation only, so no more is certified of it than which one it is. `custom`: by a
    definition; the server replaces no object of it whose resourceVersion is not given. `missing`: what to do about a
    server that does not know it.
    """

    api_version: str
    plural: str
    namespaced: bool = True
    immutable: tuple[str, ...] = ()
    exact: Exact = field(default=NOWHERE)
    counted: tuple[str, ...] = ()
    growing: tuple[str, ...] = ()
    generated: bool = False
    custom: bool = False
    missing: str = ""


_SPEC = Exact(paths=("spec",))
_RBAC = "rbac.authorization.k8s.io/v1"
_ADMISSION = "admissionregistration.k8s.io/v1"
_RULES = Exact(paths=("rules", "aggregationRule"))
_SUBJECTS = Exact(paths=("subjects",))

# Where the server chooses, or follows another field (types.go and defaults.go of core/v1).
_SERVICE = Exact(
    paths=("spec",),
    defaults={
        "spec.clusterIP": ANYTHING,
        "spec.clusterIPs": ANYTHING,
        "spec.internalTrafficPolicy": "Cluster",
        "spec.ipFamilies": ANYTHING,
        "spec.ipFamilyPolicy": ANYTHING,
        "spec.sessionAffinity": "None",
        "spec.type": "ClusterIP",
        # Of a balanced one.
        "spec.allocateLoadBalancerNodePorts": ANYTHING,
        "spec.healthCheckNodePort": ANYTHING,
        "spec.ports[].nodePort": ANYTHING,
    },
)

_POD = "spec.template.spec"
_CONTAINER_DEFAULTS = {
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
    **{
        f"{probe}.{path}": value
        for probe in ("startupProbe", "readinessProbe", "livenessProbe")
        for path, value in (("successThreshold", 1), ("httpGet.scheme", "HTTP"))
    },
}
_POD_DEFAULTS = {
    "dnsPolicy": "ClusterFirst",
    "restartPolicy": "Always",
    "schedulerName": "default-scheduler",
    # The old name of serviceAccountName; the server keeps both the same.
    "serviceAccount": ANYTHING,
    "volumes[].configMap.defaultMode": 0o644,
}
# The pods' metadata is left out: a restart by kubectl is written there.
_WORKLOAD = Exact(
    paths=(_POD,),
    defaults={
        **{f"{_POD}.{path}": value for path, value in _POD_DEFAULTS.items()},
        **{
            f"{_POD}.{containers}[].{path}": value
            for containers in ("containers", "initContainers")
            for path, value in _CONTAINER_DEFAULTS.items()
        },
    },
)


def _cluster(api_version: str, plural: str, *immutable: str) -> Kind:
    return Kind(api_version=api_version, plural=plural, namespaced=False, immutable=immutable)


def _namespaced(api_version: str, plural: str, *immutable: str, exact: Exact = NOWHERE) -> Kind:
    return Kind(api_version=api_version, plural=plural, immutable=immutable, exact=exact)


PLATFORM_KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "Namespace": _cluster("v1", "namespaces"),
        "CustomResourceDefinition": _cluster("apiextensions.k8s.io/v1", "customresourcedefinitions", "spec.scope"),
        "StorageClass": _cluster(
            "storage.k8s.io/v1", "storageclasses", "provisioner", "reclaimPolicy", "volumeBindingMode"
        ),
        "NetworkPolicy": _namespaced("networking.k8s.io/v1", "networkpolicies", exact=_SPEC),
        "PriorityClass": _cluster("scheduling.k8s.io/v1", "priorityclasses", "value"),
        "RuntimeClass": Kind(
            api_version="node.k8s.io/v1",
            plural="runtimeclasses",
            namespaced=False,
            immutable=("handler",),
            exact=Exact(paths=("overhead", "scheduling")),
        ),
        "Role": _namespaced(_RBAC, "roles", exact=_RULES),
        "RoleBinding": _namespaced(_RBAC, "rolebindings", "roleRef", exact=_SUBJECTS),
        "ClusterRole": Kind(api_version=_RBAC, plural="clusterroles", namespaced=False, exact=_RULES),
        "ClusterRoleBinding": Kind(
            api_version=_RBAC,
            plural="clusterrolebindings",
            namespaced=False,
            immutable=("roleRef",),
            exact=_SUBJECTS,
        ),
        "ValidatingAdmissionPolicy": Kind(
            api_version=_ADMISSION, plural="validatingadmissionpolicies", namespaced=False, exact=_SPEC
        ),
        "ValidatingAdmissionPolicyBinding": Kind(
            api_version=_ADMISSION, plural="validatingadmissionpolicybindings", namespaced=False, exact=_SPEC
        ),
    }
)

PROJECT_KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "Namespace": PLATFORM_KINDS["Namespace"],
        "ResourceQuota": _namespaced("v1", "resourcequotas", exact=_SPEC),
        "LimitRange": _namespaced("v1", "limitranges", exact=_SPEC),
        "ServiceAccount": _namespaced("v1", "serviceaccounts"),
        "Secret": Kind(api_version="v1", plural="secrets", immutable=("type",), generated=True),
        "NetworkPolicy": PLATFORM_KINDS["NetworkPolicy"],
        "ConfigMap": _namespaced("v1", "configmaps", exact=Exact(paths=("data",))),
        "PersistentVolumeClaim": Kind(
            api_version="v1",
            plural="persistentvolumeclaims",
            immutable=("spec.accessModes", "spec.storageClassName", "spec.volumeMode"),
            counted=("f:spec", "f:resources"),
            growing=("spec.resources.requests.storage",),
        ),
        "Service": _namespaced("v1", "services", "spec.clusterIP", "spec.loadBalancerClass", exact=_SERVICE),
        "StatefulSet": _namespaced(
            "apps/v1",
            "statefulsets",
            "spec.selector",
            "spec.serviceName",
            "spec.podManagementPolicy",
            exact=_WORKLOAD,
        ),
        "Deployment": _namespaced("apps/v1", "deployments", "spec.selector", exact=_WORKLOAD),
    }
)

# What the definitions fill in (gateway-api v1.6.3, config/crd/standard).
_ROUTE = Exact(
    paths=("spec",),
    defaults={
        "spec.parentRefs[].group": GATEWAY_GROUP,
        "spec.parentRefs[].kind": "Gateway",
        "spec.rules[].matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
        "spec.rules[].backendRefs[].group": "",
        "spec.rules[].backendRefs[].kind": "Service",
        "spec.rules[].backendRefs[].weight": 1,
    },
)


def _custom(api_version: str, plural: str, *, exact: Exact = _SPEC, **rest: Any) -> Kind:
    return Kind(api_version=api_version, plural=plural, exact=exact, custom=True, **rest)


_GATEWAY_IS_MISSING = "the playbook gateway.yml brings it; run that first"

# There once the definitions of Gateway API and Traefik are.
ROUTE_KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "GatewayClass": _custom(GATEWAY_API, "gatewayclasses", namespaced=False, immutable=("spec.controllerName",)),
        "Gateway": _custom(GATEWAY_API, "gateways"),
        "HTTPRoute": _custom(GATEWAY_API, "httproutes", exact=_ROUTE, missing=_GATEWAY_IS_MISSING),
        "TLSRoute": _custom(GATEWAY_API, "tlsroutes", exact=_ROUTE, missing=_GATEWAY_IS_MISSING),
        "Middleware": _custom(TRAEFIK_API, "middlewares", missing=_GATEWAY_IS_MISSING),
    }
)

# What projects have of them.
SERVED_KINDS = ("HTTPRoute", "Middleware", "TLSRoute")

# Of OpenShift, where an API server of its own serves it.
OPENSHIFT_KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "Route": _custom(
            "route.openshift.io/v1",
            "routes",
            missing="gateway_kind route is for OpenShift; elsewhere choose gateway, or none",
        )
    }
)

_SERVED_BY_GATEWAY: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {HTTP_ROUTES: SERVED_KINDS, OPENSHIFT_ROUTES: tuple(OPENSHIFT_KINDS)}
)

# What the front door is made of. Its Secret is looked up by name.
GATEWAY_KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        **{
            kind: PLATFORM_KINDS[kind]
            for kind in (
                "Namespace",
                "CustomResourceDefinition",
                "NetworkPolicy",
                "Role",
                "RoleBinding",
                "ClusterRole",
                "ClusterRoleBinding",
            )
        },
        **{kind: PROJECT_KINDS[kind] for kind in ("ServiceAccount", "ConfigMap", "Service", "Deployment")},
        "DaemonSet": _namespaced("apps/v1", "daemonsets", "spec.selector", exact=_WORKLOAD),
        "PodDisruptionBudget": _namespaced("policy/v1", "poddisruptionbudgets", exact=_SPEC),
        **ROUTE_KINDS,
    }
)

# Who may list Secrets may read all of them, so they are looked up one by one, and only where there is doubt.
LISTED_KINDS = tuple(kind for kind in PROJECT_KINDS if kind != "Secret")


def listed_kinds(platform: Platform) -> tuple[str, ...]:
    """The kinds of which a run lists what projects have."""
    return (*LISTED_KINDS, *_SERVED_BY_GATEWAY.get(platform.gateway_kind, ()))


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        **PLATFORM_KINDS,
        **PROJECT_KINDS,
        **GATEWAY_KINDS,
        **OPENSHIFT_KINDS,
        RECORD_KIND: _custom(f"{GROUP}/{VERSION}", RECORD_PLURAL),
        "Lease": _namespaced("coordination.k8s.io/v1", "leases"),
        "Pod": _namespaced("v1", "pods"),
        "Node": _cluster("v1", "nodes"),
        "Event": _namespaced("v1", "events"),
        "Job": _namespaced("batch/v1", "jobs"),
        "EndpointSlice": _namespaced("discovery.k8s.io/v1", "endpointslices"),
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
