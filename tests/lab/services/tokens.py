# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON Web Tokens with HS256 and ES256."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

Key = Mapping[str, Any]


class BadToken(Exception):
    """The text says why."""


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def number(text: str) -> int:
    return int.from_bytes(decode(text), "big")


def sign(claims: Mapping[str, Any], key: Key) -> str:
    """With a private key of kty EC or a key of kty oct."""
    head = {"alg": "ES256" if key["kty"] == "EC" else "HS256", "typ": "JWT"}
    head |= {"kid": key["kid"]} if "kid" in key else {}
    body = ".".join(encode(json.dumps(part, separators=(",", ":")).encode()) for part in (head, claims))
    if key["kty"] == "oct":
        return f"{body}.{encode(hmac.digest(decode(key['k']), body.encode(), 'sha256'))}"
    private = ec.derive_private_key(number(key["d"]), ec.SECP256R1())
    r, s = decode_dss_signature(private.sign(body.encode(), ec.ECDSA(SHA256())))
    return f"{body}.{encode(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def verified(token: str, keys: Iterable[Key]) -> dict[str, Any]:
    """The claims, if one of the keys made the token: that of its kid, or without a kid one of its algorithm.

    Which algorithm counts is what the key says. Raises BadToken.
    """
    parts = token.split(".")
    if len(parts) != 3:
        raise BadToken(f"Expected 3 parts in JWT; got {len(parts)}")
    try:
        head, claims = (json.loads(decode(part)) for part in parts[:2])
        signature = decode(parts[2])
    except (ValueError, binascii.Error):
        raise BadToken("JWT couldn't be decoded") from None
    if not isinstance(head, dict) or not isinstance(claims, dict):
        raise BadToken("JWT couldn't be decoded")
    kind = {"ES256": "EC", "HS256": "oct"}.get(str(head.get("alg")))
    if kind is None:
        raise BadToken("Wrong or unsupported encoding algorithm")
    fitting = [one for one in keys if one["kty"] == kind and head.get("kid") in (None, one.get("kid"))]
    if not fitting:
        raise BadToken("No suitable key or wrong key type")
    if not any(_is_by(one, f"{parts[0]}.{parts[1]}".encode(), signature) for one in fitting):
        raise BadToken("JWT cryptographic operation failed")
    return claims


def key_of_text(text: str) -> Key:
    return {"kty": "oct", "k": encode(text.encode())}


def public(key: Key) -> dict[str, Any]:
    kept = {name: key[name] for name in ("kty", "kid", "crv", "x", "y", "alg") if name in key}
    return {**kept, "use": "sig", "key_ops": ["verify"]}


def _is_by(key: Key, body: bytes, signature: bytes) -> bool:
    if key["kty"] == "oct":
        return hmac.compare_digest(hmac.digest(decode(key["k"]), body, "sha256"), signature)
    if len(signature) != 64:
        return False
    numbers = ec.EllipticCurvePublicNumbers(number(key["x"]), number(key["y"]), ec.SECP256R1())
    halves = (int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    try:
        numbers.public_key().verify(encode_dss_signature(*halves), body, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def password_hash(password: str, salt: bytes) -> str:
    """Its form is not kept: the real one writes bcrypt."""
    return f"$scrypt${encode(salt)}${encode(hashlib.scrypt(password.encode(), salt=salt, n=2**12, r=8, p=1))}"


def is_password(password: str, stored: str) -> bool:
    salt = decode(stored.split("$")[2])
    return hmac.compare_digest(password_hash(password, salt), stored)
