# SPDX-License-Identifier: BSD-2-Clause
"""What Traefik is told in files. Proven with the real program in tests/integration/test_gateway.py."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

WEB, WEBSECURE, POSTGRESQL, METRICS = "web", "websecure", "postgresql", "metrics"
# Above 1024, so that Traefik needs no right to open them.
PORTS = {WEB: 8000, WEBSECURE: 8443, POSTGRESQL: 5432, METRICS: 9100}
# The door to the API server, on the pod's own loopback.
API_PORT = 8081
API_SERVER = "https://kubernetes.default.svc:443"

CONFIG_DIRECTORY = "/etc/traefik"
ACCOUNT_DIRECTORY = "/var/run/secrets/kubernetes.io/serviceaccount"

# Addresses that backends may believe, set by proxies that are not there. X-Forwarded-* and X-Real-Ip Traefik sets anew.
FOREIGN_HEADERS = (
    "Cf-Connecting-Ip",
    "Fastly-Client-Ip",
    "Forwarded",
    "True-Client-Ip",
    "X-Client-Ip",
    "X-Cluster-Client-Ip",
    "X-Envoy-External-Address",
    "X-Forwarded-Prefix",
    "X-Original-Forwarded-For",
)
# What means one path to one program and another one to the next.
AMBIGUOUS_CHARACTERS = ("BackSlash", "Hash", "NullCharacter", "QuestionMark", "Semicolon", "Slash")
# Larger bodies wait in a file while they arrive.
BODY_IN_MEMORY = 256 * 1024
# The server is asked whether it is still there when a watch has been silent for so long.
SILENCE_SECONDS = 30
# Statuses of routes that are written in a second. Traefik takes no change over meanwhile; its own 50 are 20 s of 1,000.
STATUS_RATE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one request may take; sizes in bytes, times in seconds.

    `read_seconds`: for all of it, the body included. `idle_seconds`: between two on one connection.
    `drain_seconds`: how long a Traefik that ends still takes new ones, and then again for those that it has.
    `trusted_networks`: of proxies in front, whose word about the client's address is taken.
    """

    body_bytes: int = 10 * 1024**2
    header_bytes: int = 32 * 1024
    read_seconds: int = 60
    idle_seconds: int = 120
    drain_seconds: int = 10
    trusted_networks: tuple[str, ...] = ()


def traefik_files(namespace: str, limits: Limits, *, published: str | None = None) -> dict[str, str]:
    """What is mounted as CONFIG_DIRECTORY, by name. JSON, which is YAML too, and which the engine can write.

    `published`: the Service whose address is the gateway's.
    """
    return {
        "traefik.yml": _text(_static(namespace, limits, published)),
        "dynamic.yml": _text(_dynamic(namespace, limits)),
    }


def _static(namespace: str, limits: Limits, published: str | None) -> dict[str, Any]:
    # Its own door filters what is asked of the API server, so both providers come through it.
    provider = {"endpoint": f"http://127.0.0.1:{API_PORT}", "throttleDuration": "1s"}
    status = {"statusAddress": {"service": {"name": published, "namespace": namespace}}} if published else {}
    return {
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "log": {"level": "INFO", "format": "json"},
        "accessLog": {
            "format": "json",
            # Keys and tokens come in headers and, where clients are careless, in the query.
            "fields": {"headers": {"defaultMode": "drop"}, "queryParameters": {"defaultMode": "drop"}},
        },
        "metrics": {"prometheus": {"entryPoint": METRICS, "addServicesLabels": False}},
        "ping": {"entryPoint": METRICS, "terminatingStatusCode": 503},
        "entryPoints": {
            "api": _api_entry_point(),
            METRICS: _entry_point(METRICS, limits, quiet=True),
            WEB: _entry_point(WEB, limits),
            WEBSECURE: _entry_point(WEBSECURE, limits, middlewares=("clients@file", "body@file")),
            POSTGRESQL: _entry_point(POSTGRESQL, limits),
        },
        "providers": {
            "file": {"filename": f"{CONFIG_DIRECTORY}/dynamic.yml", "watch": False},
            "kubernetesGateway": {**provider, **status, "qps": STATUS_RATE, "burst": 2 * STATUS_RATE},
            # By the names of before, those of one namespace could be those of another.
            "kubernetesCRD": {**provider, "disableClusterScopeResources": True, "safeNaming": True},
        },
    }


def _entry_point(
    name: str, limits: Limits, *, middlewares: tuple[str, ...] = (), quiet: bool = False
) -> dict[str, Any]:
    timeouts = {"readTimeout": f"{limits.read_seconds}s", "idleTimeout": f"{limits.idle_seconds}s"}
    drain = {"requestAcceptGraceTimeout": f"{limits.drain_seconds}s", "graceTimeOut": f"{limits.drain_seconds}s"}
    entry: dict[str, Any] = {
        "address": f":{PORTS[name]}",
        "http": {
            "maxHeaderBytes": limits.header_bytes,
            "aliasHeadersStrategy": "delete",
            "encodedCharacters": {f"allowEncoded{one}": False for one in AMBIGUOUS_CHARACTERS},
            **({"middlewares": list(middlewares)} if middlewares else {}),
        },
        "transport": {"respondingTimeouts": timeouts, "lifeCycle": drain},
    }
    if limits.trusted_networks:
        entry["forwardedHeaders"] = {"trustedIPs": list(limits.trusted_networks)}
    if quiet:
        entry["observability"] = {"accessLogs": False, "metrics": False, "tracing": False}
    return entry


def _api_entry_point() -> dict[str, Any]:
    """Watches last for minutes, and nobody waits for them when Traefik ends."""
    return {
        "address": f"127.0.0.1:{API_PORT}",
        "http": {"aliasHeadersStrategy": "delete"},
        "observability": {"accessLogs": False, "metrics": False, "tracing": False},
        "transport": {
            "respondingTimeouts": {"readTimeout": "0s", "idleTimeout": "0s"},
            "lifeCycle": {"graceTimeOut": "0s"},
        },
    }


def _dynamic(namespace: str, limits: Limits) -> dict[str, Any]:
    """Rules that are the same for all projects, and the door to the API server.

    Traefik's providers list the Secrets and ConfigMaps of all namespaces, and start only when they are given them. The
    door answers with those of its own namespace, so that the role need not let Traefik read those of tenants.
    """
    own = {kind: f"/api/v1/namespaces/{namespace}/{kind}" for kind in ("secrets", "configmaps")}
    narrowed = {
        kind: {"entryPoints": ["api"], "rule": f"Path(`/api/v1/{kind}`)", "middlewares": [kind], "service": "api"}
        for kind in own
    }
    rest = {"entryPoints": ["api"], "rule": "PathPrefix(`/`)", "priority": 1, "service": "api"}
    transport = {
        "rootCAs": [f"{ACCOUNT_DIRECTORY}/ca.crt"],
        "forwardingTimeouts": {"readIdleTimeout": f"{SILENCE_SECONDS}s"},
    }
    return {
        "http": {
            "middlewares": {
                **{kind: {"replacePath": {"path": path}} for kind, path in own.items()},
                "clients": {"headers": {"customRequestHeaders": dict.fromkeys(FOREIGN_HEADERS, "")}},
                "body": {
                    "buffering": {
                        "maxRequestBodyBytes": limits.body_bytes,
                        "memRequestBodyBytes": min(BODY_IN_MEMORY, limits.body_bytes),
                    }
                },
            },
            "routers": {**narrowed, "api": rest},
            "services": {"api": {"loadBalancer": {"serversTransport": "api", "servers": [{"url": API_SERVER}]}}},
            "serversTransports": {"api": transport},
        },
        # Without a certificate for the name a client gets none at all, rather than one that Traefik made up.
        "tls": {"options": {"default": {"minVersion": "VersionTLS12", "sniStrict": True}}},
    }


def _text(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=1, sort_keys=True) + "\n"
