# SPDX-License-Identifier: GPL-3.0-or-later
"""Task files that decide something, run by Ansible on this machine with paths of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]


class Host:
    """A host's directories below a folder, and the runs of one task file of the role k3s on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "etc"
        self.data = folder / "data"
        self.binary = folder / "bin/k3s"
        for path in (self.config, self.data / "server", self.binary.parent):
            path.mkdir(parents=True)

    def run(self, tasks: str, *options: str, **variables: Any) -> tuple[int, str]:
        """Include a task file of the role; give exit code and output as one line."""
        role = {"name": str(REPOSITORY / "roles/k3s"), "tasks_from": tasks}
        steps = [{"name": "Run the tasks", "ansible.builtin.include_role": role}]
        play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": steps}
        self.folder.joinpath("play.yml").write_text(yaml.safe_dump([play]))
        extra = {
            "ansible_python_interpreter": sys.executable,
            "__k3s_config_dir": str(self.config),
            "__k3s_data_dir": str(self.data),
            "__k3s_bin": str(self.binary),
            **variables,
        }
        done = subprocess.run(
            ["ansible-playbook", "--inventory=localhost,", f"--extra-vars={json.dumps(extra)}", *options, "play.yml"],
            cwd=self.folder,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, " ".join(done.stdout.split())

    def tokens(self) -> list[str]:
        return [(self.config / name).read_text().strip() for name in ("token", "agent-token")]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def founder(*, has_database: bool) -> dict[str, Any]:
    return {"host": "localhost", "founder": "localhost", "has_database": has_database}


def test_the_tokens_of_a_new_cluster_are_made_once(host: Host) -> None:
    code, output = host.run("own_tokens", __k3s_founder=founder(has_database=False))
    assert code == 0, output
    made = host.tokens()
    assert [len(token) for token in made] == [48, 48]
    assert "changed=0" in host.run("own_tokens", __k3s_founder=founder(has_database=True))[1]
    assert host.tokens() == made


def test_a_lost_token_of_a_cluster_that_lives_is_what_k3s_keeps(host: Host) -> None:
    for name, token in {"token": "K10ab::server:first", "agent-token": "K10ab::node:second"}.items():
        host.data.joinpath("server", name).write_text(f"{token}\n")
    host.config.joinpath("token").touch()
    code, output = host.run("own_tokens", __k3s_founder=founder(has_database=True))
    assert code == 0, output
    assert host.tokens() == ["first", "second"]


def test_a_token_that_nothing_has_kept_is_never_made_anew_for_a_cluster_that_lives(host: Host) -> None:
    host.data.joinpath("server/token").write_text("K10ab::server:first\n")
    code, output = host.run("own_tokens", __k3s_founder=founder(has_database=True))
    assert code != 0
    assert f"localhost: {host.config}/agent-token: found nothing there" in output
    assert list(host.config.iterdir()) == []


def test_an_empty_token_of_the_server_is_waited_for_and_then_named(host: Host) -> None:
    source = host.data / "server/agent-token"
    source.touch()
    asked = {"__k3s_token_from": str(source), "__k3s_token_to": str(host.config / "agent-token")}
    options = {**asked, "__k3s_founder": founder(has_database=True), "k3s_ready_timeout_seconds": 1}
    code, output = host.run("token", **options)
    assert code != 0
    assert f"waited 1 s for the token in {source}" in output
    assert "Look at k3s on localhost" in output
    source.write_text("K10ab::node:second\n")
    assert host.run("token", **options)[0] == 0
    assert host.config.joinpath("agent-token").read_text() == "K10ab::node:second\n"


def test_a_program_of_the_hosts_own_is_left_alone(host: Host) -> None:
    host.binary.touch()
    own, foreign = host.binary.with_name("kubectl"), host.binary.with_name("crictl")
    own.write_text("mine")
    foreign.symlink_to("/usr/bin/true")
    for options, changes in (("--check",), "changed=1"), ((), "changed=1"), ((), "changed=0"):
        code, output = host.run("links", *options)
        assert (code, changes in output) == (0, True), output
    assert (own.read_text(), os.readlink(foreign)) == ("mine", "/usr/bin/true")
    assert os.readlink(host.binary.with_name("ctr")) == "k3s"
