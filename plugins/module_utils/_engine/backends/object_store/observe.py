# SPDX-License-Identifier: BSD-2-Clause
"""What is in an archive: one LIST, and the few documents that say what the listing means, all at once."""

from __future__ import annotations

from ...archive.catalog import Catalog
from ...archive.layout import DOCUMENT_BYTES, catalogs_of, documents_of
from ...deadline import Deadline
from ...errors import NotFound
from ...parallel import in_parallel
from .client import ObjectStoreClient

WORKERS = 8


def read_archive(
    client: ObjectStoreClient, archive: str, *, deadline: Deadline, workers: int = WORKERS
) -> tuple[Catalog, ...]:
    """Every incarnation of an archive, oldest first; none if there is no archive of that name."""
    listing = client.list(f"{archive}/", deadline=deadline)
    keys = documents_of(listing)

    def read(key: str) -> tuple[str, bytes | None] | None:
        try:
            return key, client.get(key, limit=DOCUMENT_BYTES, deadline=deadline)
        except NotFound:
            # Removed since it was listed.
            return None

    documents = dict(one for one in in_parallel(read, keys, workers=workers) if one is not None)
    return catalogs_of(archive, listing, documents)
