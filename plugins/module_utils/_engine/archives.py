# SPDX-License-Identifier: BSD-2-Clause
"""Archives in the object store: names that the engine, the archiver in the image and the documentation agree on."""

from __future__ import annotations

from typing import Final

from .errors import SafetyStop
from .project.names import Uid

# Kind of the identities that archives are written as. Their namespace is the platform's folder in the bucket.
ARCHIVE_KIND: Final = "ArchiveIdentity"
ARCHIVE_API: Final = "object-store"
# Of the object store, in the Secrets of archives and in the file that a run is given.
ACCESS_KEY: Final = "access_key"
SECRET_KEY: Final = "secret_key"
# Both in the form of ~/.aws/credentials, for programs that would else want them in their environment.
AWS_FILE: Final = "aws"
# Folders beside those of archives.
DUMPS, EXPORTS, IMPORTS = "dumps", "exports", "imports"
NO_ARCHIVES: Final = (DUMPS, EXPORTS, IMPORTS)


def archive_of(uid: Uid) -> str:
    """The archive of a project's own PostgreSQL, all its incarnations."""
    return f"p-{uid}"


def archive_of_cluster(cluster: str) -> str:
    """The archive of a shared cluster."""
    return f"s-{cluster}"


def kept_keys_of(archive: str) -> str:
    """The Secret in the platform's namespace that has the keys of an archive after its project was purged."""
    return f"archive-{archive}"


def cluster_of(archive: str) -> str | None:
    """The shared cluster whose archive it is; None for that of a project's own PostgreSQL.

    >>> cluster_of("s-free-1"), cluster_of("p-abcdefgh2345")
    ('free-1', None)
    """
    return archive.removeprefix("s-") if archive.startswith("s-") else None


def dumps_of(name: str) -> str:
    """Below the platform's prefix, where dumps lie for a short time: those of a copy, or of an archive's server."""
    return f"{DUMPS}/{name}/"


def exports_of(uid: Uid) -> str:
    """Below the platform's prefix, where the dumps of a project lie that are kept."""
    return f"{EXPORTS}/{uid}/"


def finals_of(uid: Uid) -> str:
    """Below the platform's prefix, where the last dump of a project lies that was purged. Nothing removes it."""
    return f"{exports_of(uid)}final/"


def without_object_store() -> SafetyStop:
    """For what works with archives, where there are none."""
    return SafetyStop("the platform has no object store, so nothing is archived; set object_store_endpoint")
