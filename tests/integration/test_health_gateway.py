# SPDX-License-Identifier: GPL-3.0-or-later
"""What the real Traefik answers to a probe in each of the cases that a look at projects tells apart."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.gateway.client import Gateway as Asked
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.gateway.client import Target
from ansible_collections.supalove.platform.plugins.module_utils._engine.credentials import Secret
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import new_uid
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.traefik import PORTS, WEBSECURE
from ansible_collections.supalove.platform.plugins.module_utils._engine.service_health import (
    PATHS,
    Finding,
    State,
    finding_of,
)
from fix_gateway import DOMAIN, GATEWAY_ADDRESS, PODS, Gateway, api_key, middleware, project
from fix_served import served_objects

HOST = f"other.{DOMAIN}"
KEY = "another"
SECONDS = 20
SILENT_PORT, EMPTY_PORT = 3111, 3112


@pytest.fixture
def probe(gateway: Gateway, tmp_path: Path) -> Iterator[Callable[..., Finding]]:
    """Asks for the REST service of a project whose objects are as they were afterwards."""
    (tmp_path / "ca.pem").write_text(gateway.authority.pem)
    target = Target(
        address=GATEWAY_ADDRESS, port=PORTS[WEBSECURE], ca_file=str(tmp_path / "ca.pem"), answer_seconds=1.0
    )
    asked = Asked(target)
    yield lambda key=KEY: gateway.inside(lambda: finding_of(asked.ask(HOST, PATHS["rest"], Secret(key))))
    gateway.apply(*project("other"))
    gateway.await_status(200, "/rest/v1/", host=HOST, apikey=KEY)


def until(probe: Callable[..., Finding], state: State) -> Finding:
    """Traefik takes a moment to see what has changed."""
    end = time.monotonic() + SECONDS
    while (found := probe()).state is not state:
        assert time.monotonic() < end, found
        time.sleep(0.1)
    return found


def slice_at(gateway: Gateway, port: int, *, endpoints: list[dict[str, Any]] | None = None) -> None:
    (found,) = [
        one for one in project("other") if (one["kind"], one["metadata"]["name"]) == ("EndpointSlice", "rest-1")
    ]
    ports = [{**found["ports"][0], "port": port}]
    gateway.apply({**found, "ports": ports, "endpoints": found["endpoints"] if endpoints is None else endpoints})


def part(kind: str, name: str) -> dict[str, Any]:
    (found,) = [one for one in project("other") if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def test_a_service_with_a_good_key_is_up_and_a_bad_key_is_told(probe: Callable[..., Finding]) -> None:
    assert probe().state is State.UP
    assert probe("wrong").why.startswith("answers 401: the project's own key is refused")


def test_a_service_without_pods_is_down(gateway: Gateway, probe: Callable[..., Finding]) -> None:
    slice_at(gateway, 3000, endpoints=[])
    assert until(probe, State.DOWN).why == "answers 503"


def test_a_pod_that_refuses_connections_is_down(gateway: Gateway, probe: Callable[..., Finding]) -> None:
    slice_at(gateway, EMPTY_PORT)
    assert until(probe, State.DOWN).why == "answers 502"


def test_a_pod_that_never_answers_is_down_as_the_gateway_itself_answers(
    gateway: Gateway, probe: Callable[..., Finding]
) -> None:
    with gateway.inside(lambda: socket.create_server((PODS, SILENT_PORT))):
        slice_at(gateway, SILENT_PORT)
        assert until(probe, State.DOWN).why == "gives no answer in 1 s"


@pytest.fixture
def sql_route(gateway: Gateway) -> Iterator[None]:
    """With one TLSRoute Traefik cuts clients without ALPN that ask for a name without a route."""
    (sql,) = [one.body for one in served_objects(new_uid(), "made", DOMAIN) if one.id.kind == "TLSRoute"]
    gateway.apply(sql)
    end = time.monotonic() + SECONDS
    with contextlib.suppress(OSError):
        while time.monotonic() < end:
            gateway.ask("/", host=f"nobody.{DOMAIN}")
            time.sleep(0.1)
        pytest.fail("Traefik has not seen the route")
    yield
    gateway.delete(sql)


@pytest.mark.usefixtures("sql_route")
def test_a_missing_route_is_told_beside_routes_of_sql(gateway: Gateway, probe: Callable[..., Finding]) -> None:
    gateway.delete(part("HTTPRoute", "project"))
    assert until(probe, State.DEGRADED).why.startswith("answers 404: there is no route")


def test_a_missing_service_and_a_missing_verifier_are_told_and_no_reason_to_restart(
    gateway: Gateway, probe: Callable[..., Finding]
) -> None:
    gateway.delete(part("Service", "rest"))
    assert until(probe, State.DEGRADED).why.startswith("answers 500")
    gateway.apply(part("Service", "rest"))
    until(probe, State.UP)
    asked = api_key(KEY, "expired")["forwardAuth"]
    asked["address"] = asked["address"].replace(":8080", f":{EMPTY_PORT}")
    gateway.apply(middleware("p-other", "api-key", {"forwardAuth": asked}))
    assert until(probe, State.DEGRADED).why.startswith("answers 500")
