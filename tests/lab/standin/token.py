# SPDX-License-Identifier: GPL-3.0-or-later
"""`k3s token`: join tokens (docs/cli/token.md)."""

from __future__ import annotations

import secrets

USAGE = "usage: k3s token generate"


def main(argv: list[str]) -> None:
    """`generate` prints a random token in kubeadm's form; the subcommands that talk to a cluster are not built."""
    if argv[:1] == ["generate"]:
        print(f"{secrets.token_hex(3)}.{secrets.token_hex(8)}")
        return
    raise SystemExit(f"the lab's stand-in implements no `k3s token {' '.join(argv)}` (K3s does)\n{USAGE}")
