# SPDX-License-Identifier: GPL-3.0-or-later
"""Projects with Routes against the real API, with the real definition of the kind. There is no router of OpenShift."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.authority import AUTHORITY, term_of
from ansible_collections.supalove.platform.plugins.module_utils._engine.describe import describe
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import SafetyStop
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.parse import parse
from ansible_collections.supalove.platform.plugins.module_utils._engine.settings import Drift, Settings
from fix_engine import LEASE, NAMESPACE, Engine
from fix_openshift import PLATFORM, START_SECONDS

WITH_GATEWAY = {"domain": "example.com", "gateway_kind": "gateway"}
RATE = "haproxy.router.openshift.io/rate-limit-connections.rate-http"
REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


def path_of(ref: str, name: str) -> str:
    return f"/apis/route.openshift.io/v1/namespaces/p-{ref}/routes/{name}"


def route(engine: Engine, ref: str, name: str) -> dict[str, Any]:
    return dict(engine.server.request("GET", path_of(ref, name)))


def settle(engine: Engine, ref: str, platform: dict[str, Any] = PLATFORM) -> Any:
    report = engine.settle({ref: {"tier": "free"}}, platform=platform)
    assert report.succeeded, report.outcomes[0].failure
    return report


def writes(engine: Engine, ref: str, **settings: Any) -> int:
    return engine.reconcile({ref: {"tier": "free"}}, platform=PLATFORM, wait=True, **settings).writes


@pytest.mark.usefixtures("route_kind")
def test_the_api_takes_the_routes_as_they_are_and_a_second_run_changes_nothing(own_engine: Engine, ref: str) -> None:
    settle(own_engine, ref)
    found = {name: route(own_engine, ref, name)["spec"] for name in ("auth", "rest", "graphql", "sql")}
    assert {name: (spec["host"], spec.get("path")) for name, spec in found.items()} == {
        "auth": (f"{ref}.example.com", "/auth/v1"),
        "rest": (f"{ref}.example.com", "/rest/v1"),
        "graphql": (f"{ref}.example.com", "/graphql/v1"),
        "sql": (f"sql.{ref}.example.com", None),
    }
    # Nothing that the definition does not know was left out.
    assert found["graphql"]["httpHeaders"]["actions"]["request"][0]["name"] == "Content-Profile"
    assert term_of(own_engine.secret(ref)).endswith(f" sql.{ref}.example.com")
    assert writes(own_engine, ref) == 0
    assert writes(own_engine, ref, drift=Drift.FULL) == 0


@pytest.mark.usefixtures("route_kind")
def test_a_route_leads_to_a_port_that_its_service_has(own_engine: Engine, ref: str) -> None:
    settle(own_engine, ref)
    for name in ("auth", "rest", "graphql", "sql"):
        spec = route(own_engine, ref, name)["spec"]
        service = own_engine.server.request("GET", f"/api/v1/namespaces/p-{ref}/services/{spec['to']['name']}")
        assert spec["port"]["targetPort"] in [port["name"] for port in service["spec"]["ports"]]


@pytest.mark.usefixtures("route_kind")
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("rest", {"metadata": {"annotations": {RATE: "100000"}}}),
        ("rest", {"spec": {"to": {"name": "pooler"}}}),
        ("rest", {"spec": {"alternateBackends": [{"kind": "Service", "name": "auth"}]}}),
        ("auth", {"spec": {"tls": {"insecureEdgeTerminationPolicy": "Allow"}}}),
        ("sql", {"spec": {"host": "other.example.com"}}),
    ],
)
def test_what_others_change_of_a_route_is_put_back(
    own_engine: Engine, ref: str, name: str, change: dict[str, Any]
) -> None:
    settle(own_engine, ref)
    before = route(own_engine, ref, name)
    own_engine.server.merge(path_of(ref, name), change)
    report = settle(own_engine, ref)
    assert [str(step.id) for step in report.outcomes[0].steps] == [f"Route/p-{ref}/{name}"]
    after = route(own_engine, ref, name)
    assert after["spec"] == before["spec"]
    assert after["metadata"]["annotations"] == before["metadata"]["annotations"]


@pytest.mark.usefixtures("route_kind")
def test_a_route_that_is_gone_comes_back(own_engine: Engine, ref: str) -> None:
    settle(own_engine, ref)
    before = route(own_engine, ref, "auth")["spec"]
    own_engine.server.request("DELETE", path_of(ref, "auth"))
    settle(own_engine, ref)
    assert route(own_engine, ref, "auth")["spec"] == before


@pytest.mark.usefixtures("route_kind")
def test_what_a_router_notes_in_the_status_is_no_drift(own_engine: Engine, ref: str) -> None:
    settle(own_engine, ref)
    admitted = {"type": "Admitted", "status": "True"}
    ingress = {"host": f"{ref}.example.com", "routerName": "default", "conditions": [admitted]}
    own_engine.server.merge(f"{path_of(ref, 'rest')}/status", {"status": {"ingress": [ingress]}})
    assert writes(own_engine, ref) == 0
    assert writes(own_engine, ref, drift=Drift.FULL) == 0


@pytest.mark.usefixtures("route_kind", "gateway_kinds")
def test_a_project_goes_from_the_gateway_to_routes_with_the_same_authority(own_engine: Engine, ref: str) -> None:
    settle(own_engine, ref, WITH_GATEWAY)
    before = own_engine.secret(ref)
    settle(own_engine, ref)
    texts = own_engine.secret(ref)
    assert term_of(before).endswith(f" {ref}.example.com")
    assert term_of(texts).endswith(f" sql.{ref}.example.com")
    assert texts[AUTHORITY] == before[AUTHORITY]
    assert writes(own_engine, ref) == 0


@pytest.mark.usefixtures("no_route_kind")
@pytest.mark.parametrize("check", [False, True])
def test_without_the_kind_a_run_says_so_and_changes_nothing(own_engine: Engine, ref: str, *, check: bool) -> None:
    with pytest.raises(
        SafetyStop, match=r"does not know the kind Route of route\.openshift\.io/v1: gateway_kind route"
    ):
        own_engine.reconcile({ref: {"tier": "free"}}, platform=PLATFORM, check=check)
    assert not own_engine.server.exists(f"/api/v1/namespaces/p-{ref}")
    assert not own_engine.server.exists(LEASE.replace(NAMESPACE, own_engine.namespace))


@pytest.mark.usefixtures("no_route_kind")
def test_without_the_kind_the_platform_is_not_prepared_for_it(engine: Engine) -> None:
    with pytest.raises(SafetyStop, match="does not know the kind Route"):
        engine.prepare(platform=PLATFORM)
    assert not may(engine, "routes", "create")


@pytest.mark.usefixtures("no_route_kind")
def test_without_the_kind_projects_are_described_all_the_same(own_engine: Engine, ref: str) -> None:
    report = own_engine.reconcile({ref: {"tier": "free"}})
    assert report.succeeded, [one.failure for one in report.outcomes]
    platform = parse(projects={}, tiers={}, platform={**PLATFORM, "namespace": own_engine.namespace}).platform
    with own_engine.client() as client:
        (told,) = describe(client, platform, refs=[ref], settings=Settings())
    assert (told["ref"], told["drift"]) == (ref, [])


def may(engine: Engine, resource: str, verb: str) -> bool:
    """What the API server's authorizer says of the worker in a project's namespace."""
    name, _slash, sub = resource.partition("/")
    what = {"group": "route.openshift.io", "resource": name, "subresource": sub, "verb": verb, "namespace": "p-anyone"}
    spec = {"user": f"system:serviceaccount:{NAMESPACE}:supalove-worker", "resourceAttributes": what}
    return bool(engine.server.request("POST", REVIEWS, {"spec": spec})["status"]["allowed"])


def await_worker(engine: Engine, *, may_write: bool) -> None:
    """The authorizer hears of a changed role a moment later."""
    end = time.monotonic() + START_SECONDS
    while may(engine, "routes", "create") is not may_write:
        assert time.monotonic() < end, f"the worker may {'not ' * may_write}write routes"
        time.sleep(0.1)


@pytest.fixture
def routed(engine: Engine) -> Iterator[Engine]:
    """The platform while it asks for Routes."""
    assert engine.prepare(platform=PLATFORM).succeeded
    await_worker(engine, may_write=True)
    yield engine
    assert engine.prepare().succeeded
    await_worker(engine, may_write=False)


@pytest.mark.usefixtures("route_kind")
def test_the_worker_may_write_routes_and_name_their_hosts_and_nothing_else(routed: Engine) -> None:
    verbs = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "*")
    resources = ("routes", "routes/custom-host", "routes/status", "*")
    assert {one: [verb for verb in verbs if may(routed, one, verb)] for one in resources} == {
        "routes": ["get", "list", "watch", "create", "update", "patch"],
        "routes/custom-host": ["create", "update"],
        "routes/status": [],
        "*": [],
    }


@pytest.mark.usefixtures("route_kind")
def test_where_nobody_asks_for_routes_the_worker_may_write_none(engine: Engine) -> None:
    assert not any(may(engine, one, "create") for one in ("routes", "routes/custom-host"))
