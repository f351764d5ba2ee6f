# SPDX-License-Identifier: GPL-3.0-or-later
"""What every role promises, compared with what it does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import KNOWN_RUNTIMES, Platform

ROLES = Path(__file__).parents[2] / "roles"
NAMES = sorted(path.name for path in ROLES.iterdir() if path.is_dir())
TYPES: dict[str, type] = {"bool": bool, "dict": dict, "int": int, "list": list, "str": str}
TASK_FILE_LINES = 80
DEBIAN = {"bookworm": "12"}


def load(*parts: str) -> Any:
    return yaml.safe_load(ROLES.joinpath(*parts).read_text())


def documented(role: str) -> dict[str, dict[str, Any]]:
    options: dict[str, dict[str, Any]] = load(role, "meta", "argument_specs.yml")["argument_specs"]["main"]["options"]
    return options


@pytest.mark.parametrize("role", NAMES)
def test_documented_defaults_are_the_real_ones(role: str) -> None:
    spec = {name: option.get("default") for name, option in documented(role).items()}
    assert spec == load(role, "defaults", "main.yml")


@pytest.mark.parametrize("role", NAMES)
def test_defaults_have_the_documented_type(role: str) -> None:
    options = documented(role)
    for name, value in load(role, "defaults", "main.yml").items():
        assert value.__class__ is TYPES[options[name]["type"]], name


@pytest.mark.parametrize("role", NAMES)
def test_every_variable_carries_its_roles_name(role: str) -> None:
    assert not [name for name in documented(role) if not name.startswith(f"{role}_")]


@pytest.mark.parametrize("path", sorted(ROLES.glob("*/tasks/*.yml")), ids=lambda path: f"{path.parts[-3]}/{path.name}")
def test_a_task_file_fits_on_a_page(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= TASK_FILE_LINES


@pytest.mark.parametrize("role", NAMES)
def test_preflight_passes_the_systems_that_roles_are_tested_on(role: str) -> None:
    [platform] = load(role, "meta", "main.yml")["galaxy_info"]["platforms"]
    tested = {platform["name"].lower(): min(DEBIAN[name] for name in platform["versions"])}
    assert load("preflight", "defaults", "main.yml")["preflight_systems"] == tested


def test_the_platforms_namespace_has_one_default() -> None:
    [exempt] = load("k3s", "defaults", "main.yml")["k3s_pod_security_exempt_namespaces"][1:]
    assert exempt.endswith(f"default('{Platform().namespace}') }}}}")


@pytest.mark.parametrize("runtime", KNOWN_RUNTIMES)
def test_a_runtimes_handler_is_the_same_in_its_role_and_in_its_class(runtime: str) -> None:
    named = [
        task["vars"]["containerd_runtime_name"]
        for task in load(f"runtime_{runtime}", "tasks", "configure.yml")
        if "vars" in task
    ]
    assert named == [f"{{{{ __runtime_{runtime}_class.handler | default('{KNOWN_RUNTIMES[runtime].handler}') }}}}"]
