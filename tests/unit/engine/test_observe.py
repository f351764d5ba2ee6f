# SPDX-License-Identifier: BSD-2-Clause
"""What is told apart of a live object."""

from __future__ import annotations

from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.observe import live_of
from ansible_collections.supalove.platform.plugins.module_utils._engine.objects import ObjectId
from ansible_collections.supalove.platform.plugins.module_utils._engine.observed import Live
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import FINGERPRINT_ANNOTATION

ID = ObjectId(kind="ConfigMap", namespace="p-acme", name="pooler")


def written(fingerprint: str, time: str = "2026-01-01T00:00:00Z", subresource: str = "") -> Live:
    writer = {"manager": "supalove", "operation": "Apply", "time": time, "subresource": subresource}
    meta = {"uid": "u", "annotations": {FINGERPRINT_ANNOTATION: fingerprint}, "managedFields": [writer]}
    return live_of(ID, {"metadata": meta}, with_body=False)


def test_two_writes_within_one_second_are_told_apart() -> None:
    assert written("one").version != written("two").version


def test_a_write_of_a_status_is_no_other_version() -> None:
    assert (
        written("one", "2026-01-01T00:00:00Z", "status").version
        == written("one", "2026-01-01T00:00:09Z", "status").version
    )
