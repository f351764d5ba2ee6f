#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Give this moment a name that projects can be restored to."""

from __future__ import annotations

DOCUMENTATION = r"""
module: restore_point
short_description: Give this moment a name that projects can be restored to
description:
  - Names this moment for chosen projects, such as before a migration. M(supalove.platform.restore) goes back to it by
    its name, O(supalove.platform.restore#module:point).
  - The archiver beside each PostgreSQL writes a restore point into WAL, ends the segment, and when that is in the
    archive notes the name there. So it takes some seconds, and what this module has reported can be restored to.
  - Of a project on a shared cluster the point is in the archive of the cluster, and no other project has to do with it.
  - A name is given once in the life of a PostgreSQL (an incarnation), and is refused if it is there already.
  - Points go with the recovery window, as all moments do (M(supalove.platform.retention)).
  - It is refused where nothing is archived or no base backup has finished yet, and for projects that are stopped.
    One project's failure is its own. The task fails at its end.
  - Check mode makes none, and fails where one would be refused.
author:
  - Supalove contributors (@supalove)
extends_documentation_fragment:
  - supalove.platform.attributes
  - supalove.platform.attributes.actiongroup_platform
  - supalove.platform.connection
  - supalove.platform.vocabulary
options:
  name:
    description:
      - What the moment is called. Up to 40 small letters, digits, hyphens, underscores and dots, with a letter or digit
        at both ends.
    type: str
    required: true
  refs:
    description:
      - Refs of the projects.
    type: list
    elements: str
    required: true
  workers:
    description:
      - Servers that are asked at once. Projects on one server come one after the other.
    type: int
    default: 16
seealso:
  - module: supalove.platform.restore
  - module: supalove.platform.project_info
"""

EXAMPLES = r"""
- name: Name this moment before the migration of acme and blog
  supalove.platform.restore_point:
    kubeconfig: "{{ k3s_kubeconfig_path }}"
    platform: "{{ supalove_platform }}"
    name: before-v2
    refs: [acme, blog]
"""

RETURN = r"""
counts:
  description: For how many projects the moment was, or would be, named, and for how many not.
  returned: unless the input is wrong
  type: dict
  sample: {named: 2, failed: 0}
points:
  description:
    - What became of each project, failures first, at most 100.
    - C(lsn) is the position in WAL of the C(incarnation). In check mode all but the names is empty.
  returned: unless the input is wrong
  type: list
  elements: dict
  sample:
    - ref: acme
      name: before-v2
      made: "2026-11-25T14:03:59+00:00"
      lsn: 0/70000B8
      incarnation: 20261125t000000z-k3v7q2ab
      error: ""
points_left_out:
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
      allowed: "refs of projects that the platform has: acme"
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible import Work, run_module
from ..module_utils._engine.backends.kubernetes.client import Client
from ..module_utils._engine.errors import SafetyStop
from ..module_utils._engine.progress import Progress
from ..module_utils._engine.project.parse import parse
from ..module_utils._engine.restore_points import make_points
from ..module_utils._engine.settings import Settings
from ..module_utils._results import points_result_of
from ..module_utils._specs import point_name_from, restore_point_spec


def _work(module: AnsibleModule) -> Work:
    params: dict[str, t.Any] = module.params
    platform = parse(projects={}, tiers={}, platform=params["platform"]).platform
    name, refs = point_name_from("name", params["name"]), params["refs"]

    def work(client: Client | None, settings: Settings, progress: Progress) -> dict[str, t.Any]:
        if client is None:
            raise SafetyStop("there is no cluster, so there are no projects")
        report = make_points(client, platform, refs=refs, name=name, settings=settings, progress=progress)
        return points_result_of(report)

    return work


def main() -> None:
    """Run the module."""
    run_module(restore_point_spec(), _work)


if __name__ == "__main__":
    main()
