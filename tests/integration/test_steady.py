# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run costs that finds nothing to do, by the API server's own account."""

from __future__ import annotations

from collections import Counter

from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.kinds import (
    KINDS,
    LISTED_KINDS,
)


def test_a_second_run_over_fifty_projects_is_one_list_of_each_kind_and_no_write(undisturbed):
    fifty, databases = undisturbed.fifty, undisturbed.fifty.databases()
    with fifty.engine.server.audited() as events:
        again = fifty.reconcile(databases=databases)
    lists = {KINDS[kind].plural for kind in (*LISTED_KINDS, "SupaloveProject")}
    # A list may come in several pages.
    asked = [event for event in events if "continue=" not in event["requestURI"]]
    assert Counter(event["objectRef"]["resource"] for event in asked) == Counter(lists)
    assert {event["verb"] for event in events} == {"list"}
    assert {event["responseStatus"]["code"] for event in events} == {200}
    assert (databases.reads, databases.writes) == (2, 0)
    assert (again.changed, again.writes, again.reads) == (False, 0, len(events) + databases.reads)
    assert len(again.outcomes) == 50
