#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Move the database of a project to where its tier wants it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: move
short_description: Move the database of a project to where its tier wants it
description:
  - Between a shared cluster and a PostgreSQL of its own. Give the project a tier of the other placement, then run this.
    M(supalove.platform.projects) leaves a project alone that is not where its tier wants it, and says so.
  - What it moves to is made first, while clients work. Then they are held, and the database is closed, dumped, and
    loaded there; for as long as that takes its users can do nothing, see RV(closed_seconds). What they committed before
    is there afterwards. Logins stay as they are. Connections are closed once.
  - The database stays on the server that it left, under the name in RV(kept); after a PostgreSQL of its own, on the
    volume of that. What was archived before the move can still be restored with M(supalove.platform.restore).
  - A run that is killed before the database has arrived leaves the project where it was. After that the next run goes
    on. To give up a move that has not ended, give the project its former tier and run the module again.
  - Check mode says what would be made, and moves nothing. Where nothing is to be moved, nothing is changed.
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
      - Ref of the project, which runs and is listed in O(projects) or O(directory) with the tier that it is to have.
    type: str
    required: true
  max_size:
    description:
      - The largest database that is moved, such as V(500Mi). A larger one is refused with its size, because its users
        could do nothing for too long.
    type: str
    default: 10Gi
  directory:
    description:
      - Directory with one file for each project, as of M(supalove.platform.projects).
    type: path
seealso:
  - module: supalove.platform.projects
  - module: supalove.platform.restore
"""

EXAMPLES = r"""
- name: Give acme, whose tier is pro by now, a PostgreSQL of its own
  supalove.platform.move:
    kubeconfig: "{{ k3s_kubeconfig_path }}"
    platform: "{{ supalove_platform }}"
    tiers: "{{ supalove_tiers }}"
    projects: "{{ supalove_projects }}"
    object_store_credentials_file: "{{ object_store_credentials_path }}"
    ref: acme
"""

RETURN = r"""
before:
  description: Where the database was.
  returned: unless the input is wrong
  type: str
  sample: shared/free-1
after:
  description: Where it is, or in check mode would be.
  returned: unless the input is wrong
  type: str
  sample: dedicated
size:
  description: Bytes of the database that was moved.
  returned: unless the input is wrong
  type: int
  sample: 104857600
closed_seconds:
  description: For how long its users could do nothing.
  returned: unless the input is wrong
  type: float
  sample: 41.5
kept:
  description: Under which name the database stays on the server that it left; empty if nothing moved.
  returned: unless the input is wrong
  type: str
  sample: p_abcdefgh2345_20261125t141500z
counts:
  description: How many projects ended how; there is one.
  returned: unless the input is wrong
  type: dict
  sample: {changed: 1, failed: 0, held: 0, unchanged: 0, waiting: 0}
outcomes:
  description: What was done for the project after the database had arrived.
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
    - path: max_size
      value: big
      allowed: "bytes with a unit, such as 500Mi"
requests:
  description: Requests sent to the API server, to Vault and to the object store.
  returned: unless the input is wrong
  type: dict
  sample: {reads: 41, writes: 24}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible import Work, access_of, inventory_from, run_module
from ..module_utils._engine.backends.kubernetes.client import Client
from ..module_utils._engine.errors import SafetyStop
from ..module_utils._engine.move import move
from ..module_utils._engine.progress import Progress
from ..module_utils._engine.settings import Settings
from ..module_utils._results import moved_result_of
from ..module_utils._specs import move_spec, size_from


def _work(module: AnsibleModule) -> Work:
    params: dict[str, t.Any] = module.params
    most = size_from(params, "max_size")
    inventory = inventory_from(params)

    def work(client: Client | None, settings: Settings, progress: Progress) -> dict[str, t.Any]:
        with access_of(module, client, inventory.platform, settings) as access:
            if access is None:
                raise SafetyStop("there is no cluster, so there is no project whose database could move")
            done = move(access, inventory, ref=params["ref"], most_bytes=most, settings=settings, progress=progress)
        return moved_result_of(done, show_diff=module._diff)

    return work


def main() -> None:
    """Run the module."""
    run_module(move_spec(), _work)


if __name__ == "__main__":
    main()
