#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Give projects new logins for their clients, or new keys for their tokens."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rotate
short_description: Give projects new logins for their clients, or new keys for their tokens
description:
  - V(login) makes a new login for the clients of each chosen project, waits until every pooler of the project lets it
    in, and then publishes it in the Secret that M(supalove.platform.project_info) names among the endpoints.
  - Clients log in by turns as C(owner_a) and C(owner_b). The login that was published before goes on working until it
    is ended with O(end_previous), or until the next rotation. No connection is ended and no pod is restarted.
  - V(signing_key) takes two runs. The first announces a key, which those who verify tokens learn from
    C(verifying.jwks) in the Secret; the second lets it sign. Tokens of the key before are good until that is ended
    with O(end_previous).
  - Where the platform has a Vault, the new values are written there first.
  - A run that was killed or held back is finished by the next one. Without O(refs), projects for which a step would
    come too soon are left as they are; named ones fail.
  - This module is not idempotent. Every run rotates, as it says.
author:
  - Supalove contributors (@supalove)
extends_documentation_fragment:
  - supalove.platform.attributes
  - supalove.platform.attributes.actiongroup_platform
  - supalove.platform.connection
  - supalove.platform.connection.engine_vault
  - supalove.platform.vocabulary
options:
  what:
    description:
      - What is rotated.
    type: str
    choices: [login, signing_key]
    default: login
  refs:
    description:
      - Refs of the projects to rotate. Without it all of the platform are.
    type: list
    elements: str
  end_previous:
    description:
      - Instead of rotating, ends the login or key that was there before the present one.
      - A login is to be ended when all clients have taken up the new one. Who still uses the old one gets in no more;
        connections that are open stay.
      - Ending a key is refused as long as tokens that it has signed are good.
    type: bool
    default: false
  settle_seconds:
    description:
      - How long the last step has to reach everybody before the next one may be taken; within that time a project
        is not rotated again.
      - Without it, clients have 600 seconds to take up a login before it may be replaced, and those who verify tokens
        as long to read a key before it signs. A key that has signed can be ended 4200 seconds later, as tokens are
        good for an hour.
      - The kubelet brings a Secret that a pod mounts up to date within two minutes.
    type: int
  wave_size:
    description:
      - How many projects are rotated before it is looked whether any has failed.
    type: int
    default: 25
  wave_failures:
    description:
      - How many projects may fail before the rest is held back.
    type: int
    default: 0
  workers:
    description:
      - Projects that are worked on at once.
    type: int
    default: 16
seealso:
  - module: supalove.platform.projects
"""

EXAMPLES = r"""
- name: Give the clients of one project a new login
  supalove.platform.rotate:
    kubeconfig: "{{ k3s_kubeconfig_path }}"
    platform: "{{ supalove_platform }}"
    refs: [acme]

- name: End the login before it, when all clients have taken up the new one
  supalove.platform.rotate:
    kubeconfig: "{{ k3s_kubeconfig_path }}"
    platform: "{{ supalove_platform }}"
    refs: [acme]
    end_previous: true

- name: Announce another key for the tokens of all projects; run again to let it sign
  supalove.platform.rotate:
    kubeconfig: "{{ k3s_kubeconfig_path }}"
    platform: "{{ supalove_platform }}"
    what: signing_key
"""

RETURN = r"""
counts:
  description: How many projects ended how.
  returned: always
  type: dict
  sample: {changed: 2, failed: 0, held: 0, unchanged: 0, waiting: 0}
outcomes:
  description:
    - What happened to each project, failures first, at most 100.
    - V(held) means that the project was left as it is, because others failed.
  returned: always
  type: list
  elements: dict
  sample:
    - ref: acme
      result: changed
      uid: abcdefgh2345
      steps:
        - action: update
          object: Secret/p-acme/credentials
          reason: clients get a new login
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
  description: Requests sent to the API server and to Vault.
  returned: always
  type: dict
  sample: {reads: 11, writes: 4}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible import Work, access_of, run_module
from ..module_utils._engine.backends.kubernetes.client import Client
from ..module_utils._engine.progress import Progress
from ..module_utils._engine.project.parse import parse
from ..module_utils._engine.rotate import What, rotate
from ..module_utils._engine.settings import Settings
from ..module_utils._engine.steps import Report
from ..module_utils._results import result_of
from ..module_utils._specs import rotate_spec


def _work(module: AnsibleModule) -> Work:
    params: dict[str, t.Any] = module.params
    platform = parse(projects={}, tiers={}, platform=params["platform"]).platform

    def work(client: Client | None, settings: Settings, progress: Progress) -> dict[str, t.Any]:
        with access_of(module, client, platform, settings) as access:
            # Before there is a cluster there are no projects, and nothing to rotate.
            report = Report(outcomes=())
            if access is not None:
                report = rotate(
                    access,
                    platform,
                    what=What(params["what"]),
                    refs=params["refs"],
                    end_previous=params["end_previous"],
                    settle_seconds=params["settle_seconds"],
                    settings=settings,
                    progress=progress,
                )
        return result_of(report, show_diff=module._diff)

    return work


def main() -> None:
    """Run the module."""
    run_module(rotate_spec(), _work)


if __name__ == "__main__":
    main()
