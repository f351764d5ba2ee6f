# SPDX-License-Identifier: GPL-3.0-or-later
"""Which moments a drill may choose, and what it says of a copy. It is hour 30."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.drills import (
    Proof,
    choose_moment,
    flaw_of,
    in_turn,
    moments_of,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.recovery import AtTime, plan_recovery
from archives import Life, at, catalogs

RPO = 60


def a_life(**given):
    life = Life(**given).segments(range(1, 20))
    life.backup(2, 3)
    return life


def test_moments_reach_from_the_first_backup_to_the_last_segment_and_no_further_back_than_the_window():
    found = catalogs(a_life())
    assert moments_of(found, since=at(0)) == ((at(3), at(19)),)
    assert moments_of(found, since=at(5)) == ((at(5), at(19)),)
    assert moments_of(found, since=at(25)) == ()


def test_a_moment_between_a_restore_and_its_first_backup_is_nobodys():
    spans = moments_of(catalogs(a_life(), a_life(began=10, letters="bbbbbbbb")), since=at(0))
    assert spans == ((at(3), at(10)), (at(13), at(29)))


def test_an_archive_without_a_backup_has_no_moment():
    assert moments_of(catalogs(Life().segments(range(1, 5))), since=at(0)) == ()
    assert choose_moment((), random.random) is None


@pytest.mark.parametrize("seed", range(20))
def test_every_moment_that_is_chosen_can_be_planned(seed):
    found = catalogs(a_life(), a_life(began=10, letters="bbbbbbbb"))
    moment = choose_moment(moments_of(found, since=at(0)), random.Random(seed).random)  # noqa: S311
    assert plan_recovery(found, AtTime(time=moment), now=at(30)).backup


def test_all_spans_are_chosen_from():
    spans = ((at(0), at(1)), (at(10), at(11)))
    dice = random.Random(1)  # noqa: S311
    chosen = {choose_moment(spans, dice.random) < at(5) for _try in range(40)}
    assert chosen == {True, False}
    assert choose_moment(spans, lambda: 1.0) == at(11), "a number at the very end is still a moment"


def test_a_row_from_after_the_target_is_a_flaw():
    assert "after the target" in flaw_of(catalogs(a_life()), at(5), at(5.01), rpo_seconds=RPO)


def test_rows_that_are_missing_before_the_target_are_a_flaw():
    found = catalogs(a_life())
    assert flaw_of(found, at(5), at(5) - timedelta(seconds=100), rpo_seconds=RPO) == ""
    assert "the archive had WAL until" in flaw_of(found, at(5), at(4.9), rpo_seconds=RPO)


def test_a_heart_that_did_not_beat_while_nothing_was_archived_is_none():
    """It was stopped from hour 6 to hour 12: at hour 11 the newest row is of hour 6."""
    life = Life().segments([1, 2, 3, 4, 5, 6, 12, 13])
    life.backup(2, 3)
    assert flaw_of(catalogs(life), at(11), at(6), rpo_seconds=RPO) == ""


def test_what_was_never_tried_has_its_turn_first_then_what_was_longest_ago():
    proofs = {"p-b": Proof(at=at(2), target=at(1)), "p-a": Proof(at=at(3), target=at(1))}
    assert in_turn(("p-a", "p-b", "p-d", "p-c"), proofs) == ("p-c", "p-d", "p-b", "p-a")


@pytest.mark.parametrize(
    "proof", [Proof(at=at(2), target=at(1), seconds=3.5, databases=2), Proof(at=at(1), target=None)]
)
def test_a_proof_is_read_as_it_was_kept(proof):
    assert Proof.from_text(proof.to_text()) == proof


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"at": "yesterday", "target": ""}'])
def test_a_proof_that_cannot_be_read_is_none(text):
    assert Proof.from_text(text) is None
