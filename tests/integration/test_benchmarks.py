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

CHECKOUT = Path(__file__).resolve().parents[2]
CASES = "create,unchanged,others,growth,databases"
# Nobody looks at the figures, so the lab's hosts may run.
SMALL = ["--projects=20", "--in-flight=16", "--growth=5,10", "--rounds=1", "--no-rivals", "--beside-lab"]


def test_a_small_run_of_all_cases_changes_nothing_twice_and_exactly_what_is_needed(tmp_path):
    file = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", f"--cases={CASES}", *SMALL, f"--report={file}"],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([os.environ["SUPALOVE_COLLECTIONS"], "tests/integration"])},
        check=False,
        timeout=900,  # the first time, kwok is built
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(file.read_text())["figures"]
    assert figures["create"]["engine"][0]["objects"] == figures["create"]["floor"]["16"]["create"]["created"]
    assert "| 2. unchanged: writes | 0 | at most 0 | yes |" in done.stdout
    assert "| 3. one project changed: writes too many or too few | 0 | at most 0 | yes |" in done.stdout
    assert figures["unchanged"]["created"]["counts"]["changed"] == 20
    (engine,) = figures["databases"]["engine"]
    assert (engine["counts"]["changed"], engine["sql_seconds"] < engine["seconds"]) == (20, True)
    assert "| the same statements in one psql |" in done.stdout
