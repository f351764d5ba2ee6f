# SPDX-License-Identifier: GPL-3.0-or-later
"""The profile `restricted` and more, on the live pods of every component, as the API and the kernel have it; and what
the API server says to pods that break each of its rules.
"""

from __future__ import annotations

import copy
import json
import subprocess
import time
from typing import Any

import pytest
from lab import hosts, layout
from lab.cluster import Cluster

TENANTS = ("p-", "s-")
LOOKS = 10
# Where tenants are. In both kinds of namespace a pod of each kind is tried.
NAMESPACES = ("p-demo", "s-free-1")

# Run on a host: every process of a pod's container, as the kernel has it.
LOOK = r"""
import json, os, re
found = []
for pid in filter(str.isdigit, os.listdir('/proc')):
    try:
        groups = open(f'/proc/{pid}/cgroup').read()
        match = re.search(r'pod([0-9a-f_-]{36})\S*/(?:cri-containerd-)?([0-9a-f]{64})', groups)
        if not match:
            continue
        status = dict(line.split(':\t', 1) for line in open(f'/proc/{pid}/status').read().splitlines() if ':\t' in line)
        mounts = [line.split() for line in open(f'/proc/{pid}/mountinfo')]
        found.append({
            'pid': pid, 'pod': match[1].replace('_', '-'), 'container': match[2], 'name': status['Name'],
            'uids': status['Uid'].split(), 'gids': status['Gid'].split(), 'no_new_privileges': status['NoNewPrivs'],
            'seccomp': status['Seccomp'], 'effective': status['CapEff'], 'bounding': status['CapBnd'],
            'ambient': status['CapAmb'], 'inheritable': status['CapInh'], 'permitted': status['CapPrm'],
            'root': next(one[5].split(',')[0] for one in mounts if one[4] == '/'),
            'token': os.path.exists(f'/proc/{pid}/root/var/run/secrets/kubernetes.io/serviceaccount/token'),
            'own_network': os.readlink(f'/proc/{pid}/ns/net') != os.readlink('/proc/1/ns/net'),
        })
    except (OSError, StopIteration, KeyError):
        # It ended while it was looked at, and its files are empty or gone.
        continue
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def pods(platform: Cluster) -> list[dict[str, Any]]:
    """Of every component, in the namespaces of projects and shared clusters; clients of other tests are none."""
    component = "supalove.cloud/component"
    labelled = platform.live_pods("-A", "-l", component)
    found = [pod for pod in labelled if pod["metadata"]["namespace"].startswith(TENANTS)]
    kinds = {(pod["metadata"]["namespace"][:2], pod["metadata"]["labels"][component]) for pod in found}
    assert kinds >= {("p-", "pooler"), ("p-", "postgresql"), ("s-", "postgresql")}
    return found


def names(found: list[dict[str, Any]]) -> list[str]:
    return [f"{pod['metadata']['namespace']}/{pod['metadata']['name']}" for pod in found]


def test_every_live_pod_asks_for_less_than_the_profile_lets_it_have(pods: list[dict[str, Any]]) -> None:
    for pod, name in zip(pods, names(pods), strict=True):
        spec, security = pod["spec"], pod["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] > 0, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
        assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"}, name
        for volume in spec.get("volumes") or ():
            assert not volume.keys() & {"hostPath", "projected"}, (name, volume)
        for container in [*spec["containers"], *(spec.get("initContainers") or ())]:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, name
            assert own["readOnlyRootFilesystem"] is True, name
            assert own["capabilities"] == {"drop": ["ALL"]}, name
            assert not own.keys() - {"allowPrivilegeEscalation", "readOnlyRootFilesystem", "capabilities"}, name
            assert not [port for port in container.get("ports") or () if "hostPort" in port], name


# What holds a pod's network, and the runtime itself on its way to a probe's command, before it gives up its rights.
NOT_OURS = ("pause", "runc:[")


@pytest.fixture(scope="module")
def processes(pods: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of all those pods' containers, found on their hosts. A process that is just starting is seen at a second look."""
    found = look(pods)
    for _look in range(LOOKS):
        if {one["container"] for one in found} >= containers_of(pods):
            break
        time.sleep(1)
        found += look(pods)
    return found


def containers_of(pods: list[dict[str, Any]]) -> set[str]:
    """Those that run: sidecars, which begin before the others, among them."""
    kinds = ("containerStatuses", "initContainerStatuses")
    statuses = [status for pod in pods for kind in kinds for status in pod["status"].get(kind, ())]
    return {one["containerID"].removeprefix("containerd://") for one in statuses if "running" in one["state"]}


def look(pods: list[dict[str, Any]]) -> list[dict[str, Any]]:
    uids = {pod["metadata"]["uid"] for pod in pods}
    found: list[dict[str, Any]] = []
    for host in layout.TOPOLOGIES["cluster"]:
        command = hosts.ssh_command(host, "python3", "-")
        done = subprocess.run(command, input=LOOK, capture_output=True, text=True, check=True)
        found += [one for one in json.loads(done.stdout) if one["pod"] in uids and not one["name"].startswith(NOT_OURS)]
    return found


def test_every_container_of_every_component_has_been_looked_into(
    pods: list[dict[str, Any]], processes: list[dict[str, Any]]
) -> None:
    wanted = containers_of(pods)
    assert len(wanted) >= 5
    assert {one["container"] for one in processes} >= wanted


def test_the_kernel_gives_their_processes_no_right_no_root_and_no_place_to_write_a_program(
    processes: list[dict[str, Any]],
) -> None:
    nothing = "0" * 16
    for one in processes:
        assert "0" not in (*one["uids"], *one["gids"]), one
        assert (one["no_new_privileges"], one["seccomp"]) == ("1", "2"), one
        rights = {one[kind] for kind in ("effective", "bounding", "ambient", "inheritable", "permitted")}
        assert rights == {nothing}, one
        assert one["root"] == "ro", one
        assert not one["token"], one
        assert one["own_network"], one


KEEPS_ALL: dict[str, Any] = {
    "securityContext": {"runAsNonRoot": True, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "name": "main",
            "image": "registry.supalove.cloud/none:1",
            "resources": {"limits": {"cpu": "10m", "memory": "16Mi"}},
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
    ],
}
OF_ANOTHER_HOST = {"httpGet": {"host": "10.0.0.1", "port": 80}}
POD, MAIN = "securityContext", "containers.0.securityContext"
# Place, value (None takes it away), and how the API server names the rule.
RULES: dict[str, tuple[str, Any, str]] = {
    "host-network": ("hostNetwork", True, "host namespaces"),
    "host-pid": ("hostPID", True, "host namespaces"),
    "host-ipc": ("hostIPC", True, "host namespaces"),
    "host-port": ("containers.0.ports", [{"containerPort": 80, "hostPort": 80}], "hostPort"),
    "host-path": ("volumes", [{"name": "host", "hostPath": {"path": "/"}}], "restricted volume types"),
    "privileged": (f"{MAIN}", {"privileged": True}, "privileged"),
    "escalation": (f"{MAIN}.allowPrivilegeEscalation", True, "allowPrivilegeEscalation != false"),
    "escalation-unsaid": (f"{MAIN}.allowPrivilegeEscalation", None, "allowPrivilegeEscalation != false"),
    "capability": (f"{MAIN}.capabilities", {"drop": ["ALL"], "add": ["NET_RAW"]}, "unrestricted capabilities"),
    "capabilities-kept": (f"{MAIN}.capabilities", None, "unrestricted capabilities"),
    "root-by-number": (f"{POD}.runAsUser", 0, "runAsUser=0"),
    "root-unsaid": (f"{POD}.runAsNonRoot", None, "runAsNonRoot != true"),
    "seccomp-unconfined": (f"{POD}.seccompProfile.type", "Unconfined", "seccompProfile"),
    "seccomp-unsaid": (f"{POD}.seccompProfile", None, "seccompProfile"),
    "apparmor-unconfined": (f"{POD}.appArmorProfile", {"type": "Unconfined"}, "forbidden AppArmor profile"),
    "selinux-user": (f"{POD}.seLinuxOptions", {"user": "system_u"}, "seLinuxOptions"),
    "sysctl": (f"{POD}.sysctls", [{"name": "kernel.msgmax", "value": "1"}], "forbidden sysctls"),
    "proc-mount": (f"{MAIN}.procMount", "Unmasked", "procMount"),
    "probe-of-another-host": ("containers.0.livenessProbe", OF_ANOTHER_HOST, "probe or lifecycle host"),
}  # fmt: skip


def breaking(place: str, value: object) -> dict[str, Any]:
    """A pod's spec that is well but for one place."""
    spec: Any = copy.deepcopy(KEEPS_ALL)
    *way, last = (int(step) if step.isdigit() else step for step in place.split("."))
    parent = spec
    for step in way:
        parent = parent[step]
    if value is None:
        del parent[last]
    else:
        parent[last] = value
    # The API server itself wants these to agree, before any rule is asked.
    return {**spec, "hostUsers": False} if last == "procMount" else dict(spec)


@pytest.fixture(scope="module", params=NAMESPACES)
def refusals(request: pytest.FixtureRequest, platform: Cluster) -> dict[str, str]:
    """What is said to each pod, all of them tried in one go and none of them made."""
    specs = {"keeps-all": KEEPS_ALL, **{name: breaking(place, value) for name, (place, value, _rule) in RULES.items()}}
    pods = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": request.param}, "spec": spec}
        for name, spec in specs.items()
    ]
    command = platform.command("create", "--dry-run=server", "-f", "-")
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": pods})
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    said = (*done.stdout.splitlines(), *done.stderr.splitlines())
    return {name: next((line for line in said if f'"{name}"' in line or f"pod/{name} " in line), "") for name in specs}


def test_a_pod_that_keeps_all_rules_would_be_let_in(refusals: dict[str, str]) -> None:
    assert refusals["keeps-all"] == "pod/keeps-all created (server dry run)"


@pytest.mark.parametrize("name", RULES)
def test_a_pod_that_breaks_a_rule_is_refused_by_the_name_of_that_rule(refusals: dict[str, str], name: str) -> None:
    said = refusals[name]
    assert 'violates PodSecurity "restricted:latest"' in said
    assert RULES[name][2] in said.partition("restricted:latest")[2]
