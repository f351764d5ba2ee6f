# SPDX-License-Identifier: GPL-3.0-or-later
"""What the program refuses to measure."""

from __future__ import annotations

import sys

import pytest

from benchmarks import __main__ as program
from benchmarks import pods


@pytest.mark.parametrize("options", [[], ["--cases=create"], ["--cases=pods,create"]])
def test_beside_the_labs_hosts_only_the_case_that_is_for_them_is_started(options, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["benchmarks", *options])
    monkeypatch.setattr(pods, "is_lab_up", lambda: True)
    with pytest.raises(SystemExit, match="The lab's hosts run and would take the processor"):
        program.main()
