#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A snapshot of a Vault in a private file, whole or not at all."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vault_snapshot
short_description: Save a snapshot of a Vault's raft
version_added: 0.1.0
description:
  - Downloads a snapshot, compares what is in it with the digests that it carries, and only then gives it its name.
  - A snapshot is encrypted as the Vault itself is, and opens with the same keys.
author:
  - Supalove contributors (@supalove)
attributes:
  check_mode:
    support: full
    description: Says that a snapshot would be saved.
  diff_mode:
    support: none
    description: There is nothing to compare with.
options:
  dest:
    description:
      - The file, for its owner alone. What is there is replaced.
    type: path
    required: true
extends_documentation_fragment:
  - supalove.platform.vault
  - supalove.platform.vault.login
"""

EXAMPLES = r"""
- name: Save a snapshot
  supalove.platform.vault_snapshot:
    url: https://192.0.2.10:8200
    ca_path: inventories/single/.kube/vault-ca.pem
    role_id: "{{ operator.role_id }}"
    secret_id: "{{ operator.secret_id }}"
    dest: /var/backups/vault.snap
"""

RETURN = r"""
dest:
  description: The file.
  returned: always
  type: str
size_bytes:
  description: Its size.
  returned: when it was saved
  type: int
"""

import contextlib
import hashlib
import os
import shutil
import tarfile
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.supalove.platform.plugins.module_utils._vault import (
    CONNECTION_SPEC,
    LOGIN_SPEC,
    Vault,
    VaultError,
    logged_in,
)

SUMS = "SHA256SUMS"


def problem_of(path: str) -> str:
    """Say what is wrong with a snapshot, or give an empty text: a gzipped tar that carries its members' digests."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            found = {member.name: digest_of(archive.extractfile(member)) for member in archive if member.isfile()}
        with tarfile.open(path, "r:gz") as archive:
            file = archive.extractfile(SUMS)
            lines = file.read().decode().split("\n") if file else []
    except (OSError, EOFError, tarfile.TarError, KeyError, UnicodeDecodeError) as error:
        return f"it is no snapshot: {error}"
    wanted = {name: digest for digest, _space, name in (line.partition("  ") for line in lines if line)}
    wrong = [name for name, digest in wanted.items() if found.get(name) != digest]
    if not wanted or wrong:
        return f"these parts are not as their digests say: {', '.join(wrong) or SUMS}"
    return ""


def digest_of(file: t.IO[bytes] | None) -> str:
    """Give a member's SHA-256."""
    return hashlib.file_digest(file, "sha256").hexdigest() if file else ""  # type: ignore[arg-type]


def save(vault: Vault, dest: str) -> int:
    """Download, verify, and give the file its name; its size."""
    part = dest + ".part"
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            with vault.open("GET", "sys/storage/raft/snapshot") as response:
                shutil.copyfileobj(response, file)
            file.flush()
            os.fsync(file.fileno())
        if problem := problem_of(part):
            raise VaultError(f"the snapshot was not saved: {problem}. Run again")
        size = os.path.getsize(part)
        os.replace(part, dest)
        return size
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={**CONNECTION_SPEC, **LOGIN_SPEC, "dest": {"type": "path", "required": True}},
        supports_check_mode=True,
    )
    dest = module.params["dest"]
    if module.check_mode:
        module.exit_json(changed=True, dest=dest)
    try:
        with logged_in(module.params) as vault:
            size = save(vault, dest)
    except (VaultError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=True, dest=dest, size_bytes=size)


if __name__ == "__main__":
    main()
