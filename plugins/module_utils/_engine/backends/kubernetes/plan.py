# SPDX-License-Identifier: BSD-2-Clause
"""What has to be done: a pure comparison of what is wanted with what is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ...objects import (
    Body,
    Desired,
    Difference,
    ObjectId,
    comparable,
    differences,
    is_within,
    sentence,
    value_at,
    without,
)
from ...observed import Live, Observed, Stamp, Stamps
from ...project.names import PLATFORM_LABEL, PROJECT_LABEL, UID_LABEL
from ...settings import Drift
from ...steps import Action, Plan, Step
from .kinds import KINDS
from .quantity import amount


def doubtful(desired: Iterable[Desired], observed: Observed, stamps: Stamps, drift: Drift) -> tuple[ObjectId, ...]:
    """The objects that must be read whole before a plan can be made.

    1. One that is not there, or is only ever created, need not be read.
    2. One whose fingerprint is not that of what is wanted must be.
    3. One that the record does not certify as it is now must be, unless drift is off.
    4. With drift full, every one must be.
    """
    return tuple(
        one.id
        for one in desired
        if (live := observed.find(one.id)) is not None
        and not one.is_create_only
        and (
            live.fingerprint != one.fingerprint
            or (drift is not Drift.OFF and stamps.get(one.id) != Stamp.of(live))
            or drift is Drift.FULL
        )
    )


def plan_objects(desired: Iterable[Desired], observed: Observed) -> Plan:
    """Steps in the order of `desired`. An object whose body was not read is taken as certified."""
    return Plan.of(plan_object(one, observed.find(one.id)) for one in desired)


def plan_object(desired: Desired, live: Live | None) -> Step | None:
    """The step for one object, or None if it is as wanted."""
    if live is None:
        return _step(Action.CREATE, desired, "it does not exist", None)
    if live.is_going:
        return _step(Action.REFUSE, desired, "it is being deleted; run again when it is gone", None)
    stranger = _stranger(desired, live)
    if stranger is not None:
        return _step(Action.REFUSE, desired, stranger, None)
    if desired.is_create_only or live.body is None:
        return None
    found = remaining(desired, live)
    if not found and live.fingerprint == desired.fingerprint:
        return None
    before = _as_body(comparable(_told(desired, live), desired.body, KINDS[desired.id.kind].exact))
    refusal = next((why for one in found if (why := _cannot_be(desired, one))), None)
    if refusal is not None:
        return _step(Action.REFUSE, desired, refusal, before)
    if found:
        by_others = live.fingerprint == desired.fingerprint
        return _step(Action.UPDATE, desired, sentence(found) + (" (changed by others)" if by_others else ""), before)
    return _step(Action.UPDATE, desired, "its fingerprint is not the one of this version", before)


def remaining(desired: Desired, live: Live) -> tuple[Difference, ...]:
    """Every place where the object, which has been read whole, is not as wanted."""
    found = differences(_told(desired, live), desired.body, KINDS[desired.id.kind].exact)
    return (*found, *_misfilled(desired, live))


def _misfilled(desired: Desired, live: Live) -> Iterator[Difference]:
    for one in desired.fills:
        value = value_at(live.body, one.path)
        if not one.fits(value):
            yield Difference(path=".".join(one.path), live=value, desired=one.text)


def _told(desired: Desired, live: Live) -> Body | None:
    """The live object without what only who applies it knows."""
    body = live.body
    for one in desired.fills:
        body = without(body, one.path)
    return body


def owner_labels(desired: Desired) -> dict[str, str]:
    """The labels without which a live object of this name is not ours to change. Empty for what is inside of ours."""
    labels = desired.body["metadata"].get("labels") or {}
    keys = (PLATFORM_LABEL, PROJECT_LABEL) if desired.id.kind == "Namespace" else (PLATFORM_LABEL,)
    return {key: labels[key] for key in keys if key in labels}


def foreign(desired: Desired, labels: Mapping[str, str]) -> str | None:
    """Why an object with these labels must not be taken over, if so. A bulk read by label does not find it."""
    for key, wanted in owner_labels(desired).items():
        if labels.get(key) != wanted:
            return f"it exists and does not carry the label {key}={wanted}; remove it or label it to hand it over"
    return None


def _stranger(desired: Desired, live: Live) -> str | None:
    """Why the live object belongs to somebody else, if it does: a reused ref must never inherit anything."""
    reason = foreign(desired, live.labels)
    if reason is not None:
        return reason
    wanted = (desired.body["metadata"].get("labels") or {}).get(UID_LABEL)
    found = live.labels.get(UID_LABEL)
    if wanted is None or found is None or found == wanted:
        return None
    return f"it belongs to the uid {found}, an earlier project of this name; remove it or restore that project's record"


def _cannot_be(desired: Desired, difference: Difference) -> str | None:
    """Why a difference cannot be made to go: the kind forbids it, it would shrink, or its place forbids it."""
    path, kind = difference.path, KINDS[desired.id.kind]
    if is_within(path, kind.immutable):
        return f"{difference}; this cannot be changed in place. Set it back, or make a new one under another name"
    if path in kind.growing and amount(str(difference.desired)) < amount(str(difference.live)):
        return f"{difference}; it can only grow. Set it back"
    reason = next((why for place, why in desired.fixed.items() if is_within(path, (place,))), None)
    return f"{difference}; {reason}" if reason else None


def _step(action: Action, desired: Desired, reason: str, before: Body | None) -> Step:
    return Step(action=action, id=desired.id, reason=reason, desired=desired, before=before)


def _as_body(value: object) -> Body:
    return value if isinstance(value, dict) else {}
