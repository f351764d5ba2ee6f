# SPDX-License-Identifier: BSD-2-Clause
"""The way from outside to a project's services: an HTTPRoute of the Gateway API below the platform's gateway.

What the standard has no word for, Traefik has as a Middleware: a key is asked for, and a project has its share of
requests. The keys' digests are in the Middleware's address, so that who verifies them keeps nothing.
"""

from __future__ import annotations

from dataclasses import replace

from ..objects import Body, Desired, Filled, ObjectId
from ..project.names import CREDENTIALS_ANNOTATION
from ..service_keys import API_ROLES, AUTH, REST
from .context import Context
from .gateway import GATEWAY, GATEWAY_API
from .gateway_pods import VERIFIER, VERIFIER_PORT, gateway_namespace_of
from .services import AUTH_PORT, REST_PORT

LISTENER = "https"
KEY, SHARE = "api-key", "share"
ROUTE = "project"
TRAEFIK_API = "traefik.io/v1alpha1"

# Of Auth, what browsers are led to by links and redirections, which carry no key.
OPEN_PATHS = ("/verify", "/callback", "/authorize", "/.well-known/jwks.json")
OPEN_FOLDER = "/sso/saml"
# In a burst as many requests as are otherwise let through in so many seconds.
BURST_SECONDS = 2
# How the verifier is asked, whose answer is a sentence. Without a word on the last two Traefik warns of each route upon
# each change.
ASKED = {
    "authRequestHeaders": ["apikey", "Authorization"],
    "authResponseHeaders": ["Authorization"],
    "trustForwardHeader": False,
    "maxResponseBodySize": 4096,
}


def render_routes(context: Context) -> tuple[Desired, ...]:
    """Nothing for a project without services. A stopped project's answers that nobody is there."""
    if not context.project.tier.has_services:
        return ()
    return (_key(context), _share(context), _route(context))


def _key(context: Context) -> Desired:
    """Ask the verifier, which may know each request's headers and answers with the one that PostgREST reads.

    Of the Secret its digests are filled in when it is applied, and again when there is another Secret.
    """
    annotations = {CREDENTIALS_ANNOTATION: context.secret_uid}
    namespace = gateway_namespace_of(context.platform)
    host = f"{VERIFIER}.{namespace}.svc.{context.platform.cluster_domain}:{VERIFIER_PORT}"
    keys = "&".join(f"key={{{role}.digest}}.{{{role}.end}}" for role in API_ROLES)
    address = Filled(
        path=("spec", "forwardAuth", "address"),
        text=f"http://{host}/?{keys}",
        secret=ObjectId(kind="Secret", namespace=context.names.namespace, name=context.CREDENTIALS),
    )
    asking = context.object(TRAEFIK_API, "Middleware", KEY, annotations=annotations, spec={"forwardAuth": dict(ASKED)})
    return replace(asking, fills=(address,))


def _share(context: Context) -> Desired:
    """All clients of the project together; of one Traefik."""
    requests = context.project.tier.requests_per_second
    limit = {
        "average": requests,
        "burst": requests * BURST_SECONDS,
        "sourceCriterion": {"requestHost": True},
    }
    return context.object(TRAEFIK_API, "Middleware", SHARE, spec={"rateLimit": limit})


def _route(context: Context) -> Desired:
    gateway = {
        "name": GATEWAY,
        "namespace": gateway_namespace_of(context.platform),
        "sectionName": LISTENER,
    }
    spec = {
        "parentRefs": [gateway],
        "hostnames": [context.host],
        "rules": rules_of_services(),
    }
    return context.object(GATEWAY_API, "HTTPRoute", ROUTE, spec=spec)


def rules_of_services() -> list[Body]:
    """Which path leads where, whatever the host: the same in all projects."""
    return [*_auth_rules(), *_rest_rules()]


def _auth_rules() -> list[Body]:
    opened = [
        *(_rule(_exactly(f"/auth/v1{path}"), _to(path), AUTH, AUTH_PORT) for path in OPEN_PATHS),
        _rule(_below(f"/auth/v1{OPEN_FOLDER}"), _moved(OPEN_FOLDER), AUTH, AUTH_PORT),
    ]
    preflight = _rule(_preflight(_below("/auth/v1")), _moved("/"), AUTH, AUTH_PORT)
    return [*opened, preflight, _rule(_below("/auth/v1"), _moved("/"), AUTH, AUTH_PORT, needs_key=True)]


def _rest_rules() -> list[Body]:
    """GraphQL is a function of the database that answers by its own schema."""
    graphql = {"set": [{"name": "Content-Profile", "value": "graphql_public"}]}
    with_profile = {"type": "RequestHeaderModifier", "requestHeaderModifier": graphql}
    return [
        _rule(_preflight(_below("/rest/v1")), _moved("/"), REST, REST_PORT),
        _rule(_below("/rest/v1"), _moved("/"), REST, REST_PORT, needs_key=True),
        _rule(_preflight(_exactly("/graphql/v1")), _to("/rpc/graphql"), REST, REST_PORT),
        _rule(_exactly("/graphql/v1"), _to("/rpc/graphql"), REST, REST_PORT, needs_key=True, more=[with_profile]),
    ]


def _rule(
    match: Body,
    path: Body,
    service: str,
    port: int,
    *,
    needs_key: bool = False,
    more: list[Body] | None = None,
) -> Body:
    """One match for each, as the standard wants it of a prefix that is replaced."""
    middlewares = [_middleware(SHARE), *([_middleware(KEY)] if needs_key else [])]
    return {
        "matches": [match],
        "filters": [*middlewares, *(more or []), {"type": "URLRewrite", "urlRewrite": {"path": path}}],
        "backendRefs": [{"name": service, "port": port}],
    }


def _middleware(name: str) -> Body:
    reference = {"group": TRAEFIK_API.partition("/")[0], "kind": "Middleware", "name": name}
    return {"type": "ExtensionRef", "extensionRef": reference}


def _exactly(path: str) -> Body:
    return {"path": {"type": "Exact", "value": path}}


def _below(path: str) -> Body:
    return {"path": {"type": "PathPrefix", "value": path}}


def _preflight(match: Body) -> Body:
    """What a browser asks before it sends a key (Fetch standard, CORS-preflight request)."""
    return {**match, "method": "OPTIONS"}


def _to(path: str) -> Body:
    return {"type": "ReplaceFullPath", "replaceFullPath": path}


def _moved(path: str) -> Body:
    return {"type": "ReplacePrefixMatch", "replacePrefixMatch": path}
