#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read what the platform knows of its projects."""

from __future__ import annotations

DOCUMENTATION = r"""
module: project_info
short_description: Read state, placement and endpoints of projects
description:
  - Returns what the records of projects say, and whether their databases and poolers are ready now.
  - Never returns a secret. RV(projects[].endpoints) names the Secret that holds the credentials.
author:
  - Supalove contributors (@supalove)
extends_documentation_fragment:
  - supalove.platform.attributes.read_only
  - supalove.platform.attributes.actiongroup_platform
  - supalove.platform.connection
  - supalove.platform.vocabulary
options:
  refs:
    description:
      - Refs of the projects to return; those without a record are left out. Without it all projects are returned.
    type: list
    elements: str
seealso:
  - module: supalove.platform.projects
"""

EXAMPLES = r"""
- name: Read all projects
  supalove.platform.project_info:
    kubeconfig: "{{ k3s_kubeconfig_path }}"
    platform: "{{ supalove_platform }}"
  register: tenants

- name: Show where the project acme is
  ansible.builtin.debug:
    msg: "{{ (tenants.projects | selectattr('ref', 'equalto', 'acme') | first).endpoints }}"
"""

RETURN = r"""
projects:
  description: The projects, in the order of their refs.
  returned: always
  type: list
  elements: dict
  contains:
    ref:
      description: The project's name.
      type: str
      returned: always
    uid:
      description: What its database and roles are named after; empty before its first run.
      type: str
      returned: always
    spec:
      description: What its owner wrote.
      type: dict
      returned: always
    state:
      description: Whether it is to run, V(present) or V(absent).
      type: str
      returned: always
    phase:
      description:
        - How far the last run that had something to do came. Empty before the first.
        - V(Applying) means that it has begun and is at work or was killed, V(Waiting) that all is written and was not
          seen ready, V(Ready) that it was, V(Stopped) that nothing of it runs and all is kept, and V(Failed) that it
          could not go on.
      type: str
      returned: always
    message:
      description: Why, in a sentence.
      type: str
      returned: always
    since:
      description: Since when it is in this phase.
      type: str
      returned: always
    placement:
      description: Where its database is, V(dedicated) or V(shared/) and the name of the cluster.
      type: str
      returned: always
    sessions:
      description: How many sessions its pooler may open on a shared cluster.
      type: int
      returned: always
    sizes:
      description: CPU, memory and storage of its own PostgreSQL as they are now. Empty on a shared cluster.
      type: dict
      returned: always
      sample: {cpu: "2", memory: 4Gi, storage: 20Gi}
    storage:
      description:
        - What its database on a shared cluster takes, as the program beside the server has last noted it.
        - Empty for a database that has just been made, and for a dedicated project, whose PostgreSQL nobody asks from
          outside; there the log of the container C(quota) tells of warnings and blocks.
      type: dict
      returned: always
      contains:
        state:
          description:
            - V(ok), V(warning) from 80 % of the limit on, V(blocked) from the limit on until it is below 90 % again.
            - V(unknown) if the cluster did not tell.
          type: str
          returned: if something is known or the cluster did not tell
        bytes:
          description: What it takes.
          type: int
          returned: if something is known
        limit:
          description: What it may take, in bytes.
          type: int
          returned: if something is known
        since:
          description: Since when it is in this state.
          type: str
          returned: if something is known
        message:
          description: Why the cluster did not tell.
          type: str
          returned: if the state is V(unknown)
    ready:
      description: Whether its database and its pooler are ready now.
      type: bool
      returned: always
    waiting_for:
      description: What is not ready, each with its reason.
      type: list
      elements: str
      returned: always
    drift:
      description:
        - Objects that are not as the last run left them, each with what happened. The next run repairs them.
        - Roles and databases on shared clusters are not looked at here.
      type: list
      elements: str
      returned: always
    endpoints:
      description: Host, port, database and user for clients, and the Secret with the password.
      type: dict
      returned: always
      sample:
        host: pooler.p-acme.svc.cluster.local
        port: "6432"
        database: postgres
        secret: p-acme/credentials
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible import Work, project_info_spec, run_module
from ..module_utils._engine.describe import describe
from ..module_utils._engine.project.parse import parse


def _work(module: AnsibleModule) -> Work:
    params: dict[str, t.Any] = module.params
    platform = parse(projects={}, tiers={}, platform=params["platform"]).platform
    refs = params["refs"]
    return lambda client, settings, _progress: {
        "changed": False,
        "projects": describe(client, platform, refs=refs, settings=settings),
    }


def main() -> None:
    """Run the module."""
    run_module(project_info_spec(), _work)


if __name__ == "__main__":
    main()
