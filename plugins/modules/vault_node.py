#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one server of a Vault is, and its unsealing."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vault_node
short_description: Look at a server of a Vault, or unseal it
version_added: 0.1.0
description:
  - Tells whether a server answers, is initialised, sealed and active. A server that does not answer is no error.
  - With O(state=unsealed) it waits until the server knows its Vault, gives it keys, and waits until it serves.
  - A server that is new to a raft learns of its Vault from the others, so it is waited for.
author:
  - Supalove contributors (@supalove)
attributes:
  check_mode:
    support: full
    description: Says whether the server would be unsealed. A server that does not answer counts as one that is sealed.
  diff_mode:
    support: none
    description: There is one thing to change.
options:
  state:
    description:
      - V(seen) looks and changes nothing, V(answering) waits for an answer, V(unsealed) unseals, V(led) waits until
        the server leads or knows who does. Servers that were all away hold an election first.
    type: str
    choices: [seen, answering, unsealed, led]
    default: seen
  keys:
    description:
      - Key shares. Without them a sealed server is an error, unless its seal opens by itself.
    type: list
    elements: str
    default: []
  deadline_seconds:
    description:
      - How long to wait for the server in all.
    type: int
    default: 60
extends_documentation_fragment:
  - supalove.platform.vault
"""

EXAMPLES = r"""
- name: Unseal the server
  supalove.platform.vault_node:
    url: https://127.0.0.1:8200
    ca_path: /etc/openbao/tls/ca.pem
    state: unsealed
    keys: "{{ keys }}"
  no_log: true
"""

RETURN = r"""
node:
  description: What the server is.
  returned: always
  type: dict
  contains:
    answers:
      description: Whether it answers.
      type: bool
    initialized:
      description: Whether it is part of a Vault.
      type: bool
    sealed:
      description: Whether it is sealed.
      type: bool
    shamir:
      description: Whether its seal opens with key shares only.
      type: bool
    active:
      description: Whether it leads.
      type: bool
    version:
      description: Its version.
      type: str
    reason:
      description: Why it does not answer.
      type: str
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.supalove.platform.plugins.module_utils._vault import (
    CONNECTION_SPEC,
    Vault,
    VaultError,
    await_answer,
    is_active,
    status_of,
    vault_of,
)


def give_keys(vault: Vault, keys: list[str]) -> None:
    """Give key shares, one after the other, until the server is unsealed; shares of an earlier try are dropped."""
    vault.post("sys/unseal", {"reset": True})
    for key in keys:
        if not vault.post("sys/unseal", {"key": key}).get("sealed", True):
            return


def unseal(vault: Vault, keys: list[str], deadline_seconds: int) -> None:
    """Unseal a server that answers; one that has yet to hear of its Vault refuses keys, and is asked again."""
    deadline = time.monotonic() + deadline_seconds
    refusal = ""
    while (status := status_of(vault))["sealed"] or not status["answers"]:
        if time.monotonic() > deadline:
            raise VaultError(f"waited {deadline_seconds} s for {vault.url} to be unsealed; {refusal or 'it is sealed'}")
        # An unseal takes a moment to show. To give the keys again in that moment would begin it anew.
        if status["shamir"]:
            try:
                give_keys(vault, keys)
                refusal = "it took the keys and stays sealed: are they the keys of this Vault?"
            except VaultError as error:
                refusal = str(error)
        time.sleep(1)


def serves(vault: Vault) -> bool:
    """Whether the server, active or standby, serves."""
    try:
        vault.ask("GET", "sys/health?standbyok=true&perfstandbyok=true")
    except VaultError:
        return False
    return True


def ensure_unsealed(module: AnsibleModule, vault: Vault) -> bool:
    """Unseal the server if it is sealed, and wait until it serves; whether there was anything to do."""
    seconds = module.params["deadline_seconds"]
    status = status_of(vault) if module.check_mode else await_answer(vault, seconds, is_there, "answers")
    if status["answers"] and not status["sealed"]:
        return False
    if module.check_mode:
        return True
    if status["shamir"] and not module.params["keys"]:
        raise VaultError(f"{vault.url} is sealed, and there are no keys to unseal it with")
    unseal(vault, module.params["keys"], seconds)
    await_answer(vault, seconds, lambda _status: serves(vault), "serves")
    return True


def is_led(vault: Vault) -> bool:
    """Whether it leads, or the one that it names says so: before an election that may be the last one."""
    try:
        told = vault.get("sys/leader") or {}
        if told.get("is_self") or not told.get("leader_address"):
            return bool(told.get("is_self"))
        return is_active(Vault(told["leader_address"], vault.ca_path, vault.timeout_seconds))
    except VaultError:
        return False


def is_there(status: dict[str, t.Any]) -> bool:
    """Whether the server answers."""
    return bool(status["answers"])


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_SPEC,
            "state": {"type": "str", "choices": ["seen", "answering", "unsealed", "led"], "default": "seen"},
            "keys": {"type": "list", "elements": "str", "default": [], "no_log": True},
            "deadline_seconds": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    vault = vault_of(module.params)
    changed = False
    try:
        if module.params["state"] == "answering" and not module.check_mode:
            await_answer(vault, module.params["deadline_seconds"], is_there, "answers")
        if module.params["state"] == "unsealed":
            changed = ensure_unsealed(module, vault)
        if module.params["state"] == "led" and not module.check_mode:
            seconds = module.params["deadline_seconds"]
            await_answer(vault, seconds, lambda _status: is_led(vault), "knows who leads")
    except VaultError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=changed, node=status_of(vault))


if __name__ == "__main__":
    main()
