# SPDX-License-Identifier: GPL-3.0-or-later
"""A project's database goes from a PostgreSQL of its own to a shared cluster, and nobody writes to it meanwhile."""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Iterator

import psycopg
import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.databases import reader_of
from fix_archive import Archived, archived, archiver_beside
from fix_container import podman
from fix_dumps import answers, load, make_nasty, names
from fix_object_store import ObjectStore
from fix_postgresql import Server, Shared, Tenant
from nasty_schema import CONTENTS, OUTSIDE, RIGHTS

KEPT = "_20261126t034450z"
NO_TOKEN = "0" * 16


@pytest.fixture(scope="module")
def store(object_store_server: ObjectStore) -> ObjectStore:
    made = dataclasses.replace(object_store_server, bucket="test-moves")
    made.client().create_bucket(Bucket=made.bucket)
    return made


@pytest.fixture(scope="module")
def live(store: ObjectStore) -> Iterator[Archived]:
    with archived(store, "wal-g") as made:
        make_nasty(made.session, made.database)
        made.await_(lambda: made.told()["archive"], "it is nobody's archive")
        yield made


@pytest.fixture(scope="module")
def cluster(postgresql: Server, store: ObjectStore) -> Iterator[Archived]:
    with archiver_beside(postgresql.directory, store) as made:
        yield made


@pytest.fixture
def there(shared: Shared, live: Archived) -> Tenant:
    """The same project on the shared cluster, with nothing in its database."""
    tenant = shared.tenant()
    same = dataclasses.replace(tenant, uid=str(live.uid))
    for key in ("owner", "probe"):
        shared.secrets[same.secret_key(key)] = shared.secrets[tenant.secret_key(key)]
    shared.bring(same.desired())
    return same


def key_of(live: Archived) -> str:
    return f"platform/dumps/{live.told()['archive']}/moves.dump"


def close(live: Archived, database: str = "", seconds: int = 300) -> str:
    """The token of the closing."""
    status, token = live.ask("/close", database=database or live.database, seconds=seconds)
    assert (status, len(token)) == (200, 16), token
    return token


def may_enter(live: Archived) -> bool:
    """Whether its user may; the socket of the container lets only the superuser in."""
    asked = f"SELECT has_database_privilege('{live.database}_owner', '{live.database}', 'CONNECT')"
    return live.sql(asked, "postgres") == "True"


@pytest.mark.parametrize(
    ("path", "told", "status"),
    [
        ("/look", {"database": "postgres"}, 400),
        ("/look", {"database": "p_aaaaaaaaaaaa"}, 404),
        ("/close", {"seconds": 0}, 400),
        ("/close", {"seconds": "300"}, 400),
        ("/hold", {"seconds": 60, "token": "none"}, 400),
        ("/close", {"database": "p_aaaaaaaaaaaa", "seconds": 1}, 404),
        ("/open", {"database": "p_aaaaaaaaaaaa"}, 404),
        ("/retire", {"kept": "postgres"}, 400),
        ("/retire", {"kept": f"p_aaaaaaaaaaaa{KEPT}"}, 400),
        ("/dump", {"key": "platform/dumps/s-other/x.dump"}, 400),
    ],
)
def test_a_live_one_refuses_what_has_no_sense(live: Archived, path: str, told: dict, status: int) -> None:
    assert live.ask(path, **{"database": live.database, **told})[0] == status


def test_a_database_that_is_open_is_neither_dumped_nor_retired(live: Archived) -> None:
    for path, told in (("/dump", {"key": key_of(live)}), ("/retire", {"kept": f"{live.database}{KEPT}"})):
        status, text = live.ask(path, database=live.database, token=NO_TOKEN, **told)
        assert (status, "close it first" in text) == (409, True)


def test_what_is_closed_and_forgotten_is_opened_when_its_time_is_up(live: Archived) -> None:
    close(live)
    assert not may_enter(live)
    token = close(live, seconds=1)
    live.await_(lambda: may_enter(live), "it is not opened")
    assert live.ask("/retire", database=live.database, token=token, kept=f"{live.database}{KEPT}")[0] == 409


def test_only_what_is_closed_is_held_closed(live: Archived) -> None:
    assert live.ask("/hold", database=live.database, token=NO_TOKEN, seconds=60)[0] == 409
    token = closed_for_two_seconds_and_held(live)
    time.sleep(3)
    assert not may_enter(live)
    assert live.ask("/hold", database=live.database, token=token, seconds=1) == (200, "done")
    live.await_(lambda: may_enter(live), "it is not opened")


def closed_for_two_seconds_and_held(live: Archived) -> str:
    """The token. On a machine that is slow the two seconds may be over before it is held, and nothing was proven."""
    for _try in range(10):
        token = close(live, seconds=2)
        answer = live.ask("/hold", database=live.database, token=token, seconds=60)
        if answer == (200, "done"):
            return token
        assert answer[0] == 409
    pytest.fail("it is never held")


def test_what_was_opened_and_closed_once_more_is_not_retired_by_who_closed_it_before(live: Archived) -> None:
    """In between there may have been rows that the dump of the first closing has not."""
    before = close(live)
    assert live.ask("/open", database=live.database) == (200, "done")
    close(live)
    status, text = live.ask("/retire", database=live.database, token=before, kept=f"{live.database}{KEPT}")
    assert (status, "has been open since" in text) == (409, True)
    assert live.ask("/open", database=live.database) == (200, "done")


def test_who_is_in_is_out_before_a_database_counts_as_closed(cluster: Archived, shared: Shared) -> None:
    """A transaction that would commit after the dump does not, and nobody comes back."""
    tenant = shared.tenant()
    shared.bring(tenant.desired())
    with tenant.connect() as session:
        session.autocommit = False
        session.execute("CREATE TABLE late (id int)")
        token = close(cluster, tenant.database)
        with pytest.raises(psycopg.OperationalError):
            session.commit()
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        tenant.connect()
    assert cluster.ask("/hold", database=tenant.database, token=token, seconds=60) == (200, "done")
    assert cluster.ask("/open", database=tenant.database) == (200, "done")
    with tenant.connect() as session:
        assert session.execute("SELECT to_regclass('late')").fetchone() == (None,)


def test_roles_that_something_hangs_on_are_told(cluster: Archived, shared: Shared) -> None:
    tenant, neighbour = shared.tenant(), shared.tenant()
    for one in (tenant, neighbour):
        shared.bring(one.desired())
    with tenant.connect() as session:
        session.execute("CREATE TABLE mine (id int)")
        assert cluster.ask("/look", database=tenant.database)[1].split()[1:] == []
        session.execute(f"GRANT SELECT ON mine TO {neighbour.owner}")
        session.commit()
    assert cluster.ask("/look", database=tenant.database)[1].split()[1:] == [neighbour.owner]


def test_what_an_archiver_that_was_killed_had_closed_is_opened_by_the_next_one(live: Archived) -> None:
    close(live)
    podman("kill", live.archiver)
    podman("wait", live.archiver)
    assert not may_enter(live)
    podman("start", live.archiver)
    live.await_(lambda: may_enter(live), "it is not opened")


def test_a_database_that_was_opened_by_another_hand_is_not_retired(live: Archived) -> None:
    """As a server does that was started anew, or a run of the engine: then there may be rows that no dump has."""
    token = close(live)
    live.sql(f"GRANT CONNECT ON DATABASE {live.database} TO {live.database}_owner", "postgres")
    status, text = live.ask("/retire", database=live.database, token=token, kept=f"{live.database}{KEPT}")
    assert (status, "opened meanwhile" in text) == (409, True)
    assert live.database in names(live)
    assert live.ask("/open", database=live.database) == (200, "done")
    assert may_enter(live)


def test_a_database_moves_to_a_shared_cluster_and_what_it_was_is_kept(
    live: Archived, cluster: Archived, there: Tenant, shared: Shared
) -> None:
    kept, key = f"{live.database}{KEPT}", key_of(live)
    then, rights = answers(live.sql, CONTENTS), answers(live.sql, RIGHTS)
    outside = shared.server.sql(OUTSIDE.format(database=live.database))
    status, told = live.ask("/look", database=live.database)
    assert (status, int(told.split()[0]) > 0) == (200, True)
    with live.session() as within:
        within.execute(f"SET SESSION AUTHORIZATION {live.database}_owner")
        token = close(live)
        assert within.execute("SELECT 1").fetchone() == (1,), "only sessions of its user are ended"
    work = live.work("/dump", database=live.database, token=token, key=key)
    assert (work["error"], work["last"]) == ("", f"{live.database} {key}")
    assert len(live.store.get(key)) == live.told()["dump_bytes"]
    assert reader_of(live.uid) not in names(live)

    assert load(cluster, there.database, key)["error"] == ""
    assert cluster.ask("/swap", database=there.database, kept=kept) == (200, "done")
    assert cluster.ask("/drop", database=kept) == (200, "done")
    status, at = live.ask("/retire", database=live.database, token=token, kept=kept)
    assert status == 200, at
    assert datetime.datetime.fromisoformat(at) < datetime.datetime.now(datetime.UTC)
    assert live.ask("/retire", database=live.database, token=token, kept=kept) == (200, "it is done already")
    assert live.ask("/open", database=live.database)[0] == 404
    # A purge goes by this list; the look at every minute would be too late for it.
    live.await_(lambda: kept in [one["name"] for one in live.told()["kept"]], f"{kept} is not told", seconds=20)

    ask = lambda text: shared.server.sql(text, there.database)  # noqa: E731
    assert answers(ask, CONTENTS) == then
    assert answers(ask, RIGHTS) == rights
    assert shared.server.sql(OUTSIDE.format(database=there.database)) == outside
    with there.connect() as session:
        assert session.execute("SELECT current_user, count(*) > 0 FROM own.rows").fetchone() == (there.owner, True)
    with pytest.raises(psycopg.OperationalError, match="not currently accepting"):
        live.sql("SELECT 1", kept)
