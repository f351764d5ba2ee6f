# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring public keys from the form in which Kubernetes publishes them into the one that Vault reads."""

from __future__ import annotations

DOCUMENTATION = r"""
name: jwks_to_pem
short_description: Give the public keys of a JSON Web Key Set as PEM
version_added: 0.1.0
author:
  - Supalove contributors (@supalove)
description:
  - Reads RSA and EC keys (RFC 7517, RFC 7518). Other keys are left out.
options:
  _input:
    description: The key set, as an API server answers at C(/openid/v1/jwks).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the keys
  ansible.builtin.debug:
    msg: "{{ answer.stdout | from_json | supalove.platform.jwks_to_pem }}"
"""

RETURN = r"""
_value:
  description: The keys, in the order of the set.
  type: list
  elements: str
"""

import base64
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

try:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    MISSING = ""
except ImportError as missing:
    MISSING = str(missing)


def number(text: str) -> int:
    """Read a number as RFC 7518 writes it: base64url without padding, big-endian.

    >>> number("AQAB")
    65537
    """
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")


def pem(key: Mapping[str, str]) -> str:
    """Give one key as PEM, or an empty text if it is of another kind."""
    public: rsa.RSAPublicKey | ec.EllipticCurvePublicKey
    curves: dict[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
    if key.get("kty") == "RSA":
        public = rsa.RSAPublicNumbers(number(key["e"]), number(key["n"])).public_key()
    elif key.get("kty") == "EC" and key.get("crv") in curves:
        curve = curves[key["crv"]]
        public = ec.EllipticCurvePublicNumbers(number(key["x"]), number(key["y"]), curve).public_key()
    else:
        return ""
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def jwks_to_pem(keys: Mapping[str, Any]) -> list[str]:
    """Give the keys of a set."""
    if MISSING:
        raise AnsibleFilterError(f"jwks_to_pem needs the Python package cryptography on the controller: {MISSING}")
    return [text for text in map(pem, keys.get("keys", [])) if text]


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, Any]:
        """Give the filters by name."""
        return {"jwks_to_pem": jwks_to_pem}
