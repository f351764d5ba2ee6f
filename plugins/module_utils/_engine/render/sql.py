# SPDX-License-Identifier: BSD-2-Clause
"""The way from outside to a project's pooler: TLS that only the pooler ends, so it has a certificate of its own.

The gateway reads the name that a client asks for and passes bytes on (docs/gateway.md, "SQL").
"""

from __future__ import annotations

from ..authority import CERTIFICATE_KIND
from ..objects import Desired, GeneratedCertificate, ObjectId
from ..project.names import GATEWAY_API, Ref, namespace_of
from ..project.vocabulary import OPENSHIFT_ROUTES
from .context import Context
from .gateway import GATEWAY
from .gateway_pods import PUBLIC_PORTS, gateway_namespace_of
from .openshift import PORT as ROUTER_PORT
from .traefik import POSTGRESQL

ROUTE = "sql"


def render_certificate(context: Context) -> tuple[Desired, ...]:
    """What the pooler shows, before the pooler: a Secret that was written without it gets it first."""
    if not context.project.tier.has_services:
        return ()
    id = certificate_of(context.project.ref)
    body = {
        "apiVersion": "supalove",
        "kind": id.kind,
        "metadata": {"name": id.name, "namespace": id.namespace},
        "spec": {"host": context.sql_host},
    }
    return (Desired(body=body, generates=(GeneratedCertificate(host=context.sql_host),)),)


def render_sql_route(context: Context) -> tuple[Desired, ...]:
    """To a stopped project's pooler, too: there nobody answers."""
    if not context.project.tier.has_services:
        return ()
    gateway = {"name": GATEWAY, "namespace": gateway_namespace_of(context.platform), "sectionName": POSTGRESQL}
    spec = {
        "parentRefs": [gateway],
        "hostnames": [context.host],
        "rules": [{"backendRefs": [{"name": context.POOLER, "port": context.POOLER_PORT}]}],
    }
    return (context.object(GATEWAY_API, "TLSRoute", ROUTE, spec=spec),)


def certificate_of(ref: Ref) -> ObjectId:
    """What stands in a plan for the project's certificate."""
    return ObjectId(kind=CERTIFICATE_KIND, namespace=namespace_of(ref), name=Context.POOLER)


def address_of_sql(context: Context) -> str:
    """Where clients from outside find the database; all but who they are and whose signature they trust."""
    is_routed = context.platform.gateway_kind == OPENSHIFT_ROUTES
    port, more = (ROUTER_PORT, "&sslnegotiation=direct") if is_routed else (PUBLIC_PORTS[POSTGRESQL], "")
    return f"postgresql://{context.sql_host}:{port}/{context.DATABASE_ALIAS}?sslmode=verify-full{more}"
