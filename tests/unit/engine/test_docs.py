# SPDX-License-Identifier: GPL-3.0-or-later
"""Examples in the documentation are input that the engine takes, and what it says of wrong input is quoted as it is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import InvalidSpec
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.parse import parse
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.vocabulary import (
    PLATFORM_VARIABLE,
    PROJECTS_VARIABLE,
    TIERS_VARIABLE,
)

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("docs/*.md"), ROOT / "README.md"])
BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# file: projects/(\S+)\.yml")
QUOTED = re.compile(r"^  - (supalove_\S+): found (.*), allowed is (.*)$", re.MULTILINE)


def variables_of(page: Path) -> dict[str, Any]:
    """All variables that the examples of a page set, and projects that they show as a file each."""
    found: dict[str, Any] = {}
    for block in BLOCK.findall(page.read_text()):
        content = yaml.safe_load(block)
        file = FILE.search(block)
        if file:
            found.setdefault(PROJECTS_VARIABLE, {})[file[1]] = content
        elif isinstance(content, dict):
            for name, value in content.items():
                found[name] = {**found.get(name, {}), **value} if isinstance(value, dict) else value
    return found


def parsed(found: dict[str, Any]) -> Any:
    return parse(
        projects=found.get(PROJECTS_VARIABLE, {}),
        tiers=found.get(TIERS_VARIABLE, {}),
        platform=found.get(PLATFORM_VARIABLE, {}),
    )


WITH_PROJECTS = [page for page in PAGES if PROJECTS_VARIABLE in variables_of(page)]


def test_there_are_examples():
    assert ROOT / "docs/projects.md" in WITH_PROJECTS


@pytest.mark.parametrize("page", WITH_PROJECTS, ids=lambda page: page.name)
def test_the_examples_of_a_page_are_input_without_problems(page):
    found = variables_of(page)
    assert [project.ref for project in parsed(found).projects] == sorted(found[PROJECTS_VARIABLE])


@pytest.mark.parametrize("page", WITH_PROJECTS, ids=lambda page: page.name)
def test_what_a_page_quotes_is_said_of_that_very_input(page):
    for path, value, allowed in QUOTED.findall(page.read_text()):
        found = variables_of(page)
        variable, ref, key = path.split(".")
        found[variable] = {**found[variable], ref: {**found[variable][ref], key: value.strip("'")}}
        with pytest.raises(InvalidSpec) as caught:
            parsed(found)
        assert f"{path}: found {value}, allowed is {allowed}" in [str(one) for one in caught.value.problems]
