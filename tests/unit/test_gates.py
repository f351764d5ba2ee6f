# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists that stand in two files agree, and nothing in the tree says what it must not say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]


def requirements(path: str) -> dict[str, str]:
    """Package name to its line, without comments and references to other files."""
    lines = (line.split("#")[0].strip() for line in (REPOSITORY / path).read_text().splitlines())
    wanted = [line for line in lines if line and not line.startswith("-")]
    return {re.split(r"[\[=>]", line)[0].lower(): line for line in wanted}


def test_the_action_group_lists_the_modules_whose_documentation_says_so() -> None:
    group = yaml.safe_load((REPOSITORY / "meta/runtime.yml").read_text())["action_groups"]["platform"]
    modules = (REPOSITORY / "plugins/modules").glob("*.py")
    assert sorted(group) == sorted(path.stem for path in modules if "actiongroup_platform" in path.read_text())


def test_the_execution_environment_has_the_runtime_packages() -> None:
    runtime = requirements("requirements/runtime.in")
    given = {"ansible-core", "jinja2"}
    assert requirements("meta/ee-requirements.txt") == {
        name: line for name, line in runtime.items() if name not in given
    }


@pytest.mark.parametrize("name", ["runtime", "test", "tools", "openshift"])
def test_every_lock_pins_what_its_list_asks_for(name: str) -> None:
    lock = (REPOSITORY / f"requirements/{name}.txt").read_text()
    pinned = {line.split("==")[0] for line in lock.splitlines() if "==" in line and not line.startswith((" ", "#"))}
    assert set(requirements(f"requirements/{name}.in")) <= pinned


def test_the_runtime_lock_has_the_versions_that_are_tested() -> None:
    locks = [(REPOSITORY / f"requirements/{name}.txt").read_text().splitlines() for name in ("runtime", "test")]
    runtime, test = ({line.split(" ")[0] for line in lock if "==" in line and line[0].isalpha()} for lock in locks)
    assert runtime <= test


def test_every_direct_dependency_says_why_it_is_there() -> None:
    for path in (REPOSITORY / "requirements").glob("*.in"):
        lines = path.read_text().splitlines()
        assert not [line for line in lines if line and line[0].isalpha() and "#" not in line], path


def test_the_engine_carries_its_own_licence() -> None:
    for path in (REPOSITORY / "plugins").rglob("*.py"):
        head = path.read_text()[:400]
        licence = "BSD-2-Clause" if "_engine" in path.parts else "GPL-3.0-or-later"
        assert f"SPDX-License-Identifier: {licence}" in head or head == "", path


def test_the_summary_adds_up_reports_and_tells_a_failure(tmp_path: Path) -> None:
    failure = '<testcase classname="unit.test_x" name="test_y"><failure>x = 1\nE   assert 1 == 2\n</failure></testcase>'
    report = f'<testsuites><testsuite tests="5" failures="1" errors="1" skipped="1">{failure}</testsuite></testsuites>'
    (tmp_path / "unit.xml").write_text(report)
    (tmp_path / "e2e.xml").write_text(
        '<testsuites><testsuite tests="2" failures="0" errors="0" skipped="0"/></testsuites>'
    )
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / ".ci/summary.py"), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[:2] == ["unit.test_x.test_y", "    E   assert 1 == 2"]
    assert done.stdout.splitlines()[-1] == "4 passed, 2 failed, 1 skipped"
    assert done.returncode == 1
