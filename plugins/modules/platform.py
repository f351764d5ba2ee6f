#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Bring the platform's own objects into place."""

from __future__ import annotations

DOCUMENTATION = r"""
module: platform
short_description: Prepare a cluster for projects
description:
  - Brings into place what all projects share, which is the platform's namespace, the definition of the SupaloveProject
    records, the StorageClass of tenants' volumes, a PriorityClass for each tier, and the shared PostgreSQL clusters.
  - Has to run before M(supalove.platform.projects).
  - An object of one of these names that does not carry the label C(supalove.cloud/platform) with the namespace's name
    is somebody else's. Then nothing is changed, and the task fails.
  - Warns of images in use that a tag alone names, as whoever writes to their registry can move it.
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
options:
  wait:
    description:
      - Whether to wait until shared clusters answer.
    type: bool
    default: true
seealso:
  - module: supalove.platform.projects
"""

EXAMPLES = r"""
- name: Prepare the cluster for projects
  supalove.platform.platform:
    kubeconfig: "{{ k3s_kubeconfig_path }}"
    platform: "{{ supalove_platform }}"
    tiers: "{{ supalove_tiers }}"
"""

RETURN = r"""
outcomes:
  description: The steps that were done, and the failure if there was one. Empty if nothing changed.
  returned: always
  type: list
  elements: dict
  sample:
    - ref: supalove-system
      result: changed
      uid: ""
      steps:
        - action: create
          object: Namespace/supalove-system
          reason: it does not exist
requests:
  description: Requests sent to the API server.
  returned: always
  type: dict
  sample: {reads: 5, writes: 0}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible import Work, access_of, run_module
from ..module_utils._engine.backends.kubernetes.client import Client
from ..module_utils._engine.prepare import prepare
from ..module_utils._engine.progress import Progress
from ..module_utils._engine.project.images import images_by_tag
from ..module_utils._engine.project.parse import parse
from ..module_utils._engine.settings import Settings
from ..module_utils._results import result_of
from ..module_utils._specs import platform_spec

BY_TAG = (
    "Named by tags, which whoever writes to their registry can move to other bytes: {images}. images/mirror.yml copies "
    "them to your registry and prints the lines of supalove_platform.images that name them by digest."
)


def _work(module: AnsibleModule) -> Work:
    params: dict[str, t.Any] = module.params
    inventory = parse(projects={}, tiers=params["tiers"], platform=params["platform"])
    tagged = images_by_tag(inventory.platform)
    if tagged:
        module.warn(BY_TAG.format(images=", ".join(f"{name} ({image})" for name, image in sorted(tagged.items()))))

    def work(client: Client | None, settings: Settings, progress: Progress) -> dict[str, t.Any]:
        with access_of(module, client, inventory.platform, settings) as access:
            report = prepare(access, inventory, settings=settings, progress=progress)
        return result_of(report, show_diff=module._diff)

    return work


def main() -> None:
    """Run the module."""
    run_module(platform_spec(), _work)


if __name__ == "__main__":
    main()
