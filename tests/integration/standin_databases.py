# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for shared clusters, in memory: what the engine does around them is tested without a PostgreSQL.

It keeps what it is told and nothing else. The contract tests of the real backend run against it, too.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterable, Mapping

from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.postgresql.plan import wanted_spec
from ansible_collections.supalove.platform.plugins.module_utils._engine.deadline import Deadline
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import BackendError, Unreachable
from ansible_collections.supalove.platform.plugins.module_utils._engine.objects import Body, ObjectId, fingerprint
from ansible_collections.supalove.platform.plugins.module_utils._engine.observed import Applied, Live, Observed
from ansible_collections.supalove.platform.plugins.module_utils._engine.steps import Action, Step


@dataclasses.dataclass
class MemoryDatabases:
    """Clusters by name; those in `down` do not answer."""

    bodies: dict[ObjectId, Body] = dataclasses.field(default_factory=dict)
    down: set[str] = dataclasses.field(default_factory=set)
    reads: int = 0
    writes: int = 0
    _lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def observe(self, clusters: Iterable[str], *, deadline: Deadline) -> Mapping[str, Observed | BackendError]:
        deadline.require("the stand-in")
        return {name: self._cluster(name) for name in clusters}

    def apply(self, step: Step, *, deadline: Deadline) -> Applied:
        deadline.require(str(step.id))
        with self._lock:
            if step.id.namespace in self.down:
                raise self._error(step.id.namespace)
            self.writes += 1
            had = self.bodies.pop(step.id, None)
            if step.action is Action.DELETE:
                return Applied(changed=had is not None, live=_live(step.id, step.desired.body))
            self.bodies[step.id] = {**step.desired.body, "spec": wanted_spec(step.desired)}
            return Applied(changed=had != self.bodies[step.id], live=_live(step.id, self.bodies[step.id]))

    def _cluster(self, name: str) -> Observed | BackendError:
        with self._lock:
            self.reads += 1
            if name in self.down:
                return self._error(name)
            found = {id: _live(id, body) for id, body in self.bodies.items() if id.namespace == name}
            return Observed(objects=found)

    def _error(self, name: str) -> BackendError:
        return Unreachable(subject=f"cluster/{name}", verb="CONNECT", reason="the stand-in is down")


def _live(id: ObjectId, body: Body) -> Live:
    return Live(id=id, uid=str(id), version=fingerprint(body), fingerprint="", labels={}, body=body)
