# SPDX-License-Identifier: BSD-2-Clause
"""Where secrets are kept in Vault: names that the engine, the policy of its login and the documentation agree on."""

from __future__ import annotations

from typing import Final

# Kind of the secrets in Vault. Their namespace is the folder below the mount, which is one version 2 key-value store.
VAULT_KIND: Final = "VaultSecret"
VAULT_API: Final = "vault"
# Logins of projects by uid, so that a reused ref never inherits any, and of shared clusters by name.
DATABASE_FOLDER: Final = "database"
CLUSTERS_FOLDER: Final = "clusters"
FOLDERS: Final = (DATABASE_FOLDER, CLUSTERS_FOLDER)
