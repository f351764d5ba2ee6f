# SPDX-License-Identifier: BSD-2-Clause
"""The platform's front door: its namespace, what Traefik may read, who may reach whom, and where traffic goes."""

from __future__ import annotations

from ..objects import Body, Desired
from ..project.model import Platform
from ..project.names import (
    COMPONENT_LABEL,
    GATEWAY_API,
    GATEWAY_GROUP,
    GROUP,
    PLATFORM_LABEL,
    PROJECT_LABEL,
    TRAEFIK_API,
    TRAEFIK_GROUP,
)
from .context import Context
from .gateway_pods import (
    PUBLIC_PORTS,
    READY_HOST,
    TRAEFIK,
    VERIFIER,
    VERIFIER_PORT,
    Arrival,
    FrontDoor,
    gateway_namespace_of,
    gateway_object,
    render_traefik,
    render_verifier,
)
from .isolation import dns_egress
from .services import AUTH_PORT, REST_PORT
from .traefik import METRICS, PORTS, POSTGRESQL, WEB, WEBSECURE, traefik_files

GATEWAY = "supalove"
CONTROLLER = "traefik.io/gateway-controller"
CERTIFICATE = "wildcard-tls"
# The digest of the certificate, which is public, tells a renewed one. The key goes with it.
CERTIFICATE_ANNOTATION = f"{GROUP}/certificate"

# Where a project's services listen: PostgREST, Auth, the pooler.
PROJECT_PORTS = (REST_PORT, AUTH_PORT, Context.POOLER_PORT)
# The API server's, before and after its Service's address is translated.
API_SERVER_PORTS = (443, 6443)

_RBAC = "rbac.authorization.k8s.io"
# Traefik starts only when it can list every one of these.
_ROUTES = (
    "gateways",
    "gatewayclasses",
    "httproutes",
    "grpcroutes",
    "tlsroutes",
    "referencegrants",
    "backendtlspolicies",
)
_EXTENSIONS = (
    "ingressroutes",
    "ingressroutetcps",
    "ingressrouteudps",
    "middlewares",
    "middlewaretcps",
    "serverstransports",
    "serverstransporttcps",
    "tlsoptions",
    "tlsstores",
    "traefikservices",
)


def render_gateway(platform: Platform, door: FrontDoor) -> tuple[Desired, ...]:
    """Every object in the order in which it is applied; the certificate's values are not in it."""
    files = traefik_files(
        gateway_namespace_of(platform),
        door.limits,
        published=None if door.arrival is Arrival.HOST_PORT else TRAEFIK,
    )
    return (
        _namespace(platform, door),
        *_identities(platform),
        *_policies(platform),
        certificate_of(platform, door),
        *render_verifier(platform),
        *_routes(platform),
        gateway_object(platform, "v1", "ConfigMap", TRAEFIK, data=files),
        *render_traefik(platform, door, files),
    )


def certificate_of(platform: Platform, door: FrontDoor) -> Desired:
    """The Secret of the wildcard certificate without its values, which are given to the run."""
    return gateway_object(
        platform,
        "v1",
        "Secret",
        CERTIFICATE,
        annotations={CERTIFICATE_ANNOTATION: door.certificate},
        type="kubernetes.io/tls",
    )


def _namespace(platform: Platform, door: FrontDoor) -> Desired:
    """Every profile but privileged forbids ports of the host."""
    profile = "privileged" if door.arrival is Arrival.HOST_PORT else "restricted"
    labels = {PLATFORM_LABEL: platform.namespace, "pod-security.kubernetes.io/enforce": profile}
    meta = {"name": gateway_namespace_of(platform), "labels": labels}
    return Desired(body={"apiVersion": "v1", "kind": "Namespace", "metadata": meta})


def _identities(platform: Platform) -> tuple[Desired, ...]:
    """Traefik reads routes and where they lead, of all namespaces, and Secrets of its own one only."""
    read = ["list", "watch"]
    everywhere = [
        {"apiGroups": [""], "resources": ["namespaces", "services"], "verbs": read},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": read},
        {"apiGroups": [GATEWAY_GROUP], "resources": list(_ROUTES), "verbs": read},
        {"apiGroups": [GATEWAY_GROUP], "resources": [f"{one}/status" for one in _ROUTES], "verbs": ["update"]},
        {"apiGroups": [TRAEFIK_GROUP], "resources": list(_EXTENSIONS), "verbs": read},
    ]
    own = [{"apiGroups": [""], "resources": ["configmaps", "secrets"], "verbs": read}]
    space = gateway_namespace_of(platform)
    subjects = [{"kind": "ServiceAccount", "name": TRAEFIK, "namespace": space}]
    version = f"{_RBAC}/v1"

    def role_of(kind: str, name: str) -> Body:
        return {"roleRef": {"apiGroup": _RBAC, "kind": kind, "name": name}, "subjects": subjects}

    return (
        gateway_object(platform, "v1", "ServiceAccount", TRAEFIK, automountServiceAccountToken=False),
        gateway_object(platform, "v1", "ServiceAccount", VERIFIER, automountServiceAccountToken=False),
        gateway_object(platform, version, "ClusterRole", space, namespaced=False, rules=everywhere),
        gateway_object(
            platform, version, "ClusterRoleBinding", space, namespaced=False, **role_of("ClusterRole", space)
        ),
        gateway_object(platform, version, "Role", TRAEFIK, rules=own),
        gateway_object(platform, version, "RoleBinding", TRAEFIK, **role_of("Role", TRAEFIK)),
    )


def _policies(platform: Platform) -> tuple[Desired, ...]:
    """Clients to Traefik, Traefik to the verifier and to services of projects; nothing else in this namespace."""
    projects = {"namespaceSelector": {"matchExpressions": [{"key": PROJECT_LABEL, "operator": "Exists"}]}}
    traefik = {
        "podSelector": {"matchLabels": {COMPONENT_LABEL: TRAEFIK}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"ports": [_tcp(PORTS[name]) for name in PUBLIC_PORTS]}],
        "egress": [
            dns_egress(),
            {"to": [_pods_of(VERIFIER)], "ports": [_tcp(VERIFIER_PORT)]},
            {"to": [projects], "ports": [_tcp(port) for port in PROJECT_PORTS]},
            # The API server has no pods that a policy could name.
            {"ports": [_tcp(port) for port in API_SERVER_PORTS]},
        ],
    }
    verifier = {
        "podSelector": {"matchLabels": {COMPONENT_LABEL: VERIFIER}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [_pods_of(TRAEFIK)], "ports": [_tcp(VERIFIER_PORT)]}],
    }
    nobody = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    version = "networking.k8s.io/v1"
    return (
        gateway_object(platform, version, "NetworkPolicy", "gateway", spec=nobody),
        gateway_object(platform, version, "NetworkPolicy", TRAEFIK, spec=traefik),
        gateway_object(platform, version, "NetworkPolicy", VERIFIER, spec=verifier),
    )


def _routes(platform: Platform) -> tuple[Desired, ...]:
    """The Gateway with its listeners, and its own two routes: from HTTP to HTTPS, and the one that readiness asks for.

    A listener's port is that of Traefik's entry point, by which Traefik finds it, not the one that clients use.
    """
    own = {"namespaces": {"from": "Same"}}
    projects = {"matchExpressions": [{"key": PROJECT_LABEL, "operator": "Exists"}]}
    of_projects = {"namespaces": {"from": "Selector", "selector": projects}}
    certificate = {"group": "", "kind": "Secret", "name": CERTIFICATE}
    everyone = f"*.{platform.domain}"
    listeners = [
        {"name": "http", "port": PORTS[WEB], "protocol": "HTTP", "allowedRoutes": own},
        {
            "name": "https",
            "port": PORTS[WEBSECURE],
            "protocol": "HTTPS",
            "hostname": everyone,
            "tls": {"mode": "Terminate", "certificateRefs": [certificate]},
            "allowedRoutes": of_projects,
        },
        {
            "name": POSTGRESQL,
            "port": PORTS[POSTGRESQL],
            "protocol": "TLS",
            "hostname": everyone,
            "tls": {"mode": "Passthrough"},
            "allowedRoutes": of_projects,
        },
        {"name": "ready", "port": PORTS[METRICS], "protocol": "HTTP", "allowedRoutes": own},
    ]
    redirect = {"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "statusCode": 301}}
    to_ping = {"type": "ExtensionRef", "extensionRef": {"group": TRAEFIK_GROUP, "kind": "Middleware", "name": "ready"}}
    ping = {"group": TRAEFIK_GROUP, "kind": "TraefikService", "name": "ping@internal", "weight": 1}
    return (
        gateway_object(
            platform, GATEWAY_API, "GatewayClass", GATEWAY, namespaced=False, spec={"controllerName": CONTROLLER}
        ),
        gateway_object(
            platform, GATEWAY_API, "Gateway", GATEWAY, spec={"gatewayClassName": GATEWAY, "listeners": listeners}
        ),
        _route(platform, "redirect", "http", {"rules": [{"filters": [redirect]}]}),
        # Answers when both of Traefik's providers have been read, of which its own ping says nothing.
        gateway_object(platform, TRAEFIK_API, "Middleware", "ready", spec={"replacePath": {"path": "/ping"}}),
        _route(
            platform,
            "ready",
            "ready",
            {"hostnames": [READY_HOST], "rules": [{"filters": [to_ping], "backendRefs": [ping]}]},
        ),
    )


def _route(platform: Platform, name: str, listener: str, spec: Body) -> Desired:
    parent = {"group": GATEWAY_GROUP, "kind": "Gateway", "name": GATEWAY, "sectionName": listener}
    return gateway_object(platform, GATEWAY_API, "HTTPRoute", name, spec={"parentRefs": [parent], **spec})


def _pods_of(component: str) -> Body:
    return {"podSelector": {"matchLabels": {COMPONENT_LABEL: component}}}


def _tcp(port: int) -> Body:
    return {"protocol": "TCP", "port": port}
