# SPDX-License-Identifier: GPL-3.0-or-later
"""What the page makes of figures: a goal is met or not, and a case that did not run says nothing."""

from __future__ import annotations

import json

import pytest

from benchmarks import report, workload

MIB = 2**20


def one(seconds, **rest):
    costs = {"cpu_seconds": 1.0, "server_cpu_seconds": 2.0, "load": 0.5, "memory_bytes": 100 * MIB}
    counts = {"requests": {"reads": 11, "writes": 0}, "statements": {"reads": 5, "writes": 0}}
    return {"seconds": seconds, "import_seconds": 0.5, **costs, **counts, **rest}


def a_run(**figures):
    options = {"projects": 10, "in_flight": [8], "growth": [], "list_projects": 2, "loop_objects": 2}
    options |= {"rounds": 3, "controllers": True, "rivals": True}
    machine = {"date": "today"}
    return {"machine": machine, "options": options, "figures": figures, "minutes": 1.0, "load_after": [0.1, 0.2, 0.3]}


def creation(engine_seconds):
    floor = {"create": one(10.0, requests=150, created=140), "unchanged": one(10.0, requests=150, created=0)}
    return {"engine": [one(99.0, objects=140), one(engine_seconds, objects=140)], "floor": {"8": floor}}


def rerun(metadata=1.0, full=1.0, playbook=2.0, writes=0, changed=9):
    return {
        "created": one(20.0, objects=140),
        "lists": {"1": [one(0.6)], "4": [one(0.5), one(0.9)]},
        "metadata": [one(metadata, requests={"reads": 11, "writes": writes})],
        "full": [one(full)],
        "playbook_metadata": one(playbook),
        "playbook_full": one(playbook),
        "change": one(1.0, requests={"reads": 22, "writes": changed}, needed=5),
    }


def others(best):
    return {"kubectl": one(best), "list": one(200.0)}


def verdicts(run):
    """Every goal of the page: its words, and whether it was met."""
    rows = [
        line.split(" | ")
        for line in report.document(run).splitlines()
        if line.startswith(("| 1.", "| 2.", "| 3.", "| 4."))
    ]
    return {row[0].removeprefix("| "): row[-1].removesuffix(" |") == "yes" for row in rows}


@pytest.mark.parametrize(
    ("figures", "goal", "met"),
    [
        ({"create": creation(11.7)}, "1. create all", True),
        ({"create": creation(11.8)}, "1. create all", False),
        ({"unchanged": rerun(metadata=1.0)}, "2. unchanged, `metadata`: time", True),
        ({"unchanged": rerun(metadata=1.1)}, "2. unchanged, `metadata`: time", False),
        ({"unchanged": rerun(writes=1)}, "2. unchanged: writes", False),
        ({"unchanged": rerun(), "others": others(100.0)}, "2. unchanged, `metadata`, whole", True),
        ({"unchanged": rerun(), "others": others(99.0)}, "2. unchanged, `metadata`, whole", False),
        ({"unchanged": rerun(full=11.0), "create": creation(11.0)}, "2. unchanged, `full`", True),
        ({"unchanged": rerun(full=11.1), "create": creation(11.0)}, "2. unchanged, `full`", False),
        ({"unchanged": rerun(changed=9)}, "3. one project", True),
        ({"unchanged": rerun(changed=10)}, "3. one project", False),
        ({"unchanged": rerun(changed=8)}, "3. one project", False),
    ],
)  # fmt: skip
def test_a_goal_is_met_up_to_its_bound_and_not_beyond(figures, goal, met):
    (found,) = [verdict for text, verdict in verdicts(a_run(**figures)).items() if text.startswith(goal)]
    assert found is met


@pytest.mark.parametrize(("seconds", "memory", "met"), [(33.0, 400, True), (33.1, 400, False), (33.0, 401, False)])
def test_growth_is_judged_by_time_and_memory(seconds, memory, met):
    small = {"create": one(10.0), "unchanged": one(1.0, memory_bytes=memory * MIB)}
    small |= {"weight": {"api_server_bytes": MIB, "etcd_bytes": MIB}}
    run = a_run(growth={"1000": small, "3000": {**small, "create": one(seconds), "unchanged": one(3.0)}})
    assert all(verdicts(run).values()) is met


def test_a_case_that_did_not_run_has_no_goal_and_no_table():
    assert verdicts(a_run()) == {}
    assert "## 4." not in report.document(a_run(create=creation(11.0)))


def a_round(seconds, client_asks, **more):
    moments = {"client asks": client_asks, "pooler ready": 4.0, "first SQL": seconds, **more}
    return {"seconds": seconds, "moments": moments, "import_seconds": 0.5, "sql_seconds": 0.3}


def table(run, section, head):
    """The rows of one table by their first cell."""
    text = report.document(run).partition(f"## {section}.")[2].partition("\n## ")[0].partition(head)[2]
    rows = [line.strip("| ").split(" | ") for line in text.partition("\n\n")[0].splitlines()[2:]]
    return {row[0]: row[1:] for row in rows}


def test_real_pods_have_a_median_for_each_tier_and_each_moment_that_they_know():
    free = [a_round(seconds, 3.0) for seconds in (5.0, 4.5, 9.0)]
    pro = [a_round(seconds, 4.5, **{"database ready": seconds / 2}) for seconds in (8.0, 12.0, 10.0)]
    run = a_run(pods={"free": free, "pro": pro})
    assert table(run, 5, "| tier ") == {"free": ["5.0", "4.5", "9.0"], "pro": ["10.0", "8.0", "12.0"]}
    moments = table(run, 5, "| moment ")
    assert moments["**client: first SQL answered**"] == ["5.00", "10.00"]
    assert moments["database's pod: ready"] == ["", "5.00"]
    assert "In\n3 of 6 rounds it asked before the pooler was ready" in report.document(run)


def test_databases_are_counted_by_the_second_of_the_best_run():
    engine = [one(seconds, sql_seconds=seconds / 2, statements={"reads": 30, "writes": 70}) for seconds in (8.0, 4.0)]
    plain = [{"seconds": seconds, "load": 0.5} for seconds in (2.0, 3.0)]
    found = {"count": 10, "postgresql": "17.1", "engine": engine, "loop": plain, "session": [{"seconds": 1.0}]}
    rows = table(a_run(databases=found), 6, "| what ")
    assert [cells[0] for cells in rows.values()] == ["2.5", "5.0", "5.0", "10.0"]
    assert "its steps on PostgreSQL, 10 statements each" in rows


def test_one_of_five_projects_is_in_tier_pro():
    tiers = [spec["tier"] for spec in workload.projects(1000).values()]
    assert (tiers.count("pro"), tiers.count("free")) == (200, 800)


def test_the_floor_gets_every_object_and_status_once_namespaces_first_and_statuses_last(tmp_path):
    count = workload.write_sends(workload.projects(2), tmp_path / "sends", tmp_path / "repeated")
    lines = (tmp_path / "sends").read_text().splitlines()
    assert len(set(lines)) == len(lines) == count
    stages = [(send["stage"], send["path"].partition("?")[0]) for send in map(json.loads, lines)]
    assert [path for stage, path in stages if stage == 0] == [
        "/api/v1/namespaces/p-t0000",
        "/api/v1/namespaces/p-t0001",
    ]
    last = [path.rpartition("supaloveprojects/")[2] for stage, path in stages if stage == 2]
    assert last == ["t0000/status", "t0001/status"]
    # What is on a shared cluster is not the API server's.
    assert count == len(list(workload.bodies_of(tmp_path / "sends"))) + 2
