#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keep a runtime besides the nodes' own."""

from __future__ import annotations

DOCUMENTATION = r"""
module: runtime
short_description: Keep a RuntimeClass, and the label of nodes that prove to run its pods
description:
  - Makes the RuntimeClass as the platform's C(runtime_classes) declare it. Its pods go to nodes with the label
    C(node.supalove.cloud/runtime-) and its name.
  - Gives that label to nodes on which a pod of the runtime has run to its end. One on which it has not has none, and
    the task fails with the reason. A node that has proven O(version) is not asked again; one that has proven another
    loses the label until it has proven this one.
  - For these pods there is meanwhile a RuntimeClass of the runtime's name and C(.proof), which needs no label.
  - A proof may take three minutes. None is begun when O(timeout) leaves less, and the task fails with the nodes.
  - A RuntimeClass of that name that does not carry the label C(supalove.cloud/platform) with the platform's namespace
    is somebody else's. Then nothing is changed, and the task fails.
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
      - The runtime, a name out of the C(runtime_classes) of O(platform).
    type: str
    required: true
  version:
    description:
      - What was installed on the nodes. Another one is proven anew.
    type: str
    required: true
  nodes:
    description:
      - The nodes that are to have it. Those named neither here nor in O(absent_nodes) are left alone.
    type: list
    elements: str
    required: true
  absent_nodes:
    description:
      - Nodes that do not have it, and lose the label if they bear it.
    type: list
    elements: str
    default: []
  image:
    description:
      - Image of the pod, with a shell, C(dmesg) and C(uname). By default that of the platform's pooler.
    type: str
  expects:
    description:
      - A text that the kernel log in the pod has.
    type: str
  own_kernel:
    description:
      - Whether the kernel in the pod has to be of another release than the node's, as in a sandbox it is.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Keep gVisor
  supalove.platform.runtime:
    kubeconfig: "{{ k3s_kubeconfig_path }}"
    platform: "{{ supalove_platform }}"
    name: gvisor
    version: "20260921.0"
    nodes: [data-1]
    expects: Starting gVisor
    own_kernel: true
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
        - action: update
          object: Node/data-1
          reason: gvisor 20260921.0 is proven on it
requests:
  description: Requests sent to the API server.
  returned: always
  type: dict
  sample: {reads: 4, writes: 0}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible import Work, run_module
from ..module_utils._engine.backends.kubernetes.client import Client
from ..module_utils._engine.progress import Progress
from ..module_utils._engine.project.parse import parse
from ..module_utils._engine.runtimes import keep_runtime
from ..module_utils._engine.settings import Settings
from ..module_utils._results import result_of
from ..module_utils._runtime import proof_from, runtime_spec


def _work(module: AnsibleModule) -> Work:
    params: dict[str, t.Any] = module.params
    platform = parse(projects={}, tiers={}, platform=params["platform"]).platform
    proof = proof_from(params, platform)
    nodes, absent = params["nodes"], params["absent_nodes"]

    def work(client: Client | None, settings: Settings, progress: Progress) -> dict[str, t.Any]:
        report = keep_runtime(client, platform, proof, nodes=nodes, absent=absent, settings=settings, progress=progress)
        return result_of(report, show_diff=module._diff)

    return work


def main() -> None:
    """Run the module."""
    run_module(runtime_spec(), _work)


if __name__ == "__main__":
    main()
