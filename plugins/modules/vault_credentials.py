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
  roles_path:
    description:
      - Where the AppRole auth method that has these roles is mounted. The login may be one of another.
    type: str
    default: approle
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
content:
  description:
    - Of the AppRoles whose credentials were made, by name, C(role_id) and C(secret_id), as JSON in base64. Ansible
      blanks in a result whatever equals a secret that the module was given, and a new secret may be for an old role.
  returned: always
  type: str
"""

import base64
import json
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

JSON = dict[str, t.Any]


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


def keep(vault: Vault, roles_path: str, roles: JSON, *, check_mode: bool) -> JSON:
    """Give the credentials that were made, or in a check an empty mapping for each that would be."""
    made: JSON = {}
    for name, known in roles.items():
        path = f"auth/{roles_path}/role/{name}"
        answer = vault.get(f"{path}/role-id")
        role_id = answer["data"]["role_id"] if answer else ""
        if role_id and opens(vault, path, role_id, known or {}):
            continue
        made[name] = {}
        if not check_mode:
            secret = vault.post(f"{path}/secret-id", {})["data"]["secret_id"]
            made[name] = {"role_id": role_id, "secret_id": secret}
    return made


def content_of(made: JSON) -> str:
    """Give credentials as the result carries them."""
    return base64.b64encode(json.dumps(made).encode()).decode()


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_SPEC,
            **LOGIN_SPEC,
            "roles": {"type": "dict", "required": True, "no_log": True},
            "roles_path": {"type": "str", "default": "approle"},
        },
        supports_check_mode=True,
    )
    params = module.params
    if module.check_mode:
        status = status_of(vault_of(params))
        if status["sealed"] or not status["answers"]:
            module.exit_json(changed=True, content=content_of({}))
    try:
        with logged_in(params) as vault:
            made = keep(vault, params["roles_path"], params["roles"], check_mode=module.check_mode)
    except VaultError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(made), content=content_of(made))


if __name__ == "__main__":
    main()
