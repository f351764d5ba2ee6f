# SPDX-License-Identifier: BSD-2-Clause
"""Names that a shared PostgreSQL cluster and those who log in to it agree on. None of them can be a project's."""

from __future__ import annotations

from typing import Final

from .project.names import UID_PATTERN, Uid

# The platform's login, and the key in the Secret of the cluster under which its password is kept. It makes roles and
# databases and ends sessions; it is no superuser and cannot enter a project's database.
ADMIN: Final = "supalove"
ADMIN_KEY: Final = "admin"
# The platform's own code, in the database postgres.
ADMIN_SCHEMA: Final = "supalove"
# The group of all projects' logins, by which they may use and fill the schema public of their database.
TENANT: Final = "supalove_tenant"
# The roles that PostgREST takes on for a request: nobody in particular, a user of Auth, the project's own servers. They
# are the same in all projects of a cluster, as rights are of one database.
ANONYMOUS: Final = "anon"
AUTHENTICATED: Final = "authenticated"
SERVICE: Final = "service_role"
API_GROUPS: Final = (ANONYMOUS, AUTHENTICATED, SERVICE)
# What a project's database is a copy of.
TEMPLATE: Final = "supalove_template"

# Databases of projects. What the archiver loads beside one of them, and what it keeps of it after a swap, is none.
DATABASES: Final = f"^p_{UID_PATTERN}$"
LOADED_SUFFIX: Final = "_new"
LOADED_DATABASES: Final = f"^p_{UID_PATTERN}{LOADED_SUFFIX}$"
# The login as which a dump is loaded, and the one as which a database that moves is read out, while that is done. Their
# names are no tenant's, so that the reaper lets them work.
LOADER_PREFIX: Final = "supalove_load_"
LOADERS: Final = f"^{LOADER_PREFIX}{UID_PATTERN}$"
READER_PREFIX: Final = "supalove_read_"
READERS: Final = f"^{READER_PREFIX}{UID_PATTERN}$"

# Kinds of the objects inside of a cluster. Their namespace is the cluster's name.
ROLE_KIND: Final = "DatabaseRole"
DATABASE_KIND: Final = "Database"
DATABASE_KINDS: Final = (ROLE_KIND, DATABASE_KIND)


def loader_of(uid: Uid) -> str:
    """The login as which a dump is loaded for a project.

    >>> loader_of(Uid("abcdefgh2345"))
    'supalove_load_abcdefgh2345'
    """
    return f"{LOADER_PREFIX}{uid}"


def reader_of(uid: Uid) -> str:
    """The login as which a project's database is read out when it moves.

    >>> reader_of(Uid("abcdefgh2345"))
    'supalove_read_abcdefgh2345'
    """
    return f"{READER_PREFIX}{uid}"
