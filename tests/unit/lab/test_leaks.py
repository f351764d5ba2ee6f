# SPDX-License-Identifier: GPL-3.0-or-later
"""The leak hunt finds a secret in whatever form it was written."""

from __future__ import annotations

import base64
import json
import urllib.parse

import pytest
from lab.leaks import Needles

SECRET = 'Zm9v-bar_/+"quoted\\word'
NEEDLES = Needles({"password": SECRET})


@pytest.mark.parametrize(
    "written",
    [
        SECRET,
        SECRET.encode().hex(),
        SECRET.encode().hex().upper(),
        urllib.parse.quote(SECRET, safe=""),
        json.dumps({"word": SECRET}),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
        *(base64.b64encode(b"user:" + b"x" * n + SECRET.encode() + b"\n").decode() for n in range(3)),
        *(base64.urlsafe_b64encode(b"x" * n + SECRET.encode() + b"rest").decode() for n in range(3)),
    ],
)
def test_a_secret_is_found_in_every_spelling(written):
    assert NEEDLES.found_in(f"... {written} ...")


def test_what_is_no_secret_is_not_found_and_what_is_found_is_named_not_shown():
    assert NEEDLES.found_in("Zm9v-bar_ and much else") == []
    assert all(SECRET not in name for name in NEEDLES.found_in(SECRET))
