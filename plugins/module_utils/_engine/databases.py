# SPDX-License-Identifier: BSD-2-Clause
"""Names that a shared PostgreSQL cluster and those who log in to it agree on. None of them can be a project's."""

from __future__ import annotations

from typing import Final

# The platform's login, and the key in the Secret of the cluster under which its password is kept. It makes roles and
# databases and ends sessions; it is no superuser and cannot enter a project's database.
ADMIN: Final = "supalove"
ADMIN_KEY: Final = "admin"
# The platform's own code, in the database postgres.
ADMIN_SCHEMA: Final = "supalove"
# The group of all projects' logins, by which they may use and fill the schema public of their database.
TENANT: Final = "supalove_tenant"
# What a project's database is a copy of.
TEMPLATE: Final = "supalove_template"

# Kinds of the objects inside of a cluster. Their namespace is the cluster's name.
ROLE_KIND: Final = "DatabaseRole"
DATABASE_KIND: Final = "Database"
DATABASE_KINDS: Final = (ROLE_KIND, DATABASE_KIND)
