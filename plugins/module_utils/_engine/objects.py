# SPDX-License-Identifier: BSD-2-Clause
"""What all rooms say about an object: its identity, what is wanted of it, and when two states are the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Body = dict[str, Any]

FINGERPRINT_BYTES = 16
# Longer values are not shown in a sentence.
SHOWN_LENGTH = 60


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ObjectId:
    """Names an object everywhere the same; prints as kind/namespace/name, or kind/name without a namespace."""

    kind: str
    namespace: str = ""
    name: str

    def __str__(self) -> str:
        return "/".join(part for part in (self.kind, self.namespace, self.name) if part)

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> ObjectId:
        """The identity of an object in the form of the Kubernetes API."""
        meta = body["metadata"]
        return cls(kind=body["kind"], namespace=meta.get("namespace", ""), name=meta["name"])


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedLogin:
    """A login whose password is made when its Secret is first written.

    The Secret then holds `<key>.password` and `<key>.verifier`, and every login has a line in `userlist.txt`, by which
    the pooler knows it: the verifier, or the password where the pooler itself has to log in without a client's.
    """

    key: str
    role: str
    pooler_needs_password: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """One object as it should be. With `generates` it is written once, and its values are never compared."""

    body: Body
    generates: tuple[GeneratedLogin, ...] = ()

    @property
    def id(self) -> ObjectId:
        """The identity of the object."""
        return ObjectId.of(self.body)

    @property
    def is_create_only(self) -> bool:
        """True if the object's existence is all that is asked for once it is there."""
        return bool(self.generates)


def canonical_json(value: object) -> str:
    """The one text of a value, whatever the order of its keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def fingerprint(body: Body) -> str:
    """Digest of a desired object. Bare, not keyed: a desired object holds no secret (see `GeneratedLogin`)."""
    return hashlib.blake2b(canonical_json(body).encode(), digest_size=FINGERPRINT_BYTES).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One place where a live object is not as desired. `live` is None where it says nothing."""

    path: str
    live: object
    desired: object

    def __str__(self) -> str:
        if any(isinstance(value, dict | list) or len(str(value)) > SHOWN_LENGTH for value in (self.live, self.desired)):
            return f"{self.path} differs"
        return f"{self.path} is {'unset' if self.live is None else self.live}, wanted is {self.desired}"


def differences(live: object, desired: object, path: str = "") -> Iterator[Difference]:
    """Every place where `live` is not as desired. It may say more: defaults, status, other people's labels.

    Mappings are compared key by key. Sequences have to be equally long: an element too many, such as a rule of a
    NetworkPolicy, is a difference. An empty mapping or sequence and an absent one are the same, as the API drops both.
    """
    if isinstance(desired, dict) and (live is None or isinstance(live, dict)):
        known = live or {}
        for key, value in desired.items():
            yield from differences(known.get(key), value, f"{path}.{key}" if path else key)
    elif isinstance(desired, list) and (live is None or isinstance(live, list)) and len(live or []) == len(desired):
        for number, (one, other) in enumerate(zip(live or [], desired, strict=True)):
            yield from differences(one, other, f"{path}[{number}]")
    elif live != desired:
        yield Difference(path=path, live=live, desired=desired)


def restricted_to(live: object, desired: object) -> object:
    """The part of `live` that `desired` speaks about: what a diff shows as the state before."""
    if isinstance(desired, dict) and isinstance(live, dict):
        return {key: restricted_to(live[key], value) for key, value in desired.items() if key in live}
    if isinstance(desired, list) and isinstance(live, list) and len(live) == len(desired):
        return [restricted_to(one, other) for one, other in zip(live, desired, strict=True)]
    return live
