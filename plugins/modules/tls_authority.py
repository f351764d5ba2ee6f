#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A certificate authority of the platform's own, whose key never leaves its host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tls_authority
short_description: Keep a certificate authority, and sign with it
version_added: 0.1.0
description:
  - Makes a certificate authority if there is none, an EC key that only root reads and its certificate, with C(openssl).
  - Signs a request of M(supalove.platform.tls_request). What a certificate is good for is said here, not in the
    request.
author:
  - Supalove contributors (@supalove)
attributes:
  check_mode:
    support: full
    description: Says whether the authority would be made. Signs nothing.
  diff_mode:
    support: none
    description: There is one thing to change.
options:
  directory:
    description:
      - Where C(ca.key) and C(ca.pem) are.
    type: path
    required: true
  common_name:
    description:
      - The name of a new authority.
    type: str
    required: true
  authority_days:
    description:
      - How long a new authority is good for.
    type: int
    default: 3650
  certificate_days:
    description:
      - How long a certificate is good for.
    type: int
    default: 365
  request:
    description:
      - A request to sign.
    type: str
    default: ""
  names:
    description:
      - The names and addresses that the certificate is for.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Keep the authority
  supalove.platform.tls_authority:
    directory: /etc/supalove/authority
    common_name: Supalove platform
  register: authority
"""

RETURN = r"""
certificate:
  description: The authority's certificate. Empty if a check would have made it.
  returned: always
  type: str
signed:
  description: The certificate that was asked for. Empty without a request, or in a check.
  returned: always
  type: str
"""

import ipaddress
import os
import secrets

from ansible.module_utils.basic import AnsibleModule

CONFIG = """[req]
distinguished_name = name
x509_extensions = authority
prompt = no
[name]
CN = {name}
[authority]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""
EXTENSIONS = """basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""


def alternative_name(name: str) -> str:
    """Give a name or address as OpenSSL writes it in a certificate's alternative names.

    >>> alternative_name("10.0.0.1"), alternative_name("vault.example.com")
    ('IP:10.0.0.1', 'DNS:vault.example.com')
    """
    try:
        return f"IP:{ipaddress.ip_address(name)}"
    except ValueError:
        return f"DNS:{name}"


class Authority:
    """The authority in one directory."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.openssl = module.get_bin_path("openssl", required=True)
        self.directory = module.params["directory"]
        self.key = os.path.join(self.directory, "ca.key")
        self.certificate = os.path.join(self.directory, "ca.pem")

    def run(self, *arguments: str, stdin: str = "") -> str:
        """Run openssl to its end."""
        _code, output, _error = self.module.run_command([self.openssl, *arguments], data=stdin, check_rc=True)
        return str(output)

    def scratch(self, name: str, text: str) -> str:
        """Write a file that goes with the module."""
        path = os.path.join(self.module.tmpdir, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def make(self) -> None:
        """Make key and certificate. The certificate has its name last: without it there is no authority."""
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        os.umask(0o077)
        config = self.scratch("authority.cnf", CONFIG.format(name=self.module.params["common_name"]))
        self.run("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", self.key)
        days = str(self.module.params["authority_days"])
        text = self.run("req", "-x509", "-new", "-config", config, "-key", self.key, "-days", days)
        part = self.certificate + ".part"
        with open(part, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, self.certificate)

    def read(self) -> str:
        """Give the certificate, or an empty text."""
        if not os.path.exists(self.certificate) or not os.path.exists(self.key):
            return ""
        with open(self.certificate, encoding="utf-8") as file:
            return file.read()

    def refuse_end(self) -> None:
        """Stop if a certificate made now would outlive the authority."""
        seconds = str(self.module.params["certificate_days"] * 86400)
        code, _output, _error = self.module.run_command(
            [self.openssl, "x509", "-in", self.certificate, "-noout", "-checkend", seconds]
        )
        if code:
            end = self.run("x509", "-in", self.certificate, "-noout", "-enddate").strip().partition("=")[2]
            self.module.fail_json(
                msg=f"{self.certificate} ends on {end}, before a certificate signed now would. "
                "Move the authority away, and a run makes another; who trusts the old one needs the new one then"
            )

    def sign(self, request: str, names: list[str]) -> str:
        """Sign a request; its own wishes for extensions are ignored."""
        extensions = self.scratch("extensions", EXTENSIONS.format(names=",".join(map(alternative_name, names))))
        days = str(self.module.params["certificate_days"])
        return self.run(
            "x509", "-req", "-CA", self.certificate, "-CAkey", self.key, "-extfile", extensions, "-days", days,
            "-set_serial", f"0x{secrets.token_hex(16)}",
            stdin=request,
        )  # fmt: skip


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "common_name": {"type": "str", "required": True},
            "authority_days": {"type": "int", "default": 3650},
            "certificate_days": {"type": "int", "default": 365},
            "request": {"type": "str", "default": ""},
            "names": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    authority = Authority(module)
    changed = not authority.read()
    if changed and not module.check_mode:
        authority.make()
    signed = ""
    if module.params["request"] and not module.check_mode:
        authority.refuse_end()
        signed = authority.sign(module.params["request"], module.params["names"])
    module.exit_json(changed=changed, certificate=authority.read(), signed=signed)


if __name__ == "__main__":
    main()
