#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make a dump the database of a project."""

from __future__ import annotations

DOCUMENTATION = r"""
module: import_dump
short_description: Make a dump the database of a project
description:
  - Loads a dump in C(pg_dump)'s custom format, an export or one from elsewhere, beside the database of a project. While
    the project's clients are held, the two change names. The database of before is kept on the server under the name in
    RV(kept).
  - It is loaded with the rights of the project's own login. What that may not do cannot be loaded. The module then
    fails, names it, and nothing is changed. Owners in the dump are left out, as all of it belongs to that login.
  - Check mode loads nothing.
  - Each run loads anew, so it always changes something.
author:
  - Supalove contributors (@supalove)
extends_documentation_fragment:
  - supalove.platform.attributes
  - supalove.platform.attributes.actiongroup_platform
  - supalove.platform.connection
  - supalove.platform.connection.engine_vault
  - supalove.platform.connection.engine_object_store
  - supalove.platform.vocabulary
  - supalove.platform.vocabulary.tiers
  - supalove.platform.vocabulary.projects
options:
  ref:
    description:
      - Ref of the project, which is there and listed in O(projects) or O(directory).
    type: str
    required: true
  file:
    description:
      - The dump as a file of the controller. It is put into the object store while it is loaded.
    type: path
  key:
    description:
      - The dump as an object, by its key below the platform's prefix, as M(supalove.platform.export) returns it.
    type: str
  with_grants:
    description:
      - Whether to load all grants. They name logins, and of these only the project's own are there.
      - Those of everybody and of the groups C(anon), C(authenticated) and C(service_role) come along in any case.
    type: bool
    default: false
  directory:
    description:
      - Directory with one file for each project, as of M(supalove.platform.projects).
    type: path
seealso:
  - module: supalove.platform.export
"""

EXAMPLES = r"""
- name: Bring the database of the prototype in
  supalove.platform.import_dump:
    kubeconfig: "{{ k3s_kubeconfig_path }}"
    platform: "{{ supalove_platform }}"
    tiers: "{{ supalove_tiers }}"
    projects: "{{ supalove_projects }}"
    object_store_credentials_file: "{{ object_store_credentials_path }}"
    ref: acme
    file: /var/tmp/prototype.dump
"""

RETURN = r"""
kept:
  description: Under which name the database of before is on its server; empty in check mode.
  returned: unless the input is wrong
  type: str
  sample: p_abcdefgh2345_20261125t141500z
counts:
  description: How many projects ended how; there is one.
  returned: unless the input is wrong
  type: dict
  sample: {changed: 1, failed: 0, held: 0, unchanged: 0, waiting: 0}
outcomes:
  description: What was done for the project after the change of names.
  returned: unless the input is wrong
  type: list
  elements: dict
  sample: []
outcomes_left_out:
  description: How many outcomes are not in RV(outcomes); none.
  returned: unless the input is wrong
  type: int
  sample: 0
left_alone:
  description: Refs of projects that are not listed.
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
    - path: file
      value: /var/tmp/prototype.sql
      allowed: "a dump in the custom format (pg_dump --format=custom)"
requests:
  description: Requests sent to the API server, to Vault and to the object store.
  returned: unless the input is wrong
  type: dict
  sample: {reads: 11, writes: 4}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible import Work, access_of, inventory_from, run_module
from ..module_utils._engine.backends.kubernetes.client import Client
from ..module_utils._engine.errors import SafetyStop
from ..module_utils._engine.import_dump import import_dump
from ..module_utils._engine.progress import Progress
from ..module_utils._engine.settings import Settings
from ..module_utils._results import imported_result_of
from ..module_utils._specs import dump_from, import_dump_spec


def _work(module: AnsibleModule) -> Work:
    params: dict[str, t.Any] = module.params
    dump = dump_from(params)
    inventory = inventory_from(params)

    def work(client: Client | None, settings: Settings, progress: Progress) -> dict[str, t.Any]:
        with access_of(module, client, inventory.platform, settings) as access:
            if access is None:
                raise SafetyStop("there is no cluster, so there is no project that could get a database")
            done = import_dump(access, inventory, ref=params["ref"], **dump, settings=settings, progress=progress)
        return imported_result_of(done, show_diff=module._diff)

    return work


def main() -> None:
    """Run the module."""
    run_module(import_dump_spec(), _work)


if __name__ == "__main__":
    main()
