#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Let projects be reached by host names of their own."""

from __future__ import annotations

DOCUMENTATION = r"""
module: domains
short_description: Let projects be reached by host names of their own
description:
  - Works on the C(domains) that the records of projects have, so it comes after M(supalove.platform.projects), which
    writes them there.
  - A domain is a project's once a TXT record of C(_supalove.) and the domain says C(supalove-verification=) and the
    token that RV(domains) has. It is looked up until then and not again as long as the project has the domain.
    One that is not proven yet hinders nothing. It is told as a warning. Lookups take half of the run's time at most.
  - A proven domain is served with the certificate in O(directory). One that is not for the domain, not good now or
    without its key is not taken, and the task fails in the end; the one from before goes on to be shown.
  - Each project with such domains gets a Gateway in the namespace of O(platform) with C(-gateway) behind it, and a
    second HTTPRoute in its own. What is there for a domain that the project has no more is removed.
  - Check mode looks domains up as well, and says what would be done about what the records have by then.
author:
  - Supalove contributors (@supalove)
extends_documentation_fragment:
  - supalove.platform.attributes
  - supalove.platform.attributes.actiongroup_platform
  - supalove.platform.connection
  - supalove.platform.vocabulary
options:
  directory:
    description:
      - Directory on the host that runs the module with a directory for each domain, named after it. In that
        C(fullchain.pem) has the certificate and behind it those that lead to its authority, and C(privkey.pem) its key.
      - A renewed one is taken over by the next run.
    type: path
    required: true
  resolvers:
    description:
      - Resolvers to ask, each as an address, or an address and a port such as V(192.0.2.53:5353). Without them those of
        the host that runs the module.
      - What they say is believed, so they should be reached by a way that nobody else can write to.
    type: list
    elements: str
    default: []
  workers:
    description:
      - How many domains are looked up at the same time.
    type: int
    default: 16
requirements:
  - cryptography >= 42 (Python package)
  - dnspython >= 2.4 (Python package), if a domain has to be looked up
seealso:
  - module: supalove.platform.projects
  - module: supalove.platform.gateway
  - module: supalove.platform.project_info
"""

EXAMPLES = r"""
- name: Let projects be reached by their own domains
  supalove.platform.domains:
    kubeconfig: "{{ k3s_kubeconfig_path }}"
    platform: "{{ supalove_platform }}"
    directory: /etc/letsencrypt/live
  register: own

- name: Show what has to be entered into the DNS
  ansible.builtin.debug:
    msg: "{{ own.domains | selectattr('state', 'equalto', 'unverified') | map(attribute='record') }}"
"""

RETURN = r"""
counts:
  description:
    - How many domains are in which state. V(served) is one that leads to its project with a good certificate,
      V(unverified) one of which nothing proves that it is the project's, V(uncertified) one that is proven and has no
      good certificate, V(taken) one that leads to another project, V(failed) one that something else keeps from being
      served.
  returned: unless the input is wrong
  type: dict
  sample: {failed: 0, taken: 0, uncertified: 0, unverified: 1, served: 12}
domains:
  description:
    - The domains, the worst first, at most 100. C(message) has what is missing, C(record) what proves that the domain
      is the project's; that is no secret.
  returned: unless the input is wrong
  type: list
  elements: dict
  sample:
    - ref: acme
      domain: api.example.org
      state: unverified
      message: >-
        a TXT record of _supalove.api.example.org has to say supalove-verification=5f0c0d3f6f6c9e1b8a7d2e4c1b3a5968;
        found: there is none
      record:
        name: _supalove.api.example.org
        type: TXT
        value: supalove-verification=5f0c0d3f6f6c9e1b8a7d2e4c1b3a5968
domains_left_out:
  description: How many more there would be to show.
  returned: unless the input is wrong
  type: int
  sample: 0
outcomes:
  description: What was done for each project, and the failure if there was one. Those without a change are left out.
  returned: unless the input is wrong
  type: list
  elements: dict
  sample:
    - ref: acme
      result: changed
      uid: abcdefgh2345
      steps:
        - action: create
          object: Gateway/supalove-system-gateway/p-acme
          reason: it does not exist
requests:
  description: Requests sent to the API server.
  returned: unless the input is wrong
  type: dict
  sample: {reads: 5, writes: 0}
"""

import datetime
import functools
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible import Work, run_module
from ..module_utils._domains import certificate_at, domains_spec, platform_from, resolvers_from
from ..module_utils._engine.backends.dns.client import Resolvers
from ..module_utils._engine.backends.kubernetes.client import Client
from ..module_utils._engine.domain_states import State
from ..module_utils._engine.domains import keep_domains
from ..module_utils._engine.progress import Progress
from ..module_utils._engine.settings import Settings
from ..module_utils._results import domains_result_of


def _work(module: AnsibleModule) -> Work:
    params: dict[str, t.Any] = module.params
    platform = platform_from(params)
    resolvers = Resolvers(resolvers_from(params))
    now = datetime.datetime.now(datetime.UTC)
    certificates = functools.partial(certificate_at, params["directory"], now=now)

    def work(client: Client | None, settings: Settings, progress: Progress) -> dict[str, t.Any]:
        found = keep_domains(
            client,
            platform,
            lookup=lambda name, deadline: resolvers.texts(name, deadline=deadline),
            certificates=certificates,
            settings=settings,
            progress=progress,
        )
        result = domains_result_of(found, show_diff=module._diff)
        for one in result["domains"]:
            if one["state"] == State.UNVERIFIED:
                module.warn(f"{one['domain']} does not lead to the project {one['ref']} yet: {one['message']}")
        return result

    return work


def main() -> None:
    """Run the module."""
    run_module(domains_spec(), _work)


if __name__ == "__main__":
    main()
