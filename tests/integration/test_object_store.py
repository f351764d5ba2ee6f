# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives in a real SeaweedFS: what is read and removed there, and what becomes of it when the store is not well."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.catalog import Engine
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.recovery import Latest, plan_recovery
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.retention import (
    Removal,
    RetentionPlan,
    plan_retention,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.object_store.apply import remove
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.object_store.client import (
    BATCH,
    ObjectStoreClient,
    Target,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.object_store.observe import (
    read_archive,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.credentials import Secret
from ansible_collections.supalove.platform.plugins.module_utils._engine.deadline import Backoff, Deadline
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import (
    Conflict,
    DeadlineExceeded,
    Denied,
    NotFound,
    Rejected,
    Unreachable,
)
from archives import ARCHIVE, Life, at, catalogs
from fix_engine import Killed
from fix_proxy import Proxy

PREFIX = "archives/"
SOON = Backoff(first_seconds=0.05, longest_seconds=0.2, tries=3)


def in_time(seconds=30.0):
    return Deadline(limit_seconds=seconds)


@contextlib.contextmanager
def a_client(store, *, kind=ObjectStoreClient, answer_seconds=20.0, backoff=SOON, **rest):
    target = Target(
        **{
            "endpoint": store.address,
            "region": "us-east-1",
            "bucket": store.bucket,
            "prefix": PREFIX,
            "ca_file": str(store.ca_file),
            "access_key": Secret(store.access_key),
            "secret_key": Secret(store.secret_key),
            **rest,
        }
    )
    client = kind(target, workers=8, backoff=backoff, answer_seconds=answer_seconds)
    try:
        yield client
    finally:
        client.close()


@contextlib.contextmanager
def through_proxy(store, **rest):
    """The store at the address of a proxy in front of it, and the proxy."""
    proxy = Proxy(lambda: socket.create_connection(("127.0.0.1", store.port())), **rest)
    try:
        yield dataclasses.replace(store, address=f"https://127.0.0.1:{proxy.port}"), proxy
    finally:
        proxy.close()


def fill(store, *lives):
    with ThreadPoolExecutor(max_workers=8) as pool:
        s3 = store.client()
        pairs = [(key, content) for life in lives for key, (content, _time) in life.objects.items()]
        list(pool.map(lambda one: s3.put_object(Bucket=store.bucket, Key=PREFIX + one[0], Body=one[1]), pairs))
        s3.close()


def a_life(engine=Engine.WALG, **rest):
    """Three full backups, the middle one with a delta, and one that was never finished."""
    life = Life(engine=engine, **rest).segments(range(1, 21))
    life.backup(2, 3)
    base = life.backup(6, 7)
    if engine is Engine.WALG:
        life.backup(8, 9, base=base)
    life.backup(12, 13)
    life.backup(15, 16, unfinished=True)
    return life


def a_plan(found, *, since=14.0):
    """Of a run at this moment whose window begins `since` hours after the archive; parts of any age are stale."""
    now = datetime.now(UTC) + timedelta(days=365)
    return plan_retention(found, window=now - at(since), now=now)


def without_times(found):
    """A store says when it was written, and not when we say."""
    return [(one.id, one.backups, [wal.segment for wal in one.segments], one.histories, one.problems) for one in found]


@pytest.mark.parametrize("engine", Engine)
def test_an_archive_is_read_with_one_list_and_its_documents(object_store, engine):
    life = a_life(engine)
    fill(object_store, life)
    with a_client(object_store) as client:
        found = read_archive(client, ARCHIVE, deadline=in_time())
        documents = 4 if engine is Engine.BARMAN else 9
        assert (client.reads, client.writes) == (1 + documents, 0)
    assert without_times(found) == without_times(catalogs(life))
    assert found[0].problems == ()
    assert plan_recovery(found, Latest(), now=at(30)).last_segment.number == 20


def test_a_listing_tells_the_time_of_the_store(object_store):
    with a_client(object_store) as client:
        assert client.store_time is None
        client.list("", deadline=in_time())
        assert abs(datetime.now(UTC) - client.store_time) < timedelta(seconds=10)


def test_an_archive_whose_name_begins_like_another_is_not_mixed_with_it(object_store):
    fill(object_store, a_life(), a_life(archive=f"{ARCHIVE}d", letters="bbbbbbbb"))
    with a_client(object_store) as client:
        (found,) = read_archive(client, ARCHIVE, deadline=in_time())
        assert read_archive(client, "p-other", deadline=in_time()) == ()
    assert found.id.endswith("aaaaaaaa")


def test_a_document_that_is_far_too_long_is_a_problem_of_its_incarnation_only(object_store):
    life, other = a_life(), a_life(began=30, letters="bbbbbbbb")
    life.put("basebackups_005/base_000000010000000000000002_backup_stop_sentinel.json", b" " * 5_000_000, 3)
    fill(object_store, life, other)
    with a_client(object_store) as client:
        first, second = read_archive(client, ARCHIVE, deadline=in_time())
    assert "could not be read" in first.problems[0]
    assert len(first.backups) == 3
    assert second.problems == ()


def test_more_objects_than_a_page_or_a_request_takes_are_listed_and_removed(object_store):
    keys = [f"p-many/{number:05}" for number in range(BATCH + 50)]
    s3 = object_store.client()
    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(lambda key: s3.put_object(Bucket=object_store.bucket, Key=PREFIX + key, Body=b""), keys))
    plan = RetentionPlan(
        archive="p-many",
        window_start=at(0),
        verdicts=(),
        removals=(Removal(incarnation="it", wal=tuple(keys)),),
    )
    with a_client(object_store) as client:
        assert [one.key for one in client.list("p-many/", deadline=in_time())] == keys
        assert client.reads == 2
        done = remove(client, plan, deadline=in_time(60))
        assert client.writes == 2
    assert done.keys == tuple(keys)
    assert done.is_complete
    assert object_store.keys() == []


@pytest.mark.parametrize("engine", Engine)
def test_retention_removes_what_it_planned_and_then_has_nothing_to_do(object_store, engine):
    life, stranger = a_life(engine), a_life(archive="p-other", letters="cccccccc")
    fill(object_store, life, stranger)
    with a_client(object_store) as client:
        plan = a_plan(read_archive(client, ARCHIVE, deadline=in_time()))
        done = remove(client, plan, deadline=in_time())
        assert done.is_complete
        assert done.keys == plan.keys
        left = read_archive(client, ARCHIVE, deadline=in_time())
        assert a_plan(left).keys == ()
    assert [one.segment.number for one in left[0].segments] == list(range(12, 21))
    assert len(left[0].backups) == 1
    wanted = {*life.objects, *stranger.objects} - set(plan.keys)
    assert object_store.keys() == sorted(PREFIX + key for key in wanted)


class Dying(ObjectStoreClient):
    """Ends the run after so many requests that write."""

    left = 0

    def delete(self, keys, *, deadline):
        if self.left == 0:
            raise Killed
        self.left -= 1
        return super().delete(keys, deadline=deadline)


@pytest.mark.parametrize("requests", range(6))
def test_a_removal_killed_between_two_requests_leaves_only_whole_backups_and_the_next_finishes(object_store, requests):
    life = a_life()
    heir = a_life(began=40, letters="bbbbbbbb")
    fill(object_store, life, heir)
    with a_client(object_store, kind=Dying) as dying:
        plan = a_plan(read_archive(dying, ARCHIVE, deadline=in_time()), since=60)
        dying.left = requests
        with pytest.raises(Killed):
            remove(dying, plan, deadline=in_time())
    with a_client(object_store) as client:
        found = read_archive(client, ARCHIVE, deadline=in_time())
        assert [problem for one in found for problem in one.problems] == []
        whole = {one.marker: one for each in catalogs(life, heir) for one in each.backups}
        for one in found:
            assert all(backup == whole[backup.marker] and one.chain(backup) for backup in one.backups)
        assert remove(client, a_plan(found, since=60), deadline=in_time()).is_complete
        left = read_archive(client, ARCHIVE, deadline=in_time())
    assert [one.id for one in left] == [heir.id]
    assert object_store.keys() == sorted(PREFIX + key for key in {*life.objects, *heir.objects} - set(plan.keys))


def test_a_store_that_goes_away_mid_removal_is_told_with_what_was_removed_and_the_next_finishes(object_store):
    fill(object_store, a_life())
    with through_proxy(object_store) as (there, proxy), a_client(there, kind=Stopping) as client:
        plan = a_plan(read_archive(client, ARCHIVE, deadline=in_time()))
        client.proxy = proxy
        done = remove(client, plan, deadline=in_time())
    assert isinstance(done.failure, Unreachable)
    assert done.keys == plan.removals[0].markers[0]
    with a_client(object_store) as client:
        again = a_plan(read_archive(client, ARCHIVE, deadline=in_time()))
        assert sorted((*done.keys, *again.keys)) == sorted(plan.keys)
        assert remove(client, again, deadline=in_time()).is_complete


class Stopping(ObjectStoreClient):
    """The proxy in front of the store is stopped after the first deletion."""

    proxy = None

    def delete(self, keys, *, deadline):
        found = super().delete(keys, deadline=deadline)
        self.proxy.stop()
        return found


def test_an_object_that_is_there_is_not_written_a_second_time(object_store):
    with a_client(object_store) as client:
        client.put_new("p-a/incarnation.json", b"first", deadline=in_time())
        with pytest.raises(Conflict, match=r"p-a/incarnation\.json"):
            client.put_new("p-a/incarnation.json", b"second", deadline=in_time())
        assert client.get("p-a/incarnation.json", limit=5, deadline=in_time()) == b"first"
        assert client.get("p-a/incarnation.json", limit=4, deadline=in_time()) is None


def test_an_object_that_is_not_there_is_not_found_and_counts_as_deleted(object_store):
    with a_client(object_store) as client:
        with pytest.raises(NotFound):
            client.get("nothing", limit=1, deadline=in_time())
        assert client.delete(["nothing"], deadline=in_time()).keys == ("nothing",)


def test_a_missing_bucket_is_not_taken_for_an_empty_archive(object_store):
    with a_client(object_store, bucket="no-such-bucket") as client:
        with pytest.raises(Rejected, match="the bucket does not exist"):
            client.list("", deadline=in_time())
        with pytest.raises(Rejected, match="the bucket does not exist"):
            client.get("a", limit=1, deadline=in_time())


@pytest.mark.parametrize("wrong", ["access_key", "secret_key"])
def test_a_wrong_key_is_told_without_showing_it(object_store, wrong):
    word = "wrong" * 4
    with a_client(object_store, **{wrong: Secret(word)}) as client, pytest.raises(Denied) as caught:
        client.list("", deadline=in_time())
    assert "the access key or its secret is wrong" in str(caught.value)
    assert client.reads == 1
    assert word not in str(caught.value)
    assert object_store.secret_key not in str(caught.value)


def test_a_store_that_is_not_there_is_named(object_store):
    with (
        a_client(object_store, endpoint="https://127.0.0.1:9") as client,
        pytest.raises(Unreachable, match=r"LIST .* of https://127\.0\.0\.1:9: .*[Rr]efused"),
    ):
        client.list("", deadline=in_time())
    assert client.reads == SOON.tries


def test_an_address_that_is_none_is_told(object_store):
    with pytest.raises(Rejected, match="nonsense"), a_client(object_store, endpoint="nonsense"):
        pass


def test_a_connection_that_is_cut_is_made_again(object_store):
    fill(object_store, a_life())
    with through_proxy(object_store) as (there, proxy), a_client(there) as client:
        client.list("", deadline=in_time())
        proxy.cut()
        assert len(client.list("", deadline=in_time())) == len(a_life().objects)


def test_a_store_that_comes_back_while_it_is_asked_for_is_not_missed(object_store):
    with through_proxy(object_store) as (there, proxy), a_client(there, backoff=Backoff()) as client:
        proxy.stop()
        soon = threading.Timer(1.0, proxy.start)
        soon.start()
        assert client.list("", deadline=in_time()) == ()
        soon.join()
        assert client.reads > 1


def test_a_slow_store_takes_time_and_nothing_else(object_store):
    fill(object_store, a_life())
    with through_proxy(object_store, delay_seconds=0.1) as (there, _proxy), a_client(there) as client:
        assert len(read_archive(client, ARCHIVE, deadline=in_time())[0].backups) == 4


def test_a_store_slower_than_a_run_may_take_ends_it(object_store):
    fill(object_store, a_life())
    with (
        through_proxy(object_store, delay_seconds=0.5) as (there, _proxy),
        a_client(there) as client,
        pytest.raises(DeadlineExceeded, match="the limit of 2 s has passed"),
    ):
        read_archive(client, ARCHIVE, deadline=in_time(2), workers=1)


def test_a_store_that_never_answers_is_given_up(object_store):
    with a_client(object_store, answer_seconds=0.5) as client:
        object_store.program.process.send_signal(signal.SIGSTOP)
        limit = in_time()
        try:
            with pytest.raises(Unreachable, match="it did not answer in time"):
                client.list("", deadline=limit)
            assert limit.remaining() > 0, "nobody but the run's own limit has ended it"
        finally:
            object_store.program.process.send_signal(signal.SIGCONT)


def test_a_certificate_of_another_authority_is_refused(object_store):
    with (
        a_client(object_store, ca_file=None) as client,
        pytest.raises(Rejected, match="certificate cannot be verified"),
    ):
        client.list("", deadline=in_time())


def test_a_ca_file_that_goes_away_is_told(object_store, tmp_path):
    with (
        a_client(object_store, ca_file=str(tmp_path / "gone.pem")) as client,
        pytest.raises(Unreachable, match="its file of certificates cannot be read"),
    ):
        client.list("", deadline=in_time())


def test_what_the_environment_says_of_other_stores_does_not_count(object_store, monkeypatch, tmp_path):
    (tmp_path / "config").write_text("[default]\nregion = nowhere\ns3 =\n  addressing_style = virtual\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "missing")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "other")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://127.0.0.1:9")
    with a_client(object_store) as client:
        assert client.list("", deadline=in_time()) == ()
