# SPDX-License-Identifier: BSD-2-Clause
"""The way from outside to a project's services: an HTTPRoute of the Gateway API below the platform's gateway.

What the standard has no word for, Traefik has as a Middleware: a key is asked for, and a project has its shares of
requests. The keys' digests are in the Middleware's address, so that who verifies them keeps nothing.
"""

from __future__ import annotations

from dataclasses import replace

from ..objects import Body, Desired, Filled, ObjectId
from ..project.names import CREDENTIALS_ANNOTATION, GATEWAY_API, TRAEFIK_API, TRAEFIK_GROUP
from ..service_keys import API_ROLES, AUTH, KEY_HEADER, REST
from .context import Context
from .gateway import GATEWAY
from .gateway_pods import VERIFIER, VERIFIER_PORT, gateway_namespace_of
from .services import AUTH_PORT, REST_PORT

LISTENER = "https"
KEY, SHARE, STRIP = "api-key", "share", "strip"
ROUTE = "project"

AUTH_PATH = "/auth/v1"
# Of Auth, what browsers are led to by links and redirections, which carry no key. Traefik prefers it, as it has more
# characters than AUTH_PATH (pkg/provider/kubernetes/gateway/httproute.go, buildPathRule).
OPEN = rf"^{AUTH_PATH}/(verify|callback|authorize|\.well-known/jwks\.json|sso/saml(/.*)?)$"
# In a burst as many requests as are otherwise let through in so many seconds.
BURST_SECONDS = 2
# How the verifier is asked, whose answer is a sentence. Without a word on the last two Traefik warns of each route upon
# each change.
ASKED = {
    "authRequestHeaders": [KEY_HEADER, "Authorization"],
    "authResponseHeaders": ["Authorization"],
    "trustForwardHeader": False,
    "maxResponseBodySize": 4096,
}


def render_routes(context: Context) -> tuple[Desired, ...]:
    """Nothing for a project without services. A stopped project's answers that nobody is there."""
    if not context.project.tier.has_services:
        return ()
    return (_key(context), _share(context), _strip(context), _route(context))


def _key(context: Context) -> Desired:
    """Ask the verifier, which may know these headers and answers with the one that PostgREST reads.

    It lets a preflight pass (Fetch standard, CORS-preflight request): browsers ask it before they send a key.

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
    """All clients of the project together, of one route and one host name: Traefik counts so, traefik/traefik#13706."""
    requests = context.project.tier.requests_per_second
    limit = {
        "average": requests,
        "burst": requests * BURST_SECONDS,
        "sourceCriterion": {"requestHost": True},
    }
    return context.object(TRAEFIK_API, "Middleware", SHARE, spec={"rateLimit": limit})


def _strip(context: Context) -> Desired:
    """For what no prefix tells, which the standard cannot shorten."""
    return context.object(TRAEFIK_API, "Middleware", STRIP, spec={"stripPrefix": {"prefixes": [AUTH_PATH]}})


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
    """Which path leads where, whatever the host: the same in all projects.

    As few as can be: Traefik makes a router of each, makes all anew upon each change, and searches them one by one.
    """
    graphql = {"set": [{"name": "Content-Profile", "value": "graphql_public"}]}
    return [
        _rule(_matching(OPEN), AUTH, AUTH_PORT, _middleware(STRIP)),
        _rule(_below(AUTH_PATH), AUTH, AUTH_PORT, _middleware(KEY), _moved("/")),
        _rule(_below("/rest/v1"), REST, REST_PORT, _middleware(KEY), _moved("/")),
        # GraphQL is a function of the database that answers by its own schema.
        _rule(
            _exactly("/graphql/v1"),
            REST,
            REST_PORT,
            _middleware(KEY),
            {"type": "RequestHeaderModifier", "requestHeaderModifier": graphql},
            _rewritten({"type": "ReplaceFullPath", "replaceFullPath": "/rpc/graphql"}),
        ),
    ]


def _rule(match: Body, service: str, port: int, *filters: Body) -> Body:
    """One match for each, as the standard wants it of a prefix that is replaced."""
    return {
        "matches": [match],
        "filters": [_middleware(SHARE), *filters],
        "backendRefs": [{"name": service, "port": port}],
    }


def _middleware(name: str) -> Body:
    reference = {"group": TRAEFIK_GROUP, "kind": "Middleware", "name": name}
    return {"type": "ExtensionRef", "extensionRef": reference}


def _matching(expression: str) -> Body:
    return {"path": {"type": "RegularExpression", "value": expression}}


def _exactly(path: str) -> Body:
    return {"path": {"type": "Exact", "value": path}}


def _below(path: str) -> Body:
    return {"path": {"type": "PathPrefix", "value": path}}


def _moved(path: str) -> Body:
    return _rewritten({"type": "ReplacePrefixMatch", "replacePrefixMatch": path})


def _rewritten(path: Body) -> Body:
    return {"type": "URLRewrite", "urlRewrite": {"path": path}}
