#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Dump the databases of projects into the object store."""

from __future__ import annotations

DOCUMENTATION = r"""
module: export
short_description: Dump the databases of projects into the object store
description:
  - Writes each project's database as a dump in C(pg_dump)'s custom format, which any PostgreSQL of the same or a newer
    version can read, below C(exports/<uid>/) of the platform's prefix in the object store.
  - The dumps come out of copies of the servers, brought to the end of their archives in namespaces of their own, which
    are removed afterwards. So a server in use has no work with them, and each export proves that the archive can be
    restored.
  - Dumps are not encrypted by the platform. Have the bucket encrypt what lies in it, or take them away.
  - Check mode makes nothing, and fails where an archive has no way to its end.
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
      - Refs of the projects. They may be stopped.
      - Without it all projects on shared clusters are exported.
    type: list
    elements: str
  keep_days:
    description:
      - Dumps of a project that are so much older than its newest one are removed.
    type: int
    default: 30
  directory:
    description:
      - Directory with one file for each project, as of M(supalove.platform.projects).
    type: path
seealso:
  - module: supalove.platform.import_dump
  - module: supalove.platform.restore
"""

EXAMPLES = r"""
- name: Export acme
  supalove.platform.export:
    kubeconfig: "{{ k3s_kubeconfig_path }}"
    platform: "{{ supalove_platform }}"
    tiers: "{{ supalove_tiers }}"
    projects: "{{ supalove_projects }}"
    object_store_credentials_file: "{{ object_store_credentials_path }}"
    refs: [acme]
"""

RETURN = r"""
counts:
  description: How many projects were exported and how many were not, and how many old dumps were removed.
  returned: unless the input is wrong
  type: dict
  sample: {exported: 41, failed: 0, removed: 40}
exports:
  description:
    - What became of each project, failures first, at most 100.
    - C(key) is below the platform's prefix in the bucket. No commit in the dump is later than C(archived_until).
  returned: unless the input is wrong
  type: list
  elements: dict
  sample:
    - ref: acme
      key: exports/abcdefgh2345/20261126t020000z.dump
      bytes: 5242880
      archived_until: "2026-11-26T01:59:31+00:00"
      removed: []
      error: ""
exports_left_out:
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
      allowed: "the ref of a project that is listed and that the platform has"
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible import Work, access_of, inventory_from, run_module
from ..module_utils._engine.backends.kubernetes.client import Client
from ..module_utils._engine.errors import SafetyStop
from ..module_utils._engine.export import export
from ..module_utils._engine.progress import Progress
from ..module_utils._engine.settings import Settings
from ..module_utils._results import export_result_of
from ..module_utils._specs import export_spec


def _work(module: AnsibleModule) -> Work:
    params: dict[str, t.Any] = module.params
    inventory = inventory_from(params)

    def work(client: Client | None, settings: Settings, progress: Progress) -> dict[str, t.Any]:
        with access_of(module, client, inventory.platform, settings) as access:
            if access is None:
                raise SafetyStop("there is no cluster, so there are no projects to export")
            report = export(
                access,
                inventory,
                refs=params["refs"],
                keep_days=params["keep_days"],
                settings=settings,
                progress=progress,
            )
        return export_result_of(report)

    return work


def main() -> None:
    """Run the module."""
    run_module(export_spec(), _work)


if __name__ == "__main__":
    main()
