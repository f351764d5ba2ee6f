# SPDX-License-Identifier: BSD-2-Clause
"""A Secret with generated values, and the secret in Vault of which it is a copy, if the platform has a Vault."""

from __future__ import annotations

from dataclasses import replace

from ..objects import Desired
from ..project.model import Platform
from ..vault import VAULT_API, VAULT_KIND


def render_secret(secret: Desired, platform: Platform, *, folder: str, name: str) -> tuple[Desired, ...]:
    """Vault first. It takes over the values of a Secret that is there already, which is how a platform moves to it."""
    if platform.vault_address is None:
        return (secret,)
    body = {
        "apiVersion": VAULT_API,
        "kind": VAULT_KIND,
        "metadata": {"namespace": folder, "name": name},
        "spec": {"address": platform.vault_address, "mount": platform.vault_mount},
    }
    kept = Desired(body=body, generates=secret.generates, values_from=secret.id)
    return (kept, replace(secret, values_from=kept.id))
