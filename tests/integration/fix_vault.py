# SPDX-License-Identifier: GPL-3.0-or-later
"""A real OpenBao on loopback, in memory, with TLS, an audit device and the engine's own login."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hvac
import jinja2
import pytest
import requests
import yaml
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.vault.client import (
    ANSWER_SECONDS,
    Target,
    VaultClient,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.vault.store import Store
from ansible_collections.supalove.platform.plugins.module_utils._engine.credentials import Secret
from ansible_collections.supalove.platform.plugins.module_utils._engine.deadline import Backoff
from fix_apiserver import Program
from fix_certificates import write_certificates
from fix_ports import free_port

START_SECONDS = 30
ROLE = Path(__file__).resolve().parents[2] / "roles/vault"
# Tries that end soon: what a test takes away comes back only when it says so.
SOON = Backoff(first_seconds=0.05, longest_seconds=0.1, tries=2)

_numbers = itertools.count(1)


@dataclasses.dataclass(frozen=True)
class Vault:
    """The server as its administrator sees it, and a store of its own for each test, with the engine's login to it."""

    address: str
    ca_file: Path
    audit_log: Path
    program: Program
    root: Any
    key: str
    mount: str
    role_id: str
    secret_id: str

    @contextlib.contextmanager
    def store(self, *, answer_seconds: float = ANSWER_SECONDS, **other: Any) -> Iterator[Store]:
        """As a run uses it; `other` replaces parts of where it is and who logs in."""
        target = Target(
            **{
                "address": self.address,
                "mount": self.mount,
                "ca_file": str(self.ca_file),
                "role_id": Secret(self.role_id),
                "secret_id": Secret(self.secret_id),
                **other,
            }
        )
        with Store(VaultClient(target, workers=4, backoff=SOON, answer_seconds=answer_seconds)) as store:
            yield store

    def platform(self) -> dict[str, str]:
        """What the inventory says of it."""
        return {"vault_address": self.address, "vault_mount": self.mount}

    def names(self, folder: str = "database") -> list[str]:
        with contextlib.suppress(hvac.exceptions.InvalidPath):
            found: list[str] = self.root.secrets.kv.v2.list_secrets(folder, mount_point=self.mount)["data"]["keys"]
            return found
        return []

    def texts(self, path: str) -> dict[str, str]:
        kv = self.root.secrets.kv.v2
        answer = kv.read_secret_version(path, mount_point=self.mount, raise_on_deleted_version=True)
        found: dict[str, str] = answer["data"]["data"]
        return found

    def write(self, path: str, texts: dict[str, str]) -> None:
        self.root.secrets.kv.v2.create_or_update_secret(path, texts, mount_point=self.mount)

    def tokens(self) -> set[str]:
        """The accessors of those that are valid; the root's own is one of them."""
        return set(self.root.list("auth/token/accessors")["data"]["keys"])

    def await_end_of_tokens(self, but: set[str]) -> None:
        """Until none is left but these. The server removes those that have ended when it gets to it."""
        end = time.monotonic() + START_SECONDS
        while left := self.tokens() - but:
            assert time.monotonic() < end, left
            time.sleep(0.05)

    def let_tokens_live(self, seconds: int) -> None:
        """Of later logins of the engine."""
        self.root.auth.approle.create_or_update_approle(
            self.mount, token_policies=[self.mount], token_ttl=f"{seconds}s", token_no_default_policy=True
        )

    def logins(self) -> list[dict[str, Any]]:
        """Every login of an AppRole, whoever's."""
        return [one for one in self.requests() if one["request"]["path"] == "auth/approle/login"]

    def revoke_all_others(self) -> None:
        own = self.root.lookup_token()["data"]["accessor"]
        for accessor in self.root.list("auth/token/accessors")["data"]["keys"]:
            if accessor != own:
                self.root.auth.token.revoke_accessor(accessor)

    def seal(self) -> None:
        self.root.sys.seal()

    def unseal(self) -> None:
        self.root.sys.submit_unseal_key(self.key)
        _await(lambda: not self.root.sys.is_sealed() and self.root.lookup_token())

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """It accepts connections and never answers."""
        assert self.program.process is not None
        self.program.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.program.process.send_signal(signal.SIGCONT)

    def requests(self) -> list[dict[str, Any]]:
        """Everything that it was asked, out of its audit log."""
        lines = (json.loads(line) for line in self.audit_log.read_text().splitlines())
        return [line for line in lines if line["type"] == "response"]


@pytest.fixture(scope="session")
def vault_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vault]:
    directory = tmp_path_factory.mktemp("vault")
    port = free_port()
    write_certificates(directory)
    (directory / "config.json").write_text(json.dumps(_config(directory, port)))
    program = Program(
        arguments=[str(shutil.which("bao")), "server", f"-config={directory / 'config.json'}"],
        log=directory / "log",
    )
    program.start()
    try:
        yield _made(directory, f"https://127.0.0.1:{port}", program)
    finally:
        program.stop()


@pytest.fixture
def vault(vault_server: Vault) -> Vault:
    """The server with a mount that no other test has."""
    return _with_own_mount(vault_server)


def _config(directory: Path, port: int) -> dict[str, Any]:
    return {
        "storage": {"inmem": {}},
        "listener": {
            "tcp": {
                "address": f"127.0.0.1:{port}",
                "tls_cert_file": str(directory / "server.crt"),
                "tls_key_file": str(directory / "server.key"),
            }
        },
        "audit": [{"type": "file", "path": "file", "options": {"file_path": str(directory / "audit.log")}}],
        "disable_mlock": True,
        "api_addr": f"https://127.0.0.1:{port}",
    }


def _made(directory: Path, address: str, program: Program) -> Vault:
    root = hvac.Client(address, token="", verify=str(directory / "ca.crt"), timeout=10)

    def initialised() -> bool:
        assert program.is_up(), program.log.read_text()[-3000:]
        with contextlib.suppress(requests.ConnectionError):
            return root.sys.is_initialized() in (True, False)
        return False

    _await(initialised)
    made = root.sys.initialize(1, 1)
    root.token = made["root_token"]
    root.sys.submit_unseal_key(made["keys"][0])
    _await(lambda: not root.sys.is_sealed())
    root.sys.enable_auth_method("approle")
    return Vault(
        address=address,
        ca_file=directory / "ca.crt",
        audit_log=directory / "audit.log",
        program=program,
        root=root,
        key=made["keys"][0],
        mount="",
        role_id="",
        secret_id="",
    )


def _with_own_mount(server: Vault) -> Vault:
    mount = f"supalove-{next(_numbers)}"
    root = server.root
    root.sys.enable_secrets_engine("kv", path=mount, options={"version": "2"})
    root.sys.create_or_update_policy(mount, _engine_policy(mount))
    root.auth.approle.create_or_update_approle(
        mount, token_policies=[mount], token_ttl="10m", token_no_default_policy=True
    )
    role_id = root.auth.approle.read_role_id(mount)["data"]["role_id"]
    secret_id = root.auth.approle.generate_secret_id(mount)["data"]["secret_id"]
    return dataclasses.replace(server, mount=mount, role_id=role_id, secret_id=secret_id)


def _engine_policy(mount: str) -> str:
    """What the role vault lets the engine do."""
    settings = yaml.safe_load((ROLE / "vars/main/settings.yml").read_text())
    own = {"vault_mount": mount, "__vault_own_token_rules": settings["__vault_own_token_rules"]}
    return jinja2.Template(settings["__vault_engine_policy"], trim_blocks=True).render(own)


def _await(is_so: Any) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(hvac.exceptions.VaultError):
            if is_so():
                return
        time.sleep(0.05)
    pytest.fail("OpenBao did not get ready")
