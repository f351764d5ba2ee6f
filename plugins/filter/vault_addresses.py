# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolve under which address every server of a Vault is reached."""

from __future__ import annotations

DOCUMENTATION = r"""
name: vault_addresses
short_description: Resolve the addresses of a Vault's servers
version_added: 0.1.0
author:
  - Supalove contributors (@supalove)
description:
  - Takes C(vault_address) of a host, or C(ansible_host), or its name.
options:
  _input:
    description: The names of the hosts.
    type: list
    elements: str
    required: true
  hostvars:
    description: The variables of every host.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the addresses
  ansible.builtin.debug:
    msg: "{{ groups.vault | supalove.platform.vault_addresses(hostvars=hostvars) }}"
"""

RETURN = r"""
_value:
  description:
    - By host, its C(address), and C(authority), the same as it stands in a URL.
  type: dict
"""

from collections.abc import Mapping, Sequence
from typing import Any


def addresses_of(name: str, variables: Mapping[str, Any]) -> dict[str, str]:
    """Give a host's address in both forms.

    >>> addresses_of("a", {"ansible_host": "fd00::1"})
    {'address': 'fd00::1', 'authority': '[fd00::1]'}
    """
    address = str(variables.get("vault_address") or variables.get("ansible_host") or name)
    return {"address": address, "authority": f"[{address}]" if ":" in address else address}


def vault_addresses(names: Sequence[str], *, hostvars: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Give the addresses of every host."""
    return {name: addresses_of(name, hostvars[name]) for name in names}


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, Any]:
        """Give the filters by name."""
        return {"vault_addresses": vault_addresses}
