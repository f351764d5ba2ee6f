# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for the object store, in memory: archives that a test writes, and the dumps beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.catalog import Catalog, Stored
from ansible_collections.supalove.platform.plugins.module_utils._engine.credentials import Secret
from ansible_collections.supalove.platform.plugins.module_utils._engine.deadline import Deadline
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import Unreachable
from ansible_collections.supalove.platform.plugins.module_utils._engine.objects import ObjectId
from ansible_collections.supalove.platform.plugins.module_utils._engine.observed import Applied, Live, Observed
from ansible_collections.supalove.platform.plugins.module_utils._engine.steps import Action, Step
from archives import Life, catalogs_from


@dataclasses.dataclass
class MemoryArchives:
    """`is_down`: nothing of it can be read or written but who may do that."""

    identities: dict[ObjectId, Live] = dataclasses.field(default_factory=dict)
    lives: list[Life] = dataclasses.field(default_factory=list)
    objects: dict[str, bytes] = dataclasses.field(default_factory=dict)
    is_down: bool = False
    reads: int = 0
    writes: int = 0

    def observe(self, *, deadline: Deadline) -> Observed:
        deadline.require("the stand-in")
        return Observed(objects=dict(self.identities))

    def apply(self, step: Step, *, texts: Mapping[str, str] | None, deadline: Deadline) -> Applied:
        deadline.require(str(step.id))
        live = Live(id=step.id, uid="", version="", fingerprint="", labels={}, body=None)
        if step.action is Action.DELETE:
            return Applied(changed=self.identities.pop(step.id, None) is not None, live=live)
        assert texts is not None
        self.identities[step.id] = live
        return Applied(changed=True, live=live)

    def lend(self, name: str, *, archive: str, writes: str, deadline: Deadline) -> Mapping[str, Secret] | None:
        raise AssertionError(f"nothing is copied: {name} {archive} {writes} {deadline}")

    def take_back(self, name: str, *, writes: str, deadline: Deadline) -> None:
        raise AssertionError(f"nothing was lent: {name} {writes} {deadline}")

    def dumps(self, prefix: str, *, deadline: Deadline) -> tuple[Stored, ...]:
        self._look(deadline)
        now = datetime.now(UTC)
        found = sorted(key for key in self.objects if key.startswith(prefix))
        return tuple(Stored(key=key, bytes=len(self.objects[key]), modified=now) for key in found)

    def keep(self, source: str, key: str, *, deadline: Deadline) -> None:
        self._look(deadline)
        self.writes += 1
        self.objects[key] = self.objects[source]

    def upload(self, path: str, key: str, *, deadline: Deadline) -> None:
        raise AssertionError(f"nothing is uploaded: {path} {key} {deadline}")

    def discard(self, keys: Sequence[str], *, deadline: Deadline) -> None:
        self._look(deadline)
        for key in keys:
            self.objects.pop(key, None)

    def presigned(self, key: str, *, seconds: int) -> Secret:
        raise AssertionError(f"nothing is loaded: {key} {seconds}")

    def catalogs(self, archive: str, *, deadline: Deadline) -> tuple[Catalog, ...]:
        self._look(deadline)
        return catalogs_from({key: one for life in self.lives for key, one in life.objects.items()}, archive)

    def _look(self, deadline: Deadline) -> None:
        deadline.require("the stand-in")
        self.reads += 1
        if self.is_down:
            raise Unreachable(subject="the object store", verb="GET", reason="the stand-in is down")
