# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking into the lab's Vault with what the role vault left on the controller."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import layout

KEYS, OPERATOR, ENGINE, AUTHORITY = layout.VAULT_FILES
SECONDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    body: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vault:
    """One server, with or without a token."""

    address: str
    token: str = ""
    authority: Path = AUTHORITY

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        """One request, whatever the answer."""
        headers = {"X-Vault-Token": self.token} if self.token else {}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address}/v1/{path}", data, headers, method=method)
        trusted = ssl.create_default_context(cafile=str(self.authority))
        try:
            with urllib.request.urlopen(request, context=trusted, timeout=SECONDS) as response:
                status, text = response.status, response.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        return Answer(status=status, body=json.loads(text) if text else {})

    def login(self, credentials: Path) -> Vault:
        """The same server, with the token that an AppRole gets."""
        answer = self.ask("POST", "auth/approle/login", json.loads(credentials.read_text()))
        return replace(self, token=answer.body["auth"]["client_token"])

    def is_sealed(self) -> bool:
        return bool(self.ask("GET", "sys/seal-status").body["sealed"])


def of_host(name: str, authority: Path = AUTHORITY) -> Vault:
    return Vault(address=f"https://{layout.host(name).address}:8200", authority=authority)
