# SPDX-License-Identifier: BSD-2-Clause
"""The way from outside to a project where OpenShift's router is the front door: its Routes.

The router asks nobody about a request, so keys are checked by PostgREST and Auth alone (docs/openshift.md). What its
annotations do: openshift/router, images/router/haproxy/conf/haproxy-config.template.
"""

from __future__ import annotations

from ..objects import Body, Desired
from ..service_keys import AUTH, REST
from .context import Context

ROUTE_API = "route.openshift.io/v1"
GRAPHQL, SQL = "graphql", "sql"
# Of the router, as clients see it.
PORT = 443

_ANNOTATION = "haproxy.router.openshift.io"
# Over so many seconds the router counts the requests of a client's address.
_COUNTED_SECONDS = 10
_COMMON = {
    # Pods of a service are all alike, so nobody has to come back to the same one.
    f"{_ANNOTATION}/disable_cookies": "true",
    f"{_ANNOTATION}/rate-limit-connections": "true",
    # What a client says of its own address is thrown away.
    f"{_ANNOTATION}/set-forwarded-headers": "replace",
    f"{_ANNOTATION}/timeout": "60s",
}


def render_openshift_routes(context: Context) -> tuple[Desired, ...]:
    """Nothing for a project without services. A stopped project's answer that nobody is there."""
    if not context.project.tier.has_services:
        return ()
    # GraphQL is a function of the database that answers by its own schema.
    profile = {"name": "Content-Profile", "action": {"type": "Set", "set": {"value": "graphql_public"}}}
    return (
        _edge(context, AUTH, AUTH, path="/auth/v1", to="/"),
        _edge(context, REST, REST, path="/rest/v1", to="/"),
        _edge(context, GRAPHQL, REST, path="/graphql/v1", to="/rpc/graphql", headers=[profile]),
        _sql(context),
    )


def _edge(
    context: Context, name: str, service: str, *, path: str, to: str, headers: list[Body] | None = None
) -> Desired:
    """TLS ends in the router, with the certificate that it has for all."""
    spec: Body = {
        "host": context.host,
        "path": path,
        "port": {"targetPort": "http"},
        "tls": {"termination": "edge", "insecureEdgeTerminationPolicy": "Redirect"},
        **_to(service),
    }
    if headers:
        spec["httpHeaders"] = {"actions": {"request": headers}}
    requests = context.project.tier.requests_per_second * _COUNTED_SECONDS
    limit = {f"{_ANNOTATION}/rate-limit-connections.rate-http": str(requests)}
    annotations = {**_COMMON, **limit, f"{_ANNOTATION}/rewrite-target": to}
    return context.object(ROUTE_API, "Route", name, annotations=annotations, spec=spec)


def _sql(context: Context) -> Desired:
    """TLS ends in the pooler. The router finds it by the name in the first bytes, which therefore have to be TLS."""
    spec = {
        "host": context.sql_host,
        "port": {"targetPort": context.POOLER},
        "tls": {"termination": "passthrough", "insecureEdgeTerminationPolicy": "None"},
        **_to(context.POOLER),
    }
    return context.object(ROUTE_API, "Route", SQL, spec=spec)


def _to(service: str) -> Body:
    """With what the API server would fill in."""
    return {"to": {"kind": "Service", "name": service, "weight": 100}, "wildcardPolicy": "None"}
