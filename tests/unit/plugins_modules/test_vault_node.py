# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._vault import worded
from ansible_collections.supalove.platform.plugins.modules import vault_node

# Where Ansible's own packing of a module finds what it imports.
COLLECTIONS = Path(vault_node.__file__).parents[5]


def run(**arguments: Any) -> dict[str, Any]:
    """The module as Ansible runs it, against a port on which nobody is."""
    # Bound and listened on by nobody: it refuses, and no other gets it.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-P", str(vault_node.__file__)],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": {"url": url, **arguments}}),
            env={**os.environ, "PYTHONPATH": str(COLLECTIONS)},
            capture_output=True,
            text=True,
            check=False,
        )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_a_server_that_does_not_answer_is_seen_as_nothing_and_is_no_error() -> None:
    result = run()
    assert result["changed"] is False
    assert not any(result["node"][key] for key in ("answers", "initialized", "sealed", "active", "version"))
    assert "cannot be reached" in result["node"]["reason"]


@pytest.mark.parametrize("state", ["answering", "unsealed"])
def test_a_wait_ends_at_its_deadline_with_what_was_seen_last(state: str) -> None:
    result = run(state=state, deadline_seconds=0)
    assert result["failed"]
    assert result["msg"].startswith("waited 0 s until https://127.0.0.1:")
    assert "cannot be reached" in result["msg"]


def test_a_check_takes_a_server_that_does_not_answer_for_one_that_would_be_unsealed() -> None:
    assert run(state="unsealed", _ansible_check_mode=True)["changed"] is True


@pytest.mark.parametrize(
    ("status", "text"),
    [
        ({"answers": False, "reason": "refused"}, "refused"),
        ({"answers": False}, "no answer"),
        ({"answers": True, "initialized": False, "sealed": True}, "not initialised, sealed"),
        ({"answers": True, "initialized": True, "sealed": False}, "initialised, unsealed"),
    ],
)
def test_what_a_server_is_fits_into_a_few_words(status: dict[str, Any], text: str) -> None:
    assert worded(status) == text
