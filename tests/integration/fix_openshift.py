# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenShift's Route on the API server of fix_apiserver: the real definition, and nobody who acts by it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from fix_apiserver import ApiServer
from fix_gateway import is_served

sys.path.insert(0, str(Path(__file__).parents[1]))
from lab import openshift

PLATFORM = {"domain": "example.com", "gateway_kind": "route", "gateway_unchecked_keys_accepted": True}
ROUTES = "/apis/route.openshift.io/v1/routes"
START_SECONDS = 30


@pytest.fixture(scope="session")
def route_definition() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(openshift.route_definition().read_text())
    return found


def place_of(definition: dict[str, Any]) -> str:
    return f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{definition['metadata']['name']}"


@pytest.fixture
def route_kind(api_server: ApiServer, route_definition: dict[str, Any]) -> None:
    """The API server knows Routes, if it did not before."""
    path = f"{place_of(route_definition)}?fieldManager=test&force=true"
    api_server.request("PATCH", path, route_definition, "application/apply-patch+yaml")
    _await(api_server, served=True)


@pytest.fixture
def no_route_kind(api_server: ApiServer, route_definition: dict[str, Any]) -> None:
    """The API server does not know Routes, and has none of an earlier test any more."""
    if api_server.exists(place_of(route_definition)):
        api_server.request("DELETE", place_of(route_definition))
    _await(api_server, served=False)


def _await(server: ApiServer, *, served: bool) -> None:
    end = time.monotonic() + START_SECONDS
    while is_served(server, ROUTES) is not served:
        assert time.monotonic() < end, f"{ROUTES} is {'not ' * served}served"
        time.sleep(0.2)
