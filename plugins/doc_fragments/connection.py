# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Options of every module that talks to a platform."""

from __future__ import annotations


class ModuleDocFragment:
    """How the cluster is reached."""

    DOCUMENTATION = r"""
options:
  kubeconfig:
    description:
      - Path of the kubeconfig file of the cluster, on the host that runs the module.
      - Without it and without O(context), the module uses the service account of the pod that it runs in.
      - In check mode a file that does not exist yet stands for an empty cluster.
    type: path
  context:
    description:
      - Context in the kubeconfig file. Without it the file's current context is used.
    type: str
  timeout:
    description:
      - Longest time in seconds that the whole task may take, waiting included.
    type: int
    default: 900
  progress_file:
    description:
      - Existing file to which the module appends a line whenever it got further.
      - The action plugins of the collection set it and show the lines; there is no need to set it by hand.
    type: path
requirements:
  - kubernetes >= 31, < 37 (Python package)
"""

    # For modules that read or make secrets.
    ENGINE_VAULT = r"""
options:
  vault_ca_file:
    description:
      - File with the certificates by which the Vault of O(platform) is verified, on the host that runs the module.
      - Without it those that the host trusts are used.
    type: path
  vault_credentials_file:
    description:
      - File of JSON with C(role_id) and C(secret_id), by which the module logs in to the Vault of O(platform) with
        AppRole. The role C(vault) of this collection leaves such a file.
      - Required where the platform has a Vault. The module logs in when it begins, again before its token ends, and
        revokes it when it is done.
      - In check mode a file that does not exist yet stands for an empty Vault.
    type: path
requirements:
  - hvac >= 2 (Python package), where the platform has a Vault
"""

    # For modules that make or read archives.
    ENGINE_OBJECT_STORE = r"""
options:
  object_store_credentials_file:
    description:
      - File of JSON with C(access_key) and C(secret_key) of the object store of O(platform), on the host that runs the
        module. They open all archives, and with per_archive identities they may make these. The role C(object_store) of
        this collection leaves such a file.
      - Required where the platform has an object store.
      - In check mode a file that does not exist yet stands for an empty object store.
    type: path
requirements:
  - boto3 >= 1.34 (Python package), where the platform has an object store
"""
