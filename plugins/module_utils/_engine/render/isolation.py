# SPDX-License-Identifier: BSD-2-Clause
"""Who may talk to whom. Two policies say everything, because every policy costs every node rules.

A third is for the few projects whose Auth has somebody to talk to outside of the cluster.
"""

from __future__ import annotations

from ..objects import Body, Desired, ObjectId
from ..project.model import Auth, Platform, Project
from ..project.names import CLUSTER_LABEL, COMPONENT_LABEL, NAMESPACE_NAME_LABEL, Ref, namespace_of
from ..project.vocabulary import OPENSHIFT_ROUTES
from ..service_keys import AUTH
from .archive import archive_egress
from .context import Context
from .gateway_pods import gateway_namespace_of
from .services import AUTH_PORT, REST_PORT

# Any of the two says that a namespace is one of OpenShift's router; the first is the older one.
ROUTER_LABELS = (
    {"network.openshift.io/policy-group": "ingress"},
    {"policy-group.network.openshift.io/ingress": ""},
)
# Where providers are asked, each at a name of its own.
HTTPS_PORT = 443
# What of IPv4 is no public address, in IANA's registry of special-purpose addresses, and may be pods, Services, nodes
# or a cloud's metadata: RFC 6890, 1918, 6598, 3927, 2544, 1112. A pod's own loopback goes by no policy.
PRIVATE_NETWORKS = (
    "10.0.0.0/8",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "240.0.0.0/4",
)


def render_isolation(context: Context) -> tuple[Desired, ...]:
    """Deny by default both ways; then pods to the pooler, all to DNS, the pooler to the database."""
    cluster = context.placement.cluster
    database = _database(context) if cluster is None else _shared_database(context, cluster)
    return (_project(context), database, *((render_way_out(context),) if asks_outside(context.project) else ()))


def asks_outside(project: Project) -> bool:
    """True if Auth has somebody to talk to outside of the cluster."""
    return project.tier.has_services and bool(_outside_ports(project.auth))


def auth_policy_of(ref: Ref) -> ObjectId:
    """What opens the way out."""
    return ObjectId(kind="NetworkPolicy", namespace=namespace_of(ref), name=AUTH)


def _project(context: Context) -> Desired:
    """All pods: in, only from neighbours to the pooler's port; out, only to DNS and to the own pooler.

    With services, the gateway or OpenShift's router comes in to them and to the pooler.
    """
    pooler_port = _tcp(context.POOLER_PORT)
    spec = {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": {}}], "ports": [pooler_port]}, *_gateway_ingress(context)],
        "egress": [
            dns_egress(),
            {"to": [_pods_of(context.POOLER)], "ports": [pooler_port]},
        ],
    }
    return context.object("networking.k8s.io/v1", "NetworkPolicy", "project", spec=spec)


def _gateway_ingress(context: Context) -> list[Body]:
    if not context.project.tier.has_services:
        return []
    gateway = {NAMESPACE_NAME_LABEL: gateway_namespace_of(context.platform)}
    labels = ROUTER_LABELS if context.platform.gateway_kind == OPENSHIFT_ROUTES else (gateway,)
    ports = [_tcp(port) for port in (REST_PORT, AUTH_PORT, context.POOLER_PORT)]
    return [{"from": [{"namespaceSelector": {"matchLabels": dict(one)}} for one in labels], "ports": ports}]


def _database(context: Context) -> Desired:
    """The pooler and the database: from the one to the other and not back, on the database's port.

    And both to the object store: a policy of its own for the database's pod would cost every node more rules. Whoever
    gets there has no key to it.
    """
    port = _tcp(context.POSTGRESQL_PORT)
    members = [context.POOLER, context.POSTGRESQL]
    spec = {
        "podSelector": {"matchExpressions": [{"key": COMPONENT_LABEL, "operator": "In", "values": members}]},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [_pods_of(context.POOLER)], "ports": [port]}],
        "egress": [{"to": [_pods_of(context.POSTGRESQL)], "ports": [port]}, *archive_egress(context.platform)],
    }
    return context.object("networking.k8s.io/v1", "NetworkPolicy", "database", spec=spec)


def _shared_database(context: Context, cluster: str) -> Desired:
    """The pooler to the shared cluster. The other half, who may come in there, is the cluster's."""
    there = {"namespaceSelector": {"matchLabels": {CLUSTER_LABEL: cluster}}, **_pods_of(context.POSTGRESQL)}
    spec = {
        "podSelector": {"matchLabels": {COMPONENT_LABEL: context.POOLER}},
        "policyTypes": ["Egress"],
        "egress": [{"to": [there], "ports": [_tcp(context.POSTGRESQL_PORT)]}],
    }
    return context.object("networking.k8s.io/v1", "NetworkPolicy", "database", spec=spec)


def render_way_out(context: Context) -> Desired:
    """Auth to mail servers and providers, which are known by names, and policies know addresses only.

    What is inside of the cluster stays out of reach: its networks are private ones, or not among those that are named.
    Where Auth has nobody to talk to, the policy lets it to nobody.
    """
    ports = [_tcp(port) for port in _outside_ports(context.project.auth)]
    spec: Body = {"podSelector": {"matchLabels": {COMPONENT_LABEL: AUTH}}, "policyTypes": ["Egress"]}
    if asks_outside(context.project):
        spec["egress"] = [{"to": _outside(context.platform), "ports": ports}]
    return context.object("networking.k8s.io/v1", "NetworkPolicy", AUTH, spec=spec)


def _outside(platform: Platform) -> list[Body]:
    if platform.auth_networks is not None:
        return [{"ipBlock": {"cidr": network}} for network in platform.auth_networks]
    return [{"ipBlock": {"cidr": "0.0.0.0/0", "except": list(PRIVATE_NETWORKS)}}]


def _outside_ports(auth: Auth) -> list[int]:
    mail = {auth.mail.port} if auth.mail is not None else set()
    return sorted(mail | ({HTTPS_PORT} if auth.providers else set()))


def _pods_of(component: str) -> Body:
    return {"podSelector": {"matchLabels": {COMPONENT_LABEL: component}}}


def dns_egress() -> Body:
    """The rule of a policy that lets pods ask for names."""
    return {"to": [_cluster_dns()], "ports": [{"protocol": "UDP", "port": 53}, _tcp(53)]}


def _cluster_dns() -> Body:
    """CoreDNS as K3s deploys it."""
    return {
        "namespaceSelector": {"matchLabels": {NAMESPACE_NAME_LABEL: "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    }


def _tcp(port: int) -> Body:
    return {"protocol": "TCP", "port": port}
