#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask projects as their clients do, and restart what is down."""

from __future__ import annotations

DOCUMENTATION = r"""
module: health
short_description: Ask projects as their clients do, and restart what is down
description:
  - Asks C(/rest/v1/) and C(/auth/v1/health) of each project that has services through the gateway, by its own name,
    over verified TLS and with its own anonymous key, which is read from the Secret in its namespace and shown nowhere.
  - A project is up if both answer 200. A part that gets a 502, 503 or 504 from the gateway, or no answer while the
    gateway itself answers, is down. A refused key, a missing route and other answers are told and not mended.
  - A Deployment that is down is restarted. Not while another run is at work or has not ended well on the project, while
    it is being moved, or while its database is not ready. If no pod of the pooler is ready, that is restarted in the
    place of the services.
  - The next restart of a Deployment waits for 1, 2, 4, 8 minutes and so on after the one before, an hour at most. That
    begins anew once the project was up for 15 minutes.
  - If nobody gets through to the gateway, the task fails with that alone, and nothing is restarted.
  - What was found is the condition C(Healthy) of the project's record, where M(supalove.platform.project_info) finds
    it. When and why a Deployment was restarted is its annotation C(supalove.cloud/restarts).
  - The task fails in the end if a project is not up by then. A project whose share of requests is used up, which gets
    429, fails nothing.
  - Check mode asks as well, restarts and notes nothing, and says what it would restart.
author:
  - Supalove contributors (@supalove)
extends_documentation_fragment:
  - supalove.platform.attributes
  - supalove.platform.attributes.actiongroup_platform
  - supalove.platform.connection
  - supalove.platform.vocabulary
options:
  refs:
    description:
      - Refs of projects that have services. Without it all of them are asked.
    type: list
    elements: str
  gateway_address:
    description:
      - Where to connect to. Without it where the DNS says, for each project.
    type: str
  gateway_port:
    description:
      - The port of the gateway for HTTPS.
    type: int
    default: 443
  ca_file:
    description:
      - Certificates in PEM by which the gateway's is verified. Without it those that the host trusts.
    type: path
  tries:
    description:
      - How often a part is asked before it counts as not being up. One good answer is enough.
    type: int
    default: 3
  pause_seconds:
    description:
      - Time between two tries.
    type: int
    default: 3
  answer_seconds:
    description:
      - How long to wait for an answer.
    type: int
    default: 10
  restart:
    description:
      - Whether to restart what is down.
    type: bool
    default: true
  restarts_a_day:
    description:
      - How often a Deployment is restarted in 24 hours. After that it is only told.
    type: int
    default: 5
  restart_limit:
    description:
      - How many Deployments are restarted by one run. If more than these go down at once, none of them is, as what they
        have in common should be looked for. Those that are still down in the next run are restarted by turns.
    type: int
    default: 10
  recovery_seconds:
    description:
      - How long to wait for what was restarted to be up. V(0) does not wait, and so fails.
    type: int
    default: 90
  workers:
    description:
      - How many projects are asked at the same time.
    type: int
    default: 16
seealso:
  - module: supalove.platform.project_info
  - module: supalove.platform.gateway
"""

EXAMPLES = r"""
- name: Ask all projects, and restart what is down
  supalove.platform.health:
    kubeconfig: "{{ k3s_kubeconfig_path }}"
    platform: "{{ supalove_platform }}"

- name: Ask one project at one node of the gateway, and change nothing
  supalove.platform.health:
    kubeconfig: "{{ k3s_kubeconfig_path }}"
    platform: "{{ supalove_platform }}"
    refs: [acme]
    gateway_address: 192.0.2.10
    ca_file: /etc/supalove/gateway-authority.pem
  check_mode: true
"""

RETURN = r"""
counts:
  description:
    - How many projects are in which state, and how many Deployments were restarted, or in check mode would be.
    - V(limited) is one whose share of requests is used up, V(unreachable) one for which the gateway did not answer,
      V(unknown) one that could not be asked, V(skipped) one that is stopped.
  returned: unless the input is wrong or the gateway does not answer
  type: dict
  sample: {down: 1, degraded: 0, unreachable: 0, unknown: 0, limited: 0, up: 41, skipped: 2, restarted: 1}
problems:
  description: What is wrong with the input.
  returned: when the input is wrong
  type: list
  elements: dict
  sample:
    - path: refs
      value: acne
      allowed: "refs of projects that have services: acme"
projects:
  description:
    - What was found, the worst first, at most 100. C(why) has which part is not up, what was not done about it and why.
    - C(restarted) has the Deployments that were restarted, or in check mode would be.
  returned: unless the input is wrong or the gateway does not answer
  type: list
  elements: dict
  sample:
    - ref: acme
      state: down
      parts: {auth: up, rest: down}
      why: "rest answers 503; rest: it was restarted at 14:03:59 UTC, and is not again before 14:05:59 UTC"
      restarted: []
projects_left_out:
  description: How many more there would be to show.
  returned: unless the input is wrong or the gateway does not answer
  type: int
  sample: 0
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible import Work, run_module
from ..module_utils._engine.backends.gateway.client import Gateway
from ..module_utils._engine.backends.kubernetes.client import Client
from ..module_utils._engine.health import HealthReport, check_health
from ..module_utils._engine.progress import Progress
from ..module_utils._engine.project.parse import parse
from ..module_utils._engine.settings import Settings
from ..module_utils._health import health_spec, patience_from, rules_from, target_from
from ..module_utils._results import health_result_of


def _work(module: AnsibleModule) -> Work:
    params: dict[str, t.Any] = module.params
    platform = parse(projects={}, tiers={}, platform=params["platform"]).platform
    gateway = Gateway(target_from(params))

    def work(client: Client | None, settings: Settings, progress: Progress) -> dict[str, t.Any]:
        # Before there is a cluster there are no projects.
        report = HealthReport(checked=())
        if client is not None:
            report = check_health(
                client,
                platform,
                gateway,
                refs=params["refs"],
                rules=rules_from(params),
                patience=patience_from(params),
                settings=settings,
                progress=progress,
            )
        return health_result_of(report)

    return work


def main() -> None:
    """Run the module."""
    run_module(health_spec(), _work)


if __name__ == "__main__":
    main()
