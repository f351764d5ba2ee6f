# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from itertools import chain

from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import (
    PENDING_UID,
    REF_LONGEST,
    RESERVED_REFS,
    UID_PATTERN,
    Ref,
    is_dns_label,
    names_of,
    new_uid,
)
from hypothesis import given
from hypothesis import strategies as st

refs = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?", fullmatch=True)
uids = st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=12, max_size=12)


def test_uids_are_valid_and_do_not_repeat():
    made = {new_uid() for _number in range(1000)}
    assert len(made) == 1000
    assert all(re.fullmatch(UID_PATTERN, uid) for uid in made)


def test_the_stand_in_for_a_uid_could_be_one():
    assert re.fullmatch(UID_PATTERN, PENDING_UID)


@given(ref=refs, uid=uids)
def test_names_are_valid_where_they_are_used(ref, uid):
    names = names_of(Ref(ref), uid)
    assert is_dns_label(names.namespace)
    for name in (names.database, names.owner, names.probe):
        assert re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name)


@given(ref=refs, uid=uids)
def test_what_strangers_can_see_does_not_depend_on_the_ref(ref, uid):
    names = names_of(Ref(ref), uid)
    other = names_of(Ref("other"), uid)
    assert (names.database, names.owner, names.probe) == (other.database, other.owner, other.probe)


@given(st.lists(st.tuples(refs, uids), unique_by=(lambda one: one[0], lambda one: one[1]), max_size=20))
def test_names_of_different_projects_never_collide(projects):
    made = list(
        chain.from_iterable(
            (n.namespace, n.database, n.owner, n.probe) for n in (names_of(Ref(r), u) for r, u in projects)
        )
    )
    assert len(set(made)) == len(made)


def test_reserved_refs_would_otherwise_be_allowed():
    assert all(is_dns_label(ref, longest=REF_LONGEST) for ref in RESERVED_REFS)
