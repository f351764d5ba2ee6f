# SPDX-License-Identifier: GPL-3.0-or-later
"""A target after which nothing is archived yet, while the server that is restored from goes on archiving."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.life import TIME
from fix_archive import SECONDS, START_SECONDS, Archived, archived, laid_out, life_of, restored, start
from fix_container import logs
from fix_flaky import Flaky, flaky, is_wal
from fix_object_store import ObjectStore

# Long enough to put a segment into the store before it is asked for.
DELAY_SECONDS = 3.0


@pytest.fixture
def way(object_store: ObjectStore) -> Iterator[Flaky]:
    with flaky(object_store) as made:
        yield made


@pytest.fixture
def before(object_store: ObjectStore) -> Iterator[Archived]:
    with archived(object_store, "wal-g") as made:
        made.sql("CREATE TABLE rows (id int PRIMARY KEY)")
        made.await_(lambda: made.status()["backup"]["done"] == 1, "no base backup was made", 3 * SECONDS)
        yield made


@pytest.mark.long
def test_what_is_archived_between_two_tries_is_not_restored_if_it_is_later_than_the_target(
    before: Archived, object_store: ObjectStore, way: Flaky
) -> None:
    """Found by a drill: a row of 17 s after the target. The second try went to an end that had moved."""
    before.sql("INSERT INTO rows VALUES (1)")
    before.await_archived(before.segment())
    last = before.last_segment()
    target = before.sql("SELECT clock_timestamp()")
    before.sql("INSERT INTO rows VALUES (2)")
    later = before.segment()
    before.await_archived(later)
    before.stop()
    hidden = {key: before.store.get(key) for key in before.store.keys(f"{before.prefix}/") if later <= name_in(key)}
    assert hidden
    for key in hidden:
        before.store.client().delete_object(Bucket=before.store.bucket, Key=key)

    life = life_of(before, "wal-g", target=TIME, value=target, last=last)
    with laid_out(object_store, "wal-g", address=way.address, life=life, before=before) as after:
        restored(after)
        start(after)
        after.await_(lambda: "to the end of the archive" in logs(after.server), "the first try does not end")
        way.delay_seconds = lambda path: DELAY_SECONDS if is_wal(path) else 0.0
        for key, data in hidden.items():
            before.store.put(key, data)
        after.await_(after.is_up, "PostgreSQL did not get ready", START_SECONDS)
        assert after.sql("SELECT string_agg(id::text, ',' ORDER BY id) FROM rows") == "1"


def name_in(key: str) -> str:
    """The name of the WAL segment that an object holds; of another one what comes before all segments."""
    name = key.rpartition("/")[2].partition(".")[0]
    return name if "/wal_005/" in key and len(name) == 24 else ""
