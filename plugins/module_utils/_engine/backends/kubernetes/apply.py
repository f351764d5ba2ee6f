# SPDX-License-Identifier: BSD-2-Clause
"""One idempotent step at a time: server-side apply, so that only our own fields are ours.

What others added where nobody may add anything (`Kind.exact`, a list's elements) stays theirs under server-side apply;
where some is left, the object is replaced.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping

from ...credentials import Secret
from ...deadline import Deadline
from ...errors import Conflict
from ...generation import NOTHING_GIVEN, new_texts
from ...objects import Body, Desired, sentence
from ...observed import Applied, Live
from ...project.names import FIELD_MANAGER, FINGERPRINT_ANNOTATION, MARK_ANNOTATION
from ...steps import Action, Step
from .client import APPLY_PATCH, JSON, METADATA, Answer, Client
from .kinds import KINDS, collection_path, object_path
from .observe import live_of, read_metadata
from .plan import foreign, owner_labels, remaining
from .secrets import data_of

RandomBytes = Callable[[int], bytes]
MARK_BYTES = 8

# Others' part of an object's metadata. The uid makes sure that it is still the same object.
KEPT_METADATA = ("uid", "finalizers", "ownerReferences")
KEPT_OF_CUSTOM = (*KEPT_METADATA, "resourceVersion")


def apply(
    client: Client,
    step: Step,
    *,
    before: Live | None,
    deadline: Deadline,
    texts: Mapping[str, str] | None = None,
    given: Mapping[str, Secret] = NOTHING_GIVEN,
    random_bytes: RandomBytes = secrets.token_bytes,
) -> Applied:
    """Do one step. `texts`: the values of a Secret that are kept elsewhere; without them they are made, or `given`.

    Raises Conflict if it would take over an object that has become somebody else's since the plan.
    """
    desired = step.desired
    if desired.is_create_only:
        return _create(
            client, desired, texts or new_texts(desired.generates, random_bytes, given), deadline, random_bytes
        )
    if step.action is Action.CREATE and owner_labels(desired):
        _refuse_foreign(client, desired, deadline)
    answer = _server_side_apply(client, desired, deadline)
    live = live_of(desired.id, answer.body, with_body=True)
    if remaining(desired, live):
        live = _replace(client, desired, answer.body, deadline)
    changed = answer.status == 201 or before is None or live.version != before.version
    return Applied(changed=changed, live=live)


def _server_side_apply(
    client: Client, desired: Desired, deadline: Deadline, *, data: Mapping[str, str] | None = None, accept: str = JSON
) -> Answer:
    """The fingerprint travels in the same write as what it describes. `data`: values that are not in `desired`."""
    return client.send(
        "PATCH",
        object_path(desired.id),
        subject=str(desired.id),
        deadline=deadline,
        query={"fieldManager": FIELD_MANAGER, "force": "true"},
        body={**with_fingerprint(desired), **({"data": dict(data)} if data is not None else {})},
        content=APPLY_PATCH,
        accept=accept,
    )


def _replace(client: Client, desired: Desired, found: Body, deadline: Deadline) -> Live:
    """Write the object as wanted, and of its metadata what others said. Raises Conflict if it still says more."""
    wanted = with_fingerprint(desired)
    kept = KEPT_OF_CUSTOM if KINDS[desired.id.kind].custom else KEPT_METADATA
    meta = {key: found["metadata"][key] for key in kept if key in found["metadata"]}
    for key in ("labels", "annotations"):
        meta[key] = {**(found["metadata"].get(key) or {}), **(wanted["metadata"].get(key) or {})}
    answer = client.send(
        "PUT",
        object_path(desired.id),
        subject=str(desired.id),
        deadline=deadline,
        query={"fieldManager": FIELD_MANAGER},
        body={**wanted, "metadata": {**wanted["metadata"], **meta}},
    )
    live = live_of(desired.id, answer.body, with_body=True)
    left = remaining(desired, live)
    if left:
        writers = {entry.get("manager") for entry in answer.body["metadata"].get("managedFields") or ()}
        others = ", ".join(sorted(str(writer) for writer in writers - {FIELD_MANAGER})) or "an admission webhook"
        reason = f"{sentence(left)} although it was just written; stop what changes it ({others})"
        raise Conflict(subject=str(desired.id), verb="PUT", reason=reason, status=answer.status)
    return live


def _create(
    client: Client, desired: Desired, texts: Mapping[str, str], deadline: Deadline, random_bytes: RandomBytes
) -> Applied:
    """Create a Secret. If it is there already, it stays as it is: its values may be in use.

    If what is there bears our own mark, the answer to an earlier try was lost, and it is we who made it.
    """
    mark = random_bytes(MARK_BYTES).hex()
    body = _annotated(with_fingerprint(desired), MARK_ANNOTATION, mark)
    try:
        answer = client.send(
            "POST",
            collection_path(desired.id.kind, desired.id.namespace),
            subject=str(desired.id),
            deadline=deadline,
            query={"fieldManager": FIELD_MANAGER},
            body={**body, "data": data_of(texts)},
            accept=METADATA,
        )
    except Conflict:
        meta = read_metadata(client, desired.id, deadline=deadline)
        if meta is None:
            raise
        made_by_us = (meta.get("annotations") or {}).get(MARK_ANNOTATION) == mark
        return Applied(changed=made_by_us, live=live_of(desired.id, {"metadata": meta}, with_body=False))
    return Applied(changed=True, live=live_of(desired.id, answer.body, with_body=False))


def apply_texts(client: Client, desired: Desired, texts: Mapping[str, str], *, deadline: Deadline) -> None:
    """Write a Secret with these values, whatever it had. What tells them apart is to be in `desired`.

    Raises Conflict if there is one that is not ours.
    """
    _refuse_foreign(client, desired, deadline)
    _server_side_apply(client, desired, deadline, data=data_of(texts), accept=METADATA)


def create(client: Client, desired: Desired, *, deadline: Deadline) -> None:
    """Create an object that lives for this run only, under a name that no other has."""
    client.send(
        "POST",
        collection_path(desired.id.kind, desired.id.namespace),
        subject=str(desired.id),
        deadline=deadline,
        query={"fieldManager": FIELD_MANAGER},
        body=desired.body,
        accept=METADATA,
    )


def _refuse_foreign(client: Client, desired: Desired, deadline: Deadline) -> None:
    """Server-side apply makes no difference between creating an object and taking it over."""
    meta = read_metadata(client, desired.id, deadline=deadline)
    reason = None if meta is None else foreign(desired, meta.get("labels") or {})
    if reason is not None:
        raise Conflict(subject=str(desired.id), verb="CREATE", reason=reason)


def with_fingerprint(desired: Desired) -> Body:
    """The object with the digest of itself as an annotation."""
    return _annotated(desired.body, FINGERPRINT_ANNOTATION, desired.fingerprint)


def _annotated(body: Body, key: str, value: str) -> Body:
    meta = body["metadata"]
    return {**body, "metadata": {**meta, "annotations": {**(meta.get("annotations") or {}), key: value}}}
