# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import doctest

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive import (
    barman,
    documents,
    findings,
    layout,
    segments,
    walg,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.segments import (
    SEGMENT_BYTES,
    Lsn,
    Segment,
    Switch,
    format_lsn,
    parse_history,
    parse_lsn,
)
from hypothesis import given
from hypothesis import strategies as st

lsns = st.integers(0, 2**64 - 1).map(Lsn)


@pytest.mark.parametrize("module", [segments, documents, findings, walg, barman, layout])
def test_examples_in_docstrings_are_true(module):
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


@given(lsn=lsns)
def test_a_position_is_read_as_it_is_written(lsn):
    assert parse_lsn(format_lsn(lsn)) == lsn


@given(timeline=st.integers(1, 2**32 - 1), lsn=lsns)
def test_a_segment_is_read_by_the_name_that_it_has(timeline, lsn):
    segment = Segment.at(timeline, lsn)
    assert Segment.parse(segment.name) == segment
    assert segment.start <= lsn < segment.start + SEGMENT_BYTES


@given(one=lsns, other=lsns)
def test_segments_of_a_timeline_sort_as_their_names_do(one, other):
    first, second = Segment.at(1, one), Segment.at(1, other)
    assert (first < second) == (first.name < second.name)


@pytest.mark.parametrize("text", ["", "0", "0/", "/0", "0/123456789", "g/0", "0/0 ", "-1/0", "0x1/0"])
def test_what_is_no_position_is_refused(text):
    with pytest.raises(ValueError, match="is no position in WAL"):
        parse_lsn(text)


@pytest.mark.parametrize("number", [None, -1, 2**64, "83886120", 1.0, True])
def test_what_is_no_number_of_a_position_is_refused(number):
    with pytest.raises(ValueError, match="is no position in WAL"):
        segments.lsn_of(number)


@pytest.mark.parametrize(
    "name",
    [
        "00000001000000000000000",
        "0000000100000000000000010",
        "00000001000000000000000g",
        "000000010000000a00000001",
        "000000000000000000000001",
        "000000010000000000000100",
    ],
)
def test_what_is_no_segment_is_refused(name):
    with pytest.raises(ValueError, match="is no"):
        Segment.parse(name)


def test_a_history_of_several_timelines_is_read_with_comments_and_empty_lines():
    text = "# a comment\n\n1\t0/5000028\tno recovery target specified\n\n2\t1/0\tbefore 2026-11-25 23:48:12+00\n"
    assert parse_history(text) == (Switch(timeline=1, lsn=Lsn(0x5000028)), Switch(timeline=2, lsn=Lsn(1 << 32)))


@pytest.mark.parametrize("text", ["1\n", "x\t0/1\n", "1\t0\n", "2\t0/2\n1\t0/3\n", "1\t0/2\n2\t0/1\n"])
def test_a_history_that_says_something_else_is_refused(text):
    with pytest.raises(ValueError, match=r"line \d of the history|is no position"):
        parse_history(text)
