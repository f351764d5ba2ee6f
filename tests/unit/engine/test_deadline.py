# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.deadline import Backoff, Deadline, retrying
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import (
    Conflict,
    DeadlineExceeded,
    Denied,
    Rejected,
    ServerFailed,
    Throttled,
    Unreachable,
)

BACKOFF = Backoff(first_seconds=1, longest_seconds=4, tries=4)
WHERE = {"subject": "ConfigMap/a/b", "verb": "PATCH", "reason": "because"}


def delay(failed=1, asked=None, jitter=0.0, remaining=100.0):
    return BACKOFF.delay(failed_tries=failed, asked_seconds=asked, jitter=jitter, remaining=remaining)


def test_delays_double_up_to_the_longest_and_end_with_the_tries():
    assert [delay(failed=n) for n in (1, 2, 3, 4)] == [1, 2, 4, None]


def test_jitter_only_shortens():
    assert delay(jitter=1.0) == 0.5


@pytest.mark.parametrize(("asked", "slept"), [(0.1, 1), (7.0, 7.0)])
def test_the_server_can_lengthen_a_delay_and_not_shorten_it(asked, slept):
    assert delay(asked=asked) == slept


def test_a_sleep_past_the_deadline_is_not_begun():
    assert delay(remaining=0.9) is None
    assert delay(asked=60.0, remaining=59.0) is None


class Calls:
    """Fails with each error in turn, then answers; remembers the sleeps."""

    def __init__(self, *errors):
        self.errors = list(errors)
        self.slept = []

    def __call__(self):
        if self.errors:
            raise self.errors.pop(0)
        return "answer"

    def run(self, limit_seconds=100):
        deadline = Deadline(limit_seconds=limit_seconds)
        return retrying(self, deadline=deadline, backoff=BACKOFF, sleep=self.slept.append, jitter=lambda: 0.0)


def test_what_may_pass_is_tried_again_after_growing_delays():
    throttled = Throttled(**WHERE, status=429, retry_after=3.0)
    calls = Calls(Unreachable(**WHERE), throttled, ServerFailed(**WHERE, status=500))
    assert calls.run() == "answer"
    assert calls.slept == [1, 3.0, 4]


@pytest.mark.parametrize("kind", [Rejected, Denied, Conflict])
def test_what_cannot_pass_is_not_repeated(kind):
    calls = Calls(kind(**WHERE, status=400))
    with pytest.raises(kind):
        calls.run()
    assert calls.slept == []


def test_after_the_last_try_the_last_error_is_raised():
    calls = Calls(*(ServerFailed(**WHERE, status=500 + n) for n in range(9)))
    with pytest.raises(ServerFailed) as caught:
        calls.run()
    assert caught.value.status == 503


def test_a_deadline_that_has_passed_says_for_what():
    with pytest.raises(DeadlineExceeded, match="No time left for tea: the limit of 0 s"):
        Deadline(limit_seconds=0).require("tea")


def test_an_error_says_object_verb_reason_and_status():
    assert str(Rejected(**WHERE, status=422)) == "PATCH ConfigMap/a/b: because (HTTP 422)"
