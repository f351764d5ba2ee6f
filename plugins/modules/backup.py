#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make base backups now."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backup
short_description: Make base backups now
description:
  - Asks the archivers of projects with a PostgreSQL of their own, and of shared clusters, for a base backup, and
    watches until it is in the archive. Without O(refs) and O(clusters) all are asked.
  - Archivers make base backups on their own schedule, too. This module is for one that is needed before the next, as
    before a big change, and for schedules that want to know at once that a backup failed.
  - Where a base backup is running already, it is waited for first, as it began before this one was asked for.
  - One that fails does not hold up the others. The task fails at its end if one did, or had not ended in time.
  - Stopped projects and those that have no PostgreSQL yet are skipped, with the reason.
  - This module is not idempotent. Every run makes backups, as it says.
author:
  - Supalove contributors (@supalove)
extends_documentation_fragment:
  - supalove.platform.attributes
  - supalove.platform.attributes.actiongroup_platform
  - supalove.platform.connection
  - supalove.platform.vocabulary
attributes:
  diff_mode:
    support: none
    details:
      - A base backup changes no object.
options:
  refs:
    description:
      - Refs of the projects to back up, each with a PostgreSQL of its own. The database of a project on a shared
        cluster is in the backup of the cluster, so O(clusters) is for it.
    type: list
    elements: str
  clusters:
    description:
      - Names of the shared clusters to back up.
    type: list
    elements: str
  full:
    description:
      - Whether the backups are to need no others. Otherwise WAL-G sends what has changed since the backup before it, if
        that is not too old; Barman Cloud makes full ones only.
    type: bool
    default: false
  wait:
    description:
      - Whether to watch until the backups have ended, within O(timeout). Without it they are only asked for, and
        where one is running already, none is.
    type: bool
    default: true
  workers:
    description:
      - Base backups that are made at once. Each sends a whole database to the object store.
    type: int
    default: 4
seealso:
  - module: supalove.platform.project_info
    description: With O(supalove.platform.project_info#module:archive) it tells how projects are archived.
  - module: supalove.platform.restore
"""

EXAMPLES = r"""
- name: Make a base backup of one project before a big change
  supalove.platform.backup:
    kubeconfig: "{{ k3s_kubeconfig_path }}"
    platform: "{{ supalove_platform }}"
    refs: [acme]
    timeout: 3600

- name: Begin a new chain of backups of a shared cluster, and do not wait for its end
  supalove.platform.backup:
    kubeconfig: "{{ k3s_kubeconfig_path }}"
    platform: "{{ supalove_platform }}"
    clusters: [free-1]
    full: true
    wait: false
"""

RETURN = r"""
counts:
  description: How many ended how.
  returned: always
  type: dict
  sample: {changed: 2, failed: 0, unchanged: 1, waiting: 0}
outcomes:
  description:
    - What happened to each project and cluster, failures first, at most 100.
    - V(changed) means that a base backup was made, or without O(wait), that it was asked for; V(unchanged) that none
      was asked for; V(waiting) that it had not ended when the time was up, and goes on.
  returned: always
  type: list
  elements: dict
  sample:
    - ref: acme
      archive: p-abcdefgh2345
      result: changed
      full: true
      finished: "2026-11-25T14:03:59+00:00"
    - cluster: free-1
      archive: s-free-1
      result: failed
      reason: "Pod/s-free-1/postgresql-0 (archiver): wal-g: ERROR: failed to upload"
outcomes_left_out:
  description: How many outcomes are not in RV(outcomes).
  returned: always
  type: int
  sample: 0
problems:
  description: What is wrong with the input.
  returned: when the input is wrong
  type: list
  elements: dict
  sample:
    - path: refs
      value: acne
      allowed: "refs of projects with a PostgreSQL of their own: acme"
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible import Work, run_module
from ..module_utils._engine.backends.kubernetes.client import Client
from ..module_utils._engine.backup import BackupReport, backup
from ..module_utils._engine.progress import Progress
from ..module_utils._engine.project.parse import parse
from ..module_utils._engine.settings import Settings
from ..module_utils._results import backup_result_of
from ..module_utils._specs import backup_spec


def _work(module: AnsibleModule) -> Work:
    params: dict[str, t.Any] = module.params
    platform = parse(projects={}, tiers={}, platform=params["platform"]).platform

    def work(client: Client | None, settings: Settings, progress: Progress) -> dict[str, t.Any]:
        # Before there is a cluster there is nothing to back up.
        report = BackupReport()
        if client is not None:
            report = backup(
                client,
                platform,
                refs=params["refs"],
                clusters=params["clusters"],
                full=params["full"],
                settings=settings,
                progress=progress,
            )
        return backup_result_of(report)

    return work


def main() -> None:
    """Run the module."""
    run_module(backup_spec(), _work)


if __name__ == "__main__":
    main()
