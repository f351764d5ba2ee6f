# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.client import error_of
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import Denied, Throttled


def forbidden(message: str) -> type:
    data = json.dumps({"message": message, "reason": "Forbidden"}).encode()
    return type(error_of(403, {}, data, "PersistentVolumeClaim/p-acme/postgresql-data-2", "POST"))


def test_a_claim_after_its_quota_was_raised_is_tried_again() -> None:
    """A restore raises the quota and makes the claim of the new volume in the same breath."""
    said = 'persistentvolumeclaims "postgresql-data-2" is forbidden: exceeded quota: project, requested: ...'
    assert forbidden(said) is Throttled


def test_what_the_identity_may_not_do_is_not_tried_again() -> None:
    assert forbidden('User "supalove" cannot create resource "persistentvolumeclaims"') is Denied
