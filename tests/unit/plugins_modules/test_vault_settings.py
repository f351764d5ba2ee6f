# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.supalove.platform.plugins.modules.vault_credentials import content_of
from ansible_collections.supalove.platform.plugins.modules.vault_settings import Settings, canonical, differing

NOTHING: dict[str, Any] = {"mounts": {}, "auths": {}, "audits": {}, "policies": {}, "objects": {}}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (["b", "a"], ["a", "b"], True),
        ("text\n", "text", True),
        ("3600", 3600, True),
        ({"a": ["2", 1]}, {"a": [1, 2]}, True),
        # Vault says what is not set in three ways, and they are not the same to it.
        (None, "", False),
        (True, "True", False),
        (["a"], ["a", "a"], False),
    ],
)
def test_two_settings_are_compared_as_vault_keeps_them(*, one: Any, other: Any, same: bool) -> None:
    assert (canonical(one) == canonical(other)) is same


def test_only_what_is_asked_for_is_compared() -> None:
    assert differing({"a": 1, "foreign": 2}, {"a": "1"}) == {}
    assert differing({"a": 1}, {"a": 2, "b": 3}) == {"a": 1, "b": None}


def test_a_check_without_a_vault_says_everything_that_would_be_written() -> None:
    settings = Settings(None, check_mode=True)
    asked = {
        "mounts": {"kv": {"type": "kv"}},
        "auths": {"approle": {"type": "approle"}},
        "policies": {"reader": 'path "x/${accessor:approle}" {}'},
        "objects": {"auth/approle/role/reader": {"token_ttl": 60}},
    }
    settings.keep({**NOTHING, **asked})
    assert settings.result() == {
        "changed": True,
        "changes": ["sys/mounts/kv", "sys/auth/approle", "sys/policies/acl/reader", "auth/approle/role/reader"],
        "diff": {
            "before": {},
            "after": {
                "sys/mounts/kv": {"type": "kv"},
                "sys/auth/approle": {"type": "approle"},
                # Nobody knows yet what stands for the accessor.
                "sys/policies/acl/reader": {"policy": 'path "x/${accessor:approle}" {}'},
                "auth/approle/role/reader": {"token_ttl": 60},
            },
        },
    }


def test_credentials_leave_the_module_in_a_form_that_ansible_does_not_blank() -> None:
    assert content_of({"a": {"secret_id": "x"}}) == "eyJhIjogeyJzZWNyZXRfaWQiOiAieCJ9fQ=="
