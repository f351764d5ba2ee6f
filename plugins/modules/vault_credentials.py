#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Credentials of AppRoles that open, made anew where they do not."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vault_credentials
short_description: Keep credentials of AppRoles that open
version_added: 0.1.0
description:
  - Asks a Vault whether given credentials of its AppRoles are good, and makes those that are not.
  - The result contains them. Use it with C(no_log).
author:
  - Supalove contributors (@supalove)
attributes:
  check_mode:
    support: full
    description: Says whether credentials would be made. A Vault that does not answer, or is sealed, has none.
  diff_mode:
    support: none
    description: There is nothing that may be shown.
options:
  roles:
    description:
      - By name of an AppRole, its credentials as far as they are known, C(role_id) and C(secret_id).
    type: dict
    required: true
extends_documentation_fragment:
  - supalove.platform.vault
  - supalove.platform.vault.login
"""

EXAMPLES = r"""
- name: Keep the engine's credentials
  supalove.platform.vault_credentials:
    url: https://127.0.0.1:8200
    ca_path: /etc/openbao/tls/ca.pem
    token: "{{ token }}"
    roles:
      supalove-engine: {}
  no_log: true
  register: made
"""

RETURN = r"""
credentials:
  description: By name of an AppRole, its C(role_id) and C(secret_id). Empty if a check would have made them.
  returned: always
  type: dict
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.supalove.platform.plugins.module_utils._vault import (
    CONNECTION_SPEC,
    LOGIN_SPEC,
    Vault,
    VaultError,
    logged_in,
    status_of,
    vault_of,
)

JSON = t.Dict[str, t.Any]


def opens(vault: Vault, path: str, role_id: str, known: JSON) -> bool:
    """Whether known credentials are those of the role, and good."""
    if known.get("role_id") != role_id or not known.get("secret_id"):
        return False
    try:
        # An unknown secret is an empty answer, or an error in some versions.
        return bool(vault.post(f"{path}/secret-id/lookup", {"secret_id": known["secret_id"]}).get("data"))
    except VaultError as error:
        if error.status in (400, 404, 500):
            return False
        raise


def keep(vault: Vault, approle_path: str, roles: JSON, *, check_mode: bool) -> tuple[bool, JSON]:
    """Give whether credentials were made, and all of them."""
    changed = False
    credentials: JSON = {}
    for name, known in roles.items():
        path = f"auth/{approle_path}/role/{name}"
        answer = vault.get(f"{path}/role-id")
        role_id = answer["data"]["role_id"] if answer else ""
        if role_id and opens(vault, path, role_id, known or {}):
            credentials[name] = {"role_id": role_id, "secret_id": known["secret_id"]}
            continue
        changed = True
        if not check_mode:
            secret = vault.post(f"{path}/secret-id", {})["data"]["secret_id"]
            credentials[name] = {"role_id": role_id, "secret_id": secret}
    return changed, credentials


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={**CONNECTION_SPEC, **LOGIN_SPEC, "roles": {"type": "dict", "required": True, "no_log": True}},
        supports_check_mode=True,
    )
    params = module.params
    if module.check_mode:
        status = status_of(vault_of(params))
        if status["sealed"] or not status["answers"]:
            module.exit_json(changed=True, credentials={})
    try:
        with logged_in(params) as vault:
            changed, credentials = keep(vault, params["approle_path"], params["roles"], check_mode=module.check_mode)
    except VaultError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=changed, credentials=credentials)


if __name__ == "__main__":
    main()
