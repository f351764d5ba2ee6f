# SPDX-License-Identifier: GPL-3.0-or-later
"""A PostgreSQL is restored to a moment: exactly what was committed by then is there, and the archive goes on anew."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine import lives
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.recovery import AtPoint, plan_recovery
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.life import LATEST, TIME, Life
from fix_archive import FIRST_IN_CI, Archived, archived, life_of
from fix_object_store import ObjectStore, with_bucket

# More than are fetched ahead at once.
SEGMENTS = 24


@pytest.fixture(scope="module", params=FIRST_IN_CI)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def before(object_store: ObjectStore, engine: str) -> Iterator[Archived]:
    """A project with a base backup and rows that were committed after it."""
    with archived(object_store, engine) as made:
        made.sql("CREATE TABLE rows (id int PRIMARY KEY, at timestamptz)")
        made.await_(lambda: made.status()["backup"]["done"] == 1, "no base backup was made")
        yield made


@dataclasses.dataclass(frozen=True)
class Past:
    """A base backup, rows 1 and 2, the time `target`, row 3, and the end: the server has stopped.

    What is restored from it leaves it as it is, so that it is made once.
    """

    pair: Archived
    target: str


@pytest.fixture(scope="module")
def past(object_store_server: ObjectStore, engine: str) -> Iterator[Past]:
    with archived(with_bucket(object_store_server), engine) as made:
        made.sql("CREATE TABLE rows (id int PRIMARY KEY, at timestamptz)")
        made.await_(lambda: made.told()["backup"]["done"] == 1, "no base backup was made")
        made.sql("INSERT INTO rows VALUES (1, now()), (2, now())")
        target = made.sql("SELECT clock_timestamp()")
        made.sql("INSERT INTO rows VALUES (3, now())")
        made.stop()
        yield Past(pair=made, target=target)


def test_the_rows_are_those_committed_by_the_target_and_the_archive_begins_anew(past: Past, engine: str) -> None:
    before, store = past.pair, past.pair.store
    old = set(store.keys(f"{before.prefix}/"))
    life = life_of(before, engine, target=TIME, value=past.target)
    with archived(store, engine, life=life, before=before) as after:
        assert after.sql("SELECT string_agg(id::text, ',' ORDER BY id) FROM rows") == "1,2"
        assert after.incarnation != before.incarnation
        after.sql("INSERT INTO rows VALUES (4, now())")
        after.await_archived(after.segment())
        after.await_(lambda: after.told()["backup"]["done"] == 1, "no base backup of the new life was made")
        (told,) = [one for one in after.catalogs() if one.id == after.incarnation]
        assert told.problems == ()
        assert told.incarnation.parent.incarnation == before.incarnation
        assert told.incarnation.parent.time == datetime.datetime.fromisoformat(past.target)
    assert set(store.keys(f"{before.prefix}/")) == old


def test_a_target_that_the_archive_does_not_reach_ends_in_an_error_and_no_server(past: Past, engine: str) -> None:
    life = life_of(past.pair, engine, target=TIME, value="2100-01-01 00:00:00+00")
    said = "recovery ended before configured recovery target was reached"
    restored = archived(past.pair.store, engine, life=life, before=past.pair)
    with pytest.raises(pytest.fail.Exception, match=said), restored:
        pass


def test_latest_is_everything_that_is_archived(past: Past, engine: str) -> None:
    life = life_of(past.pair, engine, target=LATEST)
    with archived(past.pair.store, engine, life=life, before=past.pair) as after:
        assert after.sql("SELECT count(*) FROM rows") == "3"


def test_a_target_after_the_last_commit_is_the_end_of_the_archive(past: Past, engine: str) -> None:
    last = past.pair.last_segment()
    life = life_of(past.pair, engine, target=TIME, value="2100-01-01 00:00:00+00", last=last)
    with archived(past.pair.store, engine, life=life, before=past.pair) as after:
        assert after.sql("SELECT count(*) FROM rows") == "3"


def test_segments_are_fetched_ahead_and_of_those_that_nobody_wanted_nothing_is_left(
    before: Archived, object_store: ObjectStore, engine: str
) -> None:
    for number in range(SEGMENTS):
        before.sql(f"INSERT INTO rows VALUES ({number}, now())")
        if number == SEGMENTS // 2:
            target = before.sql("SELECT clock_timestamp()")
        segment = before.segment()
    before.await_archived(segment)
    before.stop()
    life = life_of(before, engine, target=TIME, value=target, last=before.last_segment())
    with archived(object_store, engine, life=life, before=before) as after:
        assert after.sql("SELECT max(id) FROM rows") == str(SEGMENTS // 2)
        assert after.told()["ahead"]["done"] > 0
        after.await_(lambda: not (after.directory / "data/pgdata.ahead").exists(), "the folder stays")


def test_a_moment_that_was_named_is_reached_in_this_life_and_in_the_next(
    before: Archived, object_store: ObjectStore, engine: str
) -> None:
    """A try of the same name that came to nothing left its record in WAL: PostgreSQL must not stop there."""
    before.sql(f"SELECT pg_create_restore_point('p_{before.uid}.v2.aaaaaa')")
    before.sql("INSERT INTO rows VALUES (1, now())")
    assert before.work("/point", project=str(before.uid), name="v2")["error"] == ""
    before.sql("INSERT INTO rows VALUES (2, now())")
    before.stop()
    with archived(object_store, engine, life=to_point(before, "v2"), before=before) as after:
        assert after.sql("SELECT string_agg(id::text, ',') FROM rows") == "1"
        after.await_(lambda: after.status()["backup"]["done"] == 1, "no base backup of the new life was made")
        assert {one["incarnation"] for one in after.told()["points"]} == {before.incarnation}
        after.sql("INSERT INTO rows VALUES (3, now())")
        # In another life the name is free, and the one of before is found by its incarnation.
        assert after.work("/point", project=str(after.uid), name="v2")["error"] == ""
        assert (to_point(after, "v2").incarnation, to_point(after, "v2", before.incarnation).incarnation) == (
            after.incarnation,
            before.incarnation,
        )
        after.stop()
        with archived(object_store, engine, life=to_point(after, "v2"), before=after) as last:
            assert last.sql("SELECT string_agg(id::text, ',' ORDER BY id) FROM rows") == "1,3"


def to_point(pair: Archived, name: str, incarnation: str | None = None) -> Life:
    """The life that a restore to a name begins with, as the engine plans it."""
    target = AtPoint(name=name, project=str(pair.uid), incarnation=incarnation)
    catalogs = pair.catalogs()
    return lives.life_of(
        None, catalogs, plan_recovery(catalogs, target, now=datetime.datetime.now(datetime.UTC)), target
    )
