#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keep the platform's front door."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway
short_description: Keep the gateway through which projects are reached
description:
  - Brings Traefik, the verifier of keys, the Gateway with its listeners, and what both may read and reach into place,
    in the namespace of O(platform) with C(-gateway) behind it.
  - An object of one of these names that does not carry the label C(supalove.cloud/platform) with the platform's
    namespace is somebody else's. Then nothing is changed, and the task fails.
author:
  - Supalove contributors (@supalove)
extends_documentation_fragment:
  - supalove.platform.attributes
  - supalove.platform.attributes.actiongroup_platform
  - supalove.platform.connection
  - supalove.platform.vocabulary
options:
  definitions:
    description:
      - Files with the definitions of Gateway API and of Traefik's own kinds, on the host that runs the module. The role
        C(gateway) of this collection downloads and verifies them.
    type: list
    elements: path
    required: true
  certificate:
    description:
      - File with the certificate for all names below the platform's domain, and behind it those that lead to its
        authority.
      - It is refused if it is not for C(*.) and the domain, or is not good now.
    type: path
    required: true
  private_key:
    description:
      - File with its key. It is refused if it is another one's.
    type: path
    required: true
  arrival:
    description:
      - How traffic gets to Traefik.
      - With V(host_port) it runs on each node with the label C(node.supalove.cloud/gateway=true) and has the ports 80,
        443 and 5432 of the node.
      - With V(load_balancer) a Service asks the cluster's balancer for an address.
      - With V(kube_vip) it asks kube-vip, which has to run, for O(address).
    type: str
    choices: [host_port, load_balancer, kube_vip]
    default: host_port
  load_balancer_class:
    description:
      - Which balancer is asked, where there is more than one. It cannot be changed.
    type: str
  address:
    description:
      - The address that kube-vip is asked for.
    type: str
  service_annotations:
    description:
      - What a balancer wants to be told, on the Service.
    type: dict
    default: {}
  replicas:
    description:
      - How many pods of Traefik there are behind a Service. With V(host_port) there is one on each node.
    type: int
    default: 2
  memory_mib:
    description:
      - The most memory that a pod of Traefik takes, in MiB, from V(256). It needs about 1 MiB for each project.
    type: int
    default: 2048
  body_mib:
    description:
      - The largest body of a request, in MiB.
    type: int
    default: 10
  header_kib:
    description:
      - The largest headers of a request, in KiB.
    type: int
    default: 32
  read_timeout:
    description:
      - How many seconds a whole request may take to arrive.
    type: int
    default: 60
  idle_timeout:
    description:
      - How many seconds a connection may be idle between two requests.
    type: int
    default: 120
  trusted_networks:
    description:
      - Networks of proxies in front of the gateway. What these say of a client's address is believed; what others say
        is thrown away.
    type: list
    elements: str
    default: []
  wait:
    description:
      - Whether to wait until the gateway serves.
    type: bool
    default: true
requirements:
  - cryptography >= 42 (Python package)
seealso:
  - module: supalove.platform.platform
"""

EXAMPLES = r"""
- name: Keep the gateway
  supalove.platform.gateway:
    kubeconfig: "{{ k3s_kubeconfig_path }}"
    platform: "{{ supalove_platform }}"
    definitions: [/var/cache/gateway-api.yaml, /var/cache/traefik.yaml]
    certificate: /etc/letsencrypt/live/example.com/fullchain.pem
    private_key: /etc/letsencrypt/live/example.com/privkey.pem
"""

RETURN = r"""
outcomes:
  description: The steps that were done, and the failure if there was one. Empty if nothing changed.
  returned: always
  type: list
  elements: dict
  sample:
    - ref: supalove-system-gateway
      result: changed
      uid: ""
      steps:
        - action: create
          object: DaemonSet/supalove-system-gateway/traefik
          reason: it does not exist
requests:
  description: Requests sent to the API server.
  returned: always
  type: dict
  sample: {reads: 20, writes: 0}
"""

import datetime
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible import Work, run_module
from ..module_utils._engine.backends.kubernetes.client import Client
from ..module_utils._engine.gateway import keep_gateway
from ..module_utils._engine.progress import Progress
from ..module_utils._engine.project.parse import parse
from ..module_utils._engine.settings import Settings
from ..module_utils._gateway import certificate_from, definitions_from, door_from
from ..module_utils._results import result_of
from ..module_utils._specs import gateway_spec


def _work(module: AnsibleModule) -> Work:
    params: dict[str, t.Any] = module.params
    platform = parse(projects={}, tiers={}, platform=params["platform"]).platform
    now = datetime.datetime.now(datetime.UTC)
    certificate = certificate_from(params["certificate"], params["private_key"], f"*.{platform.domain}", now)
    door = door_from(params, platform, certificate)
    definitions = definitions_from(params["definitions"])

    def work(client: Client | None, settings: Settings, progress: Progress) -> dict[str, t.Any]:
        report = keep_gateway(client, platform, door, certificate, definitions, settings=settings, progress=progress)
        return result_of(report, show_diff=module._diff)

    return work


def main() -> None:
    """Run the module."""
    run_module(gateway_spec(), _work)


if __name__ == "__main__":
    main()
