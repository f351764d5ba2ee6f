# SPDX-License-Identifier: BSD-2-Clause
"""Values of Secrets, for who hands them on to another system in the same breath."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from ...credentials import Secret
from ...deadline import Deadline
from ...errors import NotFound, Rejected
from ...objects import ObjectId, SecretKey
from ...project.names import FIELD_MANAGER
from .client import METADATA, Client
from .kinds import object_path


def read_secret(client: Client, key: SecretKey, *, deadline: Deadline) -> Secret:
    """One value. Raises NotFound if there is no such Secret or key, Rejected if it is no text."""
    id = ObjectId(kind="Secret", namespace=key.namespace, name=key.secret)
    texts = read_texts(client, id, deadline=deadline)
    if texts is None or key.key not in texts:
        raise NotFound(subject=str(id), verb="GET", reason=f"it has no key {key.key}" if texts else "there is none")
    return Secret(texts[key.key])


def read_texts(client: Client, id: ObjectId, *, deadline: Deadline) -> dict[str, str] | None:
    """All values of a Secret; None if there is none. Raises Rejected if one is no text."""
    try:
        body = client.get(object_path(id), subject=str(id), deadline=deadline)
    except NotFound:
        return None
    return {key: _text(id, key, value) for key, value in (body.get("data") or {}).items()}


def replace_texts(client: Client, id: ObjectId, texts: Mapping[str, str], *, deadline: Deadline) -> bool:
    """Give a Secret other values; the object stays the same one, so pods that mount it are not restarted.

    False if it had them already. Raises NotFound, and Conflict if somebody else changes it at the same time.
    """
    body = client.get(object_path(id), subject=str(id), deadline=deadline)
    data = data_of(texts)
    if body.get("data") == data:
        return False
    client.send(
        "PUT",
        object_path(id),
        subject=str(id),
        deadline=deadline,
        query={"fieldManager": FIELD_MANAGER},
        body={**body, "data": data},
        accept=METADATA,
    )
    return True


def data_of(texts: Mapping[str, str]) -> dict[str, str]:
    """The data of a Secret, in base64 as the API wants it."""
    return {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}


def _text(id: ObjectId, key: str, value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Rejected(subject=str(id), verb="GET", reason=f"its key {key} is no text") from error
