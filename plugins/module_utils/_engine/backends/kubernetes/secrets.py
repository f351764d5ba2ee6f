# SPDX-License-Identifier: BSD-2-Clause
"""Values of Secrets, for who hands them on to another system in the same breath."""

from __future__ import annotations

import base64
import binascii

from ...credentials import Secret
from ...deadline import Deadline
from ...errors import NotFound, Rejected
from ...objects import ObjectId, SecretKey
from .client import Client
from .kinds import object_path


def read_secret(client: Client, key: SecretKey, *, deadline: Deadline) -> Secret:
    """One value. Raises NotFound if there is no such Secret or key, Rejected if it is no text."""
    id = ObjectId(kind="Secret", namespace=key.namespace, name=key.secret)
    data = client.get(object_path(id), subject=str(id), deadline=deadline).get("data") or {}
    if key.key not in data:
        raise NotFound(subject=str(id), verb="GET", reason=f"it has no key {key.key}")
    try:
        return Secret(base64.b64decode(data[key.key], validate=True).decode())
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Rejected(subject=str(id), verb="GET", reason=f"its key {key.key} is no text") from error
