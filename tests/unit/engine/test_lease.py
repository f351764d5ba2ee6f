# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import time

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.client import Client
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.lease import Lease
from ansible_collections.supalove.platform.plugins.module_utils._engine.deadline import Deadline
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import DeadlineExceeded, SafetyStop
from ansible_collections.supalove.platform.plugins.module_utils._engine.progress import Silent

RUN = Deadline(limit_seconds=900)


def a_lease(seconds: float) -> Lease:
    """A lease renewed just now; nothing is sent as long as it is not entered."""
    client = Client.__new__(Client)
    return Lease(client, "supalove-system", seconds=seconds, progress=Silent(), deadline=RUN)


def test_no_write_may_last_longer_than_the_lease_is_certain():
    assert a_lease(30).bound(RUN).remaining() <= 25


def test_a_lease_lengthens_no_deadline():
    with pytest.raises(DeadlineExceeded, match="No time left for tea"):
        a_lease(30).bound(Deadline(limit_seconds=0)).require("tea")


def test_a_lease_that_was_not_renewed_forbids_writing_before_it_ends():
    deadline = a_lease(0.12).bound(RUN)
    time.sleep(0.11)
    with pytest.raises(SafetyStop, match="could not be renewed"):
        deadline.require("tea")
