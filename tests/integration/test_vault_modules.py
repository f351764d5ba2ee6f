# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules that keep a Vault's settings and logins, as Ansible runs them, against a real OpenBao."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import os
import subprocess
import sys
import threading

import pytest
from ansible_collections.supalove.platform.plugins.modules import vault_credentials, vault_init, vault_settings


def run(module, vault, **arguments):
    """What the module gives; with the root's token, unless another login is given."""
    login = {} if module is vault_init or "role_id" in arguments else {"token": vault.root.token}
    where = {} if vault is None else {"url": vault.address, "ca_path": str(vault.ca_file)}
    done = subprocess.run(
        [sys.executable, "-P", str(module.__file__)],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": {**where, **login, **arguments}}),
        env={**os.environ, "PYTHONPATH": os.environ["SUPALOVE_COLLECTIONS"]},
        capture_output=True,
        text=True,
        check=False,
    )
    return json.loads(done.stdout)


def made(result):
    return json.loads(base64.b64decode(result["content"]))


@pytest.fixture
def asked(vault):
    name = f"of-{vault.mount}"
    return {
        "mounts": {name: {"type": "kv", "options": {"version": "2"}}},
        "auths": {f"auth-{name}": {"type": "approle"}},
        "policies": {name: f'path "x/${{accessor:auth-{name}}}" {{ capabilities = ["read"] }}\n'},
        "objects": {f"auth/auth-{name}/role/a": {"token_policies": ["b", "a"], "token_ttl": 60}},
    }


def test_settings_are_written_once_and_a_change_by_hand_is_the_only_difference(vault, asked):
    name = next(iter(asked["mounts"]))
    assert len(run(vault_settings, vault, **asked)["changes"]) == 4
    accessor = vault.root.sys.list_auth_methods()[f"auth-{name}/"]["accessor"]
    assert f"x/{accessor}" in vault.root.sys.read_policy(name)["data"]["rules"]
    assert run(vault_settings, vault, **asked)["changes"] == []
    vault.root.write_data(f"auth/auth-{name}/role/a", data={"token_ttl": 30})
    result = run(vault_settings, vault, **asked)
    assert (result["changes"], result["diff"]["before"]) == (
        [f"auth/auth-{name}/role/a"],
        {f"auth/auth-{name}/role/a": {"token_ttl": 30}},
    )


def test_a_policy_that_says_the_same_in_other_words_is_left_alone(vault):
    """Whoever may not write a policy need not do so for a comment."""
    rule = 'path "x/a" { capabilities = ["read"] }'
    name = f"of-{vault.mount}"
    run(vault_settings, vault, policies={name: f"# Before.\n{rule}\n"})
    assert run(vault_settings, vault, policies={name: f"# Now.\n\n  # Indented.\n{rule}\n"})["changes"] == []
    changed = run(vault_settings, vault, policies={name: f"# Now.\n{rule.replace('read', 'list')}\n"})
    assert changed["changes"] == [f"sys/policies/acl/{name}"]


def test_a_check_writes_nothing(vault, asked):
    assert len(run(vault_settings, vault, _ansible_check_mode=True, **asked)["changes"]) == 4
    assert len(run(vault_settings, vault, **asked)["changes"]) == 4


def test_a_mount_of_another_type_is_refused_with_what_is_there(vault):
    result = run(vault_settings, vault, mounts={vault.mount: {"type": "transit"}})
    assert "type is 'kv', wanted 'transit'" in result["msg"]


def test_a_login_that_may_not_write_is_told_what_helps(vault):
    login = {"role_id": vault.role_id, "secret_id": vault.secret_id}
    vault.root.sys.create_or_update_policy(vault.mount, f'path "{vault.mount}/config" {{ capabilities = ["read"] }}')
    result = run(vault_settings, vault, objects={f"{vault.mount}/config": {"max_versions": 3}}, **login)
    assert "run once with the token of somebody who may" in result["msg"]


def test_credentials_are_made_once_and_again_when_they_no_longer_open(vault):
    first = made(run(vault_credentials, vault, roles={vault.mount: {}}))
    again = run(vault_credentials, vault, roles=first)
    assert (again["changed"], made(again)) == (False, {})
    vault.root.auth.approle.destroy_secret_id(vault.mount, first[vault.mount]["secret_id"])
    second = made(run(vault_credentials, vault, roles=first))
    assert second[vault.mount]["role_id"] == first[vault.mount]["role_id"]
    assert second[vault.mount]["secret_id"] != first[vault.mount]["secret_id"]


def test_a_login_of_another_auth_method_keeps_the_credentials_of_the_engines(vault):
    path = f"others-{vault.mount}"
    rules = f'path "auth/approle/role/{vault.mount}/*" {{ capabilities = ["read", "update"] }}'
    vault.root.sys.enable_auth_method("approle", path=path)
    vault.root.sys.create_or_update_policy(path, rules)
    approle = vault.root.auth.approle
    approle.create_or_update_approle("us", token_policies=[path], mount_point=path)
    login = {
        "approle_path": path,
        "role_id": approle.read_role_id("us", mount_point=path)["data"]["role_id"],
        "secret_id": approle.generate_secret_id("us", mount_point=path)["data"]["secret_id"],
    }
    result = run(vault_credentials, vault, roles={vault.mount: {}}, **login)
    assert made(result)[vault.mount]["role_id"] == vault.role_id


def test_a_vault_that_is_initialised_is_left_alone_but_for_an_answer_that_was_cut_off(vault, tmp_path):
    dest = tmp_path / "init.json"
    assert run(vault_init, vault, dest=str(dest))["changed"] is False
    (tmp_path / "init.json.part").write_text('{"keys_base64": ["a"]}')
    assert run(vault_init, vault, dest=str(dest))["changed"] is True
    assert json.loads(dest.read_text()) == {"keys_base64": ["a"]}


@pytest.mark.parametrize("check", [False, True])
def test_a_vault_that_is_initialised_and_whose_answer_is_lost_says_what_to_do(vault, tmp_path, check):
    (tmp_path / "init.json.part").write_text(" " * 100)
    dest = str(tmp_path / "init.json")
    result = run(vault_init, vault, dest=dest, remedy="Remove /var/lib/openbao", _ansible_check_mode=check)
    assert f"{dest}.part holds no keys: they are lost" in result["msg"]
    assert "Remove /var/lib/openbao" in result["msg"]


@pytest.mark.parametrize(
    ("becomes", "answer", "told", "left"),
    [
        (False, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "the Vault was not initialised", []),
        (True, b"", "holds no keys: they are lost", ["init.json.part"]),
        (True, b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", "holds no keys: they are lost", ["init.json.part"]),
        # It may still be at it.
        (False, b"", "may be initialised all the same", ["init.json.part"]),
        (False, b"HTTP/1.1 500 Error\r\n\r\n", "may be initialised all the same", ["init.json.part"]),
    ],
)
def test_an_initialisation_without_an_answer_is_not_taken_for_none(tmp_path, becomes, answer, told, left):
    with answering_init_with(answer, becomes=becomes) as address:
        result = run(vault_init, None, url=address, dest=str(tmp_path / "init.json"))
    assert told in result["msg"]
    assert [path.name for path in tmp_path.iterdir()] == left


@contextlib.contextmanager
def answering_init_with(answer, *, becomes):
    """The address of something that has a Vault's status, and answers its initialisation with what is given."""
    is_initialised = False

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status = json.dumps({"initialized": is_initialised, "sealed": True}).encode()
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(status), status))

        def do_POST(self):
            nonlocal is_initialised
            is_initialised = becomes
            self.wfile.write(answer)

        def log_message(self, *_arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
