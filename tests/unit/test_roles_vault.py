# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role vault derives and decides without a server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROLE = Path(__file__).parents[2] / "roles/vault"


@pytest.mark.parametrize(
    ("groups", "directory"),
    [
        ({"control_plane": ["a"]}, "/of-a/.kube"),
        ({"control_plane": ["a"], "vault": []}, "/of-a/.kube"),
        ({"control_plane": ["a"], "vault": ["b"]}, "/of-b/.kube"),
        ({"vault": ["b"]}, "/of-b/.kube"),
    ],
)
def test_the_controllers_directory_is_known_whichever_groups_have_hosts(groups: dict[str, Any], directory: str) -> None:
    loader = DataLoader()
    known = loader.load_from_file(str(ROLE / "defaults/main.yml"), trusted_as_template=True)
    known |= {"groups": groups, "hostvars": {host: {"inventory_dir": f"/of-{host}"} for host in "ab"}}
    templar = Templar(loader=loader, variables=known)
    assert templar.template(trust_as_template("{{ vault_controller_dir }}")) == directory


def access(folder: Path, *options: str, **paths: Any) -> tuple[int, str]:
    """Look for the login to Vault, as playbooks do; give exit code and output as one line."""
    steps = [{"name": "Look", "ansible.builtin.include_role": {"name": str(ROLE), "tasks_from": "access"}}]
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": steps}
    folder.joinpath("play.yml").write_text(yaml.safe_dump([play]))
    extra = {"ansible_python_interpreter": sys.executable, **paths}
    done = subprocess.run(
        ["ansible-playbook", "--inventory=localhost,", f"--extra-vars={json.dumps(extra)}", *options, "play.yml"],
        cwd=folder,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, " ".join(done.stdout.split())


def test_a_login_without_the_certificates_to_verify_vault_by_is_told(tmp_path: Path) -> None:
    login, ca = tmp_path / "vault-engine.json", tmp_path / "ca.pem"
    paths = {"vault_credentials_path": str(login), "vault_ca_path": str(ca)}
    assert access(tmp_path, "--check", **paths)[0] == 0
    login.touch()
    for options in (), ("--check",):
        code, output = access(tmp_path, *options, **paths)
        assert code != 0
        assert f"{ca}, by which Vault is verified, is no file" in output
    assert access(tmp_path, **{**paths, "vault_ca_path": ""})[0] == 0
    tmp_path.joinpath("real.pem").touch()
    ca.symlink_to("real.pem")
    assert access(tmp_path, **paths)[0] == 0
