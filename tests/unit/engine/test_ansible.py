# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run looks like as the result of a task."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from ansible_collections.supalove.platform.plugins.module_utils import _ansible, _results
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.plan import plan_objects
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import InvalidSpec
from ansible_collections.supalove.platform.plugins.module_utils._engine.observed import NOTHING
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Platform
from ansible_collections.supalove.platform.plugins.module_utils._engine.settings import Settings
from ansible_collections.supalove.platform.plugins.module_utils._engine.steps import (
    Failure,
    Outcome,
    Plan,
    Report,
    Result,
)
from builders import objects_of

STEPS = plan_objects(objects_of(), NOTHING).steps
FAILURE = Failure(step="create", object="Namespace/p-b", reason="no", status=403)


def outcomes(result, count, **rest):
    return tuple(Outcome(ref=f"{result}{n:04}", uid="u", result=result, **rest) for n in range(count))


def result_of(*parts, show_diff=False):
    return _results.result_of(Report(outcomes=tuple(one for part in parts for one in part)), show_diff=show_diff)


def test_unchanged_projects_are_only_counted():
    result = result_of(outcomes(Result.UNCHANGED, 998), outcomes(Result.CHANGED, 2, steps=STEPS[:1]))
    assert result["counts"] == {"changed": 2, "unchanged": 998, "waiting": 0, "held": 0, "failed": 0}
    assert [one["ref"] for one in result["outcomes"]] == ["changed0000", "changed0001"]
    assert result["changed"] is True
    assert "failed" not in result


def test_failures_come_first_when_not_all_fit():
    result = result_of(outcomes(Result.CHANGED, 150, steps=STEPS[:1]), outcomes(Result.FAILED, 3, failure=FAILURE))
    assert [one["result"] for one in result["outcomes"][:4]] == ["failed"] * 3 + ["changed"]
    assert (len(result["outcomes"]), result["outcomes_left_out"]) == (100, 53)


def test_a_failed_task_says_how_many_and_the_first_ones_why():
    result = result_of(outcomes(Result.FAILED, 7, failure=FAILURE), outcomes(Result.UNCHANGED, 3))
    assert result["failed"] is True
    assert result["msg"].splitlines()[:2] == [
        "7 of 10 are not as they should be:",
        "  - failed0000: create Namespace/p-b: no (HTTP 403)",
    ]
    assert result["msg"].endswith("- and 2 more")


def test_a_project_that_waits_says_for_what():
    result = result_of(outcomes(Result.WAITING, 1, waiting_for=("Deployment/p-a/pooler: 0 of 1 pods are ready",)))
    assert "waiting0000: not ready in time: Deployment/p-a/pooler: 0 of 1 pods are ready" in result["msg"]


def test_what_failed_half_way_still_shows_what_was_done():
    result = result_of(outcomes(Result.FAILED, 1, failure=FAILURE, steps=STEPS[:2]))
    assert result["changed"] is True
    assert len(result["outcomes"][0]["steps"]) == 2


def test_a_diff_shows_objects_and_why_and_ends_somewhere():
    shown = _results.diff_of(Plan(steps=STEPS * 20))
    assert shown[0]["after_header"] == "Namespace/p-acme (create: it does not exist)"
    assert shown[-1]["prepared"] == f"and {len(STEPS) * 20 - 200} more changes\n"


def test_a_result_without_diff_mode_has_none():
    assert "diff" not in result_of(outcomes(Result.CHANGED, 1, steps=STEPS))


def test_a_result_of_a_thousand_changes_stays_small():
    result = result_of(outcomes(Result.CHANGED, 1000, steps=STEPS))
    assert len(json.dumps(result)) < 300_000


@pytest.mark.parametrize("place", ["gone.pem", "."])
def test_a_ca_file_that_is_none_is_refused_by_its_option_and_no_traceback(tmp_path, place):
    login = tmp_path / "login.json"
    login.write_text('{"role_id": "a", "secret_id": "b"}')
    ca_file = str(tmp_path / place)
    module = SimpleNamespace(params={"vault_ca_file": ca_file, "vault_credentials_file": str(login)})
    platform = Platform(vault_address="https://vault.example.org:8200")
    with pytest.raises(InvalidSpec) as caught:
        _ansible._store(module, platform, Settings())
    (problem,) = caught.value.problems
    assert (problem.path, problem.value) == ("vault_ca_file", ca_file)
    assert problem.allowed.startswith("a readable file")
