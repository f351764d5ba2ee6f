# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose base backups are asked for, and how the answer looks."""

from __future__ import annotations

import datetime
import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ansible_collections.supalove.platform.plugins.module_utils import _results, _specs
from ansible_collections.supalove.platform.plugins.module_utils._engine.backup import (
    BackupOutcome,
    BackupReport,
    backup,
    choose,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import InvalidSpec, SafetyStop
from ansible_collections.supalove.platform.plugins.module_utils._engine.progress import Silent
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Platform
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.placement import Placed, Placement
from ansible_collections.supalove.platform.plugins.module_utils._engine.settings import Settings
from ansible_collections.supalove.platform.plugins.module_utils._engine.steps import Failure, Result

ROOT = Path(__file__).parents[3]
UID = "abcdefgh2345"


def record(ref, *, cluster=None, phase="Ready"):
    placed = None if phase is None else Placed(placement=Placement(cluster=cluster), sessions=0)
    status = None if phase is None else SimpleNamespace(phase=phase)
    return SimpleNamespace(ref=ref, uid=UID, placed=placed, status=status)


KNOWN = {
    one.ref: one
    for one in (
        record("shop"),
        record("acme"),
        record("blog", cluster="free-1"),
        record("rest", phase="Stopped"),
        record("new", phase=None),
    )
}


def chosen(refs=None, clusters=None):
    return choose(KNOWN, ["free-2", "free-1"], refs=refs, clusters=clusters)


def test_without_names_it_is_every_postgresql_once():
    found = chosen()
    assert [one.ref or one.cluster for one in found] == ["acme", "new", "rest", "shop", "free-1", "free-2"]
    assert [(one.archive, one.namespace) for one in found][-3:] == [
        (f"p-{UID}", "p-shop"),
        ("s-free-1", "s-free-1"),
        ("s-free-2", "s-free-2"),
    ]
    assert {one.ref: one.skipped for one in found if one.skipped} == {
        "new": "it has no PostgreSQL yet",
        "rest": "it is stopped; what was committed before is archived",
    }


@pytest.mark.parametrize(
    ("refs", "clusters", "names"),
    [(["acme", "acme"], None, ["acme"]), (None, ["free-2"], ["free-2"]), ([], None, []), ([], [], [])],
)
def test_names_are_those_and_no_others(refs, clusters, names):
    assert [one.ref or one.cluster for one in chosen(refs, clusters)] == names


def test_every_name_that_cannot_be_is_told_at_once_and_where_a_shared_project_is():
    with pytest.raises(InvalidSpec) as caught:
        chosen(["blog", "acne", "acme"], ["free-3"])
    own = "refs of projects with a PostgreSQL of their own: acme, new, rest, shop"
    assert [(one.path, one.value, one.allowed) for one in caught.value.problems] == [
        ("refs", "acne", own),
        ("refs", "blog", f"{own}; blog is on a shared one: clusters: [free-1]"),
        ("clusters", "free-3", "shared clusters that the platform declares: free-1, free-2"),
    ]


def test_without_an_object_store_nothing_could_be_backed_up():
    with pytest.raises(SafetyStop, match="set object_store_endpoint"):
        backup(None, Platform(), refs=None, clusters=None, full=False, settings=Settings(), progress=Silent())


def outcome(result, name="acme", **rest):
    return BackupOutcome(ref=name, archive="p-a", result=result, **rest)


def test_a_result_says_what_was_made_and_when():
    at = datetime.datetime(2026, 11, 25, 14, 3, 59, 999, tzinfo=datetime.UTC)
    report = BackupReport(
        outcomes=(
            BackupOutcome(cluster="free-1", archive="s-free-1", result=Result.UNCHANGED, reason="it is stopped"),
            outcome(Result.CHANGED, is_full=False, finished=at),
        )
    )
    assert _results.backup_result_of(report) == {
        "changed": True,
        "counts": {"changed": 1, "failed": 0, "unchanged": 1, "waiting": 0},
        "outcomes": [
            {
                "ref": "acme",
                "archive": "p-a",
                "result": "changed",
                "full": False,
                "finished": "2026-11-25T14:03:59+00:00",
            },
            {"cluster": "free-1", "archive": "s-free-1", "result": "unchanged", "reason": "it is stopped"},
        ],
        "outcomes_left_out": 0,
    }


def test_failures_come_first_and_a_thousand_stay_small():
    failure = Failure(step="backup", object="Pod/p-b/postgresql-0 (archiver)", reason="x" * 300, status=409)
    result = _results.backup_result_of(
        BackupReport(
            outcomes=(
                *(outcome(Result.CHANGED, f"a{n}") for n in range(1000)),
                outcome(Result.WAITING, "slow", reason="it runs"),
                *(outcome(Result.FAILED, f"b{n}", failure=failure) for n in range(7)),
            )
        )
    )
    assert result["failed"] is True
    assert result["msg"].splitlines()[0] == "8 of 1008 have no base backup that was asked for:"
    assert "(archiver): xxx" in result["msg"]
    assert result["msg"].endswith("- and 3 more")
    assert [one["result"] for one in result["outcomes"][:9]] == ["failed"] * 7 + ["waiting", "changed"]
    assert (len(result["outcomes"]), result["outcomes_left_out"]) == (100, 908)
    assert len(json.dumps(result)) < 30_000


def test_one_that_goes_on_was_begun_so_something_changed():
    report = BackupReport(outcomes=(outcome(Result.WAITING, reason="it runs"),))
    assert (report.changed, report.succeeded) == (True, False)


@pytest.mark.parametrize("module", ["backup", "project_info"])
def test_the_documentation_names_the_options_that_there_are(module):
    spec = importlib.util.spec_from_file_location(module, ROOT / f"plugins/modules/{module}.py")
    text = Path(spec.origin).read_text()
    documented = yaml.safe_load(text.split('DOCUMENTATION = r"""')[1].split('"""')[0])["options"]
    options = getattr(_specs, f"{module}_spec")()
    own = {name: one for name, one in options.items() if name not in (*_specs.connection_spec(), "platform")}
    assert {name: one["type"] for name, one in documented.items()} == {name: one["type"] for name, one in own.items()}
    assert {name: one.get("default") for name, one in documented.items()} == {
        name: one.get("default") for name, one in own.items()
    }
