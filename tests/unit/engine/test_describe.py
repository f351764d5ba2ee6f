# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from types import SimpleNamespace

from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.postgresql.storage import Storage
from ansible_collections.supalove.platform.plugins.module_utils._engine.deadline import Deadline
from ansible_collections.supalove.platform.plugins.module_utils._engine.describe import storage_of
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import Unreachable

UID = "abcdefgh2345"
FOUND = Storage(bytes=90, limit=100, state="warning", since="2026-01-01T00:00:00+00:00")


class Answers:
    def storage(self, names, *, deadline):
        deadline.require("storage")
        down = Unreachable(subject="PostgreSQL/two", verb="CONNECT", reason="it is down")
        answers = {"one": {f"p_{UID}": FOUND}, "two": down}
        return {name: answers[name] for name in names}


def told(**placements):
    chosen = [
        SimpleNamespace(ref=ref, status=SimpleNamespace(uid=UID, placement=placement))
        for ref, placement in placements.items()
    ]
    return storage_of(chosen, Answers(), Deadline(limit_seconds=1))


def test_the_storage_of_a_shared_project_is_told_and_of_a_dedicated_one_nothing_is_known():
    found = told(blog="shared/one", acme="dedicated")
    assert found == {"blog": {"bytes": 90, "limit": 100, "state": "warning", "since": FOUND.since}}


def test_a_cluster_that_does_not_answer_is_the_matter_of_its_own_projects():
    found = told(blog="shared/one", shop="shared/two")
    assert found["blog"]["state"] == "warning"
    assert found["shop"]["state"] == "unknown"
    assert "it is down" in found["shop"]["message"]
