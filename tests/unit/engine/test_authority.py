# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificate of a project's pooler: who signs it, for which name, and when it is made anew."""

from __future__ import annotations

import base64
import datetime
import secrets

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.authority import (
    AUTHORITY,
    AUTHORITY_KEY,
    AUTHORITY_SECONDS,
    CERTIFICATE_KEYS,
    DAY_SECONDS,
    LEAF,
    LEAF_KEY,
    LEAF_SECONDS,
    SKEW_SECONDS,
    certified,
    term_of,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import SafetyStop
from ansible_collections.supalove.platform.plugins.module_utils._engine.generation import new_texts
from ansible_collections.supalove.platform.plugins.module_utils._engine.objects import GeneratedCertificate
from ansible_collections.supalove.platform.plugins.module_utils._engine.observed import NOTHING, Live, Observed
from ansible_collections.supalove.platform.plugins.module_utils._engine.pooler_certificate import plan_certificates
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Platform
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.placement import Placement
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.sql import certificate_of
from builders import a_project, a_served_project, objects_of
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

NOW = 1_800_000_000.0
HOST = "acme.example.com"
SERVED = Platform(domain="example.com", gateway_kind="gateway")


def made(now=NOW, texts=None, host=HOST):
    return certified(texts or {}, host=host, now=now, random_bytes=secrets.token_bytes)


def read(pem):
    return x509.load_pem_x509_certificate(pem.encode())


def verify(leaf, authority, *, now=NOW, host=HOST):
    """As a client does that has nothing but the authority's file."""
    moment = datetime.datetime.fromtimestamp(now, datetime.UTC)
    policy = PolicyBuilder().store(Store([read(authority)])).time(moment)
    return policy.build_server_verifier(x509.DNSName(host)).verify(read(leaf), [])


def test_a_client_with_the_authoritys_file_verifies_the_pooler_by_its_name():
    texts = made()
    names = [one.subject.rfc4514_string() for one in verify(texts[LEAF], texts[AUTHORITY])]
    assert names == ["CN=acme", "CN=acme authority"]
    with pytest.raises(VerificationError):
        verify(texts[LEAF], texts[AUTHORITY], host="other.example.com")
    with pytest.raises(VerificationError):
        verify(texts[LEAF], made()[AUTHORITY])


@pytest.mark.parametrize(
    ("certificate", "key", "seconds"), [(LEAF, LEAF_KEY, LEAF_SECONDS), (AUTHORITY, AUTHORITY_KEY, AUTHORITY_SECONDS)]
)
def test_each_has_its_own_key_and_its_time(certificate, key, seconds):
    texts = made()
    found = read(texts[certificate])
    assert found.not_valid_before_utc.timestamp() == NOW - SKEW_SECONDS
    assert found.not_valid_after_utc.timestamp() == NOW + seconds
    assert found.public_key() == load_pem_private_key(texts[key].encode(), None).public_key()
    assert 0 < found.serial_number < 2**159


def test_the_name_stands_where_clients_look_for_it():
    names = read(made()[LEAF]).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [HOST]


def test_the_longest_name_of_a_project_fits():
    host = f"{'a' * 40}.{'b' * 60}.example.com"
    texts = made(host=host)
    assert term_of(texts) == f"{int(NOW) + LEAF_SECONDS} {host}"


@pytest.mark.parametrize(("days", "is_renewed"), [(0, False), (243, False), (244, True), (400, True)])
def test_it_is_made_anew_when_less_than_a_third_is_left(days, is_renewed):
    before = made()
    after = made(NOW + days * DAY_SECONDS, before)
    assert (after[LEAF] != before[LEAF], after[LEAF_KEY] != before[LEAF_KEY]) == (is_renewed, is_renewed)
    assert (after[AUTHORITY], after[AUTHORITY_KEY]) == (before[AUTHORITY], before[AUTHORITY_KEY])


def test_another_name_gets_another_certificate_of_the_same_authority():
    before = made()
    after = made(texts=before, host="acme.example.org")
    assert after[AUTHORITY] == before[AUTHORITY]
    assert verify(after[LEAF], before[AUTHORITY], host="acme.example.org")


def test_the_file_of_a_client_is_good_until_it_ends_by_itself():
    first, now = made(), NOW
    texts = first
    while now < NOW + AUTHORITY_SECONDS - 200 * DAY_SECONDS:
        now += 200 * DAY_SECONDS
        texts = made(now, texts)
        assert verify(texts[LEAF], first[AUTHORITY], now=now)
        assert verify(texts[LEAF], texts[AUTHORITY], now=now)
    assert texts[AUTHORITY] != first[AUTHORITY]
    assert texts[AUTHORITY_KEY] == first[AUTHORITY_KEY]


def test_a_certificate_that_cannot_be_read_is_replaced():
    before = made()
    after = made(texts={**before, LEAF: "broken"})
    assert verify(after[LEAF], before[AUTHORITY])


def twisted(pem, *, version=None, doubled=False):
    """The same with another version, or with one extension twice: of the library's own errors, no ValueError."""
    der = bytearray(read(pem).public_bytes(Encoding.DER))
    if version is not None:
        place = der.index(bytes.fromhex("a003020102"))
        der[place + 4] = version
    if doubled:
        # Basic constraints (2.5.29.19) become another key usage (2.5.29.15).
        place = der.index(bytes.fromhex("0603551d13"))
        der[place + 4] = 0x0F
    text = base64.encodebytes(bytes(der)).decode()
    return f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n"


@pytest.mark.parametrize("how", [{"version": 7}, {"doubled": True}], ids=["version", "extension"])
def test_a_certificate_that_the_library_refuses_in_its_own_words_is_one_that_cannot_be_read(how):
    before = made()
    broken = {**before, LEAF: twisted(before[LEAF], **how)}
    assert term_of(broken) == ""
    assert verify(made(texts=broken)[LEAF], before[AUTHORITY])
    with pytest.raises(SafetyStop, match=AUTHORITY):
        made(texts={**broken, AUTHORITY: twisted(before[AUTHORITY], **how)})


@pytest.mark.parametrize("name", CERTIFICATE_KEYS)
def test_a_certificate_of_which_something_is_gone_has_no_term(name):
    texts = made()
    assert term_of(texts)
    assert term_of({key: text for key, text in texts.items() if key != name}) == ""


@pytest.mark.parametrize("name", [AUTHORITY, AUTHORITY_KEY])
def test_an_authority_that_cannot_be_read_is_not_replaced(name):
    with pytest.raises(SafetyStop, match=name) as raised:
        made(texts={**made(), name: "secret", LEAF: "broken"})
    assert "secret" not in str(raised.value).replace("Secret", "")


@pytest.mark.parametrize("name", CERTIFICATE_KEYS)
def test_one_that_is_gone_is_made_again(name):
    before = made()
    after = made(texts={key: text for key, text in before.items() if key != name})
    assert verify(after[LEAF], after[AUTHORITY])
    assert sorted(after) == sorted(CERTIFICATE_KEYS)


def test_what_else_is_in_the_secret_stays():
    assert made(texts={"owner.password": "x"})["owner.password"] == "x"


def test_a_new_secret_has_all_of_it():
    texts = new_texts([GeneratedCertificate(host=HOST)], secrets.token_bytes, clock=lambda: NOW)
    assert sorted(texts) == sorted(CERTIFICATE_KEYS)
    assert verify(texts[LEAF], texts[AUTHORITY])


@pytest.mark.parametrize("placement", [Placement(), Placement(cluster="one")])
def test_without_a_gateway_nothing_speaks_of_certificates(placement):
    objects = objects_of(a_project(), placement=placement)
    assert not {"Certificate", "TLSRoute"} & {one.id.kind for one in objects}
    assert "tls" not in str([one.body for one in objects if one.id.name == "pooler"]).replace("server_tls_sslmode", "")
    assert not any(isinstance(one, GeneratedCertificate) for each in objects for one in each.generates)


def test_a_certificate_comes_between_the_secret_and_the_pooler():
    ids = [one.id for one in objects_of(a_served_project(), platform=SERVED, placement=Placement(cluster="one"))]
    kinds = [f"{one.kind}/{one.name}" for one in ids]
    order = ["Secret/credentials", "Certificate/pooler", "Deployment/pooler", "TLSRoute/sql"]
    assert sorted(order, key=kinds.index) == order


@pytest.mark.parametrize(
    ("term", "is_going", "steps"),
    [
        (f"{int(NOW)} {HOST}", False, []),
        (f"{int(NOW)} {HOST}", True, ["update Certificate/p-acme/pooler: it ends on 2027-01-15"]),
        (
            f"{int(NOW)} acme.example.org",
            True,
            [f"update Certificate/p-acme/pooler: it is for acme.example.org, wanted is {HOST}"],
        ),
        ("", True, ["update Certificate/p-acme/pooler: it is not whole, or cannot be read"]),
        (None, False, ["create Certificate/p-acme/pooler: no record certifies one"]),
    ],
    ids=["good", "ends soon", "other name", "broken", "unknown"],
)
def test_a_plan_says_why_a_certificate_is_made(term, is_going, steps):
    objects = objects_of(a_served_project(), platform=SERVED, placement=Placement(cluster="one"))
    id = certificate_of(a_served_project().ref)
    live = Live(id=id, uid="u", version=term or "", fingerprint="", labels={}, body=None, is_going=is_going)
    observed = NOTHING if term is None else Observed(objects={id: live})
    plan = plan_certificates((one for one in objects if one.id == id), observed)
    assert [str(step) for step in plan.steps] == steps
