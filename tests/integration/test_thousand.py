# SPDX-License-Identifier: GPL-3.0-or-later
"""A thousand projects in one run: made, left alone by the next, one of them changed, as the API server counts it."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from typing import Any

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.kinds import KINDS
from fix_engine import FREE, Engine

PROJECTS = 1000
# One in five has a PostgreSQL of its own.
EVERY = 5
TIERS = {"pro": FREE, "shared": {"placement": "shared", "storage": "500Mi"}}
CLUSTER = {"cpu": 2, "memory": "4Gi", "storage": "100Gi"}
# Leases are renewed as time goes by; Events are only read by the engine, and the API server writes some of its own.
OURS = {kind.plural for kind in KINDS.values()} - {"leases", "events"}
WRITES = ("POST", "PUT", "PATCH", "DELETE", "APPLY")


def projects(**changed: dict[str, Any]) -> dict[str, Any]:
    tiers = ("pro" if number % EVERY == 0 else "shared" for number in range(PROJECTS))
    return {f"k{number:04}": {"tier": tier} for number, tier in enumerate(tiers)} | changed


@pytest.fixture(scope="module")
def thousand(prepared: Engine) -> Engine:
    """A platform of its own, whose records are those of this module."""
    prepared.free_lease()
    prepared.server.request("POST", "/api/v1/namespaces", {"metadata": {"name": "thousand"}})
    return dataclasses.replace(prepared, namespace="thousand", lines=[])


def run(engine: Engine, wanted: dict[str, Any], **settings: Any) -> Any:
    clusters = {f"k{number}": CLUSTER for number in range(5)}
    platform = {"shared_clusters": clusters}
    return engine.reconcile(
        wanted, tiers=TIERS, platform=platform, timeout_seconds=600.0, lease_seconds=30.0, **settings
    )


def written(engine: Engine) -> Counter[str]:
    """Requests that write, by resource, as the API server has counted them. It writes others of its own."""
    text = engine.server.answer("GET", "/metrics").decode()
    found: Counter[str] = Counter()
    for labels, value in re.findall(r"^apiserver_request_total\{(.*)\} (\S+)$", text, re.MULTILINE):
        told = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        if told["verb"] in WRITES and told["resource"] in OURS:
            found[f"{told['resource']}/{told['subresource']}".rstrip("/")] += int(float(value))
    return found


def test_a_thousand_projects_are_made_by_one_run_and_left_alone_by_the_next(thousand):
    first = run(thousand, projects())
    assert Counter(outcome.result.value for outcome in first.outcomes) == {"changed": PROJECTS}
    assert any("projects applied: 1000 of 1000" in line for line in thousand.lines)
    before = written(thousand)
    again = run(thousand, projects())
    assert (again.changed, written(thousand) - before) == (False, Counter())
    # Lists come in pages of 500, and shared clusters are asked once each: no read is for one object.
    assert again.reads < 60


def test_one_changed_project_of_a_thousand_costs_its_own_writes_and_no_others(thousand):
    before = written(thousand)
    report = run(thousand, projects(k0005={"tier": "pro", "clients": 700}))
    assert [outcome.ref for outcome in report.outcomes if outcome.result.value == "changed"] == ["k0005"]
    # The pooler's settings and size, its quota, and the record: spec, mark of intent, outcome.
    assert written(thousand) - before == Counter(
        {
            "supaloveprojects": 1,
            "supaloveprojects/status": 2,
            "configmaps": 1,
            "resourcequotas": 1,
            "deployments": 1,
        }
    )
