# SPDX-License-Identifier: GPL-3.0-or-later
"""Adds a line to the file named by LAB_STAGES: how long each play took, what changed where, and the recap."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from ansible import context
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
    name: stages
    type: aggregate
    short_description: Time per play, changes and the recap, as JSON for the lab
    description: Adds a line to the file that the environment variable LAB_STAGES names.
    options: {}
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Listens only; what it gathers goes out once, at the end."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "stages"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._begun: list[tuple[str, float]] = []
        self._changed: list[tuple[str, str]] = []

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._begun.append((play.get_name(), time.monotonic()))

    def v2_runner_on_ok(self, result: Any) -> None:
        if result.result.get("changed"):
            self._changed.append((result.host.get_name(), result.task.get_name().rpartition(" : ")[2]))

    def v2_playbook_on_stats(self, stats: Any) -> None:
        ends = [begun for _, begun in self._begun[1:]] + [time.monotonic()]
        plays = [
            {"name": name, "seconds": round(end - begun, 1)}
            for (name, begun), end in zip(self._begun, ends, strict=True)
        ]
        hosts = {host: stats.summarize(host) for host in sorted(stats.processed)}
        told = {"check": context.CLIARGS["check"], "plays": plays, "changed": self._changed, "hosts": hosts}
        if path := os.environ.get("LAB_STAGES"):
            with Path(path).open("a") as file:
                file.write(json.dumps(told) + "\n")
