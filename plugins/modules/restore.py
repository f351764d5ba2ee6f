#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Bring a project or a shared cluster back to a moment of its past."""

from __future__ import annotations

DOCUMENTATION = r"""
module: restore
short_description: Bring a project or a shared cluster back to a moment of its past
description:
  - Restores one project from the archive of its PostgreSQL, in place, to a moment that was named, a time, a position in
    WAL, or the end of the archive. Clients find their database where it was, with the logins that they have.
  - The way to the target is planned before anything changes. What the archive does not lead to is refused, with the
    reason.
  - A project with a PostgreSQL of its own goes back as a whole. The volume of before is kept, and so is its archive.
    Neither is written to any more, so that another restore can go to any moment of them. The new life has an archive of
    its own, which begins with a base backup; until that has finished, no moment of the new life can be restored. A run
    that was killed is gone on with by the next run of this module or of M(supalove.platform.projects).
  - Of a shared cluster the project's database alone goes back. A copy of the cluster is brought to the moment, in a
    namespace of its own that is removed afterwards. There the database is dumped. It is loaded beside the one that is
    in use, and while the project's clients are held, the two change names. The neighbours notice nothing. The database
    of before is kept on the server under the name in RV(kept). After a kill before the change of names everything is
    as it was; run the module again.
  - With O(cluster) a shared cluster goes back as a whole, with all databases on it, in the way of a PostgreSQL of a
    project's own; for example after it has lost its volume. Then its projects, as far as they are listed, are brought
    to what they should be, as by M(supalove.platform.projects). One whose database was made after the moment is
    reported as failed, as its database is gone. Databases of projects that have been purged or have moved away since
    are there again (RV(came_back)). Nothing uses them, and nothing removes them.
  - With O(source_ref) the database of another project at that moment replaces the one of O(ref), in the same way, from
    any placement to any other; with O(source_uid) that of one that is not there any more. Grants in it are left out
    then, as logins of projects have names of their own.
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
      - Ref of the project. It is listed in O(projects) or O(directory), which say what it is besides its data.
      - Just one of O(ref) and O(cluster) is given.
    type: str
  cluster:
    description:
      - Name of a shared cluster of O(platform), which goes back as a whole. With it there is no O(point), as a name is
        that of one project's moment, and none of the options that begin with C(source_).
    type: str
  source_ref:
    description:
      - Ref of the project whose past it is; by default that of O(ref). It is listed, too.
    type: str
  source_uid:
    description:
      - Uid of the project whose past it is, if that is not there any more, for example because it was purged or the
        whole cluster was lost. Its archive and the keys of that have to be there still, in Vault or where a purge
        keeps them.
    type: str
  source_archive:
    description:
      - The archive that the database of O(source_uid) was in, such as V(s-free-1) of a shared cluster. By default that
        of a PostgreSQL of its own. At the end of a shared cluster's archive there is no database any more that was
        purged, so name a moment before that.
    type: str
  point:
    description:
      - The name of the moment, as M(supalove.platform.restore_point) was told it. With O(source_ref) it is one of that
        project.
      - Of a name that several incarnations have, the newest one counts, unless O(target_incarnation) says another.
    type: str
  target_time:
    description:
      - The moment, in ISO 8601 with an offset, such as V(2026-11-25T14:03:59+00:00). What was committed until then is
        there afterwards, and nothing else.
      - What counts is the time in the commit's record in WAL, which is that of the server.
    type: str
  target_lsn:
    description:
      - The position, such as V(0/3000060).
    type: str
  target_incarnation:
    description:
      - The incarnation in whose WAL O(target_lsn) or O(point) is. By default the newest, or the newest that has it.
    type: str
  latest:
    description:
      - Whether to restore all that is archived.
    type: bool
    default: false
  directory:
    description:
      - Directory with one file for each project, as of M(supalove.platform.projects).
    type: path
seealso:
  - module: supalove.platform.projects
  - module: supalove.platform.restore_point
"""

EXAMPLES = r"""
- name: Bring acme back to the second before the mistake
  supalove.platform.restore:
    kubeconfig: "{{ k3s_kubeconfig_path }}"
    platform: "{{ supalove_platform }}"
    tiers: "{{ supalove_tiers }}"
    projects: "{{ supalove_projects }}"
    object_store_credentials_file: "{{ object_store_credentials_path }}"
    ref: acme
    target_time: "2026-11-25T14:03:59+00:00"

- name: Bring acme back to where it was before its migration
  supalove.platform.restore:
    kubeconfig: "{{ k3s_kubeconfig_path }}"
    platform: "{{ supalove_platform }}"
    tiers: "{{ supalove_tiers }}"
    projects: "{{ supalove_projects }}"
    object_store_credentials_file: "{{ object_store_credentials_path }}"
    ref: acme
    point: before-v2

- name: Bring a shared cluster whose volume is lost back to all that is archived of it
  supalove.platform.restore:
    kubeconfig: "{{ k3s_kubeconfig_path }}"
    platform: "{{ supalove_platform }}"
    tiers: "{{ supalove_tiers }}"
    projects: "{{ supalove_projects }}"
    object_store_credentials_file: "{{ object_store_credentials_path }}"
    cluster: free-1
    latest: true

- name: Give staging the data that acme had last night
  supalove.platform.restore:
    kubeconfig: "{{ k3s_kubeconfig_path }}"
    platform: "{{ supalove_platform }}"
    tiers: "{{ supalove_tiers }}"
    projects: "{{ supalove_projects }}"
    object_store_credentials_file: "{{ object_store_credentials_path }}"
    ref: staging
    source_ref: acme
    target_time: "2026-11-25T02:00:00+00:00"

- name: Give acme, which was made anew, the data of the one that was purged
  supalove.platform.restore:
    kubeconfig: "{{ k3s_kubeconfig_path }}"
    platform: "{{ supalove_platform }}"
    tiers: "{{ supalove_tiers }}"
    projects: "{{ supalove_projects }}"
    object_store_credentials_file: "{{ object_store_credentials_path }}"
    ref: acme
    source_uid: abcdefgh2345
    source_archive: s-free-1
    target_time: "2026-11-25T14:03:59+00:00"
"""

RETURN = r"""
kept:
  description: Under which name the database of before is on its server; empty where the volume of before is kept.
  returned: when there is a way to the target
  type: str
  sample: p_abcdefgh2345_20261125t141500z
came_back:
  description:
    - With O(cluster), databases on it that none of its projects has, of projects that have been purged or have moved
      away since the moment, at most 100 of them. Empty in check mode.
  returned: when there is a way to the target
  type: list
  elements: str
  sample: [p_bcdefgh23456]
source:
  description:
    - What was, or would be, restored from. C(point_made) is when a named moment was; empty for any other.
  returned: when there is a way to the target
  type: dict
  sample:
    archive: p-abcdefgh2345
    archived_until: "2026-11-25T14:10:00+00:00"
    backup: base_000000010000000000000007
    incarnation: 20261125t000000z-k3v7q2ab
    is_beyond_archive: false
    last_segment: "00000001000000000000000A"
    point_made: ""
counts:
  description: How many projects ended how; there is one, or with O(cluster) the cluster and its projects.
  returned: always
  type: dict
  sample: {changed: 1, failed: 0, held: 0, unchanged: 0, waiting: 0}
outcomes:
  description:
    - What was done for the project, or with O(cluster) for each project on it that is not as it was before. The cluster
      itself is there under the name of the platform's namespace.
  returned: always
  type: list
  elements: dict
  sample:
    - ref: acme
      result: changed
      uid: abcdefgh2345
outcomes_left_out:
  description: How many outcomes are not in RV(outcomes).
  returned: always
  type: int
  sample: 0
left_alone:
  description: Refs of projects that are not listed.
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
    - path: target_time
      value: yesterday
      allowed: "a time in ISO 8601 with an offset, such as 2026-11-25T14:03:59+00:00"
requests:
  description: Requests sent to the API server, to Vault and to the object store.
  returned: always
  type: dict
  sample: {reads: 11, writes: 4}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible import Work, access_of, inventory_from, run_module
from ..module_utils._engine.backends.kubernetes.client import Client
from ..module_utils._engine.errors import SafetyStop
from ..module_utils._engine.progress import Progress
from ..module_utils._engine.restore import restore
from ..module_utils._engine.restore_cluster import restore_cluster
from ..module_utils._engine.settings import Settings
from ..module_utils._results import restored_result_of
from ..module_utils._specs import cluster_from, origin_from, restore_spec, target_from


def _work(module: AnsibleModule) -> Work:
    params: dict[str, t.Any] = module.params
    cluster = cluster_from(params)
    target, origin = target_from(params), origin_from(params)
    inventory = inventory_from(params)

    def work(client: Client | None, settings: Settings, progress: Progress) -> dict[str, t.Any]:
        with access_of(module, client, inventory.platform, settings) as access:
            if access is None:
                raise SafetyStop("there is no cluster, so nothing that could be restored")
            if cluster is not None:
                done = restore_cluster(
                    access, inventory, cluster=cluster, target=target, settings=settings, progress=progress
                )
            else:
                done = restore(
                    access,
                    inventory,
                    ref=params["ref"],
                    origin=origin,
                    target=target,
                    settings=settings,
                    progress=progress,
                )
        return restored_result_of(done, show_diff=module._diff)

    return work


def main() -> None:
    """Run the module."""
    run_module(restore_spec(), _work)


if __name__ == "__main__":
    main()
