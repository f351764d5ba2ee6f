#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one initialisation of a Vault, and its answer."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vault_init
short_description: Initialise a Vault, and keep what it answers in a private file
version_added: 0.1.0
description:
  - Initialises a Vault that is not, and writes its answer, the keys and the first root token, to O(dest). A Vault
    gives this answer once, so the file is made before it is asked, and no result of this module contains it.
  - A Vault that is initialised is left alone. If it is, and its answer was lost, which nobody can ask for again, the
    module fails.
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
  remedy:
    description:
      - What is to be done where the answer was lost, for the message.
    type: str
    default: Stop every server of it and remove what they store.
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

import contextlib
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


def is_answer(path: str) -> bool:
    """Whether a file has a whole answer."""
    try:
        with open(path, encoding="utf-8") as file:
            return isinstance(json.load(file), dict)
    except (OSError, ValueError):
        return False


def finish(dest: str) -> bool:
    """Give the answer its name if a run was killed between the two; whether it was so."""
    if not is_answer(dest + ".part"):
        return False
    os.rename(dest + ".part", dest)
    return True


def is_lost(dest: str) -> bool:
    """Whether an initialisation was begun here whose answer never came."""
    return os.path.exists(dest + ".part") and not os.path.exists(dest) and not is_answer(dest + ".part")


def lost(url: str, dest: str, remedy: str) -> str:
    """Say what a Vault is worth that nobody has the keys of."""
    return (
        f"{url} is initialised, and its answer did not arrive: {dest}.part holds no keys: they are lost. Nothing is "
        f"kept in such a Vault yet. To found it anew: {remedy} Then remove {dest}.part and run again. "
        f"If somebody has initialised it by hand and has the keys, remove {dest}.part only."
    )


def is_refusal(error: Exception) -> bool:
    """Whether there was no room for an answer, or Vault said no. Any other error may hide a success."""
    return isinstance(error, OSError) or (isinstance(error, VaultError) and 400 <= error.status < 500)


def failure_of(error: Exception, vault: Vault, dest: str, remedy: str) -> str:
    """Say what an initialisation that failed has left."""
    status = status_of(vault)
    if status["initialized"]:
        left = lost(vault.url, dest, remedy) if is_lost(dest) else f"{dest}.part holds its answer; run again"
        return f"{error}. {left}"
    if not status["answers"] or not is_refusal(error):
        return f"{error}. The Vault may be initialised all the same, or still be at it; run again, which will tell"
    with contextlib.suppress(OSError):
        os.remove(dest + ".part")
    return f"the Vault was not initialised: {error}"


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
            "remedy": {"type": "str", "default": "Stop every server of it and remove what they store."},
        },
        supports_check_mode=True,
    )
    vault, dest, remedy = vault_of(module.params), module.params["dest"], module.params["remedy"]
    status = status_of(vault)
    if status["initialized"]:
        if is_lost(dest):
            module.fail_json(msg=lost(vault.url, dest, remedy))
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
        module.fail_json(msg=failure_of(error, vault, dest, remedy))
    module.exit_json(changed=True, dest=dest)


if __name__ == "__main__":
    main()
