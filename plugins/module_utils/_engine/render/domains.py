# SPDX-License-Identifier: BSD-2-Clause
"""The way to a project by host names of its own: a Gateway with a listener for each, and the route from it.

Gateway and certificates are in the gateway's namespace, because Traefik reads no Secrets of others. What is not in the
project's namespace is owned by that, so that it goes with it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from ..objects import Body, Desired
from ..project.model import Platform
from ..project.names import (
    COMPONENT_LABEL,
    GATEWAY_API,
    NAMESPACE_NAME_LABEL,
    PLATFORM_LABEL,
    PROJECT_LABEL,
    UID_LABEL,
    Ref,
    Uid,
    namespace_of,
)
from .gateway import CERTIFICATE_ANNOTATION, GATEWAY
from .gateway_pods import gateway_namespace_of
from .routes import rules_of_services
from .traefik import PORTS, WEBSECURE

# Of the route beside that of the platform's name, and the component of all objects here.
DOMAINS = "domains"


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A project. `namespace_uid`: that of its namespace in the API server."""

    ref: Ref
    uid: Uid
    namespace_uid: str


def domains_selector(platform: Platform) -> str:
    """Of what is here in the gateway's namespace."""
    return f"{PLATFORM_LABEL}={platform.namespace},{COMPONENT_LABEL}={DOMAINS}"


def routes_selector() -> str:
    """Of the routes in projects' namespaces."""
    return f"{PROJECT_LABEL},{COMPONENT_LABEL}={DOMAINS}"


def secret_name_of(uid: Uid, domain: str) -> str:
    """By the uid, because a name may go from one project to another.

    >>> secret_name_of(Uid("abcdefgh2345"), "api.example.org")
    'abcdefgh2345.api.example.org'
    """
    return f"{uid}.{domain}"


def render_domain_certificate(platform: Platform, owner: Owner, domain: str, digest: str) -> Desired:
    """The Secret of one name without its values, which are given to the run."""
    name, annotations = secret_name_of(owner.uid, domain), {CERTIFICATE_ANNOTATION: digest}
    return _object(platform, owner, "v1", "Secret", name, annotations=annotations, type="kubernetes.io/tls")


def render_domains(platform: Platform, owner: Owner, domains: Collection[str]) -> tuple[Desired, ...]:
    """The Gateway of these names, which have certificates, and the project's route from it; nothing for no names."""
    if not domains:
        return ()
    space = namespace_of(owner.ref)
    spec = {"gatewayClassName": GATEWAY, "listeners": [_listener(owner, domain) for domain in sorted(domains)]}
    gateway = _object(platform, owner, GATEWAY_API, "Gateway", space, spec=spec)
    return (gateway, _route(platform, owner, sorted(domains)))


def _listener(owner: Owner, domain: str) -> Body:
    """For routes of the project's namespace alone: nobody else's can claim the name."""
    selector = {"matchLabels": {NAMESPACE_NAME_LABEL: namespace_of(owner.ref)}}
    certificate = {"group": "", "kind": "Secret", "name": secret_name_of(owner.uid, domain)}
    return {
        "name": domain,
        "port": PORTS[WEBSECURE],
        "protocol": "HTTPS",
        "hostname": domain,
        "tls": {"mode": "Terminate", "certificateRefs": [certificate]},
        "allowedRoutes": {"namespaces": {"from": "Selector", "selector": selector}},
    }


def _route(platform: Platform, owner: Owner, domains: list[str]) -> Desired:
    space = namespace_of(owner.ref)
    labels = {PROJECT_LABEL: owner.ref, UID_LABEL: owner.uid, COMPONENT_LABEL: DOMAINS}
    parent = {"name": space, "namespace": gateway_namespace_of(platform)}
    return Desired(
        body={
            "apiVersion": GATEWAY_API,
            "kind": "HTTPRoute",
            "metadata": {"name": DOMAINS, "namespace": space, "labels": labels},
            "spec": {"parentRefs": [parent], "hostnames": domains, "rules": rules_of_services()},
        }
    )


def _object(platform: Platform, owner: Owner, version: str, kind: str, name: str, **rest: Any) -> Desired:
    """In the gateway's namespace, the project's, and gone with its namespace: an owner may be one of no namespace."""
    labels = {
        PLATFORM_LABEL: platform.namespace,
        PROJECT_LABEL: owner.ref,
        UID_LABEL: owner.uid,
        COMPONENT_LABEL: DOMAINS,
    }
    space = {"apiVersion": "v1", "kind": "Namespace", "name": namespace_of(owner.ref), "uid": owner.namespace_uid}
    meta: Body = {"name": name, "namespace": gateway_namespace_of(platform), "labels": labels}
    meta["ownerReferences"] = [space]
    if "annotations" in rest:
        meta["annotations"] = rest.pop("annotations")
    return Desired(body={"apiVersion": version, "kind": kind, "metadata": meta, **rest})
