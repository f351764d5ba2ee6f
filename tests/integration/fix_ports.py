# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports for servers that are told theirs: a server may take its port late, or leave it and take it again."""

from __future__ import annotations

import itertools
import secrets
import socket

HERE = "127.0.0.1"
# Below those that Linux gives to outgoing connections (ip-sysctl, ip_local_port_range: from 32768 on), so that none of
# them is in the way later; and below those of Kubernetes' NodePorts, from 30000 on.
FIRST, COUNT = 20_000, 9_000

_start = secrets.randbelow(COUNT)
_numbers = (FIRST + (_start + step) % COUNT for step in itertools.count())
_claims: list[socket.socket] = []


def free_port() -> int:
    """A port of loopback that nobody listens on, over TCP or UDP, and that no other process of tests gets while this
    one lives.
    """
    return next(port for port in itertools.islice(_numbers, COUNT) if _is_free(port) and _claim(port))


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as tried:
            try:
                tried.bind((HERE, port))
            except OSError:
                return False
    return True


def _claim(port: int) -> bool:
    """Another worker's, or another checkout's, sees it by the abstract address, which ends with the process."""
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0supalove-test-port-{port}")
    except OSError:
        claim.close()
        return False
    _claims.append(claim)
    return True
