# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module gateway makes of its options and files."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.certificates import Certificate
from ansible_collections.supalove.platform.plugins.module_utils._engine.credentials import Secret
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import InvalidSpec
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Platform
from ansible_collections.supalove.platform.plugins.module_utils._gateway import (
    certificate_from,
    definitions_from,
    door_from,
)
from ansible_collections.supalove.platform.plugins.module_utils._specs import gateway_spec
from certified import NOW, made

PLATFORM = Platform(domain="example.com")
CERTIFICATE = Certificate(chain="chain", key=Secret("key"))


def options(**given: Any) -> dict[str, Any]:
    defaults = {name: one.get("default") for name, one in gateway_spec().items()}
    return {**defaults, **given}


@pytest.fixture
def files(tmp_path):
    def write(chain: str, key: str) -> tuple[str, str]:
        (tmp_path / "chain").write_text(chain)
        (tmp_path / "key").write_text(key)
        return str(tmp_path / "chain"), str(tmp_path / "key")

    return write


def test_a_certificate_that_fits_is_taken_with_its_key(files):
    chain, key = made()
    found = certificate_from(*files(chain, key), "*.example.com", NOW)
    assert (found.chain, found.key.reveal()) == (chain, key)
    assert key not in repr(found)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"now": NOW + datetime.timedelta(days=2)}, "found '2026-11-25 00:00 to 2026-11-27 00:00 UTC'"),
        ({"now": NOW - datetime.timedelta(days=2)}, "allowed is one that is good now"),
        ({"domain": "example.org"}, "found '*.example.com', allowed is one for *.example.org"),
        ({"domain": "sub.example.com"}, "allowed is one for *.sub.example.com"),
        ({"key": made()[1]}, "private_key: found"),
        ({"key": "no key"}, "a file with a private key in PEM, without a password"),
        ({"chain": "no certificate"}, "a file of certificates in PEM"),
    ],
    ids=["ended", "not begun", "another domain", "a domain below", "another key", "no key", "no certificate"],
)
def test_a_certificate_that_does_not_fit_is_refused(files, change, said):
    chain, key = made()
    given = {"chain": chain, "key": key, "domain": "example.com", "now": NOW, **change}
    with pytest.raises(InvalidSpec) as refused:
        certificate_from(*files(given["chain"], given["key"]), f"*.{given['domain']}", given["now"])
    assert said in str(refused.value)
    assert "PRIVATE" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"arrival": "kube_vip"}, "address: found nothing, allowed is an address with arrival kube_vip"),
        ({"address": "192.0.2.1"}, "allowed is none unless arrival is kube_vip"),
        ({"arrival": "kube_vip", "address": "gateway"}, "allowed is an IP address"),
        ({"trusted_networks": ["0.0.0.0/0"]}, "and not all of it"),
        ({"trusted_networks": ["proxy"]}, "networks of proxies"),
        ({"header_kib": 1}, "header_kib: found 1, allowed is a whole number from 4"),
    ],
)
def test_what_a_gateway_cannot_be_is_refused(given, said):
    with pytest.raises(InvalidSpec) as refused:
        door_from(options(**given), PLATFORM, CERTIFICATE)
    assert said in str(refused.value)


def test_a_gateway_has_a_domain():
    with pytest.raises(InvalidSpec, match="domain: found nothing"):
        door_from(options(), Platform(), CERTIFICATE)


def test_defaults_of_the_module_are_those_of_the_engine():
    door = door_from(options(), PLATFORM, CERTIFICATE)
    assert (door.arrival, door.limits.body_bytes, door.certificate) == ("host_port", 10 * 1024**2, CERTIFICATE.digest)


def test_definitions_are_read_in_their_order_and_nothing_else_is(tmp_path):
    text = "\n---\n".join(
        f"kind: CustomResourceDefinition\nmetadata: {{name: {name}.traefik.io}}\nspec: {{group: traefik.io}}"
        for name in "ba"
    )
    (tmp_path / "good.yml").write_text(f"---\n{text}\n---\n")
    names = [one["metadata"]["name"] for one in definitions_from([str(tmp_path / "good.yml")])]
    assert names == ["b.traefik.io", "a.traefik.io"]
    (tmp_path / "bad.yml").write_text("kind: Secret\nmetadata: {name: x}\n")
    (tmp_path / "worse.yml").write_text("{")
    with pytest.raises(InvalidSpec, match="Secret/x") as refused:
        definitions_from([str(tmp_path / name) for name in ("bad.yml", "worse.yml", "none.yml")])
    assert len(refused.value.problems) == 3
