# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's Vault: who may do what, what is written down, and what a further run does."""

from __future__ import annotations

import base64
import json
import secrets
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import hosts, layout, playbook, vault
from lab.cluster import Cluster
from lab.vault import Vault

pytestmark = pytest.mark.usefixtures("platform")

SERVER = layout.host("control-1")
UNSEALING = "Unseal the server that founded the Vault, or leads it"


@pytest.fixture(scope="module")
def server() -> Vault:
    return vault.of_host("control-1")


@pytest.fixture
def engine(server: Vault) -> Iterator[Vault]:
    """The server as the engine sees it, with a token that ends with the test."""
    client = server.login(vault.ENGINE)
    yield client
    assert client.ask("POST", "auth/token/revoke-self").status == 204


@pytest.fixture
def operator(server: Vault) -> Vault:
    return server.login(vault.OPERATOR)


def test_the_server_is_unsealed_and_its_certificate_is_the_platforms(server: Vault) -> None:
    assert not server.is_sealed()
    with socket.create_connection((SERVER.address, 8200)) as plain, pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(plain, server_hostname=SERVER.address)


def test_the_controllers_files_are_private_and_the_host_keeps_no_answer() -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in (vault.KEYS, vault.OPERATOR, vault.ENGINE)}
    assert modes == dict.fromkeys(modes, 0o600)
    assert json.loads(vault.KEYS.read_text()).keys() == {"keys_base64"}
    kept = hosts.run_on(SERVER, "find /etc/openbao /etc/supalove /var/lib/openbao /var/log/openbao -type f -perm /006")
    assert kept.split() == ["/etc/openbao/tls/ca.pem"]
    assert not hosts.has_path(SERVER, "/etc/openbao/init.json")


def test_the_engine_keeps_secrets_of_projects_and_of_shared_clusters_and_nothing_else(engine: Vault) -> None:
    for folder in ("database", "clusters"):
        path = f"{folder}/test-{secrets.token_hex(4)}"
        assert engine.ask("POST", f"supalove/data/{path}", {"options": {"cas": 0}, "data": {"a": "b"}}).status == 200
        assert engine.ask("GET", f"supalove/data/{path}").body["data"]["data"] == {"a": "b"}
        assert path.split("/")[1] in engine.ask("LIST", f"supalove/metadata/{folder}").body["data"]["keys"]
        assert engine.ask("DELETE", f"supalove/metadata/{path}").status == 204
    refused = {
        path: engine.ask(method, path).status
        for method, path in (
            ("GET", "supalove/data/tenants/p-demo/smtp"),
            ("LIST", "supalove/metadata/tenants"),
            ("LIST", "supalove/metadata"),
            ("GET", "sys/mounts"),
            ("GET", "sys/policies/acl/supalove-engine"),
            ("GET", "auth/approle/role/supalove-engine/role-id"),
        )
    }
    assert refused == dict.fromkeys(refused, 403)


def test_the_operator_reads_no_secret_and_cannot_change_its_own_policy(operator: Vault) -> None:
    policy = "sys/policies/acl/supalove-operator"
    assert operator.ask("GET", policy).status == 200
    assert operator.ask("POST", policy, {"policy": ""}).status == 403
    assert operator.ask("POST", "auth/approle/role/supalove-operator/secret-id", {}).status == 403
    assert operator.ask("LIST", "supalove/metadata/database").status == 403
    assert operator.ask("POST", "auth/token/create", {"policies": ["root"]}).status == 403


def new_root_token(operator: Vault, shares: list[str]) -> str:
    """A root token from key shares, or an empty text if they are too few; the attempt is over either way."""
    attempt = operator.ask("POST", "sys/generate-root-token/attempt", {}).body["data"]
    encoded = ""
    for share in shares:
        step = operator.ask("POST", "sys/generate-root-token/update", {"key": share, "nonce": attempt["nonce"]})
        encoded = step.body["data"]["encoded_token"]
    operator.ask("DELETE", "sys/generate-root-token/attempt")
    mask = attempt["otp"].encode()
    masked = base64.b64decode(encoded + "=" * (-len(encoded) % 4))
    return bytes(a ^ b for a, b in zip(masked, mask, strict=False)).decode()


def test_a_new_root_token_takes_the_operators_login_and_enough_key_shares(server: Vault, operator: Vault) -> None:
    shares = json.loads(vault.KEYS.read_text())["keys_base64"]
    assert server.ask("POST", "sys/generate-root-token/attempt", {}).status == 403
    assert new_root_token(operator, shares[:2]) == ""
    root = Vault(address=server.address, token=new_root_token(operator, shares[:3]))
    assert root.ask("GET", "auth/token/lookup-self").body["data"]["policies"] == ["root"]
    assert root.ask("POST", "auth/token/revoke-self").status == 204


def test_the_audit_log_names_the_path_and_no_secret(server: Vault) -> None:
    client, secret = server.login(vault.ENGINE), secrets.token_hex(16)
    path = f"supalove/data/database/test-{secrets.token_hex(4)}"
    client.ask("POST", path, {"data": {"password": secret}})
    client.ask("DELETE", path.replace("/data/", "/metadata/"))
    log = hosts.run_on(SERVER, "cat /var/log/openbao/audit.log")
    credentials = json.loads(vault.ENGINE.read_text())
    assert path in log
    # In the clear in no line: neither what was written, nor what was logged in with, nor what that gave.
    assert [name for name, text in {**credentials, "token": client.token, "value": secret}.items() if text in log] == []


def test_the_audit_log_goes_on_after_it_was_rotated(engine: Vault) -> None:
    """What logrotate does: it renames the file, then runs the unit's reload."""
    log = "/var/log/openbao/audit.log"
    hosts.run_on(SERVER, f"mv {log} {log}.1; systemctl reload openbao")
    engine.ask("GET", "supalove/data/database/after-the-rotation")
    assert "after-the-rotation" in hosts.run_on(SERVER, f"cat {log}")


def test_a_pod_reads_what_is_kept_for_its_namespace_and_for_no_other(platform: Cluster, server: Vault) -> None:
    def token(audience: str) -> str:
        return platform.kubectl("create", "token", "default", "-n", "p-demo", f"--audience={audience}").strip()

    path = "auth/supalove-tenants/login"
    assert server.ask("POST", path, {"role": "tenant", "jwt": token("elsewhere")}).status == 400
    answer = server.ask("POST", path, {"role": "tenant", "jwt": token("supalove-vault")})
    assert answer.status == 200, answer.body
    pod = Vault(address=server.address, token=answer.body["auth"]["client_token"])
    # Allowed, and there is nothing.
    assert pod.ask("GET", "supalove/data/tenants/p-demo/smtp").status == 404
    assert pod.ask("GET", "supalove/data/tenants/p-notes/smtp").status == 403
    assert pod.ask("POST", "supalove/data/tenants/p-demo/smtp", {"data": {}}).status == 403
    assert pod.ask("LIST", "supalove/metadata/database").status == 403


def test_a_server_that_was_sealed_is_unsealed_by_the_next_run(lab: Path, server: Vault) -> None:
    hosts.run_on(SERVER, "systemctl restart openbao")
    assert server.is_sealed()
    done = playbook.run("vault", lab)
    assert done.code == 0, done.output[-3000:]
    assert done.changes == {("control-1", UNSEALING)}
    assert not server.is_sealed()


def certificate(host: layout.Host) -> str:
    return ssl.get_server_certificate((host.address, 8200))


def test_a_certificate_that_ends_soon_is_renewed_without_a_restart(lab: Path, server: Vault) -> None:
    before = certificate(SERVER)
    done = playbook.run("vault", lab, "-e", "vault_certificate_renew_days=366")
    assert done.code == 0, done.output[-3000:]
    assert certificate(SERVER) != before
    assert not server.is_sealed()


def test_a_snapshot_lies_on_the_controller_for_its_owner_alone(lab: Path, tmp_path: Path) -> None:
    path = tmp_path / "vault.snap"
    done = playbook.run("vault_snapshot", lab, "-e", f"vault_snapshot_path={path}")
    assert done.code == 0, done.output[-3000:]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes()[:2] == b"\x1f\x8b"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("-e", "awx_job_id=7"), "Set vault_pgp_keys, or vault_keys_sink_tasks"),
        (("-e", "vault_controller_lasts=false"), "Set vault_pgp_keys, or vault_keys_sink_tasks"),
        ((), "holds the keys of another"),
    ],
)
def test_a_vault_whose_keys_would_be_lost_is_refused_before_anything_is_changed(
    lab: Path, tmp_path: Path, options: tuple[str, ...], text: str
) -> None:
    """On a host that has none yet."""
    other = tmp_path / "vault.yml"
    other.write_text("vault: {hosts: {data-1: {}}}\n")
    done = playbook.run("vault", lab, "-i", str(other), *options)
    assert done.code != 0
    assert text in " ".join(done.output.split())
    assert not done.changes
    assert not hosts.has_path(layout.host("data-1"), "/etc/openbao")
