# SPDX-License-Identifier: GPL-3.0-or-later
"""What does not fit is said beforehand, with figures."""

from __future__ import annotations

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.nodes import Node
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.quantity import amount
from ansible_collections.supalove.platform.plugins.module_utils._engine.capacity import Pod, pods_of, shortfalls
from ansible_collections.supalove.platform.plugins.module_utils._engine.render import quota
from builders import a_project, objects_of

GIB = 1024**3
NODE = Node(cpu=4000, memory=16 * GIB, pods=110)


def a_pod(cpu: int = 1000, memory: int = GIB) -> Pod:
    return Pod(owner="supalove_projects.acme", cpu=cpu, memory=memory)


@pytest.mark.parametrize(
    ("pods", "nodes", "told"),
    [
        ([a_pod()] * 9, [NODE, NODE], "found '9000 millicores of CPU', allowed is at most 8000"),
        ([a_pod(cpu=100, memory=4 * GIB)] * 5, [NODE], "found '20480 MiB of memory', allowed is at most 16384"),
        ([a_pod(cpu=1, memory=1)] * 111, [NODE], "found '111 pods', allowed is at most 110"),
        ([a_pod(cpu=5000)], [NODE, NODE], "supalove_projects.acme: found 'a pod that fits on no node'"),
        ([a_pod()], [], "put hosts into the group data_plane"),
    ],
)
def test_what_the_nodes_do_not_have_is_named(pods, nodes, told):
    (problem,) = shortfalls(pods, nodes)
    assert told in str(problem)


def test_what_fits_is_no_problem():
    assert shortfalls([a_pod()] * 4, [NODE]) == ()
    assert shortfalls([], []) == ()


def test_a_project_asks_for_its_database_and_its_pooler_and_nothing_when_stopped():
    database, pooler = pods_of(objects_of(a_project()), "acme")
    assert (database.cpu, database.memory) == (250 + quota.CPU, 256 * 1024**2 + quota.MEMORY)
    assert pooler.cpu == 100
    assert pods_of(objects_of(a_project(state="absent")), "acme") == ()


@pytest.mark.parametrize(
    ("text", "found"),
    [("2", 2), ("1500m", 1.5), ("16Ki", 16384), ("1Mi", 1048576), ("100k", 100000), ("0.5", 0.5), ("3Ti", 3 * 1024**4)],
)
def test_every_notation_of_the_api_server_is_read(text, found):
    assert float(amount(text)) == found
