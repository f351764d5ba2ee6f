# SPDX-License-Identifier: BSD-2-Clause
"""Keys that sign JSON Web Tokens: ES256, written as JSON Web Keys (RFC 7517, RFC 7518 section 6.2)."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable

from .credentials import Secret
from .errors import MissingLibrary

try:
    from cryptography.hazmat.primitives.asymmetric import ec
except ImportError as error:
    _MISSING: ImportError | None = error
else:
    _MISSING = None

ALGORITHM = "ES256"
COORDINATE_BYTES = 32
# 64 bits more than the order of the curve has, so that the remainder is as good as uniform (FIPS 186-5, A.2.1).
SEED_BYTES = 40
# Of P-256 (FIPS 186-5).
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
# What tells anybody who signed, and nothing of how.
_PUBLIC = ("kty", "crv", "x", "y", "alg", "use", "kid")


def generate_key(random_bytes: Callable[[int], bytes]) -> Secret:
    """A private key as a JSON Web Key. Its `kid` is its thumbprint (RFC 7638). Raises MissingLibrary."""
    if _MISSING is not None:
        raise MissingLibrary("cryptography") from _MISSING
    number = private_number(random_bytes)
    point = ec.derive_private_key(number, ec.SECP256R1()).public_key().public_numbers()
    members = {"crv": "P-256", "kty": "EC", "x": _encoded(point.x), "y": _encoded(point.y)}
    thumbprint = base64url(hashlib.sha256(_canonical(members).encode()).digest())
    key = {**members, "alg": ALGORITHM, "use": "sig", "kid": thumbprint, "d": _encoded(number)}
    return Secret(_canonical(key))


def private_number(random_bytes: Callable[[int], bytes]) -> int:
    """The secret half of a key on P-256."""
    return int.from_bytes(random_bytes(SEED_BYTES), "big") % (_ORDER - 1) + 1


def key_id_of(key: str) -> str:
    """The `kid` of a key, private or public."""
    return str(json.loads(key)["kid"])


def key_set(keys: Iterable[str]) -> str:
    """The public halves of keys, as whoever verifies tokens reads them."""
    public = [{name: key[name] for name in _PUBLIC} for key in map(json.loads, keys)]
    return _canonical({"keys": public})


def keys_in(found: str) -> tuple[str, ...]:
    """The keys of a set, oldest first."""
    return tuple(_canonical(key) for key in json.loads(found)["keys"])


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _encoded(number: int) -> str:
    return base64url(number.to_bytes(COORDINATE_BYTES, "big"))


def base64url(raw: bytes) -> str:
    """Without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
