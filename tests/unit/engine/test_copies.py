# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for what an archiver does, and removing what killed runs have left."""

from __future__ import annotations

import dataclasses
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine import scratch
from ansible_collections.supalove.platform.plugins.module_utils._engine.access import Access
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.catalog import Stored
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.status import Work
from ansible_collections.supalove.platform.plugins.module_utils._engine.deadline import Backoff, Deadline
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import (
    NotFound,
    ServerFailed,
    Unreachable,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.progress import Silent
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Archiving, Platform

NEVER = Work(done=0, last="", last_at=None, failures=0, failures_ever=0, error="", error_at=None)
DONE = dataclasses.replace(NEVER, done=1)
FAILED = dataclasses.replace(NEVER, failures=1, failures_ever=1, error="no room")
GONE = Unreachable(subject="Pod/x", verb="GET", reason="connection reset")


def seen(work=NEVER, *, began=1, busy="load p_x"):
    return SimpleNamespace(load=work, began=began, busy=busy)


class Archiver:
    """It tells one thing after the other, the last one for ever."""

    subject = "Pod/s-free-1/postgresql-0 (archiver)"
    namespace = "s-free-1"

    def __init__(self, *told):
        self._told = list(told)

    def status(self, *, deadline):  # noqa: ARG002
        one = self._told.pop(0) if len(self._told) > 1 else self._told[0]
        if isinstance(one, Exception):
            raise one
        return one


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(scratch, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(scratch, "Backoff", lambda: Backoff(first_seconds=0.0))


def wait(*told):
    deadline = Deadline(limit_seconds=20)
    return scratch.await_work(Archiver(*told), "load", seen(), progress=Silent(), deadline=deadline)


def test_a_work_is_waited_for_until_it_has_ended():
    assert wait(seen(), seen(), seen(DONE)).load == DONE


def test_an_archiver_that_is_silent_for_a_moment_ends_nothing():
    assert wait(seen(), GONE, GONE, seen(DONE)).load == DONE


def test_a_work_that_failed_says_why():
    with pytest.raises(ServerFailed, match="no room"):
        wait(seen(), seen(FAILED))


def test_an_archiver_that_was_started_anew_before_the_first_look_is_not_waited_for():
    with pytest.raises(ServerFailed, match="started anew"):
        wait(seen(began=2))


class Client:
    """Namespaces by name and when they expire."""

    def __init__(self, **expires):
        self.expires = expires

    def list(self, _path, **_rest):
        return [
            {"metadata": {"name": name, "annotations": {"supalove.cloud/expires": str(at)}}}
            for name, at in self.expires.items()
        ]

    def send(self, verb, path, **_rest):
        assert verb == "DELETE"
        del self.expires[path.rsplit("/", 1)[1]]


class Archives:
    def __init__(self, *stored):
        self.stored = {one.key: one for one in stored}
        self.lent = {"late", "young"}

    def take_back(self, name, **_rest):
        self.lent.remove(name)

    def dumps(self, prefix, **_rest):
        return tuple(one for key, one in self.stored.items() if key.startswith(prefix))

    def discard(self, keys, **_rest):
        for key in keys:
            del self.stored[key]


def test_what_killed_runs_have_left_is_removed_and_what_is_in_use_is_not():
    now = datetime.now(UTC)
    client = Client(late=time.time() - 1, young=time.time() + 60)
    archives = Archives(
        Stored(key="imports/old.dump", bytes=1, modified=now - timedelta(days=2)),
        Stored(key="imports/new.dump", bytes=1, modified=now),
        Stored(key="exports/abc/old.dump", bytes=1, modified=now - timedelta(days=9)),
    )
    access = Access(client=client, databases=None, archives=archives)
    assert scratch.sweep(access, Platform(), deadline=Deadline(limit_seconds=5)) == ("late",)
    assert set(client.expires) == archives.lent == {"young"}
    assert set(archives.stored) == {"imports/new.dump", "exports/abc/old.dump"}


class Kubernetes:
    """It has these Secrets, by namespace and name."""

    def __init__(self, *there):
        self.there = there


def keys_of(monkeypatch, *there, vault=None):
    def read(client, id, *, deadline):  # noqa: ARG001
        return {"from": id.name} if (id.namespace, id.name) in client.there else None

    monkeypatch.setattr(scratch, "read_texts", read)
    access = Access(client=Kubernetes(*there), databases=None, vault=vault)
    source = scratch.Source(archive="p-abcdefgh2345", namespace="", archiving=Archiving(), storage=1)
    return scratch._keys(access, Platform(), source, Deadline(limit_seconds=20))


def test_the_keys_of_an_archive_whose_project_is_gone_are_found_where_they_are_kept(monkeypatch):
    purged = ("supalove-system", "archive-p-abcdefgh2345")
    vault = SimpleNamespace(read=lambda id, *, deadline: SimpleNamespace(texts={"from": f"{id.namespace}/{id.name}"}))  # noqa: ARG005
    assert keys_of(monkeypatch, purged) == {"from": purged[1]}
    assert keys_of(monkeypatch, purged, vault=vault) == {"from": "archive/p-abcdefgh2345"}
    with pytest.raises(NotFound, match="without the keys of an archive nobody reads it"):
        keys_of(monkeypatch)
