# SPDX-License-Identifier: GPL-3.0-or-later
"""A project's database is dumped out of a scratch copy of its cluster, loaded beside the live one, and swapped in."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import psycopg
import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.databases import loader_of
from ansible_collections.supalove.platform.plugins.module_utils._engine.objects import Desired
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.life import LATEST
from fix_archive import Archived, archived, archiver_beside, life_of, scratch_copy
from fix_container import ROOT, podman
from fix_dumps import answers, dump_of, link, load, make_nasty, names
from fix_object_store import ObjectStore
from fix_postgresql import Server, Shared, Tenant
from nasty_schema import CONTENTS, OUTSIDE, RIGHTS

KEY = "platform/dumps/acme.dump"
BLOCK = ROOT / "images/postgresql/root/usr/local/share/supalove/quota/block.sql"
KEPT = "_20261126t034450z"
NEVER_KEPT = "_20261126t000000z"
# A dump whose index is slow to build for whoever loads it.
SLOW = """
CREATE TABLE one AS SELECT 1 AS id;
CREATE FUNCTION slow(number int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  IF session_user::text LIKE 'supalove_load%' THEN PERFORM pg_sleep(120); END IF;
  RETURN number;
END $$;
CREATE INDEX slow ON one (slow(id));
"""
# A function that finds what it calls only with the path of who wrote it.
BROKEN = """
CREATE FUNCTION helper(number int) RETURNS bool LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION is_fine(number int) RETURNS bool LANGUAGE plpgsql AS 'BEGIN RETURN helper(number); END';
CREATE TABLE one (secret text, number int CHECK (is_fine(number)));
INSERT INTO one VALUES ('hidden', 1);
"""


@pytest.fixture(scope="module")
def store(object_store_server: ObjectStore) -> ObjectStore:
    made = dataclasses.replace(object_store_server, bucket="test-dumps")
    made.client().create_bucket(Bucket=made.bucket)
    return made


@pytest.fixture(scope="module")
def live(store: ObjectStore) -> Iterator[Archived]:
    """A project with a PostgreSQL of its own and a schema that is hard to take along."""
    with archived(store, "wal-g") as made:
        make_nasty(made.session, made.database)
        made.await_(lambda: made.told()["backup"]["done"] == 1, "no base backup was made")
        made.await_archived(made.segment())
        yield made


@pytest.fixture(scope="module")
def copy(store: ObjectStore, live: Archived) -> Iterator[Archived]:
    with scratch_copy(store, "wal-g", life=life_of(live, "wal-g", target=LATEST), before=live) as made:
        yield made


@pytest.fixture(scope="module")
def dump(copy: Archived) -> str:
    """Made of a database that was at its limit. The key of the dump."""
    psql = ["psql", "-h", "/run/postgresql", "-U", "postgres", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", copy.database]
    folder = "/usr/local/share/supalove/quota"
    podman("exec", "--env", "PGOPTIONS=-c search_path=pg_catalog", copy.server, *psql, "-f", f"{folder}/block.sql")
    work = copy.work("/dump", database=copy.database, key=KEY)
    assert (work["error"], work["last"]) == ("", f"{copy.database} {KEY}")
    return KEY


@pytest.fixture(scope="module")
def cluster(postgresql: Server, store: ObjectStore) -> Iterator[Archived]:
    """The archiver beside the shared cluster."""
    with archiver_beside(postgresql.directory, store) as made:
        yield made


@pytest.fixture
def tenant(shared: Shared) -> Tenant:
    made = shared.tenant()
    shared.bring(made.desired())
    return made


def test_a_copy_tells_what_is_in_it_and_archives_nothing(copy: Archived, live: Archived) -> None:
    found = copy.told()["copy"]
    assert found["databases"] == [live.database]
    assert found["heartbeat"] <= live.sql("SELECT now() AT TIME ZONE 'UTC'").replace(" ", "T")
    for path in ("/backup", "/backup/full", "/load", "/swap", "/drop", "/look", "/close", "/hold", "/open", "/retire"):
        status, text = copy.ask(path)
        assert (status, "scratch copy" in text) == (409, True)
    assert copy.sql("SHOW archive_mode") == "off"
    assert copy.incarnation not in {one.id for one in live.catalogs()}
    assert live.ask("/check", databases=[live.database])[0] == 409


@pytest.mark.parametrize(
    ("path", "told", "status"),
    [
        ("/dump", {"database": "postgres", "key": KEY}, 400),
        ("/dump", {"database": "p_aaaaaaaaaaaa", "key": KEY}, 404),
        ("/dump", {"key": "platform/p-acme/x.dump"}, 400),
        ("/dump", {"key": "platform/dumps/../p-acme/x.dump"}, 400),
        ("/check", {"databases": ["postgres"]}, 400),
        ("/check", {"databases": "p_aaaaaaaaaaaa"}, 400),
        ("/nothing", {}, 404),
    ],
)
def test_a_copy_refuses_what_it_does_not_know(copy: Archived, path: str, told: dict, status: int) -> None:
    assert copy.ask(path, **{"database": copy.database, **told})[0] == status


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/load", {"owner": "postgres", "url": "https://x", "same_project": True}),
        ("/load", {"url": "file:///etc/passwd", "same_project": True}),
        ("/load", {"url": "https://x", "same_project": "yes"}),
        ("/swap", {"kept": "postgres"}),
        ("/swap", {"kept": f"p_aaaaaaaaaaaa{KEPT}"}),
        ("/drop", {}),
        ("/drop", {"database": "postgres"}),
    ],
)
def test_a_live_one_refuses_what_has_no_sense(live: Archived, path: str, told: dict) -> None:
    status, text = live.ask(path, **{"database": live.database, "owner": f"{live.database}_owner", **told})
    assert status == 400, text


def test_a_dump_is_whole_in_the_store_and_its_size_is_told(copy: Archived, dump: str) -> None:
    assert len(copy.store.get(dump)) == copy.told()["dump_bytes"]


def test_corruption_is_told_and_a_dump_of_it_that_breaks_off_leaves_nothing_in_the_store(copy: Archived) -> None:
    assert copy.work("/check", databases=[])["error"] == ""
    assert copy.sql("SELECT bool_or(super) FROM own.seen") == "False"
    assert copy.sql("SELECT count(*) FROM own.seen WHERE came_as = 'supalove_dump'") != "0"
    copy.sql("CREATE TABLE torn AS SELECT n FROM generate_series(1, 1000) AS n; CREATE INDEX torn_index ON torn (n)")
    file = copy.sql("SELECT pg_relation_filepath('torn')")
    copy.sql("CHECKPOINT")
    path = copy.directory / "data/pgdata" / file
    with path.open("r+b") as heap:
        heap.seek(4000)
        heap.write(b"\xff" * 64)
    podman("restart", "--time", "60", copy.server)
    copy.await_(copy.is_up, "it did not come back")
    copy.await_(lambda: (copy.told().get("copy") or {}).get("ready"), "the copy is not ready")
    work = copy.work("/check", databases=[copy.database])
    assert "torn" in work["error"]
    work = copy.work("/dump", database=copy.database, key="platform/dumps/torn.dump")
    assert "invalid page" in work["error"]
    assert "platform/dumps/torn.dump" not in copy.store.keys("platform/dumps/")
    copy.sql("DROP TABLE torn")


def test_what_was_dumped_takes_the_place_of_the_live_database_and_that_is_kept(
    live: Archived, copy: Archived, dump: str
) -> None:
    new, kept = f"{live.database}_new", f"{live.database}{KEPT}"
    then, rights = answers(copy.sql, CONTENTS), answers(copy.sql, RIGHTS)
    outside = live.sql(OUTSIDE.format(database=live.database))
    live.sql("CREATE TABLE later AS SELECT 1 AS id")
    assert load(live, live.database, dump)["error"] == ""
    assert live.sql("SELECT id FROM later") == "1"
    assert answers(lambda text: live.sql(text, new), CONTENTS) == then
    assert answers(lambda text: live.sql(text, new), RIGHTS) == rights
    assert live.sql("SELECT count(*) FROM own.seen WHERE super", new) == "0"
    assert live.sql(f"SELECT count(*) FROM own.seen WHERE came_as = '{loader_of(live.uid)}'", new) != "0"
    assert live.sql("SELECT count(*) > 0 FROM pg_stats WHERE schemaname = 'own'", new) == "True"
    assert live.sql(OUTSIDE.format(database=new)) == outside
    assert loader_of(live.uid) not in names(live)

    with live.session("postgres") as holder, holder.transaction():
        holder.execute(f"COMMENT ON DATABASE {live.database} IS 'mine'")
        status, text = live.ask("/swap", database=live.database, kept=kept)
        assert (status, "lock" in text) == (503, True), text
        raise psycopg.Rollback
    assert {live.database, new} <= names(live)
    assert kept not in names(live)
    assert live.sql("SELECT id FROM later") == "1"

    with coming_back(live) as came:
        assert live.ask("/swap", database=live.database, kept=kept) == (200, "done")
    assert came.ended > 0
    assert live.ask("/swap", database=live.database, kept=kept)[0] == 200
    assert new not in names(live)
    assert answers(live.sql, CONTENTS) == then
    assert live.sql(OUTSIDE.format(database=live.database)) == outside
    live.await_(lambda: live.told()["kept"], "the look at what is kept")
    (told,) = live.told()["kept"]
    assert (told["name"], told["bytes"] > 0, told["at"]) == (kept, True, 1795664690.0)
    with pytest.raises(psycopg.OperationalError, match="not currently accepting"):
        live.sql("SELECT 1", kept)
    assert live.ask("/drop", database=kept) == (200, "done")
    assert live.ask("/drop", database=kept)[0] == 404
    live.await_(lambda: live.told()["kept"] == [], "the look at what is kept")


@contextlib.contextmanager
def coming_back(live: Archived) -> Iterator[SimpleNamespace]:
    """Somebody who is in the live database, and comes back as soon as he is thrown out."""
    over, told = threading.Event(), SimpleNamespace(ended=0, entered=threading.Event())

    def come() -> None:
        while not over.is_set():
            with contextlib.suppress(psycopg.Error), live.session() as session:
                told.entered.set()
                while not over.wait(0.02):
                    session.execute("SELECT 1")
            told.ended += not over.is_set()

    comers = [threading.Thread(target=come) for _ in range(3)]
    for comer in comers:
        comer.start()
    assert told.entered.wait(30)
    yield told
    over.set()
    for comer in comers:
        comer.join()


def test_a_live_database_at_its_limit_is_dumped_without_the_block_of_the_quota(live: Archived) -> None:
    folder, key = "/usr/local/share/supalove/quota", f"platform/dumps/{live.told()['archive']}/limit.dump"
    psql = ["psql", "-h", "/run/postgresql", "-U", "postgres", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", live.database]
    podman("exec", "--env", "PGOPTIONS=-c search_path=pg_catalog", live.server, *psql, "-f", f"{folder}/block.sql")
    status, token = live.ask("/close", database=live.database, seconds=300)
    assert status == 200
    work = live.work("/dump", database=live.database, key=key, token=token)
    assert live.ask("/open", database=live.database) == (200, "done")
    assert work["error"] == ""
    # The list of what is in it is not compressed.
    dumped = live.store.get(key)
    assert (b"supalove_quota" in dumped, b"seen" in dumped) == (False, True)


def test_nothing_that_was_loaded_is_no_swap(live: Archived) -> None:
    status, text = live.ask("/swap", database=live.database, kept=f"{live.database}{NEVER_KEPT}")
    assert (status, "was loaded" in text) == (404, True)


def test_a_dump_that_cannot_be_restored_whole_is_told_with_its_first_error_and_leaves_nothing(live: Archived) -> None:
    there = names(live)
    key = dump_of(live, BROKEN, "platform/dumps/broken.dump")
    there.add("other")
    work = load(live, live.database, key)
    assert "function helper(integer) does not exist" in work["error"]
    assert 'COPY failed for table "one"' in work["error"]
    assert "hidden" not in work["error"]
    assert names(live) == there
    assert not (live.directory / "data/pgdata.load").exists()


def test_an_address_that_leads_nowhere_is_told_and_is_nowhere_to_be_read(live: Archived) -> None:
    url = link(live.store, "platform/dumps/nothing.dump")
    owner = f"{live.database}_owner"
    work = live.work("/load", database=live.database, owner=owner, url=url, same_project=True)
    assert "404" in work["error"]
    assert "Signature" not in live.logs() + work["error"]


def test_a_load_that_is_killed_leaves_the_live_database_alone_and_the_next_one_finishes(
    live: Archived, dump: str
) -> None:
    new = f"{live.database}_new"
    then = answers(live.sql, CONTENTS)
    slow = dump_of(live, SLOW, "platform/dumps/slow.dump")
    told = {"database": live.database, "owner": f"{live.database}_owner", "same_project": True}
    assert live.ask("/load", url=link(live.store, slow), **told)[0] == 202
    live.await_(lambda: "slow" in live.sql(f"SELECT query FROM pg_stat_activity WHERE datname = '{new}'"), "no load")
    assert live.told()["busy"] == f"load {live.database}"
    status, text = live.ask("/load", url=link(live.store, slow), **told)
    assert (status, text) == (409, f"load {live.database} runs")
    assert live.ask("/swap", database=live.database, kept=f"{live.database}{NEVER_KEPT}")[0] == 409
    podman("kill", live.archiver)
    podman("wait", live.archiver)
    assert new in names(live)
    podman("start", live.archiver)
    live.await_(live.told, "the archiver does not come back")
    assert live.ask("/swap", database=live.database, kept=f"{live.database}{NEVER_KEPT}")[0] == 404
    assert load(live, live.database, dump)["error"] == ""
    assert answers(live.sql, CONTENTS) == then
    assert live.sql("SELECT count(*) FROM own.rows", new) == "5"


def test_another_projects_database_on_a_shared_cluster_takes_over_what_was_dumped(
    cluster: Archived, copy: Archived, dump: str, shared: Shared, tenant: Tenant
) -> None:
    kept, new = f"{tenant.database}{KEPT}", f"{tenant.database}_new"
    as_theirs = [text.replace(str(copy.uid), tenant.uid) for text in answers(copy.sql, CONTENTS)]
    assert load(cluster, tenant.database, dump, same_project=False)["error"] == ""
    assert shared.server.sql("SELECT count(*) FROM own.seen WHERE super", new) == "0"
    with tenant.connect() as session:
        assert cluster.ask("/swap", database=tenant.database, kept=kept) == (200, "done")
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert answers(lambda text: shared.server.sql(text, tenant.database), CONTENTS) == as_theirs
    with tenant.connect() as session:
        assert session.execute("SELECT count(*) FROM own.rows").fetchall() == [(2,)]
        session.execute("CREATE TABLE own.more (id int); CREATE TEMPORARY TABLE less (id int)")
        with pytest.raises(psycopg.Error):
            session.execute("SELECT pg_lock_status()")
    assert settled(shared, tenant.desired()) == []
    assert kept not in {id.name for id in shared.observed().objects}
    measured = "SELECT count(*) FROM supalove_quota.storage JOIN pg_database ON oid = database WHERE datname = name"
    cluster.await_(
        lambda: shared.server.sql(f"{measured} AND name = '{tenant.database}'") == "1", "it is not measured"
    )  # fmt: skip
    assert shared.server.sql(f"SELECT count(*) FROM supalove_quota.storage WHERE name = '{tenant.database}'") == "1"
    assert cluster.ask("/drop", database=kept)[0] == 200


# Made by the owner of one project, for its own login and for those of an API.
RIGHTS_OF_AN_API = """
SET search_path = public;
CREATE TABLE "odd ""name""
GRANT" (id int, hidden int);
GRANT SELECT (id) ON "odd ""name""
GRANT" TO anon, {probe};
CREATE FUNCTION admin() RETURNS int LANGUAGE sql AS 'SELECT 1';
REVOKE EXECUTE ON FUNCTION admin() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION admin() TO service_role, {probe};
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO authenticated, {probe};
"""
ASKED_AS = (
    """SELECT has_column_privilege('anon', 'public."odd ""name""\nGRANT"', 'id', 'SELECT')""",
    """SELECT has_column_privilege('anon', 'public."odd ""name""\nGRANT"', 'hidden', 'SELECT')""",
    "SELECT has_function_privilege('anon', 'public.admin()', 'EXECUTE')",
    "SELECT has_function_privilege('service_role', 'public.admin()', 'EXECUTE')",
    "SELECT has_table_privilege('authenticated', 'public.later', 'SELECT')",
    "SELECT has_table_privilege('anon', 'public.later', 'SELECT')",
)


def test_a_function_that_was_closed_to_the_api_is_not_open_in_the_project_that_it_is_restored_into(
    cluster: Archived, shared: Shared, tenant: Tenant
) -> None:
    other = shared.tenant()
    shared.bring(other.desired())
    probe, server = f"{other.database}_probe", shared.server
    with server.superuser(other.database) as session:
        session.execute(f"SET SESSION AUTHORIZATION {other.owner}".encode())
        session.execute(RIGHTS_OF_AN_API.replace("{probe}", probe).encode())
    key = dump_from(cluster, server, other.database, "platform/dumps/rights.dump")
    assert load(cluster, tenant.database, key, same_project=False)["error"] == ""
    new = f"{tenant.database}_new"
    with server.superuser(new) as session:
        session.execute(f"SET SESSION AUTHORIZATION {tenant.owner}".encode())
        session.execute("CREATE TABLE public.later (id int)")
    assert answers(lambda text: server.sql(text, new), ASKED_AS) == ["True", "False", "False", "True", "True", "False"]
    named = "SELECT count(*) FROM pg_class WHERE relacl::text ~ '{0}' OR relname ~ '{0}'"
    assert server.sql(named.format(other.uid), new) == "0"


def dump_from(cluster: Archived, server: Server, database: str, key: str) -> str:
    """A dump of a database of the shared cluster, whose key this is."""
    podman("exec", server.id, "pg_dump", "-U", "postgres", "-h", "/run/postgresql", "-Fc", "-f",
           "/var/lib/postgresql/data/other.dump", database)  # fmt: skip
    cluster.store.put(key, (server.directory / "data/other.dump").read_bytes())
    return key


def test_a_dump_that_names_another_projects_role_is_not_loaded(
    cluster: Archived, shared: Shared, tenant: Tenant
) -> None:
    other = shared.tenant()
    shared.bring(other.desired())
    with shared.server.superuser(other.database) as session:
        session.execute(f"CREATE TABLE public.one (id int); CREATE POLICY mine ON public.one TO {other.owner}".encode())
    key = dump_from(cluster, shared.server, other.database, "platform/dumps/named.dump")
    work = load(cluster, tenant.database, key, same_project=False)
    assert f"names the role {other.owner}" in work["error"]


def settled(shared: Shared, desired: tuple[Desired, ...]) -> list[str]:
    """What a run would do."""
    return [str(step.id) for step in shared.bring(desired)]
