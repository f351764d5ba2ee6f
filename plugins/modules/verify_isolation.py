#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Try with real packets who reaches whom on a platform."""

from __future__ import annotations

DOCUMENTATION = r"""
module: verify_isolation
short_description: Try with real packets whether tenants are kept apart
description:
  - Starts short-lived pods in the places of tenants, poolers and databases, in the platform's namespace, and in one of
    its own that no policy is in, on every node of the data plane. Each asks all others, the poolers and databases that
    are there, DNS and what else runs in C(kube-system), the nodes, the API server, and addresses that you name.
  - Every answer is held against what should come of it. The task fails if one is otherwise.
  - That something is closed counts only if the target did answer somebody who may reach it, on the same node in the
    same turn. Otherwise it is V(unproven), which fails the task, too.
  - It works with whatever enforces the cluster's policies. Nodes are taken two by two, so that every node is asked
    from itself and from another, and the pods fit into the projects' quotas.
  - All that it makes is removed at the end, and what a killed run has left at the beginning. So nothing is ever
    changed. The pods end by themselves, should nobody remove them.
  - It takes the platform's lease, because projects that change meanwhile would look like faults.
author:
  - Supalove contributors (@supalove)
extends_documentation_fragment:
  - supalove.platform.attributes
  - supalove.platform.attributes.actiongroup_platform
  - supalove.platform.connection
  - supalove.platform.vocabulary
attributes:
  check_mode:
    details:
      - Says what would be tried. Makes no pod and sends no packet.
  diff_mode:
    support: N/A
    details:
      - This module leaves nothing changed.
options:
  refs:
    description:
      - Refs of the projects to verify, with the shared clusters that they are on. Without it up to two of each
        placement are taken, of those that are not stopped.
    type: list
    elements: str
  nodes:
    description:
      - Names of the nodes of the data plane to verify. Without it all are.
    type: list
    elements: str
  node_ports:
    description:
      - TCP ports on which every node listens, and which no pod may reach. On a node that does not listen on one, the
        answer is V(unproven).
    type: list
    elements: int
    default: [22, 10250]
  metadata:
    description:
      - Addresses with ports of metadata services. Where nobody answers at all, not even a pod without policies, there
        is none, and RV(absent) says so.
    type: list
    elements: str
    default: ["169.254.169.254:80"]
  outside:
    description:
      - Addresses with ports outside of the cluster that pods without policies reach, such as a proxy's or a public
        one, to see that tenants do not. If nobody answers, that is V(unproven).
    type: list
    elements: str
    default: []
  settle_seconds:
    description:
      - How long answers may be otherwise than expected. What enforces policies may take a while to notice new pods.
      - With 0 it asks twice.
    type: int
    default: 60
seealso:
  - module: supalove.platform.projects
"""

EXAMPLES = r"""
- name: Verify that tenants are kept apart
  supalove.platform.verify_isolation:
    kubeconfig: "{{ k3s_kubeconfig_path }}"
    platform: "{{ supalove_platform }}"
    outside: ["203.0.113.10:443"]

- name: Verify two projects that are said to see each other
  supalove.platform.verify_isolation:
    kubeconfig: "{{ k3s_kubeconfig_path }}"
    platform: "{{ supalove_platform }}"
    refs: [acme, beta]
"""

RETURN = r"""
absent:
  description: Optional targets where nobody is, not even for a pod without policies.
  returned: unless the input is wrong
  type: list
  elements: str
  sample: ["the metadata address, 169.254.169.254 tcp 80"]
counts:
  description:
    - How many pairs of a source and a target there were, and how many came out how. V(leak) should be closed and is
      open, V(broken) should be open and is closed, V(unproven) is closed and would look so without a policy, too.
  returned: unless the input is wrong
  type: dict
  sample: {pairs: 3456, as_expected: 3456, leak: 0, broken: 0, unproven: 0, absent: 0}
findings:
  description: Pairs that are not as they should be, at most 50; of every source one with each verdict comes first.
  returned: unless the input is wrong
  type: list
  elements: dict
  contains:
    verdict:
      description: V(leak), V(broken) or V(unproven).
      type: str
      returned: always
    source:
      description: Who asked.
      type: str
      returned: always
      sample: a pod in p-acme on data-1
    target:
      description: Who was asked.
      type: str
      returned: always
      sample: the node control-1, 192.0.2.11 tcp 22
    expected:
      description: V(open) or V(closed).
      type: str
      returned: always
    found:
      description: V(open) or V(closed).
      type: str
      returned: always
    reason:
      description: Why that was expected, or why it proves nothing.
      type: str
      returned: always
namespaces:
  description: The namespaces in which probes were, but for the one without policies.
  returned: unless the input is wrong
  type: list
  elements: str
  sample: [p-acme, p-beta, s-free-1, supalove-system]
nodes:
  description: The nodes on which probes were.
  returned: unless the input is wrong
  type: list
  elements: str
  sample: [data-1, data-2]
problems:
  description: What is wrong with the input.
  returned: when the input is wrong
  type: list
  elements: dict
  sample:
    - path: outside[0]
      value: example.com
      allowed: an IPv4 address and a port, such as 203.0.113.10:443
targets:
  description: What was asked, or in check mode would be, apart from the probes themselves.
  returned: unless the input is wrong
  type: list
  elements: str
  sample: ["the pooler in p-acme, 10.42.1.7 tcp 6432"]
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible import Work, run_module
from ..module_utils._engine.project.parse import parse
from ..module_utils._engine.verify import verify
from ..module_utils._specs import choice_from, verify_isolation_spec


def _work(module: AnsibleModule) -> Work:
    params: dict[str, t.Any] = module.params
    platform = parse(projects={}, tiers={}, platform=params["platform"]).platform
    choice = choice_from(params)
    choice.check()
    return lambda client, settings, progress: verify(
        client, platform, choice=choice, settings=settings, progress=progress
    )


def main() -> None:
    """Run the module."""
    run_module(verify_isolation_spec(), _work)


if __name__ == "__main__":
    main()
