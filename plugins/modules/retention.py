#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Remove from archives what no moment of the recovery window needs, and from servers what restores have replaced."""

from __future__ import annotations

DOCUMENTATION = r"""
module: retention
short_description: Remove what no moment of the recovery window needs, and what restores have replaced
description:
  - Reads the archives below the prefix of O(platform) in its object store, gives each base backup a verdict with a
    reason, and removes those that are not needed, with their WAL. Every second of C(recovery_window_days) stays
    restorable.
  - The newest backup of an archive and backups that are permanent are never removed, nor is anything of an incarnation
    in which something cannot be read. Archives of projects that are gone follow the same rules.
  - Restore points (M(supalove.platform.restore_point)) go when the window has passed them.
  - Drops the databases that restores and imports have replaced, when that is more than C(kept_database_days) ago, out
    of the servers on which they are. Where no pod runs nothing is dropped.
  - An archive from which a project is being restored is left as it is.
  - Uploads in parts that were begun more than two days ago and never finished are aborted.
  - Check mode removes nothing and has the same result; with diff it shows every backup with its verdict and reason.
  - A run that was killed is finished by the next one. One archive's failure is its own; the task fails after all others
    are done.
author:
  - Supalove contributors (@supalove)
extends_documentation_fragment:
  - supalove.platform.attributes
  - supalove.platform.attributes.actiongroup_platform
  - supalove.platform.connection
  - supalove.platform.connection.engine_object_store
  - supalove.platform.vocabulary
options:
  refs:
    description:
      - Refs of the projects whose archives are thinned out, and whose replaced databases go. A project on a shared
        cluster is in the archive of that.
      - Without it and without O(clusters) all archives are, those of projects that are gone among them.
    type: list
    elements: str
  clusters:
    description:
      - Names of the shared clusters whose archives are thinned out, and whose replaced databases go.
    type: list
    elements: str
  removal_limit_percent:
    description:
      - How many of an archive's backups one run may remove. If more would go, nothing of the archive is removed, and
        the task fails.
      - Raise it for the first run over archives that nobody has thinned out for long.
    type: int
    default: 50
  workers:
    description:
      - Archives that are worked on at once.
    type: int
    default: 16
seealso:
  - module: supalove.platform.projects
"""

EXAMPLES = r"""
- name: Thin out all archives
  supalove.platform.retention:
    kubeconfig: "{{ k3s_kubeconfig_path }}"
    platform: "{{ supalove_platform }}"
    object_store_credentials_file: "{{ object_store_credentials_path }}"

- name: Show what would go from the archive of one project, and why
  supalove.platform.retention:
    kubeconfig: "{{ k3s_kubeconfig_path }}"
    platform: "{{ supalove_platform }}"
    object_store_credentials_file: "{{ object_store_credentials_path }}"
    refs: [acme]
  check_mode: true
  diff: true
"""

RETURN = r"""
archives:
  description:
    - What happened to each archive, failures first, at most 100. Of all archives those from which nothing went are only
      counted.
    - C(fate) of a backup is V(kept), V(removed), or V(left) if it was to go and is still there. There are at most 1000
      backups in all, of each archive first those that were to go.
    - V(held) means that a project is being restored from the archive, which was left as it is.
  returned: unless the input is wrong
  type: list
  elements: dict
  sample:
    - archive: p-abcdefgh2345
      owner: project acme
      result: changed
      backups:
        - incarnation: 20261101t000000z-k3v7q2ab
          backup: base_000000010000000000000002
          fate: removed
          reason: it finished before the window, and base_00000001000000000000000C is newer
      backups_left_out: 0
      objects_removed: 14
      bytes_freed: 235929600
      uploads_aborted: 0
      points_removed: [abcdefgh2345.before-v2]
      problems: []
archives_left_out:
  description: How many more archives there would be to show.
  returned: unless the input is wrong
  type: int
  sample: 0
counts:
  description: How many archives ended how.
  returned: unless the input is wrong
  type: dict
  sample: {failed: 0, held: 0, changed: 1, unchanged: 41}
databases:
  description:
    - Databases that restores and imports have replaced, those that were to go first, at most 100.
    - It was live until C(until). C(server) is the namespace of its PostgreSQL. C(fate) is V(kept), V(removed), or
      V(left) if it was to go and could not be dropped.
  returned: unless the input is wrong
  type: list
  elements: dict
  sample:
    - database: p_abcdefgh2345_20261115t141500z
      ref: blog
      server: s-free-1
      bytes: 7340032
      until: "2026-11-15T14:15:00+00:00"
      goes_at: "2026-11-22T14:15:00+00:00"
      fate: removed
      error: ""
databases_left_out:
  description: How many more there would be to show.
  returned: unless the input is wrong
  type: int
  sample: 0
left_alone:
  description: Folders beside the archives that are none.
  returned: unless the input is wrong
  type: list
  elements: str
  sample: []
problems:
  description: What is wrong with the input.
  returned: when the input is wrong
  type: list
  elements: dict
  sample:
    - path: refs
      value: acne
      allowed: "refs of projects that the platform has: acme"
requests:
  description: Requests sent to the API server and to the object store.
  returned: unless the input is wrong
  type: dict
  sample: {reads: 11, writes: 4}
totals:
  description: Sums over all archives and servers; C(bytes_freed) are those of backups and WAL.
  returned: unless the input is wrong
  type: dict
  sample:
    backups_kept: 294
    backups_removed: 1
    backups_left: 0
    objects_removed: 14
    bytes_freed: 235929600
    uploads_aborted: 0
    points_removed: 1
    databases_removed: 1
    database_bytes_freed: 7340032
window_start:
  description: The first moment that stays restorable.
  returned: unless the input is wrong
  type: str
  sample: "2026-11-18T02:00:00+00:00"
"""

import dataclasses
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible import Work, archive_store_of, run_module
from ..module_utils._engine.backends.kubernetes.client import Client
from ..module_utils._engine.kept_databases import let_go
from ..module_utils._engine.progress import Progress
from ..module_utils._engine.project.parse import parse
from ..module_utils._engine.retain import retain
from ..module_utils._engine.retained import Report, result_of
from ..module_utils._engine.settings import Settings
from ..module_utils._specs import archive_choice_from, retention_spec, rules_from


def _work(module: AnsibleModule) -> Work:
    params: dict[str, t.Any] = module.params
    platform = parse(projects={}, tiers={}, platform=params["platform"]).platform
    choice, rules = archive_choice_from(params), rules_from(params, platform)

    def work(client: Client | None, settings: Settings, progress: Progress) -> dict[str, t.Any]:
        with archive_store_of(module, platform, settings) as store:
            # Of a cluster or a store that is yet to come there are no archives.
            report = Report(choice=choice)
            if client is not None and store is not None:
                report = retain(
                    client, store, platform, choice=choice, rules=rules, settings=settings, progress=progress
                )
                kept = let_go(client, platform, choice=choice, settings=settings, progress=progress)
                report = dataclasses.replace(report, kept=kept)
        return result_of(report, show_diff=module._diff)

    return work


def main() -> None:
    """Run the module."""
    run_module(retention_spec(), _work)


if __name__ == "__main__":
    main()
