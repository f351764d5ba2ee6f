#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Prove that archives can be restored, by restoring a random moment of each."""

from __future__ import annotations

DOCUMENTATION = r"""
module: drill
short_description: Prove that archives can be restored, by restoring a random moment of each
description:
  - Chooses a moment in the recovery window of an archive, brings a copy of its PostgreSQL to it, looks at that, and
    throws it away. What was proven when is noted in the ConfigMap C(drills) of the platform's namespace, where
    M(supalove.platform.project_info) finds it.
  - The copy runs in a namespace of its own that nobody can reach, and reads the archive with keys that cannot write it.
    It takes CPU, memory and disk of a node of the data plane, as much disk as the volume that is restored.
  - The copy must have no row from after the moment, and one of the archiver's heartbeat that is as new as the RPO says.
    Then every table and index of every project's database is read and compared by C(pg_amcheck).
  - Projects on a shared cluster are proven with that.
  - One archive follows upon the other. One that proves nothing does not hold up the others, and the task fails in the
    end.
  - Check mode restores nothing. It chooses moments, and tells where the archive does not lead to one.
author:
  - Supalove contributors (@supalove)
extends_documentation_fragment:
  - supalove.platform.attributes
  - supalove.platform.attributes.actiongroup_platform
  - supalove.platform.connection
  - supalove.platform.connection.engine_object_store
  - supalove.platform.vocabulary
  - supalove.platform.vocabulary.tiers
  - supalove.platform.vocabulary.projects
options:
  refs:
    description:
      - Refs of projects with a PostgreSQL of their own.
      - Without it and without O(clusters) all archives take their turn.
    type: list
    elements: str
  clusters:
    description:
      - Names of shared clusters.
    type: list
    elements: str
  most:
    description:
      - How many archives to try, those first that were not tried for longest. By default all.
    type: int
  directory:
    description:
      - Directory with one file for each project, as of M(supalove.platform.projects).
    type: path
seealso:
  - module: supalove.platform.restore
  - module: supalove.platform.project_info
"""

EXAMPLES = r"""
- name: Prove the five archives that were not tried for longest
  supalove.platform.drill:
    kubeconfig: "{{ k3s_kubeconfig_path }}"
    platform: "{{ supalove_platform }}"
    tiers: "{{ supalove_tiers }}"
    projects: "{{ supalove_projects }}"
    object_store_credentials_file: "{{ object_store_credentials_path }}"
    most: 5
    timeout: 7200
"""

RETURN = r"""
counts:
  description:
    - How many archives there are, how many of them are proven by now, how many this run has tried, and how many of
      these failed.
  returned: unless the input is wrong
  type: dict
  sample: {archives: 42, proven: 41, drilled: 5, failed: 0}
drills:
  description:
    - What was tried, failures first, at most 100.
    - C(seconds_to_recover) is the time from nothing to a server that answers, C(loss_seconds) how
      much older than the moment its newest row was.
  returned: unless the input is wrong
  type: list
  elements: dict
  sample:
    - ref: acme
      cluster: ""
      archive: p-abcdefgh2345
      target: "2026-11-22T17:41:09+00:00"
      seconds_to_recover: 71.3
      loss_seconds: 12.4
      databases: 1
      error: ""
drills_left_out:
  description: How many more there would be to show.
  returned: unless the input is wrong
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
      allowed: "refs of projects that run a PostgreSQL of their own: acme"
unproven:
  description: Archives whose last drill failed, or that have had none, at most 100.
  returned: unless the input is wrong
  type: list
  elements: str
  sample: [s-free-2]
unproven_left_out:
  description: How many more there would be.
  returned: unless the input is wrong
  type: int
  sample: 0
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible import Work, access_of, inventory_from, run_module
from ..module_utils._engine.backends.kubernetes.client import Client
from ..module_utils._engine.drill import drill
from ..module_utils._engine.errors import SafetyStop
from ..module_utils._engine.progress import Progress
from ..module_utils._engine.settings import Settings
from ..module_utils._results import drill_result_of
from ..module_utils._specs import drill_spec


def _work(module: AnsibleModule) -> Work:
    params: dict[str, t.Any] = module.params
    inventory = inventory_from(params)

    def work(client: Client | None, settings: Settings, progress: Progress) -> dict[str, t.Any]:
        with access_of(module, client, inventory.platform, settings) as access:
            if access is None:
                raise SafetyStop("there is no cluster, so there are no archives of it")
            report = drill(
                access,
                inventory,
                refs=params["refs"],
                clusters=params["clusters"],
                most=params["most"],
                settings=settings,
                progress=progress,
            )
        return drill_result_of(report, check=settings.check)

    return work


def main() -> None:
    """Run the module."""
    run_module(drill_spec(), _work)


if __name__ == "__main__":
    main()
