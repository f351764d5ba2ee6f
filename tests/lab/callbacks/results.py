# SPDX-License-Identifier: GPL-3.0-or-later
"""Adds every result of a module as a line of JSON to the file named by LAB_RESULTS, as AWX keeps them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
    name: results
    type: aggregate
    short_description: Results of modules as JSON for the lab
    description: Adds lines to the file that the environment variable LAB_RESULTS names.
    options: {}
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Writes what a callback is given, whole and as it is."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "results"
    CALLBACK_NEEDS_ENABLED = True

    def v2_runner_on_ok(self, result: Any) -> None:
        self._write(result)

    def v2_runner_on_failed(self, result: Any, **_rest: Any) -> None:
        self._write(result)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        self._write(result)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        self._write(result)

    def _write(self, result: Any) -> None:
        if path := os.environ.get("LAB_RESULTS"):
            with Path(path).open("a") as file:
                file.write(json.dumps(result.result, default=str) + "\n")
