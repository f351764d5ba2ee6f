# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server writes before it starts anything, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab.standin import settings
from lab.standin.server import Control


def a_server(home: Path, **config: str) -> Control:
    places = {"data-dir": home, "write-kubeconfig": home / "k3s.yaml", "node-name": "s", "node-ip": "192.0.2.1"}
    argv = [f"--{key}={value}" for key, value in {**places, **config}.items()]
    return Control(settings.load("server", ["--config=/dev/null", "--cluster-init", *argv], {}))


def test_a_restart_without_a_token_keeps_the_one_it_has(tmp_path: Path) -> None:
    a_server(tmp_path, token="one").write_files()
    a_server(tmp_path).write_files()
    assert (tmp_path / "server/token").read_text().strip().endswith("::server:one")


def test_another_token_for_an_existing_database_is_refused(tmp_path: Path) -> None:
    a_server(tmp_path, token="one").write_files()
    (tmp_path / "server/db/etcd/member").mkdir(parents=True)
    with pytest.raises(settings.Refused, match="encrypted with different token"):
        a_server(tmp_path, token="two").write_files()


def test_the_first_server_takes_only_the_short_form_of_a_token(tmp_path: Path) -> None:
    with pytest.raises(settings.Refused, match="short form"):
        a_server(tmp_path, token="K10abc::server:one").write_files()


def test_private_files_are_private(tmp_path: Path) -> None:
    a_server(tmp_path).write_files()
    private = [tmp_path / "k3s.yaml", tmp_path / "server/token", tmp_path / "server/tls/server-ca.key"]
    assert {path.stat().st_mode & 0o777 for path in private} == {0o600}
