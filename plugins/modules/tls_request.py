#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's own key, and whether its certificate is still good."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tls_request
short_description: Keep a host's key, and ask for a certificate when one is needed
version_added: 0.1.0
description:
  - Makes a private key on the host that needs it, where it stays, with C(openssl).
  - Says whether the certificate beside it must be renewed and why, and gives the request for
    M(supalove.platform.tls_authority).
author:
  - Supalove contributors (@supalove)
attributes:
  check_mode:
    support: full
    description: Says whether the key would be made.
  diff_mode:
    support: none
    description: There is one thing to change.
options:
  key:
    description:
      - The file of the key.
    type: path
    required: true
  certificate:
    description:
      - The file of the certificate.
    type: path
    required: true
  authority:
    description:
      - The authority's certificate.
    type: str
    required: true
  names:
    description:
      - The names and addresses that the host is reached under.
    type: list
    elements: str
    required: true
  renew_days:
    description:
      - How many days before its end a certificate is renewed.
    type: int
    default: 30
extends_documentation_fragment:
  - ansible.builtin.files
"""

EXAMPLES = r"""
- name: Keep the key
  supalove.platform.tls_request:
    key: /etc/openbao/tls/server.key
    certificate: /etc/openbao/tls/server.pem
    authority: "{{ authority.certificate }}"
    names: [127.0.0.1, vault.example.com]
    owner: root
    group: openbao
    mode: "0640"
  register: certificate
"""

RETURN = r"""
reason:
  description: Why a certificate is needed. Empty if the one that is there is good.
  returned: always
  type: str
request:
  description: The request. Empty if no certificate is needed, or in a check.
  returned: always
  type: str
"""

import ipaddress
import os
import re
import typing as t

from ansible.module_utils.basic import AnsibleModule


def names_in(text: str) -> set[str]:
    r"""Give the alternative names that ``openssl x509 -ext subjectAltName`` prints.

    >>> sorted(names_in("X509v3 ...:\n    DNS:a, IP Address:10.0.0.1, IP Address:0:0:0:0:0:0:0:1\n"))
    ['10.0.0.1', '::1', 'a']
    """
    addresses = {str(ipaddress.ip_address(each)) for each in re.findall(r"IP Address:([0-9A-Fa-f.:]+)", text)}
    return addresses | set(re.findall(r"DNS:([^,\s]+)", text))


class Certificate:
    """A host's key and certificate."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.openssl = module.get_bin_path("openssl", required=True)
        self.key = module.params["key"]
        self.certificate = module.params["certificate"]

    def run(self, *arguments: str) -> tuple[int, str]:
        """Run openssl; give its exit code and output."""
        code, output, _error = self.module.run_command([self.openssl, *arguments])
        return code, output

    def must(self, *arguments: str) -> str:
        """Run openssl to its end."""
        _code, output, _error = self.module.run_command([self.openssl, *arguments], check_rc=True)
        return str(output)

    def make_key(self) -> None:
        """Make the key; a leftover of a killed run is overwritten."""
        old = os.umask(0o077)
        part = self.key + ".part"
        self.must("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", part)
        os.replace(part, self.key)
        os.umask(old)

    def reason(self) -> str:
        """Say why the certificate must be made anew, by the first rule that it breaks; an empty text if by none."""
        days = self.module.params["renew_days"]
        read = ("x509", "-in", self.certificate, "-noout")
        code, public = self.run(*read, "-pubkey")
        if code:
            return "there is none"
        if public != self.run("pkey", "-in", self.key, "-pubout")[1]:
            return "it belongs to another key"
        if not self.is_signed():
            return "another authority signed it"
        if self.run(*read, "-checkend", str(days * 86400))[0]:
            return f"it ends within {days} days"
        if names_in(self.run(*read, "-ext", "subjectAltName")[1]) != set(self.module.params["names"]):
            return "it is for other names"
        return ""

    def is_signed(self) -> bool:
        """Whether the authority signed it; that it may have ended is another rule."""
        path = os.path.join(self.module.tmpdir, "authority.pem")
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.module.params["authority"])
        return self.run("verify", "-no_check_time", "-CAfile", path, self.certificate)[0] == 0

    def request(self) -> str:
        """Give a request; what the certificate is for is the authority's to say."""
        return self.must("req", "-new", "-key", self.key, "-subj", f"/CN={self.module.params['names'][0]}")


def ensure(module: AnsibleModule) -> dict[str, t.Any]:
    """Keep the key and give the module's result."""
    certificate = Certificate(module)
    changed = not os.path.exists(certificate.key)
    if changed and module.check_mode:
        return {"changed": True, "reason": "there is none", "request": ""}
    if changed:
        certificate.make_key()
    arguments = module.load_file_common_arguments(module.params, path=certificate.key)
    changed = module.set_fs_attributes_if_different(arguments, changed)
    reason = certificate.reason()
    request = certificate.request() if reason and not module.check_mode else ""
    return {"changed": changed, "reason": reason, "request": request}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "key": {"type": "path", "required": True, "no_log": False},
            "certificate": {"type": "path", "required": True},
            "authority": {"type": "str", "required": True},
            "names": {"type": "list", "elements": "str", "required": True},
            "renew_days": {"type": "int", "default": 30},
        },
        add_file_common_args=True,
        supports_check_mode=True,
    )
    module.exit_json(**ensure(module))


if __name__ == "__main__":
    main()
