# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.supalove.platform.plugins.filter.vault_addresses import vault_addresses


@pytest.mark.parametrize(
    ("variables", "address", "authority"),
    [
        ({}, "a", "a"),
        ({"ansible_host": "192.0.2.1"}, "192.0.2.1", "192.0.2.1"),
        ({"ansible_host": "192.0.2.1", "vault_address": "vault.example.org"}, "vault.example.org", "vault.example.org"),
        ({"ansible_host": "192.0.2.1", "vault_address": ""}, "192.0.2.1", "192.0.2.1"),
        ({"ansible_host": "2001:db8::1"}, "2001:db8::1", "[2001:db8::1]"),
    ],
)
def test_a_server_is_reached_by_its_own_variable_or_as_ansible_does(
    variables: dict[str, str], address: str, authority: str
) -> None:
    assert vault_addresses(["a"], hostvars={"a": variables}) == {"a": {"address": address, "authority": authority}}
