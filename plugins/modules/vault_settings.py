#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of a Vault: mounts, auth methods, audit devices, policies, and what else is read as it is written."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vault_settings
short_description: Keep the settings of a Vault
version_added: 0.1.0
description:
  - Compares what a Vault has with what is asked for, and writes what differs. It removes nothing.
  - Settings are no secrets, and no secret belongs into them. Results show them.
author:
  - Supalove contributors (@supalove)
attributes:
  check_mode:
    support: full
    description: Says what would be written. A Vault that does not answer, or is sealed, counts as an empty one.
  diff_mode:
    support: full
    description: Shows what is and what is asked for, of what differs.
options:
  mounts:
    description:
      - Secrets engines by path, each with C(type), and with C(options) if it takes any.
    type: dict
    default: {}
  auths:
    description:
      - Auth methods by path, each with C(type).
    type: dict
    default: {}
  audits:
    description:
      - Audit devices by path, each with C(type) and C(options).
    type: dict
    default: {}
  policies:
    description:
      - Policies by name. C(${accessor:PATH}) in one stands for the accessor of the auth method at that path.
      - One that differs in comments and blank lines only is left alone.
    type: dict
    default: {}
  objects:
    description:
      - By path in the API, the values wanted there. Other values at that path are left alone.
    type: dict
    default: {}
extends_documentation_fragment:
  - supalove.platform.vault
  - supalove.platform.vault.login
"""

EXAMPLES = r"""
- name: Keep the settings
  supalove.platform.vault_settings:
    url: https://127.0.0.1:8200
    ca_path: /etc/openbao/tls/ca.pem
    token: "{{ token }}"
    mounts:
      supalove: {type: kv, options: {version: "2"}}
    policies:
      reader: path "supalove/data/*" { capabilities = ["read"] }
"""

RETURN = r"""
changes:
  description: What was, or would be, written, as paths in the API.
  returned: always
  type: list
  elements: str
"""

import re
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
# By kind, where it is listed and written.
MOUNTED = {"mounts": "sys/mounts", "auths": "sys/auth", "audits": "sys/audit"}
ACCESSOR = re.compile(r"\$\{accessor:([^}]+)\}")


def canonical(value: t.Any) -> t.Any:
    r"""Bring a value into the form in which both sides are compared: Vault sorts lists and trims text.

    >>> canonical(["b", "a"]), canonical("x\n"), canonical(5)
    (['a', 'b'], 'x', '5')
    """
    if isinstance(value, dict):
        return {key: canonical(each) for key, each in value.items()}
    if isinstance(value, list):
        return sorted((canonical(each) for each in value), key=str)
    if value is None or isinstance(value, bool):
        return value
    return str(value).strip()


def differing(found: JSON, wanted: JSON) -> JSON:
    """Give what is found of the values that are not as wanted; one that is missing is None.

    >>> differing({"a": 1, "b": [2, 1], "c": 3}, {"a": "1", "b": [1, 2], "d": 4})
    {'d': None}
    """
    return {key: found.get(key) for key, value in wanted.items() if canonical(found.get(key)) != canonical(value)}


def rules_of(policy: str | None) -> list[str]:
    r"""Give what a policy says, without comments, which nobody needs another right for.

    >>> rules_of("# a\n\n  path x {}  \n")
    ['path x {}']
    """
    lines = [line.strip() for line in (policy or "").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


class Settings:
    """The settings of one Vault, and what was changed of them. Without a Vault all are missing."""

    def __init__(self, vault: Vault | None, *, check_mode: bool) -> None:
        self.vault = vault
        self.check_mode = check_mode
        self.before: JSON = {}
        self.after: JSON = {}

    def read(self, path: str) -> JSON:
        """Give what stands at a path."""
        answer = self.vault.get(path) if self.vault else None
        return ((answer or {}).get("data") or answer or {}) if answer else {}

    def write(self, path: str, body: JSON, before: t.Any) -> None:
        """Write, and note it."""
        if self.vault and not self.check_mode:
            self.send(self.vault, path, body)
        if before:
            self.before[path] = before
        self.after[path] = body

    @staticmethod
    def send(vault: Vault, path: str, body: JSON) -> None:
        """Write; to be denied is worded with what helps."""
        try:
            vault.post(path, body)
        except VaultError as error:
            if error.status != 403:
                raise
            raise VaultError(
                f"{error}. This setting differs from what is wanted, and the login may not write it: "
                "run once with the token of somebody who may"
            ) from error

    def keep_mounted(self, place: str, wanted: JSON) -> None:
        """Mount what is missing; what is there must be of the wanted type, as it cannot be changed."""
        found = self.read(place) if wanted else {}
        for path, mount in wanted.items():
            there = found.get(path.strip("/") + "/")
            if there is None:
                self.write(f"{place}/{path.strip('/')}", mount, None)
            elif different := differing(there, mount):
                text = ", ".join(f"{key} is {value!r}, wanted {mount[key]!r}" for key, value in different.items())
                raise VaultError(f"{place}/{path} is there, but {text}. Choose another path, or move what is there")

    def keep_policy(self, name: str, text: str, accessors: JSON) -> None:
        """Write a policy that differs, in more than its comments."""
        path = f"sys/policies/acl/{name}"
        body = {"policy": ACCESSOR.sub(lambda found: accessors.get(found[1], found[0]), text)}
        found = self.read(path).get("policy")
        if not found or rules_of(found) != rules_of(body["policy"]):
            self.write(path, body, {"policy": found} if found else None)

    def keep_object(self, path: str, wanted: JSON) -> None:
        """Write an object of which a value differs, with all the wanted values."""
        found = self.read(path)
        if before := differing(found, wanted):
            self.write(path, wanted, before if found else None)

    def keep(self, params: JSON) -> None:
        """Keep everything, in the order in which one thing needs another."""
        for kind, place in MOUNTED.items():
            self.keep_mounted(place, params[kind])
        accessors: JSON = {}
        if params["auths"] and params["policies"]:
            accessors = {path.strip("/"): auth.get("accessor") for path, auth in self.mounted_auths().items()}
        for name, text in params["policies"].items():
            self.keep_policy(name, text, accessors)
        for path, wanted in params["objects"].items():
            self.keep_object(path, wanted)

    def mounted_auths(self) -> JSON:
        """Give the auth methods that are there."""
        return {path: auth for path, auth in self.read("sys/auth").items() if isinstance(auth, dict)}

    def result(self) -> JSON:
        """Give the module's result."""
        changes = list(self.after)
        return {"changed": bool(changes), "changes": changes, "diff": {"before": self.before, "after": self.after}}


def main() -> None:
    """Run the module."""
    kinds: JSON = dict.fromkeys((*MOUNTED, "policies", "objects"))
    module = AnsibleModule(
        argument_spec={**CONNECTION_SPEC, **LOGIN_SPEC, **{kind: {"type": "dict", "default": {}} for kind in kinds}},
        supports_check_mode=True,
    )
    params, check_mode = module.params, module.check_mode
    try:
        if check_mode and (status_of(vault_of(params))["sealed"] or not status_of(vault_of(params))["answers"]):
            settings = Settings(None, check_mode=True)
            settings.keep(params)
        else:
            with logged_in(params) as vault:
                settings = Settings(vault, check_mode=check_mode)
                settings.keep(params)
    except VaultError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**settings.result())


if __name__ == "__main__":
    main()
