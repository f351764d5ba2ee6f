# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.kinds import (
    GATEWAY_KINDS,
    KINDS,
    listed_kinds,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.readiness import (
    readiness_of,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.gateway import owned_definition
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import IMAGES, Platform
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.gateway import render_gateway
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.gateway_pods import Arrival, FrontDoor
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.traefik import Limits, traefik_files

GOLDEN = Path(__file__).parent / "golden"
# The real names, as the platform's table of images has them.
GATEWAY_IMAGES = {
    "traefik": "docker.io/library/traefik:v3.7.15",
    "verifier": "registry.supalove.cloud/platform/verifier:1-2",
}
PLATFORM = Platform(domain="example.com", images={**IMAGES, **GATEWAY_IMAGES})
DOORS = {
    "gateway": FrontDoor(certificate="digest"),
    "gateway-balanced": FrontDoor(
        certificate="digest", arrival=Arrival.LOAD_BALANCER, balancer_class="example.com/lb", annotations={"a": "b"}
    ),
}


def bodies(door=DOORS["gateway"]):
    return [one.body for one in render_gateway(PLATFORM, door)]


def one(kind, name, door=DOORS["gateway"]):
    (found,) = [body for body in bodies(door) if (body["kind"], body["metadata"]["name"]) == (kind, name)]
    return found


@pytest.mark.parametrize("name", sorted(DOORS))
def test_the_objects_of_a_gateway_are_the_reviewed_ones(name):
    """To accept a wanted change: write the text of the failure's left side to the file, and review the diff."""
    text = json.dumps(bodies(DOORS[name]), indent=1, sort_keys=True) + "\n"
    assert text == (GOLDEN / f"{name}.json").read_text()


@pytest.mark.parametrize("door", DOORS.values(), ids=sorted(DOORS))
def test_every_object_is_the_platforms_and_of_a_kind_that_a_run_looks_for(door):
    for body in bodies(door):
        assert body["metadata"]["labels"]["supalove.cloud/platform"] == "supalove-system"
        assert body["kind"] in GATEWAY_KINDS or body["kind"] == "Secret"
        assert KINDS[body["kind"]].api_version == body["apiVersion"]


@pytest.mark.parametrize("gateway_kind", ["gateway", "route"])
def test_a_kind_that_kubernetes_does_not_bring_says_what_does(gateway_kind):
    """Without its definition a run ended with a bare 404."""
    custom = [KINDS[kind] for kind in listed_kinds(Platform(gateway_kind=gateway_kind)) if KINDS[kind].custom]
    assert custom
    assert all(kind.missing for kind in custom)


def test_traefik_may_list_secrets_in_its_own_namespace_only():
    everywhere = {
        resource for rule in one("ClusterRole", "supalove-system-gateway")["rules"] for resource in rule["resources"]
    }
    assert everywhere & {"secrets", "configmaps", "*"} == set()
    assert one("Role", "traefik")["metadata"]["namespace"] == "supalove-system-gateway"


@pytest.mark.parametrize(("arrival", "profile"), [("host_port", "privileged"), ("load_balancer", "restricted")])
def test_only_ports_of_the_host_cost_the_namespace_its_profile(arrival, profile):
    labels = one("Namespace", "supalove-system-gateway", FrontDoor(certificate="x", arrival=Arrival(arrival)))[
        "metadata"
    ]
    assert labels["labels"]["pod-security.kubernetes.io/enforce"] == profile


@pytest.mark.parametrize("door", DOORS.values(), ids=sorted(DOORS))
def test_pods_keep_to_the_restricted_profile(door):
    pods = [body["spec"]["template"]["spec"] for body in bodies(door) if body["kind"] in ("DaemonSet", "Deployment")]
    assert len(pods) == 2
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        for container in pod["containers"]:
            security = container["securityContext"]
            assert (security["readOnlyRootFilesystem"], security["allowPrivilegeEscalation"]) == (True, False)
            assert security["capabilities"] == {"drop": ["ALL"]}


def test_an_address_that_kube_vip_keeps_is_asked_of_kube_vip():
    service = one("Service", "traefik", FrontDoor(certificate="x", arrival=Arrival.KUBE_VIP, address="192.0.2.5"))
    assert service["spec"]["loadBalancerClass"] == "kube-vip.io/kube-vip-class"
    assert service["metadata"]["annotations"] == {"kube-vip.io/loadbalancerIPs": "192.0.2.5"}
    assert service["spec"]["externalTrafficPolicy"] == "Local"


def test_pods_are_new_when_their_files_are():
    def template(limits):
        return one("DaemonSet", "traefik", FrontDoor(certificate="x", limits=limits))["spec"]["template"]

    assert template(Limits()) == template(Limits())
    assert template(Limits(read_seconds=30)) != template(Limits())


def test_a_renewed_certificate_restarts_nothing():
    renewed = bodies(FrontDoor(certificate="another"))
    assert [body["kind"] for body, other in zip(bodies(), renewed, strict=True) if body != other] == ["Secret"]


@pytest.mark.parametrize("networks", [(), ("192.0.2.0/28",)])
def test_only_named_proxies_are_believed(networks):
    limits = Limits(trusted_networks=networks)
    points = json.loads(traefik_files("space", limits)["traefik.yml"])["entryPoints"]
    believed = {
        name: point["forwardedHeaders"]["trustedIPs"] for name, point in points.items() if "forwardedHeaders" in point
    }
    assert believed == (
        {key: list(networks) for key in ("metrics", "postgresql", "web", "websecure")} if networks else {}
    )


def test_a_definition_is_taken_as_it_is_and_marked():
    body = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "xs.traefik.io", "annotations": {"a": "b"}, "creationTimestamp": None},
        "spec": {"group": "traefik.io"},
        "status": {},
    }
    assert owned_definition(PLATFORM, body).body == {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "xs.traefik.io",
            "annotations": {"a": "b"},
            "labels": {"supalove.cloud/platform": "supalove-system"},
        },
        "spec": {"group": "traefik.io"},
    }


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"observedGeneration": 1}, "the controller has not seen it yet"),
        ({"desiredNumberScheduled": 0}, "no node has the labels that its pods want"),
        ({"desiredNumberScheduled": 2, "updatedNumberScheduled": 1}, "1 of 2 pods are of the new version"),
        ({"desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 1}, "1 of 2 pods are ready"),
        ({"desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 2}, ""),
    ],
)
def test_a_daemon_set_is_ready_when_all_of_its_nodes_serve_the_new_version(status, reason):
    body = {"kind": "DaemonSet", "metadata": {"generation": 2}, "status": {"observedGeneration": 2, **status}}
    assert readiness_of(body).reason == reason
