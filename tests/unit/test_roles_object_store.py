# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role object_store derives from its variables, templated by Ansible."""

from __future__ import annotations

import base64
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from jinja2 import Template

REPOSITORY = Path(__file__).parents[2]
ROLE = REPOSITORY / "roles/object_store"
SERVERS = ["a", "b", "c"]


def derived(name: str, **variables: Any) -> Any:
    """One variable of the role on the first of three servers."""
    loader = DataLoader()
    known: dict[str, Any] = {
        "groups": {"control_plane": SERVERS},
        "hostvars": {host: {"ansible_host": f"address-of-{host}", "inventory_dir": f"/of-{host}"} for host in SERVERS},
        "inventory_hostname": "a",
        "__object_store_read": {"host": {"machine": "x86_64"}},
        "__object_store_identities": {"skipped": True},
        "__object_store_security": {"skipped": True},
    }
    for path in (ROLE / "defaults/main.yml", ROLE / "vars/main.yml"):
        known |= loader.load_from_file(str(path), trusted_as_template=True)
    return Templar(loader=loader, variables={**known, **variables}).template(trust_as_template("{{ " + name + " }}"))


@pytest.mark.parametrize(
    ("groups", "hosts", "directory"),
    [
        ({"control_plane": SERVERS}, ["a"], "/of-a/.kube"),
        ({"control_plane": SERVERS, "object_store": []}, ["a"], "/of-a/.kube"),
        ({"control_plane": SERVERS, "object_store": ["b"]}, ["b"], "/of-b/.kube"),
        ({"object_store": ["c"]}, ["c"], "/of-c/.kube"),
    ],
)
def test_the_server_and_the_controllers_directory_follow_the_groups(
    groups: dict[str, Any], hosts: list[str], directory: str
) -> None:
    assert derived("__object_store_hosts", groups=groups) == hosts
    assert derived("object_store_controller_dir", groups={"control_plane": [], **groups}) == directory


def test_the_playbook_works_on_the_hosts_that_the_role_counts() -> None:
    [play] = yaml.safe_load((REPOSITORY / "playbooks/object_store.yml").read_text())
    assert play["hosts"] == yaml.safe_load((ROLE / "vars/main.yml").read_text())["__object_store_hosts"]


def test_data_is_looked_for_on_every_host_that_may_have_it() -> None:
    groups = {"control_plane": SERVERS, "object_store": ["c"]}
    assert sorted(derived("__object_store_candidates", groups=groups)) == SERVERS


@pytest.mark.parametrize(
    ("variables", "sha256"),
    [
        ({}, ""),
        ({"object_store_checksums": {"4.48": {"linux_amd64.tar.gz": "ab"}}}, "ab"),
        ({"object_store_checksums": {"4.48": {"linux_arm64.tar.gz": "ab"}}}, ""),
        ({"object_store_checksums": {"4.47": {"linux_amd64.tar.gz": "ab"}}}, ""),
    ],
)
def test_a_release_without_a_checksum_of_its_own_has_none(variables: dict[str, Any], sha256: str) -> None:
    assert derived("__object_store_sha256", **variables) == sha256


def test_a_machine_that_nobody_builds_for_has_no_architecture() -> None:
    assert derived("__object_store_architecture", __object_store_read={"host": {"machine": "mips"}}) == ""


@pytest.mark.parametrize(
    ("address", "authority"), [("", "address-of-a"), ("192.0.2.1", "192.0.2.1"), ("fd00::1", "[fd00::1]")]
)
def test_the_address_stands_in_urls_and_in_the_certificate(address: str, authority: str) -> None:
    assert derived("__object_store_authority", object_store_address=address) == authority
    assert (address or "address-of-a") in derived("__object_store_names", object_store_address=address)


@pytest.mark.parametrize(
    ("listen", "own"),
    [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("192.0.2.1", "192.0.2.1")],  # noqa: S104 a setting, no socket
)
def test_the_host_asks_its_server_where_the_port_is_open(listen: str, own: str) -> None:
    assert derived("__object_store_own", object_store_listen_address=listen) == own


def test_the_size_is_counted_in_files() -> None:
    assert derived("__object_store_volumes", object_store_size_mib="4096", object_store_volume_mib=300) == 13


def on_the_host(access_key: str, secret_key: str) -> dict[str, str]:
    identity = {"name": "supalove-admin", "credentials": [{"accessKey": access_key, "secretKey": secret_key}]}
    return {"content": base64.b64encode(json.dumps({"identities": [identity]}).encode()).decode()}


def test_a_pair_that_is_in_use_is_kept() -> None:
    """In the order of the task that chooses: what is given, then the controller's file, then the host's."""
    chosen = "__object_store_given or __object_store_kept or __object_store_found or __object_store_new"
    assert f"{{{{ {chosen} }}}}" in (ROLE / "tasks/credentials.yml").read_text()
    known: dict[str, Any] = {"__object_store_kept": {}, "__object_store_new": {"access_key": "new"}}
    assert derived(chosen, **known) == {"access_key": "new"}
    known["__object_store_identities"] = on_the_host("A", "b")
    assert derived(chosen, **known) == {"access_key": "A", "secret_key": "b"}
    known["__object_store_kept"] = {"access_key": "C", "secret_key": "d"}
    assert derived(chosen, **known) == {"access_key": "C", "secret_key": "d"}
    given = {"object_store_access_key": "E", "object_store_secret_key": "f"}
    assert derived(chosen, **known, **given) == {"access_key": "E", "secret_key": "f"}


def test_the_key_that_the_host_encrypts_with_is_known() -> None:
    assert derived("__object_store_encryption_key_there") == ""
    key = "0123456789abcdef" * 4
    variables = {"__object_store_header": "# Managed.\n", "object_store_encryption_key": key}
    written = Template((ROLE / "templates/security.toml.j2").read_text()).render(variables)
    assert tomllib.loads(written) == {"s3": {"sse": {"kek": key}}}
    read = {"content": base64.b64encode(written.encode()).decode()}
    assert derived("__object_store_encryption_key_there", __object_store_security=read) == key


@pytest.mark.parametrize(("key", "ok"), [("", True), ("ab" * 32, True), ("AB" * 32, False), ("ab" * 33, False)])
def test_what_is_no_key_is_refused(key: str, *, ok: bool) -> None:
    tasks = yaml.safe_load((ROLE / "tasks/preflight.yml").read_text())
    checks = tasks[-1]["vars"]["__object_store_checks"]
    (check,) = [one["ok"] for one in checks if "64 hexadecimal" in one["text"]]
    expression = check.removeprefix("{{").removesuffix("}}").strip()
    assert derived(expression, object_store_encryption_key=key) is ok
