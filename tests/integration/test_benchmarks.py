# SPDX-License-Identifier: GPL-3.0-or-later
"""A small run of the benchmarks, so that they work on the day on which somebody needs a figure.

All but the case pods, which is for the lab.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDERS = ("tests/integration", "tests")
CASES = "create,unchanged,others,growth,databases"
# Nobody looks at the figures, so the lab's hosts may run.
SMALL = ["--projects=20", "--in-flight=16", "--growth=5,10", "--rounds=1", "--no-rivals", "--beside-lab"]
SMALL_ARCHIVES = [
    *("--archive-rounds=1", "--load-seconds=2", "--load-scale=1", "--quiet-periods=0", "--backup-mib=8"),
    *("--shared-databases=3", "--database-mib=2", "--replayed-segments=1"),
    *("--archives=14", "--distinct-archives=7", "--segments-a-day=24", "--stored-a-day=4", "--beside-lab"),
]


# Traefik's share of requests is 100 a second for each project, 200 at once.
SMALL_GATEWAY = ["--projects=5", "--rounds=1", "--requests=200", "--beside-lab"]


def run(file: Path, *options: str) -> tuple[dict[str, Any], str]:
    """The figures of each case, and what was said."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *options, f"--report={file}"],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([os.environ["SUPALOVE_COLLECTIONS"], *FOLDERS])},
        check=False,
        timeout=900,  # the first time, kwok is built
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(file.read_text())["figures"], done.stdout


def test_a_small_run_of_all_cases_changes_nothing_twice_and_exactly_what_is_needed(tmp_path):
    figures, said = run(tmp_path / "figures.json", f"--cases={CASES}", *SMALL)
    assert figures["create"]["engine"][0]["objects"] == figures["create"]["floor"]["16"]["create"]["created"]
    assert "| 2. unchanged: writes | 0 | at most 0 | yes |" in said
    assert "| 3. one project changed: writes too many or too few | 0 | at most 0 | yes |" in said
    assert figures["unchanged"]["created"]["counts"]["changed"] == 20
    (engine,) = figures["databases"]["engine"]
    assert (engine["counts"]["changed"], engine["sql_seconds"] < engine["seconds"]) == (20, True)
    assert "| the same statements in one psql |" in said


def test_a_small_run_leads_to_projects_through_the_gateway_with_and_without_a_key(tmp_path):
    figures, said = run(tmp_path / "figures.json", "--cases=gateway", *SMALL_GATEWAY)
    found = figures["gateway"]
    assert [len(turns) for turns in (*found["turns"].values(), *found["unchecked_turns"].values())] == [1] * 5
    assert (len(found["later"]), len(found["route"])) == (3, 3)
    assert "**The verifier's cost**" in said


@pytest.mark.long
def test_a_small_run_restores_one_database_and_removes_of_archives_what_the_engines_do(tmp_path):
    figures, said = run(tmp_path / "figures.json", "--cases=one_database,retention", *SMALL_ARCHIVES)
    found = figures["one_database"]
    assert (found["databases"], found["engine"].keys() - found["by_hand"].keys()) == (3, {"dump"})
    for stored in figures["retention"]["stored"].values():
        assert stored["ours"]["removed"] == stored["theirs"]["removed"] > 0
    assert figures["retention"]["planned"]["wal-g"]["backups"] > 14 * 9
    assert "| **all** |" in said


@pytest.mark.long
def test_a_small_run_archives_under_load_and_restores_backups_of_both_engines(tmp_path):
    figures, said = run(tmp_path / "figures.json", "--cases=lag,backups", *SMALL_ARCHIVES, "--quiet-periods=2")
    assert figures["lag"]["full"].keys() == {"none", "wal-g", "barman-cloud", "by hand"}
    assert all(one["tps"] > 0 for (one,) in figures["lag"]["full"].values())
    assert all(one["lags"] for one in figures["lag"]["quiet"].values())
    assert figures["backups"]["answers"].keys() == figures["backups"]["stored"].keys() == {"wal-g", "barman-cloud"}
    assert "| pg_basebackup |" in said
