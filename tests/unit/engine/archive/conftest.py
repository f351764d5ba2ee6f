# SPDX-License-Identifier: GPL-3.0-or-later
import os
import sys
from types import SimpleNamespace

import pytest

sys.path.insert(0, os.path.dirname(__file__))


@pytest.fixture
def archiver_package(monkeypatch):
    """The program of the image archiver, of which the engine reads the answers."""
    root = os.path.join(os.path.dirname(__file__), "../../../../images/archiver/root/usr/local/lib/supalove")
    monkeypatch.syspath_prepend(os.path.abspath(root))
    from archiver import download, ends, loads, points, rights, sql, state, store, toc, work

    return SimpleNamespace(
        download=download,
        ends=ends,
        loads=loads,
        points=points,
        rights=rights,
        sql=sql,
        state=state,
        store=store,
        toc=toc,
        work=work,
    )
