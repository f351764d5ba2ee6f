# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import doctest

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.project import names, quantities
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.quantities import (
    format_bytes,
    format_cpu,
    parse_bytes,
    parse_cpu,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.render import files
from hypothesis import given
from hypothesis import strategies as st

MIB = 1024**2


@pytest.mark.parametrize(
    ("text", "millicores"), [("1", 1000), ("0.5", 500), ("0.25", 250), ("1.125", 1125), ("500m", 500), ("1000m", 1000)]
)
def test_cpu_in_either_notation_is_the_same(text, millicores):
    assert parse_cpu(text) == millicores


@pytest.mark.parametrize("text", ["2 cores", "", "m", "-1", "1e3", "0.0005", "1,5", "٣", "1\n"])
def test_other_cpu_notations_are_refused(text):
    with pytest.raises(ValueError, match="a number of cores such as 2"):
        parse_cpu(text)


@pytest.mark.parametrize("text", ["4GB", "4G", "4", "4 Gi", "1.5Gi", "-1Gi", "4gi", "4Gi\n", "٤Gi"])
def test_other_sizes_are_refused(text):
    with pytest.raises(ValueError, match="Mi, Gi or Ti"):
        parse_bytes(text)


@given(st.integers(1, 10**7 - 1))
def test_cpu_survives_writing_and_reading(millicores):
    assert parse_cpu(format_cpu(millicores)) == millicores


@given(st.integers(1, 999_999))
def test_sizes_survive_writing_and_reading(mebibytes):
    assert parse_bytes(format_bytes(mebibytes * MIB)) == mebibytes * MIB


@pytest.mark.parametrize("count", [0, -MIB, MIB + 1])
def test_what_no_parsed_size_is_cannot_be_written(count):
    with pytest.raises(ValueError, match="no whole number of mebibytes"):
        format_bytes(count)


@pytest.mark.parametrize("module", [quantities, names, files])
def test_examples_in_docstrings_are_true(module):
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
