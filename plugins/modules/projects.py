#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keep all projects as the inventory describes them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: projects
short_description: Keep all projects of a platform as described
description:
  - Creates and changes tenant projects, each with a namespace, isolation, a PostgreSQL and a pooler of its own.
  - One task keeps all of them.
  - A project that does not change costs no request of its own. A second run changes nothing.
  - Wrong input is reported completely, for all projects at once, before anything is changed.
  - A project's failure is its own. The others go on, and the task fails at its end with all outcomes in its result.
  - A run that was killed is finished by the next one. Two runs at once on one platform are refused.
  - A project that is no longer listed is left as it is, unless O(prune) says otherwise.
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
  directory:
    description:
      - Directory with one file for each project, which is kind to reviews. The file C(acme.yml) has the settings of the
        project C(acme). May be used beside O(projects), for other projects.
    type: path
  projects_only:
    description:
      - Refs of the projects to act on. The others are checked as input and otherwise left alone.
    type: list
    elements: str
  prune:
    description:
      - Whether to stop projects that are no longer listed, as if they had C(state=absent). Nothing is destroyed.
      - It is refused with O(projects_only), without any listed project, and above O(prune_limit).
    type: bool
    default: false
  prune_limit:
    description:
      - How many projects O(prune) may stop in one run.
    type: int
    default: 5
  data_lost:
    description:
      - Refs of projects whose volume or database is gone for good, and which begin again with nothing.
      - Others that have lost theirs are left as they are and fail, until they are restored with
        M(supalove.platform.restore).
    type: list
    elements: str
    default: []
  purge:
    description:
      - Destroys what stopped projects have kept, and forgets them. Maps a project's ref to its uid, so that a successor
        of the same ref is not met; M(supalove.platform.project_info) tells the uid.
      - Before the database on a shared cluster is dropped, it is dumped into the object store, below
        C(exports/<uid>/final/) of the platform's prefix, where nothing removes it.
      - The volume of a PostgreSQL of its own stays, as its StorageClass retains it. So does its archive, which has to
        reach the moment at which it stopped; otherwise the project is left as it is.
      - In both cases C(final_backup) of its outcome says where what is left of it is. A large database takes long; give
        O(timeout) then.
      - There is no other way back.
    type: dict
    default: {}
  purge_without_final_backup:
    description:
      - Refs among O(purge) of which no final backup is kept or asked for, as when the object store is gone, or the
        platform has none.
    type: list
    elements: str
    default: []
  check_capacity:
    description:
      - Whether to refuse projects that ask for more CPU, memory or pods than the nodes of the data plane have.
    type: bool
    default: true
  wave_size:
    description:
      - How many running projects may be restarted at once. A change that restarts more goes first to the canaries, then
        on in waves of this size, each awaited whatever O(wait) says.
    type: int
    default: 25
  wave_failures:
    description:
      - How many projects may fail in the waves before the rest is held back. The next run goes on where it stopped.
    type: int
    default: 0
  drift:
    description:
      - How much is read to find what others changed.
      - With V(metadata), changes of every object are noticed by its metadata, which costs one request per kind.
      - With V(full), every object is read and compared field by field.
      - With V(off), only changes of what is wanted are noticed.
    type: str
    choices: [metadata, full, "off"]
    default: metadata
  wait:
    description:
      - Whether to wait until databases and poolers answer.
    type: bool
    default: true
  workers:
    description:
      - Projects that are worked on at once.
    type: int
    default: 16
seealso:
  - module: supalove.platform.platform
  - module: supalove.platform.project_info
"""

EXAMPLES = r"""
- name: Keep all projects as the inventory describes them
  supalove.platform.projects:
    kubeconfig: "{{ k3s_kubeconfig_path }}"
    platform: "{{ supalove_platform }}"
    tiers: "{{ supalove_tiers }}"
    projects: "{{ supalove_projects }}"

- name: Two projects, one with more storage than its tier has
  supalove.platform.projects:
    kubeconfig: /etc/supalove/kubeconfig
    tiers:
      free:
        cpu: 250m
        memory: 256Mi
        storage: 1Gi
        connections: 20
        overrides:
          storage: 10Gi
    projects:
      acme:
        tier: free
      beta:
        tier: free
        storage: 5Gi
"""

RETURN = r"""
counts:
  description: How many projects ended how.
  returned: always
  type: dict
  sample: {changed: 2, failed: 0, held: 0, unchanged: 998, waiting: 0}
outcomes:
  description:
    - What happened to each project that is not unchanged, failures first, at most 100.
    - V(waiting) means that all is written but was not ready in time.
    - C(final_backup) of a project that is purged is the key of its last dump, or the folder of the incarnation in which
      its archive ends, below the platform's prefix in the bucket.
    - V(held) means that the project was left as it is, because the same change failed on others.
  returned: always
  type: list
  elements: dict
  sample:
    - ref: acme
      result: changed
      uid: abcdefgh2345
      steps:
        - action: create
          object: Namespace/p-acme
          reason: it does not exist
      endpoints:
        host: pooler.p-acme.svc.cluster.local
        port: "6432"
        database: postgres
        secret: p-acme/credentials
outcomes_left_out:
  description: How many outcomes did not fit into RV(outcomes).
  returned: always
  type: int
  sample: 0
left_alone:
  description: Refs that have a record on the platform but are not in O(projects), at most 100.
  returned: always
  type: list
  elements: str
  sample: []
problems:
  description: What is wrong with the input.
  returned: when the input is wrong
  type: list
  elements: dict
  sample:
    - path: supalove_tiers.pro.memory
      value: 4GB
      allowed: a whole number with Mi, Gi or Ti, such as 512Mi or 4Gi
requests:
  description: Requests sent to the API server.
  returned: always
  type: dict
  sample: {reads: 11, writes: 0}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible import Work, access_of, inventory_from, run_module
from ..module_utils._engine.backends.kubernetes.client import Client
from ..module_utils._engine.progress import Progress
from ..module_utils._engine.reconcile import reconcile
from ..module_utils._engine.settings import Settings
from ..module_utils._results import result_of
from ..module_utils._specs import projects_spec

KEYS_UNCHECKED = (
    "Nobody checks the keys of projects before their services: OpenShift's router lets every request through, and one "
    "without a key is the role anon (supalove_platform.gateway_unchecked_keys_accepted)."
)


def _work(module: AnsibleModule) -> Work:
    params: dict[str, t.Any] = module.params
    inventory = inventory_from(params)
    if inventory.platform.gateway_unchecked_keys_accepted:
        module.warn(KEYS_UNCHECKED)

    def work(client: Client | None, settings: Settings, progress: Progress) -> dict[str, t.Any]:
        with access_of(module, client, inventory.platform, settings) as access:
            report = reconcile(access, inventory, settings=settings, progress=progress)
        return result_of(report, show_diff=module._diff)

    return work


def main() -> None:
    """Run the module."""
    run_module(projects_spec(), _work)


if __name__ == "__main__":
    main()
