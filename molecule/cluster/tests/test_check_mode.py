# SPDX-License-Identifier: GPL-3.0-or-later

"""The check on clean hosts named every change that the converge after it made, and no other."""

from __future__ import annotations

import json
import os
from pathlib import Path

# Changes that a check can only announce under another name, or cannot foresee, each with its reason.
UNFORESEEN: dict[str, str] = {}


def test_a_check_on_clean_hosts_names_what_converge_then_changes() -> None:
    lines = [json.loads(line) for line in Path(os.environ["LAB_STAGES"]).read_text().splitlines()]
    assert [line["check"] for line in lines] == [True, False, False]
    foreseen, made = ({tuple(change) for change in line["changed"]} for line in lines[:2])
    assert made
    assert {(host, task) for host, task in made ^ foreseen if task not in UNFORESEEN} == set()
