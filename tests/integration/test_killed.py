# SPDX-License-Identifier: GPL-3.0-or-later
"""A run as a process, ended by a signal at a random write: one more run leads to where an undisturbed one does."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fix_fifty import WITH_SHARED, a_platform_of_fifty

DRIVER = Path(__file__).with_name("killed_run.py")
SIGNALS = (signal.SIGKILL, signal.SIGTERM)


def killed(fifty, *, writes, milliseconds, how):
    """The exit code of a run that got no further."""
    run = {
        "kubeconfig": str(fifty.engine.server.kubeconfig),
        "databases": str(fifty.directory),
        "inventory": {"projects": fifty.projects, "tiers": WITH_SHARED, "platform": fifty.platform},
        "settings": {"timeout_seconds": 120.0},
        "fuse": {"writes": writes, "milliseconds": milliseconds, "signal": how},
    }
    with fifty.engine.ready_workloads(*fifty.projects):
        done = subprocess.run(
            [sys.executable, str(DRIVER)], input=json.dumps(run).encode(), capture_output=True, check=False, timeout=150
        )
    assert not done.stderr, done.stderr.decode()
    return done.returncode


def a_point(seed, most):
    """What is left to chance about a kill; four seeds in a row are in the four quarters of a run."""
    chance, quarter = random.Random(seed), most // 4  # noqa: S311 (nothing secret)
    return {
        "writes": seed % 4 * quarter + chance.randint(1, quarter),
        "milliseconds": chance.uniform(0, 20),
        "how": SIGNALS[(seed + seed // 4) % len(SIGNALS)],
    }


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(n, marks=pytest.mark.long) for n in range(4, 24))])
def test_a_killed_run_and_one_more_are_as_good_as_an_undisturbed_one(prepared, undisturbed, tmp_path, seed):
    """The lease of the dead run is not given back: the next one waits for its end."""
    fifty = a_platform_of_fifty(prepared, f"killed{seed}", tmp_path / "databases")
    point = a_point(seed, undisturbed.first.writes)
    print(f"seed {seed}: {point} of {undisturbed.first.writes} writes")
    assert killed(fifty, **point) == -point["how"]
    fifty.engine.shorten_lease()
    report = fifty.reconcile()
    assert report.succeeded, report
    state = fifty.state()
    assert state.keys() == undisturbed.state.keys()
    assert {name: one for name, one in state.items() if one != undisturbed.state[name]} == {}
    fifty.assert_certain()
    assert fifty.reconcile().writes == 0
