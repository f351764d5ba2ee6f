# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a module reaches a Vault, and how it logs in."""

from __future__ import annotations


class ModuleDocFragment:
    """Doc fragments of the modules that speak to a Vault."""

    DOCUMENTATION = r"""
options:
  url:
    description:
      - The address of the Vault, such as V(https://127.0.0.1:8200).
    type: str
    required: true
  ca_path:
    description:
      - A file with the authority that the Vault's certificate is checked with, instead of the system's.
    type: path
  timeout_seconds:
    description:
      - How long one request may take.
    type: int
    default: 30
"""

    LOGIN = r"""
options:
  token:
    description:
      - A token to work with. It is not revoked. One that is good no more is left for O(role_id), if that is given.
    type: str
  role_id:
    description:
      - The role of an AppRole to log in with. The login's token is revoked at the end.
    type: str
  secret_id:
    description:
      - The secret of that AppRole.
    type: str
  approle_path:
    description:
      - Where the AppRole auth method is mounted.
    type: str
    default: approle
"""
