# SPDX-License-Identifier: BSD-2-Clause
"""What a run has found, whatever backend it was read from, and what a record certifies of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .objects import Body, ObjectId


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """An object as the server has it. `body` is None as long as only its metadata was read.

    `version` changes whenever anybody changes what is wanted of the object, and not with its status.
    `is_going`: it has been deleted and is not gone yet.
    """

    id: ObjectId
    uid: str
    version: str
    fingerprint: str
    labels: Mapping[str, str]
    body: Body | None = field(repr=False)
    is_going: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Everything that a run has read, by identity."""

    objects: Mapping[ObjectId, Live]

    def find(self, id: ObjectId) -> Live | None:
        """The live object, or None if there is none."""
        return self.objects.get(id)

    def and_also(self, others: Observed) -> Observed:
        """The same, and what `others` knows beyond it."""
        return Observed(objects={**others.objects, **self.objects})

    def with_bodies(self, bodies: Iterable[tuple[ObjectId, Live | None]]) -> Observed:
        """The same, with some objects read anew; None removes one that has gone meanwhile."""
        fresh = {**self.objects, **{id: live for id, live in bodies if live is not None}}
        gone = {id for id, live in bodies if live is None}
        return Observed(objects={id: live for id, live in fresh.items() if id not in gone})


NOTHING = Observed(objects={})


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What the record certifies of an object: a run that read or wrote it as wanted met this uid and version.

    Of an object that is only ever created it certifies no more than which one it is.
    """

    uid: str
    version: str

    @classmethod
    def of(cls, live: Live) -> Stamp:
        """The stamp of a live object."""
        return cls(uid=live.uid, version=live.version)


Stamps = Mapping[ObjectId, Stamp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What a step led to: the object as the server returned it, and whether that changed anything."""

    changed: bool
    live: Live
