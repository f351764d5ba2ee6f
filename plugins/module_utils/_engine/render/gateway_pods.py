# SPDX-License-Identifier: BSD-2-Clause
"""The pods of the gateway: Traefik, in the way that traffic arrives, and the verifier of keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ..objects import Body, Desired
from ..project.model import Platform
from ..project.names import COMPONENT_LABEL, CONFIG_ANNOTATION, PLATFORM_LABEL
from ..project.quantities import MIB, format_bytes
from .context import CONTAINER_SECURITY, digest_of, empty_dir, pod_security
from .traefik import CONFIG_DIRECTORY, METRICS, PORTS, POSTGRESQL, WEB, WEBSECURE, Limits

POOL = "node.supalove.cloud/gateway"
TRAEFIK, VERIFIER = "traefik", "verifier"
VERIFIER_PORT = 8080
VERIFIER_REPLICAS = 2
# Of nobody: neither program owns a file.
USER = 65532
# Above the drain of the entry points, twice.
ENDING_SECONDS = 60
# The part of its memory, in percent, from which Go's collector works harder (runtime, "Environment Variables").
CLEANED = 85
PUBLIC_PORTS = {WEB: 80, WEBSECURE: 443, POSTGRESQL: 5432}
READY_HOST = "ready.supalove.invalid"

KUBE_VIP_CLASS = "kube-vip.io/kube-vip-class"
KUBE_VIP_ADDRESS = "kube-vip.io/loadbalancerIPs"


class Arrival(StrEnum):
    """How traffic gets to Traefik: by ports of its nodes, the cluster's balancer, or an address that kube-vip keeps."""

    HOST_PORT = "host_port"
    LOAD_BALANCER = "load_balancer"
    KUBE_VIP = "kube_vip"


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontDoor:
    """How the gateway is run. `certificate`: the digest of the wildcard certificate that it has.

    `replicas`: of Traefik where a Service leads to it; else there is one on each node of the pool.
    `balancer_class`, `annotations`: of that Service. `address`: kube-vip's. `memory_mib`: of each Traefik.
    """

    certificate: str
    arrival: Arrival = Arrival.HOST_PORT
    balancer_class: str | None = None
    address: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    replicas: int = 2
    memory_mib: int = 2048
    limits: Limits = field(default_factory=Limits)


def gateway_namespace_of(platform: Platform) -> str:
    """The namespace of Traefik and the verifier."""
    return f"{platform.namespace}-gateway"


def gateway_object(
    platform: Platform,
    version: str,
    kind: str,
    name: str,
    *,
    namespaced: bool = True,
    annotations: Mapping[str, str] | None = None,
    **rest: Any,
) -> Desired:
    """An object of the platform, in the gateway's namespace unless it is in none."""
    meta: Body = {"name": name, "labels": {PLATFORM_LABEL: platform.namespace}}
    if namespaced:
        meta["namespace"] = gateway_namespace_of(platform)
    if annotations:
        meta["annotations"] = dict(annotations)
    return Desired(body={"apiVersion": version, "kind": kind, "metadata": meta, **rest})


def render_traefik(platform: Platform, door: FrontDoor, files: Mapping[str, str]) -> tuple[Desired, ...]:
    """On every node of the pool with its ports, or a few behind a Service; new when its files are."""
    annotations = {CONFIG_ANNOTATION: digest_of(files)}
    template = _pod(platform, TRAEFIK, _traefik_pod(platform, door), annotations=annotations)
    selector = {"matchLabels": {COMPONENT_LABEL: TRAEFIK}}
    if door.arrival is Arrival.HOST_PORT:
        # Two pods cannot have the same port of a node, so the old one goes first; the other nodes serve meanwhile.
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
        spec = {"selector": selector, "updateStrategy": strategy, "revisionHistoryLimit": 2, "template": template}
        return (gateway_object(platform, "apps/v1", "DaemonSet", TRAEFIK, spec=spec),)
    return (_balanced(platform, door), *_deployment(platform, TRAEFIK, door.replicas, template))


def _balanced(platform: Platform, door: FrontDoor) -> Desired:
    spec: Body = {
        "type": "LoadBalancer",
        # Keeps the address of the client.
        "externalTrafficPolicy": "Local",
        "selector": {COMPONENT_LABEL: TRAEFIK},
        "ports": [
            {"name": name, "port": public, "protocol": "TCP", "targetPort": name}
            for name, public in PUBLIC_PORTS.items()
        ],
    }
    annotations = dict(door.annotations)
    balancer_class = door.balancer_class
    if door.arrival is Arrival.KUBE_VIP:
        balancer_class = KUBE_VIP_CLASS
        annotations[KUBE_VIP_ADDRESS] = str(door.address)
    if balancer_class is not None:
        spec["loadBalancerClass"] = balancer_class
    return gateway_object(platform, "v1", "Service", TRAEFIK, annotations=annotations, spec=spec)


def _traefik_pod(platform: Platform, door: FrontDoor) -> Body:
    ports: list[Body] = [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in PORTS.items()]
    if door.arrival is Arrival.HOST_PORT:
        for port in ports:
            if port["name"] in PUBLIC_PORTS:
                port["hostPort"] = PUBLIC_PORTS[port["name"]]
    container = {
        "name": TRAEFIK,
        "image": platform.images[TRAEFIK],
        "imagePullPolicy": "IfNotPresent",
        "args": [f"--configFile={CONFIG_DIRECTORY}/traefik.yml"],
        "ports": ports,
        # It cleans up before the kernel ends it.
        "env": [{"name": "GOMEMLIMIT", "value": f"{door.memory_mib * CLEANED // 100}MiB"}],
        "resources": {
            "requests": {"cpu": "250m", "memory": format_bytes(door.memory_mib // 4 * MIB)},
            "limits": {"memory": format_bytes(door.memory_mib * MIB)},
        },
        "securityContext": dict(CONTAINER_SECURITY),
        "startupProbe": _probe(METRICS, "/", host=READY_HOST, failures=60, period=2),
        "readinessProbe": _probe(METRICS, "/", host=READY_HOST, failures=2, period=5),
        "livenessProbe": _probe(METRICS, "/ping", failures=3, period=10),
        "volumeMounts": [
            {"name": "config", "mountPath": CONFIG_DIRECTORY, "readOnly": True},
            {"name": "bodies", "mountPath": "/tmp"},
        ],
    }
    return {
        "serviceAccountName": TRAEFIK,
        "automountServiceAccountToken": True,
        "priorityClassName": "system-cluster-critical",
        "nodeSelector": {POOL: "true"},
        # Whoever labels a node for the gateway means it, whatever else is kept off it.
        "tolerations": [{"operator": "Exists", "effect": "NoSchedule"}],
        "terminationGracePeriodSeconds": ENDING_SECONDS,
        "topologySpreadConstraints": [_spread(TRAEFIK)],
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": TRAEFIK}}, empty_dir("bodies", "2Gi")],
    }


def render_verifier(platform: Platform) -> tuple[Desired, ...]:
    """Without state and without rights; every request with a key costs it a few microseconds."""
    container = {
        "name": VERIFIER,
        "image": platform.images[VERIFIER],
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": "http", "containerPort": VERIFIER_PORT, "protocol": "TCP"}],
        "resources": {"requests": {"cpu": "100m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        "securityContext": dict(CONTAINER_SECURITY),
        "readinessProbe": _probe("http", "/healthz", failures=2, period=5),
        "livenessProbe": _probe("http", "/healthz", failures=3, period=10),
        # The Service forgets the pod first.
        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
    }
    pod = {
        "serviceAccountName": VERIFIER,
        "automountServiceAccountToken": False,
        "priorityClassName": "system-cluster-critical",
        "nodeSelector": {POOL: "true"},
        "tolerations": [{"operator": "Exists", "effect": "NoSchedule"}],
        "terminationGracePeriodSeconds": 30,
        "topologySpreadConstraints": [_spread(VERIFIER)],
        "containers": [container],
    }
    port = {"name": "http", "port": VERIFIER_PORT, "protocol": "TCP", "targetPort": "http"}
    service = {"type": "ClusterIP", "selector": {COMPONENT_LABEL: VERIFIER}, "ports": [port]}
    return (
        gateway_object(platform, "v1", "Service", VERIFIER, spec=service),
        *_deployment(platform, VERIFIER, VERIFIER_REPLICAS, _pod(platform, VERIFIER, pod)),
    )


def _deployment(platform: Platform, name: str, replicas: int, template: Body) -> tuple[Desired, ...]:
    """The new pod first, so that as many as wanted always serve; a drain takes one at a time."""
    selector = {"matchLabels": {COMPONENT_LABEL: name}}
    spec = {
        "replicas": replicas,
        "revisionHistoryLimit": 2,
        "selector": selector,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": template,
    }
    budget = {"maxUnavailable": 1, "selector": selector, "unhealthyPodEvictionPolicy": "AlwaysAllow"}
    return (
        gateway_object(platform, "apps/v1", "Deployment", name, spec=spec),
        gateway_object(platform, "policy/v1", "PodDisruptionBudget", name, spec=budget),
    )


def _pod(platform: Platform, component: str, spec: Body, *, annotations: Mapping[str, str] | None = None) -> Body:
    """What both pods have in common: all that the restricted profile wants of a pod."""
    meta: Body = {"labels": {PLATFORM_LABEL: platform.namespace, COMPONENT_LABEL: component}}
    if annotations:
        meta["annotations"] = dict(annotations)
    common = {"enableServiceLinks": False, "securityContext": pod_security(USER)}
    return {"metadata": meta, "spec": {**common, **spec}}


def _probe(port: str, path: str, *, failures: int, period: int, host: str | None = None) -> Body:
    get: Body = {"path": path, "port": port, "scheme": "HTTP"}
    if host is not None:
        get["httpHeaders"] = [{"name": "Host", "value": host}]
    return {
        "httpGet": get,
        "periodSeconds": period,
        "timeoutSeconds": 3,
        "successThreshold": 1,
        "failureThreshold": failures,
    }


def _spread(component: str) -> Body:
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {COMPONENT_LABEL: component}},
    }
