# SPDX-License-Identifier: BSD-2-Clause
"""Where secrets are kept in Vault: names that the engine, the policy of its login and the documentation agree on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

# Kind of the secrets in Vault. Their namespace is the folder below the mount, which is one version 2 key-value store.
VAULT_KIND: Final = "VaultSecret"
VAULT_API: Final = "vault"
# Logins of projects by uid, so that a reused ref never inherits any, and of shared clusters by name.
DATABASE_FOLDER: Final = "database"
CLUSTERS_FOLDER: Final = "clusters"
# Keys of archives, by the archives' names. They outlive projects, as what they open does.
ARCHIVE_FOLDER: Final = "archive"
FOLDERS: Final = (DATABASE_FOLDER, CLUSTERS_FOLDER)
# What pods of a project may read, below the name of its namespace. The engine never reads it, and destroys it when the
# project is purged, as the next one of that name would read it.
TENANTS_FOLDER: Final = "tenants"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The values of a secret as Vault has them; `version` counts their changes."""

    texts: Mapping[str, str] = field(repr=False)
    version: int
