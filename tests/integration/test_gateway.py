# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway as its clients meet it: the real Traefik, configured by the engine, on the real API server."""

from __future__ import annotations

import secrets
import ssl
import time
import urllib.error
import urllib.request

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import GATEWAY_API
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.gateway import GATEWAY
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.gateway_pods import Arrival
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.routes import (
    AUTH_PATH,
    LISTENER,
    SHARE,
    STRIP,
    rules_of_services,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.traefik import (
    METRICS,
    PORTS,
    WEB,
    WEBSECURE,
)
from fix_gateway import (
    CLIENT,
    DOMAIN,
    EXPIRED_KEY,
    KEY,
    LIMITS,
    PLATFORM,
    SPACE,
    START_SECONDS,
    certificate_of,
    middleware,
    path_of,
    project,
)

OTHER = f"other.{DOMAIN}"


def steps(report):
    return [f"{step.action} {step.id}" for step in report.outcomes[0].steps]


def test_a_gateway_that_is_kept_is_left_alone(gateway):
    report = gateway.keep()
    assert (steps(report), report.writes) == ([], 0)


def test_what_somebody_changed_is_repaired_and_a_check_says_so(gateway):
    path = f"/apis/gateway.networking.k8s.io/v1/namespaces/{SPACE}/gateways/supalove"
    listener = {"name": "more", "port": 8000, "protocol": "HTTP", "hostname": "evil.test"}
    found = gateway.server.request("GET", path)["spec"]["listeners"]
    gateway.server.merge(path, {"spec": {"listeners": [*found, listener]}})
    wanted = [f"update Gateway/{SPACE}/supalove"]
    assert steps(gateway.keep(check=True)) == steps(gateway.keep()) == wanted
    assert gateway.keep().writes == 0


def test_a_renewed_certificate_is_the_one_that_clients_get(gateway):
    renewed = certificate_of(gateway.authority)
    assert steps(gateway.keep(certificate=renewed)) == [f"update Secret/{SPACE}/wildcard-tls"]
    gateway.certificate = renewed
    end = time.monotonic() + START_SECONDS
    while True:
        with gateway.connection(PORTS[WEBSECURE], tls_name=f"acme.{DOMAIN}") as made:
            shown = made.getpeercert(binary_form=True)
        if shown in _ders(renewed.chain):
            return
        assert time.monotonic() < end, "the old one is still shown"
        time.sleep(0.1)


def _ders(chain):
    return [ssl.PEM_cert_to_DER_cert(chain)]


def test_another_way_for_traffic_to_arrive_takes_the_place_of_the_first(gateway):
    balanced = {"arrival": Arrival.KUBE_VIP, "address": "192.0.2.99"}
    changed = steps(gateway.keep(**balanced))
    assert changed[-1] == f"delete DaemonSet/{SPACE}/traefik"
    assert {f"create Service/{SPACE}/traefik", f"create Deployment/{SPACE}/traefik"} <= set(changed)
    assert gateway.keep(**balanced).writes == 0
    back = steps(gateway.keep())
    assert back[-3:] == [f"delete {kind}/{SPACE}/traefik" for kind in ("Service", "Deployment", "PodDisruptionBudget")]
    assert gateway.keep().writes == 0


def test_definitions_of_somebody_else_are_not_taken_over(gateway):
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/middlewares.traefik.io"
    label = "supalove.cloud/platform"
    gateway.server.merge(path, {"metadata": {"labels": {label: "theirs"}}})
    report = gateway.keep()
    gateway.server.merge(path, {"metadata": {"labels": {label: PLATFORM.namespace}}})
    assert report.outcomes[0].failure.object == "CustomResourceDefinition/middlewares.traefik.io"
    assert report.writes == 0


def test_traefik_cannot_read_secrets_of_tenants(gateway):
    token = (gateway.program.log.parent / "token").read_text()
    for space in ("p-acme", "kube-system"):
        url = f"{gateway.server.url}/api/v1/namespaces/{space}/secrets"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
        context = ssl.create_default_context(cafile=str(gateway.server.authority))
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(request, context=context, timeout=10)


def test_a_path_leads_to_its_service_and_is_stripped(gateway):
    rest = gateway.ask("/rest/v1/rows?select=a", apikey=KEY).body
    assert (rest["pod"], rest["path"]) == ("rest", "/rows?select=a")
    auth = gateway.ask("/auth/v1/settings").body
    assert (auth["pod"], auth["path"]) == ("auth", "/settings")
    assert gateway.ask("/elsewhere", apikey=KEY).status == 404


@pytest.fixture(scope="module")
def services(gateway):
    """The host of a route with the rules that projects have."""
    host, space = f"services.{DOMAIN}", "p-acme"
    parent = {"name": GATEWAY, "namespace": SPACE, "sectionName": LISTENER}
    made = [
        middleware(space, SHARE, {"rateLimit": {"average": 1000}}),
        middleware(space, STRIP, {"stripPrefix": {"prefixes": [AUTH_PATH]}}),
        {
            "apiVersion": GATEWAY_API,
            "kind": "HTTPRoute",
            "metadata": {"name": "services", "namespace": space},
            "spec": {"parentRefs": [parent], "hostnames": [host], "rules": rules_of_services()},
        },
    ]
    gateway.apply(*made)
    gateway.await_status(200, "/auth/v1/verify", host=host)
    yield host
    for one in made:
        gateway.server.request("DELETE", path_of(one))


OPEN = {
    "/auth/v1/verify?token=a": "/verify?token=a",
    "/auth/v1/callback": "/callback",
    "/auth/v1/authorize?provider=a": "/authorize?provider=a",
    "/auth/v1/.well-known/jwks.json": "/.well-known/jwks.json",
    "/auth/v1/%2Ewell-known/jwks.json": "/.well-known/jwks.json",
    "/auth/v1/sso/saml": "/sso/saml",
    "/auth/v1/sso/saml/acs": "/sso/saml/acs",
}
CLOSED = {
    "/auth/v1": ("auth", "/"),
    "/auth/v1/token": ("auth", "/token"),
    "/auth/v1/verifyx": ("auth", "/verifyx"),
    "/auth/v1/verify/more": ("auth", "/verify/more"),
    "/auth/v1/verify/../settings": ("auth", "/settings"),
    "/auth/v1/sso/samlx": ("auth", "/sso/samlx"),
    "/auth/v1/sso/saml/../../settings": ("auth", "/settings"),
    "/auth/v1/sso/saml/%2e%2e/%2e%2e/settings": ("auth", "/settings"),
    "/auth/v1/Xwell-known/jwks.json": ("auth", "/Xwell-known/jwks.json"),
    "/rest/v1": ("rest", "/"),
    "/rest/v1/rows?select=a": ("rest", "/rows?select=a"),
    "/graphql/v1": ("rest", "/rpc/graphql"),
}


@pytest.mark.parametrize("path", OPEN)
def test_where_browsers_are_led_to_no_key_is_asked_for(gateway, services, path):
    for more in ({}, {"apikey": "wrong"}, {"method": "OPTIONS"}):
        found = gateway.ask(path, host=services, **more)
        assert (found.status, found.body["pod"], found.body["path"]) == (200, "auth", OPEN[path])


@pytest.mark.parametrize("path", CLOSED)
def test_everything_else_wants_a_key_but_for_a_preflight(gateway, services, path):
    for more in ({}, {"x_forwarded_method": "OPTIONS"}, {"method": "POST", "x_forwarded_method": "OPTIONS"}):
        assert gateway.ask(path, host=services, **more).status == 401
    for more in ({"apikey": KEY}, {"method": "OPTIONS"}):
        found = gateway.ask(path, host=services, **more)
        assert (found.status, found.body["pod"], found.body["path"]) == (200, *CLOSED[path])


def test_graphql_is_a_function_of_a_schema_of_its_own(gateway, services):
    found = gateway.ask("/graphql/v1", host=services, apikey=KEY)
    assert found.body["headers"]["Content-Profile"] == "graphql_public"
    assert found.body["headers"]["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "No API key found in request"),
        ({"apikey": "wrong"}, "Invalid authentication credentials"),
        ({"apikey": "another"}, "Invalid authentication credentials"),
        ({"apikey": EXPIRED_KEY}, "API key has expired"),
    ],
    ids=["none", "wrong", "of another project", "expired"],
)
def test_without_a_good_key_of_the_project_nothing_gets_through(gateway, headers, message):
    found = gateway.ask("/rest/v1/rows", **headers)
    assert (found.status, found.body) == (401, {"message": message})


def test_a_key_speaks_for_itself_only_where_the_client_sent_no_token(gateway):
    assert gateway.ask("/rest/v1/", apikey=KEY).body["headers"]["Authorization"] == f"Bearer {KEY}"
    found = gateway.ask("/rest/v1/", apikey=KEY, Authorization="Bearer mine")
    assert found.body["headers"]["Authorization"] == "Bearer mine"


def test_a_key_of_one_project_is_none_of_the_other(gateway):
    assert gateway.ask("/rest/v1/", host=OTHER, apikey=KEY).status == 401
    assert gateway.ask("/rest/v1/", host=OTHER, apikey="another").status == 200


def test_a_path_that_means_two_things_is_refused(gateway):
    assert gateway.ask("/auth/v1/..%2f..%2frest/v1/rows").status == 400
    assert gateway.ask("/auth/v1/../../rest/v1/rows").status == 401


def test_what_a_client_says_of_its_address_is_thrown_away(gateway):
    names = ("X-Forwarded-For", "X-Real-Ip", "Forwarded", "True-Client-Ip", "Cf-Connecting-Ip", "X.Real.Ip")
    said = dict.fromkeys(names, "198.51.100.66")
    found = gateway.ask("/auth/v1/", **said, Connection="X-Forwarded-For, X-Real-Ip").body["headers"]
    assert {name: found.get(name) for name in ("X-Forwarded-For", "X-Real-Ip")} == {
        "X-Forwarded-For": CLIENT,
        "X-Real-Ip": CLIENT,
    }
    assert "198.51.100.66" not in str(found)


def test_http_leads_to_https(gateway):
    found = gateway.ask("/rest/v1/rows?select=a", port=PORTS[WEB])
    assert found.status == 301
    assert found.headers["location"] == f"https://acme.{DOMAIN}/rest/v1/rows?select=a"


def test_a_name_that_no_certificate_is_for_gets_none(gateway):
    with pytest.raises(OSError, match=r"(?i)alert|eof|reset|unrecognized"):
        gateway.connection(PORTS[WEBSECURE], tls_name="acme.elsewhere.test")


def test_what_a_request_may_take_is_bounded(gateway):
    assert gateway.ask("/auth/v1/", X_Large="a" * (LIMITS.header_bytes * 2)).status == 431
    fits, large = b"a" * LIMITS.body_bytes, b"a" * (LIMITS.body_bytes + 1)
    assert gateway.ask("/auth/v1/", method="POST", body=fits).status == 200
    assert gateway.ask("/auth/v1/", method="POST", body=large).status == 413
    assert gateway.ask("/auth/v1/", method="POST", body=iter([large])).status == 413


@pytest.mark.parametrize("end", [b"", b"Content-Length: 1000\r\n\r\n"], ids=["headers", "body"])
def test_a_client_that_takes_its_time_is_cut(gateway, end):
    # Half of what Traefik would wait without being told, readTimeout's default of 60 s.
    late = time.monotonic() + 30
    with gateway.connection(PORTS[WEBSECURE], tls_name=f"acme.{DOMAIN}") as made:
        made.sendall(f"POST /auth/v1/ HTTP/1.1\r\nHost: acme.{DOMAIN}\r\n".encode() + end)
        made.settimeout(0.2)
        while not is_cut(made, b"x" if end else b"X: y\r\n"):
            assert time.monotonic() < late, "it is not cut"


def is_cut(connection, piece):
    """Whether nobody takes a piece more of a request; it is never answered as a whole one."""
    try:
        connection.sendall(piece)
        got = connection.recv(1000)
    except TimeoutError:
        return False
    except OSError:
        return True
    assert b" 200 " not in got
    return not got


def test_a_project_that_asks_too_much_is_told_so_and_others_are_not(gateway):
    slow = {"rateLimit": {"average": 1, "period": "1m", "burst": 3, "sourceCriterion": {"requestHost": True}}}
    gateway.apply(middleware("p-other", "limits", slow))
    gateway.await_status(429, "/auth/v1/", host=OTHER)
    assert gateway.ask("/auth/v1/").status == 200
    gateway.apply(*project("other"))
    gateway.await_status(200, "/auth/v1/", host=OTHER)


def test_without_its_check_of_keys_a_route_is_closed(gateway):
    (check,) = [one for one in project("other") if one["metadata"]["name"] == "api-key"]
    gateway.delete(check)
    gateway.await_status(404, "/rest/v1/", host=OTHER, apikey="another")
    gateway.apply(check)
    gateway.await_status(200, "/rest/v1/", host=OTHER, apikey="another")


def test_a_namespace_that_is_no_projects_cannot_attach_a_route(gateway):
    (theirs,) = [one for one in project("acme") if one["kind"] == "HTTPRoute"]
    space = f"stranger-{secrets.token_hex(3)}"
    theirs = {**theirs, "metadata": {"name": "project", "namespace": space}}
    gateway.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}}, theirs)
    end = time.monotonic() + START_SECONDS
    while not (parents := gateway.server.request("GET", path_of(theirs)).get("status", {}).get("parents")):
        assert time.monotonic() < end, "the route was never looked at"
        time.sleep(0.1)
    conditions = {one["type"]: one["reason"] for one in parents[0]["conditions"]}
    gateway.delete(theirs)
    assert conditions["Accepted"] == "NotAllowedByListeners"


def test_no_key_token_or_query_is_in_the_log(gateway):
    key, token, query = (f"secret-{secrets.token_hex(8)}" for _ in range(3))
    gateway.ask(f"/rest/v1/rows?apikey={query}", apikey=key, Authorization=f"Bearer {token}", Cookie=token)
    gateway.await_status(200, "/auth/v1/last-in-the-log")
    end = time.monotonic() + START_SECONDS
    while "last-in-the-log" not in gateway.log():
        assert time.monotonic() < end, "nothing is logged"
        time.sleep(0.05)
    assert '"RequestPath":"/rest/v1/rows"' in gateway.log()
    assert [one for one in (key, token, query) if one in gateway.log()] == []


def test_a_route_brings_no_warning_upon_each_change(gateway):
    """With 300 projects they were 245,000 lines in an hour."""
    gateway.await_status(200, "/auth/v1/health-of-one")
    assert '"message":' in gateway.log()
    assert "is not configured" not in gateway.log()


def test_the_gateways_own_ports_answer_what_probes_ask(gateway):
    assert gateway.ask("/ping", host="any", port=PORTS[METRICS]).status == 200
    assert gateway.ask("/metrics", host="any", port=PORTS[METRICS]).status == 200
