# SPDX-License-Identifier: GPL-3.0-or-later
"""Real shared clusters, and how long the steps on them took."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping

from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.postgresql.clusters import Clusters
from ansible_collections.supalove.platform.plugins.module_utils._engine.deadline import Deadline
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import EngineError
from ansible_collections.supalove.platform.plugins.module_utils._engine.observed import Applied, Observed
from ansible_collections.supalove.platform.plugins.module_utils._engine.steps import Step


class Timed:
    """Clusters with one more thing to ask: in `seconds`, for how long a step was under way.

    Steps on one cluster take turns, and it is measured without the waiting for a turn; so it is for a platform of one
    cluster, as here all take turns.
    """

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters
        self._turn = threading.Lock()
        self.seconds = 0.0

    @property
    def reads(self) -> int:
        return self._clusters.reads

    @property
    def writes(self) -> int:
        return self._clusters.writes

    def observe(self, clusters: Iterable[str], *, deadline: Deadline) -> Mapping[str, Observed | EngineError]:
        return self._clusters.observe(clusters, deadline=deadline)

    def apply(self, step: Step, *, deadline: Deadline) -> Applied:
        with self._turn:
            started = time.perf_counter()
            try:
                return self._clusters.apply(step, deadline=deadline)
            finally:
                self.seconds += time.perf_counter() - started
