# SPDX-License-Identifier: GPL-3.0-or-later
"""The module projects with a stand-in for shared clusters, as no SQL can be reached where no pod runs.

All but the way to the databases is what the module itself has: its options, `run_module`, `reconcile`, `result_of`.
Two options more: `databases`, the folder of the stand-in, and `standins`, the folder of its code. Reading the
stand-in's files is on the clock.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.supalove.platform.plugins.module_utils._ansible import Work, run_module
from ansible_collections.supalove.platform.plugins.module_utils._engine.access import Access
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.client import Client
from ansible_collections.supalove.platform.plugins.module_utils._engine.progress import Progress
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.parse import parse
from ansible_collections.supalove.platform.plugins.module_utils._engine.reconcile import reconcile
from ansible_collections.supalove.platform.plugins.module_utils._engine.settings import Settings
from ansible_collections.supalove.platform.plugins.module_utils._results import result_of
from ansible_collections.supalove.platform.plugins.module_utils._specs import projects_spec

FOLDER = {"type": "path", "required": True}


def _work(module: AnsibleModule) -> Work:
    params: dict[str, Any] = module.params
    sys.path.insert(0, params["standins"])
    from standin_files import FileDatabases

    inventory = parse(projects=params["projects"], tiers=params["tiers"], platform=params["platform"])

    def work(client: Client | None, settings: Settings, progress: Progress) -> dict[str, Any]:
        databases = FileDatabases(Path(params["databases"]))
        access = Access(client=client, databases=databases) if client else None
        report = reconcile(access, inventory, settings=settings, progress=progress)
        return result_of(report, show_diff=module._diff)  # noqa: SLF001 - Ansible has no other name for it

    return work


if __name__ == "__main__":
    run_module({**projects_spec(), "databases": FOLDER, "standins": FOLDER}, _work)
