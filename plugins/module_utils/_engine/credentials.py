# SPDX-License-Identifier: BSD-2-Clause
"""Secrets: a type that does not show itself, passwords, and SCRAM verifiers as PostgreSQL stores them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable

# PostgreSQL's own default (scram_iterations).
SCRAM_ITERATIONS = 4096
SALT_BYTES = 16
PASSWORD_BYTES = 24
# PgBouncer's auth_file.
USERLIST = "userlist.txt"


class Secret:
    """A value that neither repr, str, format nor JSON reveals; `reveal()` is the one way to read it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself, to be handed to the system that needs it and nowhere else."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a Secret is not serialised")


def generate_password(random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> Secret:
    """A password of 192 random bits in URL-safe letters, so that it can stand in a connection string as it is."""
    return Secret(base64.urlsafe_b64encode(random_bytes(PASSWORD_BYTES)).decode())


def scram_verifier(password: Secret, *, salt: bytes, iterations: int = SCRAM_ITERATIONS) -> str:
    """The SCRAM-SHA-256 verifier in the form of pg_authid.rolpassword (RFC 5802, RFC 7677).

    The password must be ASCII: then SASLprep changes nothing and need not be done.
    """
    word = password.reveal()
    if not word.isascii():
        raise ValueError("a password for a SCRAM verifier must be ASCII")
    salted = hashlib.pbkdf2_hmac("sha256", word.encode(), salt, iterations)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    return f"SCRAM-SHA-256${iterations}:{_b64(salt)}${_b64(stored_key)}:{_b64(server_key)}"


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def userlist_line(role: str, word: Secret) -> str:
    """One login in PgBouncer's auth_file; `word` is a password or a verifier. Quotes are doubled there."""
    quoted = ('"' + text.replace('"', '""') + '"' for text in (role, word.reveal()))
    return " ".join(quoted)
