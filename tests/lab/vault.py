# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking into the lab's Vaults with what the role vault left on the controller."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import hosts, inventory, layout
from .layout import Host

KEYS, OPERATOR, ENGINE, AUTHORITY = layout.VAULT_FILES
SECONDS = 10
CLIENT = "export BAO_ADDR=https://127.0.0.1:8200 BAO_CACERT=/etc/openbao/tls/ca.pem; "
# Everything that the role leaves on a host but for the program itself.
FORGET = (
    "systemctl disable --now openbao; rm -rf /etc/openbao /etc/supalove /var/lib/openbao /var/log/openbao"
    " /etc/systemd/system/openbao.service; systemctl daemon-reload"
)


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

    def try_to(self, method: str, path: str, body: dict[str, Any] | None = None) -> int:
        """The status of one request; 0 if nobody answers."""
        try:
            return self.ask(method, path, body).status
        except OSError:
            return 0

    def is_sealed(self) -> bool:
        return bool(self.ask("GET", "sys/seal-status").body["sealed"])


def of_host(name: str, authority: Path = AUTHORITY) -> Vault:
    return Vault(address=f"https://{layout.host(name).address}:8200", authority=authority)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """An inventory of hosts that run nothing but a Vault, and what the role leaves on the controller beside it."""

    members: tuple[Host, ...]
    inventory: Path

    def file(self, name: str) -> Path:
        """What the role keeps: keys.json, operator.json, engine.json, ca.pem."""
        return self.inventory.parent / f".kube/vault-{name}"

    def servers(self) -> tuple[Vault, ...]:
        return tuple(of_host(host.name, self.file("ca.pem")) for host in self.members)

    def keys(self) -> list[str]:
        shares: list[str] = json.loads(self.file("keys.json").read_text())["keys_base64"]
        return shares

    def leader(self) -> Host | None:
        """Who leads, as those that answer say."""
        for host, server in zip(self.members, self.servers(), strict=True):
            try:
                if server.ask("GET", "sys/leader").body.get("is_self"):
                    return host
            except OSError:
                continue
        return None

    def forget(self) -> None:
        """The hosts without their Vault; what was on the controller stays."""
        for host in self.members:
            hosts.run_on(host, FORGET)


def site(members: tuple[Host, ...], folder: Path) -> Site:
    """Write the inventory of a site into a folder of its own."""
    made = Site(members=members, inventory=folder / "hosts.yml")
    inventory.write(members, made.inventory)
    variables = {"ansible_pipelining": True, "vault_enabled": True}
    (folder / "group_vars").mkdir()
    (folder / "group_vars/all.yml").write_text(json.dumps(variables))
    return made
