# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in for shared clusters, kept in a directory, so that it outlives the process that writes to it."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

from ansible_collections.supalove.platform.plugins.module_utils._engine.deadline import Deadline
from ansible_collections.supalove.platform.plugins.module_utils._engine.objects import ObjectId
from ansible_collections.supalove.platform.plugins.module_utils._engine.observed import Applied
from ansible_collections.supalove.platform.plugins.module_utils._engine.steps import Step
from standin_databases import MemoryDatabases


class FileDatabases(MemoryDatabases):
    """One file for each role and database; a write is there whole or not at all, as a statement of SQL is."""

    def __init__(self, directory: Path) -> None:
        bodies = [json.loads(path.read_text()) for path in directory.glob("*.json")]
        super().__init__(bodies={ObjectId.of(body): body for body in bodies})
        self._directory = directory

    def apply(self, step: Step, *, deadline: Deadline) -> Applied:
        applied = super().apply(step, deadline=deadline)
        self.keep(step.id)
        return applied

    def keep(self, id: ObjectId) -> None:
        """What is known of one object, into its file."""
        path = self._directory / f"{quote(str(id), safe='')}.json"
        if id not in self.bodies:
            path.unlink(missing_ok=True)
            return
        new = path.with_suffix(".new")
        new.write_text(json.dumps(self.bodies[id]))
        new.replace(path)
