# SPDX-License-Identifier: GPL-3.0-or-later
"""The two modules as Ansible runs them, with the real openssl."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible_collections.supalove.platform.plugins.modules import tls_authority, tls_request
from ansible_collections.supalove.platform.plugins.modules.tls_authority import alternative_name
from ansible_collections.supalove.platform.plugins.modules.tls_request import names_in

NAMES = ["vault.example.org", "192.0.2.1", "::1"]


def run(module: ModuleType, **arguments: Any) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-P", str(module.__file__)],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        capture_output=True,
        text=True,
        check=False,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def authority(folder: Path, **arguments: Any) -> dict[str, Any]:
    return run(tls_authority, directory=str(folder / "authority"), common_name="Test", **arguments)


def request(folder: Path, **arguments: Any) -> dict[str, Any]:
    defaults = {
        "key": str(folder / "server.key"),
        "certificate": str(folder / "server.pem"),
        "authority": (folder / "authority/ca.pem").read_text(),
        "names": NAMES,
        "mode": "0640",
    }
    return run(tls_request, **{**defaults, **arguments})


def openssl(*arguments: str) -> str:
    return subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    """A folder with an authority and a certificate that it signed."""
    authority(tmp_path)
    asked = request(tmp_path)
    assert (asked["changed"], asked["reason"]) == (True, "there is none")
    answer = authority(tmp_path, request=asked["request"], names=NAMES)
    (tmp_path / "server.pem").write_text(answer["signed"])
    return tmp_path


def test_an_authority_is_made_once_and_its_key_is_private(tmp_path: Path) -> None:
    first = authority(tmp_path)
    assert (first["changed"], authority(tmp_path)["changed"]) == (True, False)
    assert (tmp_path / "authority/ca.key").stat().st_mode & 0o777 == 0o600
    assert authority(tmp_path)["certificate"] == first["certificate"]


def test_an_authority_whose_making_was_killed_is_made_anew(tmp_path: Path) -> None:
    authority(tmp_path)
    (tmp_path / "authority/ca.pem").unlink()
    assert authority(tmp_path)["changed"] is True
    assert request(tmp_path)["reason"] == "there is none"


def test_a_check_makes_nothing(tmp_path: Path) -> None:
    assert authority(tmp_path, _ansible_check_mode=True) | {"invocation": None} == {
        "changed": True,
        "certificate": "",
        "signed": "",
        "invocation": None,
    }
    authority(tmp_path)
    result = request(tmp_path, _ansible_check_mode=True)
    assert (result["changed"], result["request"]) == (True, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["authority"]


def test_a_certificate_is_for_the_names_that_the_authority_was_told_and_cannot_sign(signed: Path) -> None:
    text = openssl("x509", "-in", str(signed / "server.pem"), "-noout", "-text")
    assert names_in(text) == set(NAMES)
    assert "CA:FALSE" in text
    openssl("verify", "-CAfile", str(signed / "authority/ca.pem"), str(signed / "server.pem"))


def test_a_good_certificate_is_left_alone(signed: Path) -> None:
    result = request(signed)
    assert (result["changed"], result["reason"], result["request"]) == (False, "", "")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"renew_days": 366}, "it ends within 366 days"),
        ({"names": ["vault.example.org"]}, "it is for other names"),
        ({"names": [*NAMES, "b.example.org"]}, "it is for other names"),
    ],
)
def test_a_certificate_that_breaks_a_rule_is_asked_for_anew(signed: Path, changes: dict[str, Any], reason: str) -> None:
    result = request(signed, **changes)
    assert result["reason"] == reason
    assert result["request"].startswith("-----BEGIN CERTIFICATE REQUEST-----")


def test_a_certificate_of_another_authority_is_asked_for_anew(signed: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = authority(tmp_path / "other")["certificate"]
    assert request(signed, authority=other)["reason"] == "another authority signed it"


def test_a_certificate_without_its_key_is_asked_for_anew(signed: Path) -> None:
    (signed / "server.key").unlink()
    assert request(signed)["reason"] == "it belongs to another key"


def test_a_certificate_that_would_outlive_its_authority_is_refused(tmp_path: Path) -> None:
    authority(tmp_path, authority_days=300)
    asked = request(tmp_path)["request"]
    assert "before a certificate signed now would" in authority(tmp_path, request=asked, names=NAMES)["msg"]


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.example.org", "DNS:a.example.org"), ("192.0.2.1", "IP:192.0.2.1"), ("0:0::1", "IP:::1")],
)
def test_a_name_is_written_as_openssl_reads_it(name: str, text: str) -> None:
    assert alternative_name(name) == text
