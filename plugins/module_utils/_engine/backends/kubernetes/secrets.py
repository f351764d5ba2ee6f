# SPDX-License-Identifier: BSD-2-Clause
"""Values of Secrets, for who hands them on to another system in the same breath."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from ...credentials import Secret
from ...deadline import Deadline
from ...errors import NotFound, Rejected
from ...objects import Body, ObjectId, SecretKey
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
        body = read_body(client, id, deadline=deadline)
    except NotFound:
        return None
    return texts_of(id, body)


def read_body(client: Client, id: ObjectId, *, deadline: Deadline) -> Body:
    """A Secret as the server has it. Raises NotFound."""
    return client.get(object_path(id), subject=str(id), deadline=deadline)


def texts_of(id: ObjectId, body: Body) -> dict[str, str]:
    """The values of a Secret that was read. Raises Rejected if one is no text."""
    return {key: _text(id, key, value) for key, value in (body.get("data") or {}).items()}


def replace_texts(client: Client, id: ObjectId, body: Body, texts: Mapping[str, str], *, deadline: Deadline) -> None:
    """Give a Secret that was read other values; it stays the same object, so pods that mount it are not restarted.

    Raises NotFound, and Conflict if somebody else has changed it since.
    """
    client.send(
        "PUT",
        object_path(id),
        subject=str(id),
        deadline=deadline,
        query={"fieldManager": FIELD_MANAGER},
        body={**body, "data": data_of(texts)},
        accept=METADATA,
    )


def data_of(texts: Mapping[str, str]) -> dict[str, str]:
    """The data of a Secret, in base64 as the API wants it."""
    return {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}


def _text(id: ObjectId, key: str, value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Rejected(subject=str(id), verb="GET", reason=f"its key {key} is no text") from error
