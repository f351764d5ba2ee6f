#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one initialisation of a Vault, whose answer cannot get lost."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vault_init
short_description: Initialise a Vault, and keep what it answers in a private file
version_added: 0.1.0
description:
  - Initialises a Vault that is not, and writes its answer, the keys and the first root token, to O(dest). A Vault
    gives this answer once, so the file is made before it is asked, and no result of this module contains it.
  - A Vault that is initialised is left alone.
author:
  - Supalove contributors (@supalove)
attributes:
  check_mode:
    support: full
    description: Says whether the Vault would be initialised. One that does not answer counts as new.
  diff_mode:
    support: none
    description: There is one thing to change.
options:
  dest:
    description:
      - The file that the answer is written to, for its owner alone. What is there is never replaced.
    type: path
    required: true
  shares:
    description:
      - The number of key shares.
    type: int
    default: 5
  threshold:
    description:
      - How many of them unseal.
    type: int
    default: 3
  pgp_keys:
    description:
      - Public keys, one for each share, each as base64 of its binary form or armoured. The shares are encrypted to
        them in this order, and the root token to the first.
    type: list
    elements: str
    default: []
  recovery:
    description:
      - Whether the seal opens by itself. The shares are recovery keys then.
    type: bool
    default: false
extends_documentation_fragment:
  - supalove.platform.vault
"""

EXAMPLES = r"""
- name: Initialise the Vault
  supalove.platform.vault_init:
    url: https://127.0.0.1:8200
    ca_path: /etc/openbao/tls/ca.pem
    dest: /etc/openbao/init.json
"""

RETURN = r"""
dest:
  description: The file with the answer.
  returned: always
  type: str
"""

import json
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.supalove.platform.plugins.module_utils._vault import (
    CONNECTION_SPEC,
    Vault,
    VaultError,
    status_of,
    vault_of,
)

BEGIN = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
END = "-----END PGP PUBLIC KEY BLOCK-----"


def binary_of(key: str) -> str:
    r"""Give a public key as Vault wants it: base64 of its binary form, without armour (RFC 9580, section 6).

    >>> binary_of("\n".join([BEGIN, "Comment: a", "", "AQID", "BAU=", "=abcd", END]))
    'AQIDBAU='
    """
    lines = [line.strip() for line in key.strip().splitlines()]
    if BEGIN not in lines:
        return "".join(lines)
    body = lines[lines.index(BEGIN) + 1 : lines.index(END)]
    if "" in body:
        body = body[body.index("") + 1 :]
    return "".join(line for line in body if not line.startswith("="))


def request_from(params: dict[str, t.Any]) -> dict[str, t.Any]:
    """Give the body of the request.

    >>> request_from({"shares": 1, "threshold": 1, "pgp_keys": [], "recovery": True})
    {'recovery_shares': 1, 'recovery_threshold': 1}
    """
    prefix = "recovery" if params["recovery"] else "secret"
    body = {f"{prefix}_shares": params["shares"], f"{prefix}_threshold": params["threshold"]}
    keys = [binary_of(key) for key in params["pgp_keys"]]
    if keys:
        body |= {"recovery_pgp_keys" if params["recovery"] else "pgp_keys": keys, "root_token_pgp_key": keys[0]}
    return body


def initialise(vault: Vault, body: dict[str, t.Any], dest: str) -> None:
    """Ask with the file already open, so that neither a full disk nor a wrong path costs the answer."""
    part = dest + ".part"
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        # The room is taken before: what follows overwrites it.
        file.write(b" " * (1 << 16))
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        file.write(json.dumps(vault.post("sys/init", body)).encode())
        file.truncate()
        file.flush()
        os.fsync(file.fileno())
    os.rename(part, dest)


def finish(dest: str) -> bool:
    """Give the answer its name if a run was killed between the two; whether it was so."""
    try:
        with open(dest + ".part", encoding="utf-8") as file:
            json.load(file)
        os.rename(dest + ".part", dest)
    except (OSError, ValueError):
        return False
    return True


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_SPEC,
            "dest": {"type": "path", "required": True},
            "shares": {"type": "int", "default": 5, "no_log": False},
            "threshold": {"type": "int", "default": 3},
            "pgp_keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "recovery": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    vault, dest = vault_of(module.params), module.params["dest"]
    status = status_of(vault)
    if status["initialized"]:
        module.exit_json(changed=not module.check_mode and finish(dest), dest=dest)
    if module.check_mode:
        module.exit_json(changed=True, dest=dest)
    if not status["answers"]:
        module.fail_json(msg=status["reason"])
    if os.path.exists(dest):
        module.fail_json(msg=f"{dest} holds the keys of another Vault; move it away")
    try:
        initialise(vault, request_from(module.params), dest)
    except (VaultError, OSError) as error:
        module.fail_json(msg=f"the Vault was not initialised: {error}")
    module.exit_json(changed=True, dest=dest)


if __name__ == "__main__":
    main()
