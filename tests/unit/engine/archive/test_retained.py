# SPDX-License-Identifier: GPL-3.0-or-later
"""Which archives a run of retention is about, what stops it, and what it looks like as the result of a task."""

from __future__ import annotations

import json
from datetime import timedelta
from types import SimpleNamespace

import pytest
from ansible_collections.supalove.platform.plugins.module_utils import _ansible, _specs
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.retention import (
    Choice as Fate,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.retention import (
    RetentionPlan,
    Verdict,
    plan_retention,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.records import _record
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import InvalidSpec, SafetyStop
from ansible_collections.supalove.platform.plugins.module_utils._engine.guard import refuse_mass_removal
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.life import LATEST
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.life import Life as Restored
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Platform
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import LIFE_ANNOTATION
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.parse import parse
from ansible_collections.supalove.platform.plugins.module_utils._engine.retain import choose, earlier, sources_of
from ansible_collections.supalove.platform.plugins.module_utils._engine.retained import (
    Archive,
    Choice,
    Outcome,
    Report,
    Rules,
    bytes_of,
    gone_of,
    result_of,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.steps import Failure
from archives import ARCHIVE, HOUR, START, Life, at, catalogs
from builders import UID

CLUSTER = {"cpu": 2, "memory": "4Gi", "storage": "50Gi"}
PLATFORM = parse(projects={}, tiers={}, platform={"shared_clusters": {"free-1": CLUSTER}}).platform
FAILURE = Failure(step="thin out", object=ARCHIVE, reason="no", status=403)


def a_record(ref="acme", *, phase="Ready", archive=""):
    """Of a project; with `archive` its life began, or is to begin, with a restore from that."""
    life = Restored(
        number=2, archive=archive, incarnation="i", engine="wal-g", backup="b", target=LATEST, value="", last_segment=""
    )
    item = {
        "metadata": {
            "name": ref,
            "namespace": "supalove-system",
            "uid": "u",
            "generation": 1,
            "annotations": {LIFE_ANNOTATION: str(life)} if archive else {},
        },
        "spec": {},
        "status": {"uid": UID, "placement": "dedicated", "phase": phase},
    }
    return {ref: _record(item)}


def chosen(names, known=None, **choice):
    held = dict(sources_of(known or {}))
    found = choose(Choice(**choice), set(names), known or {}, PLATFORM, held)
    return [(one.name, one.owner, one.held) for one in found]


def test_all_archives_are_chosen_those_of_projects_that_are_gone_too_and_no_other_folder():
    assert chosen([f"p-{UID}", "p-gone", "s-free-1", "notes", "P-x"], a_record()) == [
        (f"p-{UID}", "project acme", ""),
        ("p-gone", "", ""),
        ("s-free-1", "shared cluster free-1", ""),
    ]


def test_named_projects_and_clusters_are_chosen_and_nothing_else():
    names = [f"p-{UID}", "p-gone", "s-free-1"]
    assert [one[0] for one in chosen(names, a_record(), refs=("acme",))] == [f"p-{UID}"]
    assert [one[0] for one in chosen(names, a_record(), clusters=("free-1",))] == ["s-free-1"]
    assert chosen(names, a_record(), refs=()) == []


def test_every_unknown_name_is_told_with_those_that_there_are():
    with pytest.raises(InvalidSpec) as caught:
        chosen([], a_record(), refs=("acne", "acme"), clusters=("free",))
    assert [(one.path, one.value, one.allowed) for one in caught.value.problems] == [
        ("refs", "acne", "refs of projects that the platform has: acme"),
        ("clusters", "free", "shared clusters of the platform: free-1"),
    ]


@pytest.mark.parametrize(("phase", "held"), [("Ready", False), ("Stopped", False), ("Progressing", True)])
def test_an_archive_is_held_while_a_project_is_restored_from_it(phase, held):
    (found,) = chosen(["p-source"], a_record(phase=phase, archive="p-source"))
    assert found == ("p-source", "", "acme is being restored from it" if held else "")


def test_the_clock_that_is_behind_counts():
    assert earlier(at(2), at(1)) == at(1)
    assert earlier(at(1), at(2)) == at(1)
    assert earlier(at(1), None) == at(1)


def verdicts(going, staying=1):
    return tuple(
        Verdict(
            incarnation="i",
            backup=f"b{number:04}",
            choice=Fate.REMOVE if number < going else Fate.KEEP,
            reason="it finished before the window, and base_000000010000000000000002 is newer",
        )
        for number in range(going + staying)
    )


def a_plan(found=(), problems=()):
    return RetentionPlan(archive=ARCHIVE, window_start=START, verdicts=found, removals=(), problems=problems)


@pytest.mark.parametrize(("going", "staying", "limit"), [(1, 1, 50), (3, 1, 75), (0, 0, 0), (0, 4, 0)])
def test_as_many_backups_as_the_limit_says_may_go(going, staying, limit):
    refuse_mass_removal(a_plan(verdicts(going, staying)), limit)


def test_more_backups_than_the_limit_stop_with_figures_and_what_lifts_it():
    with pytest.raises(SafetyStop, match=r"2 of 3 backups would go, which is more than 50 %.*removal_limit_percent"):
        refuse_mass_removal(a_plan(verdicts(2, 1)), 50)


def test_no_limit_lets_all_backups_go():
    with pytest.raises(SafetyStop, match="all 2 backups would go"):
        refuse_mass_removal(a_plan(verdicts(2, 0)), 100)


def an_outcome(name=ARCHIVE, *, going=0, removed=0, **rest):
    found = verdicts(going)
    gone = frozenset((one.incarnation, one.backup) for one in found[:removed])
    keys = frozenset(one.backup for one in found[:removed])
    return Outcome(archive=Archive(name=name), **{"plan": a_plan(found), "gone": gone, "keys": keys, **rest})


def shown(*outcomes, show_diff=False, choice=None, **rest):
    return result_of(Report(choice=choice or Choice(), outcomes=outcomes, **rest), show_diff=show_diff)


def test_archives_from_which_nothing_went_are_only_counted_unless_they_were_named():
    outcomes = [an_outcome("p-a"), an_outcome("p-b", going=1, removed=1)]
    assert [one["archive"] for one in shown(*outcomes)["archives"]] == ["p-b"]
    named = shown(*outcomes, choice=Choice(refs=("a", "b")))
    assert [one["archive"] for one in named["archives"]] == ["p-b", "p-a"]
    assert named["counts"] == {"failed": 0, "held": 0, "changed": 1, "unchanged": 1}


def test_each_backup_has_its_fate_and_reason_and_those_that_were_to_go_come_first():
    (one,) = shown(an_outcome(going=2, removed=1, failure=FAILURE))["archives"]
    assert [backup["fate"] for backup in one["backups"]] == ["removed", "left", "kept"]
    assert one["backups"][0]["reason"].startswith("it finished before the window")
    assert one["failure"] == {"step": "thin out", "object": ARCHIVE, "reason": "no", "status": 403}


def test_what_was_removed_before_a_failure_is_a_change():
    result = shown(an_outcome(going=2, removed=1, failure=FAILURE))
    assert (result["changed"], result["failed"]) == (True, True)
    assert result["totals"]["backups_removed"] == 1
    assert result["msg"].splitlines() == [
        "1 of 1 archives are not as they should be:",
        "  - p-abc (its project is gone): thin out p-abc: no (HTTP 403)",
    ]


def test_an_archive_that_cannot_be_read_fails_the_task_with_the_reason():
    result = shown(an_outcome(plan=a_plan(problems=("i/x: it is no JSON", "i/y: nor is this"))), an_outcome("p-b"))
    assert result["counts"]["failed"] == 1
    assert "what cannot be read is kept whole: i/x: it is no JSON (and 1 more)" in result["msg"]


def test_an_archive_that_is_held_is_no_failure():
    held = Outcome(archive=Archive(name="p-a", owner="project acme", held="acme is being restored from it"))
    result = shown(held, show_diff=True)
    assert "failed" not in result
    assert result["archives"][0]["held"] == "acme is being restored from it"
    assert "  held: acme is being restored from it\n" in result["diff"][0]["prepared"]


def test_what_went_wrong_beside_the_archives_fails_the_task():
    result = shown(an_outcome(), failure=Failure(step="list uploads of", object="it", reason="no", status=501))
    assert result["msg"].endswith("  - list uploads of it: no (HTTP 501)")


def test_a_diff_shows_every_backup_with_its_reason():
    (diff,) = shown(an_outcome(going=1, removed=1, freed=7), show_diff=True)["diff"]
    reason = "it finished before the window, and base_000000010000000000000002 is newer"
    assert diff["prepared"].splitlines() == [
        "p-abc (its project is gone): 1 of 2 backups go, 1 objects with 7 bytes, 0 uploads",
        f"- removed i/b0000: {reason}",
        f"  kept i/b0001: {reason}",
    ]


def test_a_result_of_a_thousand_archives_stays_small_and_its_sums_are_whole():
    result = shown(*(an_outcome(f"p-{n:04}", going=30, removed=30) for n in range(1000)), show_diff=True)
    assert (len(result["archives"]), result["archives_left_out"]) == (100, 900)
    assert result["totals"]["backups_removed"] == 30_000
    assert result["archives"][0]["backups_left_out"] == 21
    assert result["diff"][0]["prepared"].endswith("  and 21 more backups\n")
    assert len(json.dumps(result)) < 500_000


def test_bytes_are_those_of_wal_and_of_whole_backups():
    life = Life().segments(range(1, 20))
    for number in (2, 7, 16):
        life.backup(number, number)
    found = catalogs(life)
    plan = plan_retention(found, window=7 * HOUR, now=at(20))
    keys = frozenset(plan.keys)
    went = sum(len(life.objects[key][0]) for key in keys)
    assert bytes_of(found, keys) == went > 0
    marker = plan.removals[0].markers[0][0]
    assert bytes_of(found, frozenset({marker})) == 0
    assert gone_of(found, keys) == {(life.id, found[0].backups[0].name)}


def test_the_options_become_rules_and_a_choice():
    params = {"refs": ["acme"], "clusters": None, "removal_limit_percent": 70}
    assert _specs.archive_choice_from(params) == Choice(refs=("acme",))
    rules = _specs.rules_from(params, Platform(recovery_window_days=3))
    assert rules == Rules(window=timedelta(days=3), removal_limit_percent=70)
    assert not _specs.archive_choice_from({"refs": [], "clusters": None}).is_all


def test_a_platform_without_an_object_store_is_told_which_key_it_lacks():
    module = SimpleNamespace(params={"object_store_credentials_file": None})
    with pytest.raises(InvalidSpec, match=r"supalove_platform\.object_store_endpoint"):
        _ansible.archive_store_of(module, Platform(), None).__enter__()
