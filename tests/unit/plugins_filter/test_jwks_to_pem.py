# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.supalove.platform.plugins.filter import jwks_to_pem as module
from ansible_collections.supalove.platform.plugins.filter.jwks_to_pem import jwks_to_pem
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()


def text_of(number: int, size: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(size, "big")).rstrip(b"=").decode()


def pem_of(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def rsa_entry() -> dict[str, str]:
    numbers = RSA.public_numbers()
    return {"kty": "RSA", "use": "sig", "kid": "a", "n": text_of(numbers.n, 256), "e": "AQAB"}


def ec_entry(key: ec.EllipticCurvePublicKey, curve: str) -> dict[str, str]:
    size = (key.key_size + 7) // 8
    numbers = key.public_numbers()
    return {"kty": "EC", "crv": curve, "x": text_of(numbers.x, size), "y": text_of(numbers.y, size)}


@pytest.mark.parametrize(
    ("curve", "name"), [(ec.SECP256R1(), "P-256"), (ec.SECP384R1(), "P-384"), (ec.SECP521R1(), "P-521")]
)
def test_a_key_set_comes_out_as_pem_in_its_order(curve: ec.EllipticCurve, name: str) -> None:
    key = ec.generate_private_key(curve).public_key()
    assert jwks_to_pem({"keys": [ec_entry(key, name), rsa_entry()]}) == [pem_of(key), pem_of(RSA)]


@pytest.mark.parametrize("other", [{"kty": "OKP", "crv": "Ed25519", "x": "AA"}, {"kty": "EC", "crv": "secp256k1"}])
def test_a_key_that_vault_would_not_read_is_left_out(other: dict[str, str]) -> None:
    assert jwks_to_pem({"keys": [other, rsa_entry()]}) == [pem_of(RSA)]


def test_no_answer_has_no_keys() -> None:
    assert jwks_to_pem({}) == []


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MISSING", "No module named 'cryptography'")
    with pytest.raises(AnsibleFilterError, match="needs the Python package cryptography on the controller"):
        jwks_to_pem({"keys": [rsa_entry()]})
