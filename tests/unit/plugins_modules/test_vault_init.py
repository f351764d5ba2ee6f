# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.supalove.platform.plugins.modules import vault_init
from ansible_collections.supalove.platform.plugins.modules.vault_init import (
    Vault,
    binary_of,
    failure_of,
    finish,
    request_from,
)

ARMOURED = """-----BEGIN PGP PUBLIC KEY BLOCK-----
{headers}
AQID
BAU=
=abcd
-----END PGP PUBLIC KEY BLOCK-----
"""
ANSWER = '{"keys_base64": ["a"], "root_token": "b"}'


@pytest.mark.parametrize(
    "key",
    [
        "AQIDBAU=",
        "AQID\nBAU=\n",
        ARMOURED.format(headers=""),
        ARMOURED.format(headers="Version: 1\nComment: of somebody\n"),
        ARMOURED.format(headers="").replace("\n", "\r\n"),
        "pub  what gpg says before it\n" + ARMOURED.format(headers=""),
        # Without the checksum, which newer programs leave out.
        ARMOURED.format(headers="").replace("=abcd\n", ""),
    ],
)
def test_a_public_key_is_sent_without_its_armour(key: str) -> None:
    assert binary_of(key) == "AQIDBAU="


@pytest.mark.parametrize(
    ("params", "body"),
    [
        ({}, {"secret_shares": 5, "secret_threshold": 3}),
        ({"recovery": True}, {"recovery_shares": 5, "recovery_threshold": 3}),
        (
            {"pgp_keys": ["AQ", "Ag"]},
            {"secret_shares": 5, "secret_threshold": 3, "pgp_keys": ["AQ", "Ag"], "root_token_pgp_key": "AQ"},
        ),
        (
            {"pgp_keys": ["AQ"], "recovery": True},
            {
                "recovery_shares": 5,
                "recovery_threshold": 3,
                "recovery_pgp_keys": ["AQ"],
                "root_token_pgp_key": "AQ",
            },
        ),
    ],
)
def test_shares_are_recovery_keys_where_the_seal_opens_by_itself(params: dict[str, Any], body: dict[str, Any]) -> None:
    assert request_from({"shares": 5, "threshold": 3, "pgp_keys": [], "recovery": False, **params}) == body


@pytest.mark.parametrize(
    ("part", "finished"),
    [
        (ANSWER, True),
        # A kill before the room was cut off: the answer is whole, and blanks follow it.
        (ANSWER + " " * 100, True),
        ("", False),
        (" " * 100, False),
        (ANSWER[:10], False),
        (None, False),
    ],
)
def test_an_answer_that_was_written_before_a_kill_gets_its_name(
    tmp_path: Path, part: str | None, *, finished: bool
) -> None:
    dest = tmp_path / "init.json"
    if part is not None:
        (tmp_path / "init.json.part").write_text(part)
    assert finish(str(dest)) is finished
    assert dest.exists() is finished


def test_an_answer_that_could_not_get_its_name_is_not_called_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vault_init, "status_of", lambda _vault: {"answers": True, "initialized": True})
    dest = tmp_path / "init.json"
    (tmp_path / "init.json.part").write_text(ANSWER)
    told = failure_of(OSError("no such directory"), Vault("https://a", None, 1), str(dest), "")
    assert told == f"no such directory. {dest}.part holds its answer; run again"
