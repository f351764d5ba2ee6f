# SPDX-License-Identifier: GPL-3.0-or-later
"""What answers say of a service, and when what is down may be restarted."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from ansible_collections.supalove.platform.plugins.module_utils import _health, _results
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.gateway.client import Target
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import InvalidSpec
from ansible_collections.supalove.platform.plugins.module_utils._engine.healing import _standing
from ansible_collections.supalove.platform.plugins.module_utils._engine.health import Checked, HealthReport
from ansible_collections.supalove.platform.plugins.module_utils._engine.objects import ObjectId
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.placement import Placement
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.gateway_pods import PUBLIC_PORTS
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.traefik import WEBSECURE
from ansible_collections.supalove.platform.plugins.module_utils._engine.restarts import (
    LONGEST_ROW,
    Behind,
    Due,
    Restarts,
    Rules,
    cause_of,
    culprits,
    held_back,
    unmoved,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.service_health import (
    Fault,
    Finding,
    Probe,
    State,
    code_in,
    finding_of,
    why_of,
    worst,
)

NOW = datetime(2026, 11, 26, 14, tzinfo=UTC)
SERVER = ObjectId(kind="StatefulSet", namespace="s-free-1", name="postgresql")


def minutes(count):
    return timedelta(minutes=count)


@pytest.mark.parametrize(
    ("probe", "state", "said"),
    [
        (Probe(status=200), State.UP, ""),
        (Probe(status=429), State.LIMITED, "share of requests"),
        (Probe(status=401), State.DEGRADED, "key is refused"),
        (Probe(status=403), State.DEGRADED, "key is refused"),
        (Probe(status=404), State.DEGRADED, "no route"),
        (Probe(status=404, code="PGRST126"), State.DEGRADED, "answers 404 (PGRST126)"),
        (Probe(status=301), State.DEGRADED, "answers 301"),
        (Probe(status=500), State.DEGRADED, "verifier"),
        (Probe(status=502), State.DOWN, "answers 502"),
        (Probe(status=503, code="PGRST002"), State.DOWN, "answers 503 (PGRST002)"),
        (Probe(status=504), State.DOWN, "answers 504"),
        (Probe(fault=Fault.SILENT, reason="gives no answer in 10 s"), State.DOWN, "no answer in 10 s"),
        (Probe(fault=Fault.SILENT, reason="silence", gateway_answers=False), State.UNREACHABLE, "gateway"),
        (Probe(fault=Fault.CONNECT, reason="connection refused"), State.UNREACHABLE, "connection refused"),
        (Probe(fault=Fault.TLS, reason="self-signed certificate"), State.UNREACHABLE, "self-signed"),
        (Probe(fault=Fault.CUT, reason="it ended the connection"), State.UNREACHABLE, "ended"),
    ],
)
def test_each_class_of_answers_has_its_state_and_its_reason(probe, state, said):
    found = finding_of(probe)
    assert found.state is state
    assert said in found.why


def test_a_project_is_as_well_as_the_worst_of_its_parts_and_says_which():
    parts = {"rest": Finding(state=State.DOWN, why="answers 503"), "auth": Finding(state=State.UP)}
    assert worst(one.state for one in parts.values()) is State.DOWN
    assert why_of(parts) == "rest answers 503"
    assert worst([State.LIMITED, State.UP]) is State.LIMITED


@pytest.mark.parametrize(
    ("said", "code"),
    [({"code": "PGRST002"}, "PGRST002"), ({"code": "no secret=x"}, ""), ({"code": 3}, ""), ([], ""), (None, "")],
)
def test_of_an_answer_only_what_looks_like_a_code_is_shown(said, code):
    assert code_in(said) == code


def test_waits_double_up_to_an_hour():
    rules, found, waits = Rules(most_a_day=100), Restarts(), []
    for _time in range(9):
        found = found.and_one(NOW, up_for=None, why="rest answers 503")
        waits.append(next(one for one in range(121) if not found.why_not(NOW + minutes(one), up_for=None, rules=rules)))
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_the_first_restart_waits_for_nothing_and_the_second_says_until_when():
    assert Restarts().why_not(NOW, up_for=None, rules=Rules()) == ""
    once = Restarts().and_one(NOW, up_for=None, why="rest answers 503")
    said = once.why_not(NOW + timedelta(seconds=59), up_for=None, rules=Rules())
    assert said == "it was restarted at 14:00:00 UTC, and is not again before 14:01:00 UTC"


@pytest.mark.parametrize(("up_for", "is_new"), [(None, False), (minutes(14), False), (minutes(15), True)])
def test_the_wait_begins_anew_once_it_was_up_for_long(up_for, is_new):
    found = Restarts(row=4, times=(NOW - minutes(2),))
    assert (found.why_not(NOW, up_for=up_for, rules=Rules()) == "") is is_new
    assert found.and_one(NOW, up_for=up_for, why="").row == (1 if is_new else 5)


def test_after_the_days_restarts_it_is_only_told_until_a_day_has_passed():
    found = Restarts(row=1, times=tuple(NOW - minutes(60 * hours) for hours in (23, 20, 15, 10, 5)))
    said = found.why_not(NOW, up_for=minutes(60), rules=Rules(most_a_day=5))
    assert "5 times in 24 hours" in said
    assert found.why_not(NOW + minutes(61), up_for=minutes(60), rules=Rules(most_a_day=5)) == ""
    assert len(found.and_one(NOW + minutes(61), up_for=None, why="").times) == 5


def test_what_is_noted_is_read_again_and_what_is_none_is_nothing():
    found = Restarts().and_one(NOW, up_for=None, why="rest answers 503" * 100)
    assert Restarts.from_text(str(found)) == found
    assert len(found.why) == 200
    for text in ("", "{}", "[]", '{"row": 1, "times": ["2026-11-26T14:00:00"], "why": ""}'):
        assert Restarts.from_text(text) == Restarts()


def test_a_part_that_stays_down_for_weeks_waits_an_hour_each_time_and_no_note_is_too_large():
    found, rules = Restarts(), Rules(most_a_day=100)
    for hour in range(24 * 60):
        now = NOW + minutes(60 * hour)
        assert found.why_not(now, up_for=None, rules=rules) == ""
        found = found.and_one(now, up_for=None, why="rest answers 503")
    assert found.why_not(now + minutes(59), up_for=None, rules=rules)
    assert found.row == LONGEST_ROW
    assert len(found.times) == 24
    assert Restarts(row=10**6, times=(NOW,)).why_not(NOW, up_for=None, rules=rules)


@pytest.mark.parametrize("row", ["1000000", "-5", "1e400", "1e300"])
def test_a_row_that_nobody_can_have_noted_is_brought_into_bounds(row):
    found = Restarts.from_text(f'{{"row": {row}, "times": ["2026-11-26T14:00:00+00:00"], "why": "{"w" * 999}"}}')
    assert 0 <= found.row <= LONGEST_ROW
    assert len(found.why) <= 200
    found.why_not(NOW, up_for=None, rules=Rules())


def test_a_time_that_is_far_ahead_holds_nothing_up():
    found = Restarts(row=3, times=(datetime.max.replace(tzinfo=UTC),))
    assert found.why_not(NOW, up_for=None, rules=Rules(most_a_day=1)) == ""
    assert found.and_one(NOW, up_for=None, why="").times == (NOW,)


def server(replicas=1, ready=1):
    counts = {"replicas": replicas, "updatedReplicas": replicas, "readyReplicas": ready, "observedGeneration": 1}
    return {"kind": "StatefulSet", "metadata": {"generation": 1}, "spec": {"replicas": replicas}, "status": counts}


def deployment(replicas=1, updated=1, available=0, total=1, seen=1):
    counts = {"replicas": total, "updatedReplicas": updated, "availableReplicas": available}
    status = {**counts, "observedGeneration": seen}
    return {"kind": "Deployment", "metadata": {"generation": 1}, "spec": {"replicas": replicas}, "status": status}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (server(), ""),
        (None, "StatefulSet/s-free-1/postgresql does not exist"),
        (server(ready=0), "0 of 1 pods are ready"),
        (server(replicas=0, ready=0), "it is stopped"),
    ],
)
def test_a_database_that_is_not_ready_is_the_cause(body, said):
    found = cause_of(Behind(server_id=SERVER, server=body, pooler=None))
    assert said in found
    assert bool(found) is bool(said)


def test_a_pooler_of_which_nothing_is_ready_is_restarted_in_the_place_of_services():
    down = ("auth", "rest")
    behind = [
        Behind(server_id=SERVER, server=server(), pooler=one)
        for one in (deployment(), deployment(available=1), deployment(replicas=0), None)
    ]
    assert [culprits(down, one, pooler="pooler") for one in behind] == [("pooler",), down, down, down]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (deployment(), ""),
        (deployment(available=1), ""),
        (None, "does not exist"),
        (deployment(replicas=0, updated=0, total=0), "stopped"),
        (deployment(total=2), "1 pods of the old version still run"),
        (deployment(updated=0), "0 of 1 pods are of the new version"),
        (deployment(seen=0), "the controller has not seen it yet"),
    ],
)
def test_a_deployment_that_is_being_replaced_already_is_left_alone(body, said):
    found = unmoved(body)
    assert said in found
    assert bool(found) is bool(said)


def fresh(count):
    return [Due(ref=f"new{number}", part="rest") for number in range(count)]


def standing(count, **rest):
    return [Due(ref=f"old{number:02}", part="rest", **{"since": f"{number:02}", **rest}) for number in range(count)]


def restarted(due, limit):
    held = held_back(due, Rules(at_once=limit))
    return {one.ref for one in due if (one.ref, one.part) not in held}


def test_what_goes_down_with_more_than_the_limit_is_not_restarted_at_all():
    due = [Due(ref="acme", part="rest"), Due(ref="beta", part="auth"), Due(ref="beta", part="rest")]
    assert held_back(due, Rules(at_once=3)) == {}
    held = held_back(due, Rules(at_once=2))
    assert held.keys() == {("acme", "rest"), ("beta", "auth"), ("beta", "rest")}
    assert "3 parts of 2 projects went down at once" in held["acme", "rest"]


def test_what_was_down_before_keeps_nobody_from_being_restarted():
    assert restarted([*standing(30), *fresh(1)], 10) == {"new0", *(f"old0{number}" for number in range(9))}
    assert restarted([*standing(30), *fresh(11)], 10) == {f"old0{number}" for number in range(10)}
    assert restarted([*standing(30), *fresh(10)], 10) == {f"new{number}" for number in range(10)}
    assert restarted([*standing(2), *fresh(1)], 0) == set()


def test_of_many_that_stay_down_each_has_its_turn():
    last, rounds = {}, []
    for run in range(4):
        due = [replace(one, last=last.get(one.ref)) for one in standing(25)]
        rounds.append(restarted(due, 10))
        last |= dict.fromkeys(rounds[-1], NOW + minutes(5 * run))
    assert [len(one) for one in rounds] == [10] * 4
    assert set.union(*rounds[:3]) == {one.ref for one in standing(25)}


def record(phase="Ready", move=None, unreadable=""):
    placed = SimpleNamespace(placement=Placement(move=move))
    return SimpleNamespace(status=SimpleNamespace(phase=phase), placed=placed, unreadable=unreadable)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (record(), ""),
        (record("Waiting"), ""),
        (record("Applying"), "it is Applying"),
        (record("Failed"), "it is Failed"),
        (record("Stopped"), "it is Stopped"),
        (record(move=object()), "being moved"),
        (record(unreadable="supalove.cloud/life"), "newer release"),
        (None, "gone"),
    ],
)
def test_a_project_with_which_something_else_is_done_is_left_alone(found, said):
    assert said in _standing(found)
    assert bool(_standing(found)) is bool(said)


def test_the_task_fails_with_what_is_wrong_and_not_for_what_is_limited_or_stopped():
    well = (
        Checked(ref="a", state=State.UP),
        Checked(ref="b", state=State.LIMITED, why="rest answers 429"),
        Checked(ref="c", skipped="it is stopped"),
    )
    assert "failed" not in _results.health_result_of(HealthReport(checked=well))
    down = Checked(ref="d", state=State.DOWN, parts={"rest": Finding(state=State.DOWN)}, why="rest answers 503")
    result = _results.health_result_of(HealthReport(checked=(*well, down, Checked(ref="e", error="no key"))))
    assert [one["ref"] for one in result["projects"]] == ["d", "e", "b", "a", "c"]
    assert result["msg"].splitlines() == [
        "2 of 5 are not as their clients need them:",
        "  - d: rest answers 503",
        "  - e: no key",
    ]
    assert result["counts"] == {
        "down": 1,
        "degraded": 0,
        "unreachable": 0,
        "unknown": 1,
        "limited": 1,
        "up": 1,
        "skipped": 1,
        "restarted": 0,
    }


def test_what_was_restarted_and_is_up_is_shown_before_what_was_up_and_fails_nothing():
    checked = (Checked(ref="a", state=State.UP), Checked(ref="b", state=State.UP, restarted=("rest",)))
    result = _results.health_result_of(HealthReport(checked=checked, changed=True))
    assert [one["ref"] for one in result["projects"]] == ["b", "a"]
    assert (result["counts"]["restarted"], result["changed"], "failed" in result) == (1, True, False)


def test_the_gateway_is_asked_where_it_serves_clients():
    assert Target().port == PUBLIC_PORTS[WEBSECURE]


def test_a_file_of_certificates_that_is_none_is_refused_by_its_option(tmp_path):
    params = {"gateway_address": None, "gateway_port": 443, "answer_seconds": 10, "ca_file": str(tmp_path / "gone")}
    with pytest.raises(InvalidSpec) as caught:
        _health.target_from(params)
    assert caught.value.problems[0].path == "ca_file"
