# SPDX-License-Identifier: GPL-3.0-or-later
"""What the stand-ins for GoTrue and PostgREST answer to a browser that asks before it sends."""

from __future__ import annotations

import pytest
from lab.services.settings import contract
from lab.services.web import Request, preflight

ASKED = {
    "origin": "https://app.example.com",
    "access-control-request-method": "POST",
    "access-control-request-headers": "apikey, Content-Type",
}


def request(method: str = "OPTIONS", **headers: str) -> Request:
    return Request(method=method, path="/", query=(), headers={**ASKED, **headers}, body=b"")


def test_postgrest_allows_what_is_asked_for() -> None:
    answer = preflight(request(), contract("postgrest")["preflight"])
    assert answer is not None
    assert answer.status == 200
    assert "apikey" in answer.headers["Access-Control-Allow-Headers"]


@pytest.mark.parametrize(("more", "says_yes"), [((), False), (("apikey",), True)])
def test_gotrue_allows_a_key_only_where_it_was_told_to(more: tuple[str, ...], *, says_yes: bool) -> None:
    answer = preflight(request(), contract("gotrue")["preflight"], more)
    assert answer is not None
    assert answer.status == 204
    assert ("Access-Control-Allow-Origin" in answer.headers) is says_yes


def test_other_requests_are_no_preflights() -> None:
    line = contract("gotrue")["preflight"]
    assert preflight(request("GET"), line) is None
    bare = Request(method="OPTIONS", path="/", query=(), headers={}, body=b"")
    assert preflight(bare, line) is None
