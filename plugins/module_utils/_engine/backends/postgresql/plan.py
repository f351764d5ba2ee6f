# SPDX-License-Identifier: BSD-2-Clause
"""What has to be done in a shared cluster: a pure comparison of what is wanted with what is there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ...databases import ADMIN, DATABASE_KIND, ROLE_KIND
from ...objects import Body, Desired, Difference, Exact, SecretKey, canonical_json, differences, sentence
from ...observed import Live, Observed
from ...steps import Action, Plan, Step

# What DROP DATABASE leaves if it is interrupted (pg_database.datconnlimit); nobody can enter such a database again.
HALF_DROPPED = -2
# Nobody may add a grant, a membership or an attribute.
EXACT = Exact(paths=("spec",))
PASSWORD = "spec.verifier"
# How the catalog query tells of a membership that is good for nothing but to become the group.
ONLY_SET = " with set option without inheritance"


def plan_databases(desired: Iterable[Desired], observed: Observed) -> Plan:
    """Steps in the order of `desired`: roles must come before the databases that name them."""
    return Plan.of(plan_database(one, observed.find(one.id)) for one in desired)


def plan_removal(desired: Iterable[Desired], observed: Observed) -> Plan:
    """Steps that remove what is there of `desired`: databases first, because a role goes only once it owns nothing."""
    there = [(one, live) for one in desired if (live := observed.find(one.id)) is not None]
    ordered = sorted(there, key=lambda pair: pair[0].id.kind != DATABASE_KIND)
    steps = (_step(Action.DELETE, one, "it is no longer wanted", live.body) for one, live in ordered)
    return Plan(steps=tuple(steps))


def plan_database(desired: Desired, live: Live | None) -> Step | None:
    """The step for one role or database, or None if it is as wanted.

    1. What does not exist is created.
    2. A database that was half dropped is refused: it can only be dropped, and what was in it is lost.
    3. A role whose verifier is not known to be the wanted one gets it again.
    4. What is there already, whoever made it, is changed only where it is not as wanted.
    """
    if live is None:
        return _step(Action.CREATE, desired, "it does not exist", None)
    found = tuple(remaining(desired, live))
    if not found:
        return None
    if _limit(live) == HALF_DROPPED:
        reason = "dropping it was interrupted, and nobody can enter it any more; remove the project or restore it"
        return _step(Action.REFUSE, desired, reason, live.body)
    return _step(Action.UPDATE, desired, _reason(desired, found), live.body)


def remaining(desired: Desired, live: Live) -> Iterable[Difference]:
    """Every place where the role or database is not as wanted."""
    wanted, found = wanted_spec(desired), (live.body or {}).get("spec")
    if found is not None and "settings" not in wanted:
        # A tenant may set its own login what it likes.
        found = {key: value for key, value in found.items() if key != "settings"}
    return differences({"spec": found}, {"spec": wanted}, EXACT)


def wanted_spec(desired: Desired) -> Body:
    """The spec in the form in which it is observed, with all that goes without saying."""
    spec = desired.body["spec"]
    if desired.id.kind == ROLE_KIND:
        return {
            "login": spec["login"],
            "connectionLimit": spec["connectionLimit"],
            "attributes": [],
            "memberOf": sorted([*spec["memberOf"], *(f"{group}{ONLY_SET}" for group in spec.get("becomes", ()))]),
            **({"settings": dict(spec["settings"])} if "settings" in spec else {}),
            "verifier": source_of(spec["verifier"]),
        }
    return {
        "connectionLimit": spec["connectionLimit"],
        "allowConnections": spec["allowConnections"],
        "storageLimit": str(spec["storageLimit"]),
        "owner": ADMIN,
        "template": False,
        "grants": {role: sorted(privileges) for role, privileges in spec["grants"].items()},
        "sessions": 0,
    }


def source_of(verifier: Mapping[str, Any]) -> str:
    """Names a verifier by where it comes from: another Secret, even of the same name, is another source.

    It is written where all tenants can read it, so it must not be guessable: `uid`, the Secret's, makes it so.
    """
    return hashlib.blake2b(canonical_json(dict(verifier)).encode(), digest_size=12).hexdigest()


def secret_key_of(desired: Desired) -> SecretKey:
    """Where the verifier of a wanted role is kept."""
    verifier = desired.body["spec"]["verifier"]
    return SecretKey(namespace=verifier["namespace"], secret=verifier["secret"], key=verifier["key"])


def _reason(desired: Desired, found: tuple[Difference, ...]) -> str:
    """The password first, in words; its digests say nothing to anybody."""
    others = [replace(one, live=_told(one.live), desired=_told(one.desired)) for one in found if one.path != PASSWORD]
    words = [sentence(others)] if others else []
    if len(others) < len(found):
        words.insert(0, f"its password is not the one of {secret_key_of(desired)}")
    return ", ".join(words)


def _told(value: object) -> object:
    return (", ".join(str(one) for one in value) or "none") if isinstance(value, list) else value


def _limit(live: Live) -> object:
    return ((live.body or {}).get("spec") or {}).get("connectionLimit")


def _step(action: Action, desired: Desired, reason: str, before: Body | None) -> Step:
    return Step(action=action, id=desired.id, reason=reason, desired=desired, before=before)
