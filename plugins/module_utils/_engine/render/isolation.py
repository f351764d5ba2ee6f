# SPDX-License-Identifier: BSD-2-Clause
"""Who may talk to whom. Two policies say everything, because every policy costs every node rules."""

from __future__ import annotations

from ..objects import Body, Desired
from ..project.names import CLUSTER_LABEL, COMPONENT_LABEL
from ..project.vocabulary import OPENSHIFT_ROUTES
from .archive import archive_egress
from .context import Context
from .gateway_pods import gateway_namespace_of
from .services import AUTH_PORT, REST_PORT

# Any of the two says that a namespace is one of OpenShift's router; the first is the older one.
ROUTER_LABELS = (
    {"network.openshift.io/policy-group": "ingress"},
    {"policy-group.network.openshift.io/ingress": ""},
)


def render_isolation(context: Context) -> tuple[Desired, ...]:
    """Deny by default both ways; then pods to the pooler, all to DNS, the pooler to the database."""
    cluster = context.placement.cluster
    return (_project(context), _database(context) if cluster is None else _shared_database(context, cluster))


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
    gateway = {"kubernetes.io/metadata.name": gateway_namespace_of(context.platform)}
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


def _pods_of(component: str) -> Body:
    return {"podSelector": {"matchLabels": {COMPONENT_LABEL: component}}}


def dns_egress() -> Body:
    """The rule of a policy that lets pods ask for names."""
    return {"to": [_cluster_dns()], "ports": [{"protocol": "UDP", "port": 53}, _tcp(53)]}


def _cluster_dns() -> Body:
    """CoreDNS as K3s deploys it."""
    return {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    }


def _tcp(port: int) -> Body:
    return {"protocol": "TCP", "port": port}
