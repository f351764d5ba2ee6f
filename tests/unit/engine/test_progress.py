# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.supalove.platform.plugins.module_utils._engine.progress import Lines


def test_counts_are_told_now_and_then_and_at_the_end():
    now = [0.0]
    lines: list[str] = []
    progress = Lines(lines.append, interval_seconds=5, clock=lambda: now[0])
    for done in range(1, 11):
        now[0] += 1
        progress.count("things", done, 10)
    assert lines == ["things: 5 of 10", "things: 10 of 10"]


def test_a_note_is_always_told():
    lines: list[str] = []
    progress = Lines(lines.append)
    progress.note("a")
    progress.note("b")
    assert lines == ["a", "b"]
