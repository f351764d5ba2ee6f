# SPDX-License-Identifier: GPL-3.0-or-later
"""What pages refer to is there: pages, sections, playbooks with their variables, messages, tests."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted([*(REPOSITORY / "docs").glob("*.md"), REPOSITORY / "README.md"])
RUNBOOKS = REPOSITORY / "docs/runbooks.md"
BLOCK = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
NAMED_TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
QUOTED = re.compile(r'"([^"]* [^"]* [^"]*)"')
SOURCES = [
    path
    for folder in ("plugins", "roles", "images/archiver")
    for path in (REPOSITORY / folder).rglob("*")
    if path.suffix in {".py", ".yml"}
]
ids = {"ids": lambda path: path.name}


def anchors(page: Path) -> set[str]:
    """The anchors of headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", BLOCK.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, **ids)
def test_a_link_leads_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(BLOCK.sub("", page.read_text())):
        there = page.parent / target if target else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), f"{target}#{anchor}"


def test_every_page_is_in_the_index() -> None:
    index = (REPOSITORY / "docs/README.md").read_text()
    names = {page.name for page in PAGES} - {"README.md"}
    assert {name for name in names if f"({name})" not in index} == set()


@pytest.mark.parametrize("page", PAGES, **ids)
def test_a_test_that_is_named_is_there(page: Path) -> None:
    for path, name in NAMED_TEST.findall(page.read_text()):
        tree = ast.parse((REPOSITORY / path).read_text())
        functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert not name or name in functions, f"{path}::{name}"


@pytest.mark.parametrize("page", PAGES, **ids)
def test_a_command_runs_a_playbook_that_is_there(page: Path) -> None:
    named = re.findall(r"playbooks/(\w+)\.yml", page.read_text())
    assert [one for one in named if not (REPOSITORY / f"playbooks/{one}.yml").is_file()] == []


@pytest.mark.parametrize("page", PAGES, **ids)
def test_a_variable_that_a_command_sets_is_one_of_its_playbook(page: Path) -> None:
    for line in page.read_text().replace("\\\n", " ").splitlines():
        found = re.search(r"ansible-playbook .*?(?:playbooks/(\w+)\.yml|supalove\.platform\.(\w+))", line)
        if found is None:
            continue
        playbook = (REPOSITORY / f"playbooks/{found[1] or found[2]}.yml").read_text()
        set_ = re.findall(r"-e (supalove_\w+)=", line) + re.findall(r'"(supalove_\w+)":', line)
        assert [name for name in set_ if name not in playbook] == []


def test_a_message_in_the_runbooks_is_one_of_the_code() -> None:
    """Every part between two gaps of a quoted message stands in some source, where lines and values may cut it."""
    sources = " ".join(" ".join(path.read_text().split()) for path in SOURCES)
    whole = re.sub(r'" f?"', "", re.sub(r"\{[^{}]*\}", "…", sources))
    for said in QUOTED.findall(" ".join(BLOCK.sub("", RUNBOOKS.read_text()).split())):
        for part in filter(None, (piece.strip(" :;,.") for piece in said.split("…"))):
            assert part in whole, f"{part!r} of {said!r}"
