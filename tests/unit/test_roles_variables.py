# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role k3s derives from its variables, templated by Ansible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROLE = Path(__file__).parents[2] / "roles/k3s"
SERVERS = ["a", "b", "c"]


def derived(name: str, **variables: Any) -> Any:
    """One variable of the role on the first of three servers."""
    loader = DataLoader()
    known: dict[str, Any] = {
        "groups": {"control_plane": SERVERS},
        "hostvars": {host: {"ansible_host": host} for host in SERVERS},
        "inventory_hostname": "a",
        "__k3s_founder": {"host": "a", "founder": "a"},
        "__k3s_read": {"host": {"machine": "x86_64"}},
    }
    for path in (ROLE / "defaults/main.yml", *sorted(ROLE.glob("vars/main/*.yml"))):
        known |= loader.load_from_file(str(path), trusted_as_template=True)
    known["__k3s_nodes"] = {host: {"address": f"address-of-{host}"} for host in SERVERS}
    return Templar(loader=loader, variables={**known, **variables}).template(trust_as_template("{{ " + name + " }}"))


def test_a_founder_that_does_not_answer_changes_no_configuration() -> None:
    asked_of = [derived("__k3s_wanted_config", __k3s_founder={"host": host, "founder": "b"}) for host in ("b", "c")]
    assert asked_of[0] == asked_of[1]
    assert asked_of[0]["server"] == "https://address-of-b:6443"


def test_the_founder_names_no_other_server() -> None:
    assert derived("__k3s_wanted_config").keys() & {"cluster-init", "server"} == {"cluster-init"}


@pytest.mark.parametrize(
    ("variable", "text", "value", "place"),
    [
        ("k3s_node_cidr_mask_size", "23", 23, "__k3s_choices.k3s_node_cidr_mask_size"),
        ("k3s_secrets_encryption_enabled", "false", False, "__k3s_choices.k3s_secrets_encryption_enabled"),
        ("k3s_secrets_encryption_enabled", "true", True, "__k3s_wanted_config['secrets-encryption']"),
        ("k3s_protect_kernel_defaults", "no", False, "__k3s_wanted_config['protect-kernel-defaults']"),
        ("k3s_airgap_images_enabled", "false", False, "__k3s_release_assets[1].wanted"),
    ],
)
def test_a_value_given_as_text_means_what_it_says(variable: str, text: str, value: Any, place: str) -> None:
    assert derived(place, **{variable: text}) == value


@pytest.mark.parametrize(
    ("platform", "namespace"),
    [
        ({}, "supalove-system"),
        ({"supalove_platform": {"domain": "example.com"}}, "supalove-system"),
        ({"supalove_platform": {"namespace": "own"}}, "own"),
    ],
)
def test_the_platforms_own_namespace_is_exempt(platform: dict[str, Any], namespace: str) -> None:
    assert derived("k3s_pod_security_exempt_namespaces", **platform) == ["kube-system", namespace]


def test_kernel_parameters_are_compared_in_the_order_in_which_they_are_read() -> None:
    given = {"k3s_sysctls": {"vm.b": 0, "kernel.a": 10}}
    assert derived("__k3s_read_sysctls", **given) == ["sysctl", "--values", "kernel.a", "vm.b"]
    assert derived("__k3s_wanted_sysctls", **given) == ["10", "0"]
