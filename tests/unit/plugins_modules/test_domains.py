# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module domains makes of its options and files."""

from __future__ import annotations

import datetime

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._domains import (
    certificate_at,
    domains_spec,
    platform_from,
    resolvers_from,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import InvalidSpec
from certified import NOW, made


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("192.0.2.53", ("192.0.2.53", 53)),
        ("192.0.2.53:5353", ("192.0.2.53", 5353)),
        ("2001:db8::53", ("2001:db8::53", 53)),
        ("[2001:db8::53]:5353", ("2001:db8::53", 5353)),
    ],
)
def test_a_resolver_is_an_address_with_or_without_a_port(text, found):
    assert resolvers_from({"resolvers": [text]}) == (found,)


@pytest.mark.parametrize(
    "text",
    ["dns.example.org", "192.0.2.53:", "192.0.2.53:0", "192.0.2.53:65536", "u@192.0.2.53:53", "192.0.2.53:53/x", ""],
)
def test_what_is_no_resolver_is_refused(text):
    with pytest.raises(InvalidSpec, match="resolvers: found"):
        resolvers_from({"resolvers": ["192.0.2.53", text]})


def test_without_a_gateway_there_are_no_domains():
    with pytest.raises(InvalidSpec, match=r"supalove_platform\.gateway_kind: found 'none', allowed is gateway"):
        platform_from({"platform": {"domain": "example.com"}})


@pytest.fixture
def given(tmp_path):
    def write(name):
        chain, key = made(name)
        (tmp_path / "api.example.org").mkdir()
        (tmp_path / "api.example.org/fullchain.pem").write_text(chain)
        (tmp_path / "api.example.org/privkey.pem").write_text(key)
        return str(tmp_path)

    return write


@pytest.mark.parametrize("name", ["api.example.org", "*.example.org"])
def test_a_certificate_of_the_name_or_of_all_beside_it_is_taken(given, name):
    directory = given(name)
    assert certificate_at(directory, "api.example.org", NOW).chain == made_chain(directory)


def made_chain(directory):
    with open(f"{directory}/api.example.org/fullchain.pem", encoding="utf-8") as file:
        return file.read()


@pytest.mark.parametrize("name", ["example.org", "*.api.example.org", "*.org", "api.example.org.evil.test"])
def test_a_certificate_of_another_name_is_refused(given, name):
    with pytest.raises(InvalidSpec) as refused:
        certificate_at(given(name), "api.example.org", NOW)
    assert f"certificate of api.example.org: found '{name}', allowed is one for api.example.org" in str(refused.value)


def test_one_that_has_ended_is_refused_and_one_that_is_not_there_is_told_with_its_path(given, tmp_path):
    directory = given("api.example.org")
    with pytest.raises(InvalidSpec, match="one that is good now"):
        certificate_at(directory, "api.example.org", NOW + datetime.timedelta(days=2))
    with pytest.raises(
        InvalidSpec, match=f"certificate of www.example.org: found '{tmp_path}/www.example.org/fullchain"
    ):
        certificate_at(directory, "www.example.org", NOW)


def test_defaults_of_the_module_ask_the_resolvers_of_the_host():
    assert resolvers_from({"resolvers": domains_spec()["resolvers"]["default"]}) == ()
