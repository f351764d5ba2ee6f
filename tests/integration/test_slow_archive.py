# SPDX-License-Identifier: GPL-3.0-or-later
"""A shared cluster whose store takes longer than a tenant's transaction may last."""

from __future__ import annotations

import pytest
from fix_flaky import flaky, is_wal
from fix_object_store import ObjectStore
from fix_shared import archived_cluster

SPARE_SECONDS = 2.0


@pytest.mark.long
def test_archiving_that_takes_longer_than_a_transaction_may_fails_no_base_backup_of_a_shared_cluster(
    object_store: ObjectStore,
) -> None:
    """Found at random targets. WAL-G waits for the last segment of a base backup in a transaction of its own."""
    with flaky(object_store) as way, archived_cluster(object_store, "wal-g", address=way.address) as made:
        seconds = made.declared.max_transaction_seconds + SPARE_SECONDS
        way.delay_seconds = lambda path: seconds if is_wal(path) else 0.0
        made.await_(lambda: made.sql("CHECKPOINT") or made.ended("backup"), "no base backup was made")
        assert made.told()["backup"]["error"] == ""
