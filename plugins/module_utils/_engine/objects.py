# SPDX-License-Identifier: BSD-2-Clause
"""What all rooms say about an object: its identity, what is wanted of it, and when two states are the same."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, Final, TypeAlias

Body = dict[str, Any]

FINGERPRINT_BYTES = 16
# Longer values are not shown in a sentence.
SHOWN_LENGTH = 60
# So many differences make a sentence; the others are counted.
SHOWN_DIFFERENCES = 2


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


class Known(StrEnum):
    """What the pooler knows of a login: nothing, how to check its password, or the password."""

    NOTHING = "nothing"
    VERIFIER = "verifier"
    PASSWORD = "password"


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedLogin:
    """A login whose password is made when its Secret is first written.

    The Secret then holds `<key>.user` and `<key>.password`, with `in_postgresql` the `<key>.verifier` of the role, and
    in `userlist.txt`, the pooler's file, a line for each login that the pooler knows.
    """

    key: str
    role: str
    in_postgresql: bool = False
    pooler: Known = Known.NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedKey:
    """A key that signs tokens, made when its Secret is first written.

    The Secret then holds the private key under the name `private`, and under `public` the set of keys that verify.
    """

    private: str
    public: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedText:
    """Random bytes in hexadecimal digits, under the name `key`."""

    key: str
    random_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedApiKeys:
    """The keys of a project's API, and the files of its services, as `service_keys` names them.

    In the same Secret are the logins `rest` and `auth`, and a GeneratedKey.
    """

    ref: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedAccess:
    """Keys to an object store, under the names ACCESS_KEY and SECRET_KEY of `archives`, and as a file under AWS_FILE.

    `is_given`: those that the user gave to the run, instead of new ones.
    """

    is_given: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedCertificate:
    """An authority and what it signs for the name `host`, under the names that `authority` gives."""

    host: str


Generated: TypeAlias = (
    "GeneratedLogin | GeneratedKey | GeneratedText | GeneratedApiKeys | GeneratedAccess | GeneratedCertificate"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretKey:
    """Where a secret value is kept, in place of the value: only who applies a step reads it."""

    namespace: str
    secret: str
    key: str

    def __str__(self) -> str:
        return f"Secret/{self.namespace}/{self.secret} {self.key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """A place in an object that gets values of a Secret when it is applied: `{name}` in `text` stands for one of them.

    Only for what tells nothing of a secret, such as the digest of a random key: whoever may read the object sees it.
    """

    path: tuple[str, ...]
    text: str
    secret: ObjectId

    def fits(self, value: object) -> bool:
        """Whether a value may be this text with something of the Secret in each of its places."""
        parts = (re.escape(part) for part in _PLACE.split(self.text)[::2])
        return isinstance(value, str) and re.fullmatch(r"[\w-]+".join(parts), value) is not None


# Without slots, so that what every stage asks of it is worked out once.
@dataclass(frozen=True, kw_only=True)
class Desired:
    """One object as it should be. With `generates` it is written once, and its values are never compared.

    `values_from`: the object whose values are taken over if it is there, instead of new ones.
    `fixed`: places that cannot change where this object lives, each with the reason.
    `fills`: places that `body` leaves open. What of the Secret is in them is not compared.
    `known_as`: the digest under which it is known, if it is not that of its body: when its places are filled.
    """

    body: Body
    generates: tuple[Generated, ...] = ()
    values_from: ObjectId | None = None
    fixed: Mapping[str, str] = field(default_factory=dict, hash=False)
    fills: tuple[Filled, ...] = ()
    known_as: str = ""

    @cached_property
    def id(self) -> ObjectId:
        """The identity of the object."""
        return ObjectId.of(self.body)

    @cached_property
    def fingerprint(self) -> str:
        """The digest of the object."""
        if not self.fills:
            return self.known_as or fingerprint(self.body)
        return fingerprint({**self.body, "fills": [[*one.path, one.text, str(one.secret)] for one in self.fills]})

    def filled(self, texts: Mapping[str, str]) -> Desired:
        """With values of the Secret in its places. Raises KeyError with the name of one that is missing."""
        body = self.body
        for one in self.fills:
            text = _PLACE.sub(lambda found: texts[found[1]], one.text)
            body = _with(body, one.path, text)
        return replace(self, body=body, fills=(), known_as=self.fingerprint)

    @property
    def is_create_only(self) -> bool:
        """True if the object's existence is all that is asked for once it is there."""
        return bool(self.generates) or self.values_from is not None


_PLACE = re.compile(r"\{([^{}]+)\}")


def value_at(body: Any, path: Sequence[str]) -> Any:
    """What a body says at a path; None if nothing."""
    for key in path:
        body = body.get(key) if isinstance(body, dict) else None
    return body


def _with(body: Body, path: Sequence[str], value: object) -> Body:
    """With a value at a path; the mapping itself stays as it is."""
    first, *rest = path
    return {**body, first: _with(body.get(first, {}), rest, value) if rest else value}


def without(body: Any, path: Sequence[str]) -> Any:
    """A body that says nothing at a path; it is itself left as it is."""
    first, *rest = path
    if not isinstance(body, dict) or first not in body:
        return body
    kept = {key: value for key, value in body.items() if key != first}
    return {**kept, first: without(body[first], rest)} if rest else kept


# What it encodes are trees. Looking for circles in them would take a quarter of the time.
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, check_circular=False)


def canonical_json(value: object) -> str:
    """The one text of a value, whatever the order of its keys."""
    return _CANONICAL.encode(value)


def fingerprint(body: Body) -> str:
    """Digest of a desired object. Bare, not keyed: a desired object holds no secret (see `generates`)."""
    return hashlib.blake2b(canonical_json(body).encode(), digest_size=FINGERPRINT_BYTES).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One place where a live object is not as desired. Either side is None where it says nothing."""

    path: str
    live: object
    desired: object

    def __str__(self) -> str:
        if self.desired is None and isinstance(self.live, dict | list):
            return f"{self.path} is set, wanted is unset"
        if any(isinstance(value, dict | list) or len(str(value)) > SHOWN_LENGTH for value in (self.live, self.desired)):
            return f"{self.path} differs"
        live, desired = ("unset" if value is None else value for value in (self.live, self.desired))
        return f"{self.path} is {live}, wanted is {desired}"


ANYTHING: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Exact:
    """Where a live object must not say more than is wanted, because what is added there opens or runs something.

    `paths` are the roots of such places. `defaults` names what the server itself fills in below them, by path with []
    for any element, and its value; ANYTHING where the server follows another field or chooses.
    """

    paths: tuple[str, ...] = ()
    defaults: Mapping[str, object] = field(default_factory=dict)

    def covers(self, path: str) -> bool:
        """True if `path` is one of the roots or below one."""
        return is_within(path, self.paths)

    def is_default(self, path: str, value: object) -> bool:
        """True if the server itself says `value` at `path`."""
        known = self.defaults.get(_ELEMENT.sub("[]", path), _NO_DEFAULT)
        return known is ANYTHING or known == value


_ELEMENT = re.compile(r"\[[0-9]+\]")
_NO_DEFAULT = object()
# What follows upon the name of a place.
_ENDS = ("", ".", "[")
NOWHERE = Exact()


def is_within(path: str, roots: Iterable[str]) -> bool:
    """True if `path` is one of the roots or below one."""
    return any(path.startswith(root) and path[len(root) : len(root) + 1] in _ENDS for root in roots)


def differences(live: object, desired: object, exact: Exact = NOWHERE) -> Iterator[Difference]:
    """Every place where `live` is not as desired, after `comparable` has taken from it what does not count."""
    found = comparable(live, desired, exact)
    return iter(()) if found == desired else _differences(found, desired, "")


def sentence(found: Sequence[Difference]) -> str:
    """The first differences in words, and how many more there are."""
    shown = ", ".join(str(one) for one in found[:SHOWN_DIFFERENCES])
    more = len(found) - SHOWN_DIFFERENCES
    return f"{shown} and {more} more" if more > 0 else shown


def comparable(
    live: object, desired: object, exact: Exact = NOWHERE, path: str = "", *, covered: bool = False
) -> object:
    """The part of `live` that counts beside `desired`: what is compared, and what a diff shows as the state before.

    1. Of a mapping the keys that `desired` has; where `exact` covers it, all but the server's defaults.
    2. Of a sequence every element: one too many, such as a rule of a NetworkPolicy, is a difference.
    3. An empty mapping or sequence and an absent one are the same, as the API drops both; but not where `exact` covers
       it: there an empty selector means everything.

    `covered`: true if `exact` is known to cover what is around `path`.
    """
    if live == desired:
        return desired
    strict = covered or exact.covers(path)
    if live is None and not strict and _is_hollow(desired):
        return desired
    if isinstance(desired, dict) and isinstance(live, dict):
        return _comparable_mapping(live, desired, exact, path, covered=strict)
    if isinstance(desired, list) and isinstance(live, list) and len(live) == len(desired):
        pairs = enumerate(zip(live, desired, strict=True))
        return [comparable(one, other, exact, f"{path}[{number}]", covered=strict) for number, (one, other) in pairs]
    return live


def _comparable_mapping(live: Body, desired: Body, exact: Exact, path: str, *, covered: bool) -> Body:
    found = {
        key: comparable(live.get(key), value, exact, _below(path, key), covered=covered)
        for key, value in desired.items()
    }
    if covered:
        more = {key: value for key, value in live.items() if key not in desired}
        found |= {key: value for key, value in more.items() if not exact.is_default(_below(path, key), value)}
    return {key: value for key, value in found.items() if value is not None}


def _differences(live: object, desired: object, path: str) -> Iterator[Difference]:
    if isinstance(desired, dict) and isinstance(live, dict):
        for key in [*desired, *(key for key in live if key not in desired)]:
            yield from _differences(live.get(key), desired.get(key), _below(path, key))
    elif isinstance(desired, dict) and desired and live is None:
        for key, value in desired.items():
            yield from _differences(None, value, _below(path, key))
    elif isinstance(desired, list) and isinstance(live, list) and len(live) == len(desired):
        for number, (one, other) in enumerate(zip(live, desired, strict=True)):
            yield from _differences(one, other, f"{path}[{number}]")
    elif live != desired:
        yield Difference(path=path, live=live, desired=desired)


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _is_hollow(value: object) -> bool:
    """True for what is empty all the way down."""
    if isinstance(value, dict):
        return all(_is_hollow(each) for each in value.values())
    return value == []
