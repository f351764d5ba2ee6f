# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in refuses to join with what K3s refuses, over the wire. Nothing is started: the refusal comes first."""

from __future__ import annotations

import pytest
from lab import hosts, layout

pytestmark = pytest.mark.usefixtures("platform")

SECONDS = 6
SERVER = f"https://{layout.host('control-1').address}:6443"


def k3s(host: str, *arguments: str) -> str:
    """What `k3s` says within a few seconds, with an empty configuration and a data directory of its own."""
    command = f"timeout {SECONDS} k3s {' '.join(arguments)} --config /dev/null --data-dir /tmp/k3s-refused 2>&1"
    return hosts.run_on(layout.host(host), command)


def token(host: str) -> str:
    return hosts.run_on(layout.host(host), "cat /etc/rancher/k3s/agent-token").strip()


def test_a_wrong_token_is_not_authorized() -> None:
    wrong = token("data-1")[:-4] + "xxxx"
    assert "401 Unauthorized" in k3s("data-1", "agent", "--server", SERVER, "--token", wrong)


def test_a_token_of_another_cluster_names_both_authorities() -> None:
    head, _, rest = token("data-1").partition("::")
    foreign = f"{head[:-4]}0000::{rest}"
    assert "token CA hash does not match" in k3s("data-1", "agent", "--server", SERVER, "--token", foreign)


def test_a_node_name_with_another_password_is_rejected() -> None:
    """The hosts' own passwords differ, so data-2 may not come as data-1."""
    said = k3s(
        "data-2", "agent", "--server", SERVER, "--token-file", "/etc/rancher/k3s/agent-token", "--node-name", "data-1"
    )
    assert "Node password rejected" in said


def test_a_server_whose_critical_settings_differ_may_not_join() -> None:
    options = (
        "--server",
        SERVER,
        "--token-file",
        "/var/lib/rancher/k3s/server/token",
        "--cluster-cidr",
        "10.99.0.0/16",
    )
    assert "critical configuration value mismatch" in k3s("control-1", "server", *options)
