# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands on the hosts and in the API after playbooks/site.yml."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from testinfra.host import Host
from testinfra.utils.ansible_runner import AnsibleRunner

INVENTORY = Path(__file__).parents[3] / "inventories/lab/hosts.yml"
RUNNER = AnsibleRunner(str(INVENTORY))
SERVERS = RUNNER.get_hosts("control_plane")
AGENTS = sorted(set(RUNNER.get_hosts("data_plane")) - set(SERVERS))
ALL = [*SERVERS, *AGENTS]
BOTH = sorted(set(RUNNER.get_hosts("data_plane")) & set(SERVERS))
CONTROL_TAINT = {"key": "node-role.kubernetes.io/control-plane", "value": "true", "effect": "NoSchedule"}
DATA_TAINT = {"key": "node.supalove.cloud/data-plane", "value": "true", "effect": "NoSchedule"}


def reach(name: str) -> Host:
    return RUNNER.get_host(name)


def ask(*arguments: str) -> Any:
    """Ask the first server's API, as an object."""
    return json.loads(reach(SERVERS[0]).check_output(f"k3s kubectl {' '.join(arguments)} --output=json"))


@pytest.fixture(scope="module")
def nodes() -> dict[str, dict[str, Any]]:
    return {node["metadata"]["name"]: node for node in ask("get", "nodes")["items"]}


def test_every_host_is_a_node_that_is_ready(nodes: dict[str, dict[str, Any]]) -> None:
    conditions = {
        name: [each["status"] for each in node["status"]["conditions"] if each["type"] == "Ready"]
        for name, node in nodes.items()
    }
    assert conditions == {name: ["True"] for name in ALL}


@pytest.mark.parametrize(
    ("group", "label"),
    [
        ("control_plane", "node.supalove.cloud/control-plane"),
        ("data_plane", "node.supalove.cloud/data-plane"),
    ],
)
def test_exactly_the_hosts_of_a_pool_carry_its_label(nodes: dict[str, dict[str, Any]], group: str, label: str) -> None:
    labelled = {name for name, node in nodes.items() if node["metadata"]["labels"].get(label) == "true"}
    assert labelled == set(RUNNER.get_hosts(group))


def test_a_host_in_one_pool_has_exactly_its_taint(nodes: dict[str, dict[str, Any]]) -> None:
    taints = {name: node["spec"].get("taints", []) for name, node in nodes.items()}
    wanted = {**{name: [CONTROL_TAINT] for name in SERVERS}, **{name: [DATA_TAINT] for name in AGENTS}}
    assert taints == {**wanted, **{name: [] for name in BOTH}}


def test_a_node_has_room_for_the_pods_it_may_run(nodes: dict[str, dict[str, Any]]) -> None:
    room = {
        name: (node["spec"]["podCIDR"].split("/")[1], node["status"]["capacity"]["pods"])
        for name, node in nodes.items()
    }
    assert room == dict.fromkeys(ALL, ("23", "250"))


@pytest.mark.parametrize("name", ALL)
def test_the_service_runs_and_starts_with_the_host(name: str) -> None:
    service = reach(name).service("k3s" if name in SERVERS else "k3s-agent")
    assert (service.is_running, service.is_enabled) == (True, True)


@pytest.mark.parametrize("name", ALL)
def test_only_root_reads_the_configuration(name: str) -> None:
    folder = reach(name).file("/etc/rancher/k3s")
    loose = reach(name).check_output("find /etc/rancher/k3s /etc/systemd/system/k3s*.env -type f -perm /077")
    assert (folder.mode, folder.user, loose) == (0o700, "root", "")


@pytest.mark.parametrize("name", ALL)
def test_no_token_stands_in_an_argument_or_an_environment(name: str) -> None:
    host = reach(name)
    # The secret part of what the node joined with, handed to grep in a file: it must stand in no argument here either.
    script = (
        "sed 's/.*://' /etc/rancher/k3s/agent-token > /run/supalove-test-pattern; "
        "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' "
        "| grep --count --fixed-strings --file=/run/supalove-test-pattern; rm /run/supalove-test-pattern"
    )
    assert host.run(script).stdout.strip() == "0"


@pytest.mark.parametrize("name", ALL)
def test_the_programs_inside_k3s_have_links(name: str) -> None:
    for program in ("kubectl", "crictl", "ctr"):
        assert reach(name).file(f"/usr/local/bin/{program}").linked_to == "/usr/local/bin/k3s"


def test_servers_hold_the_record_of_the_first_boot() -> None:
    record = yaml.safe_load(reach(SERVERS[0]).file("/etc/rancher/k3s/first-boot.yaml").content_string)
    assert record["founder"] in SERVERS
    assert (record["k3s_cluster_cidr"], record["k3s_node_cidr_mask_size"]) == ("10.42.0.0/16", 23)


def test_the_datastore_holds_no_secret_in_the_clear() -> None:
    server = reach(SERVERS[0])
    server.check_output("k3s kubectl create secret generic probe --from-literal=key=a-marker-in-the-clear")
    try:
        found = server.run("grep --recursive --files-with-matches a-marker-in-the-clear /var/lib/rancher/k3s/server/db")
    finally:
        server.check_output("k3s kubectl delete secret probe")
    assert (found.rc, found.stdout) == (1, "")


def test_an_audit_log_is_written_for_root_alone() -> None:
    server = reach(SERVERS[0])
    assert server.file("/var/lib/rancher/k3s/server/logs").mode == 0o700
    assert server.file("/var/lib/rancher/k3s/server/logs/audit.log").size > 0


def test_a_pod_that_wants_the_host_is_refused_outside_the_platforms_namespaces() -> None:
    refused = reach(SERVERS[0]).run(
        "k3s kubectl run probe --namespace=default --image=probe --dry-run=server --privileged"
    )
    assert refused.rc != 0
    assert "violates PodSecurity" in refused.stderr


def test_what_is_bundled_but_not_wanted_does_not_run() -> None:
    """The gateway's Traefik has a namespace of its own."""
    names = [item["metadata"]["name"] for item in ask("get", "deployments,daemonsets", "-n", "kube-system")["items"]]
    assert not [name for name in names if name.startswith(("traefik", "svclb-"))]


def test_the_kubeconfig_is_private_and_names_the_cluster() -> None:
    path = INVENTORY.parent / ".kube/supalove.yaml"
    config = yaml.safe_load(path.read_text())
    assert path.stat().st_mode & 0o777 == 0o600
    assert (config["current-context"], config["clusters"][0]["name"], config["users"][0]["name"]) == ("supalove",) * 3
    assert "127.0.0.1" not in config["clusters"][0]["cluster"]["server"]
