# SPDX-License-Identifier: BSD-2-Clause
"""What all projects share and none of them owns: the platform's namespace, the record's definition, classes."""

from __future__ import annotations

from ..objects import Desired
from ..project.model import Inventory, Platform
from ..project.names import PLATFORM_LABEL, priority_class_of, runtime_label_of
from ..project.quantities import format_bytes, format_cpu
from .identities import render_identities
from .record import render_record_definition

# No tier has such a name, as a tier's has no dot.
SHARED_PRIORITY_CLASS = "supalove.shared"
# Above every tier (their priority ends at a million): a pod of many projects does not make room for one of them.
SHARED_PRIORITY = 1_000_001


def render_platform(inventory: Inventory) -> tuple[Desired, ...]:
    """Every object of the platform in the order in which it is applied."""
    platform = inventory.platform
    classes = [
        _priority_class(
            platform, priority_class_of(tier.name), tier.priority, f"Pods of projects in the tier {tier.name}."
        )
        for _name, tier in sorted(inventory.tiers.items())
    ]
    if platform.shared_clusters:
        classes.append(_priority_class(platform, SHARED_PRIORITY_CLASS, SHARED_PRIORITY, "Shared PostgreSQL clusters."))
    return (
        *render_home(platform),
        render_record_definition(platform),
        _storage_class(platform),
        *(runtime_class_of(platform, name) for name in platform.runtime_classes),
        *classes,
        *render_identities(platform),
    )


def render_home(platform: Platform) -> tuple[Desired, ...]:
    """The platform's own namespace, and the policy that closes it."""
    return _namespace(platform), _network_policy(platform)


def runtime_class_of(platform: Platform, name: str) -> Desired:
    """A runtime's pods go to nodes that have it, and what it takes for itself counts as theirs."""
    declared = platform.runtime_classes[name]
    overhead = {
        **({"cpu": format_cpu(declared.cpu)} if declared.cpu else {}),
        **({"memory": format_bytes(declared.memory)} if declared.memory else {}),
    }
    return Desired(
        body={
            "apiVersion": "node.k8s.io/v1",
            "kind": "RuntimeClass",
            "metadata": {"name": name, "labels": {PLATFORM_LABEL: platform.namespace}},
            "handler": declared.handler,
            **({"overhead": {"podFixed": overhead}} if overhead else {}),
            "scheduling": {"nodeSelector": {runtime_label_of(name): "true"}},
        }
    )


def proof_class_of(platform: Platform, name: str) -> Desired:
    """The same for pods that prove a node, which does not bear the label yet. No declared name has a dot."""
    body = runtime_class_of(platform, name).body
    rest = {key: value for key, value in body.items() if key != "scheduling"}
    return Desired(body={**rest, "metadata": {**body["metadata"], "name": f"{name}.proof"}})


def _namespace(platform: Platform) -> Desired:
    labels = {PLATFORM_LABEL: platform.namespace, "pod-security.kubernetes.io/enforce": "baseline"}
    return Desired(
        body={"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": platform.namespace, "labels": labels}}
    )


def _network_policy(platform: Platform) -> Desired:
    """Nothing in, nothing out: what comes to run here says for itself whom it needs, in a policy of its own."""
    meta = {"name": "platform", "namespace": platform.namespace, "labels": {PLATFORM_LABEL: platform.namespace}}
    spec = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    return Desired(body={"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": spec})


def _storage_class(platform: Platform) -> Desired:
    """A tenant's volume stays when its claim goes, and is made where the pod runs."""
    return Desired(
        body={
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": platform.storage_class, "labels": {PLATFORM_LABEL: platform.namespace}},
            "provisioner": platform.storage_provisioner,
            "reclaimPolicy": "Retain",
            "allowVolumeExpansion": platform.storage_expandable,
            "volumeBindingMode": "WaitForFirstConsumer",
        }
    )


def _priority_class(platform: Platform, name: str, value: int, description: str) -> Desired:
    return Desired(
        body={
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name, "labels": {PLATFORM_LABEL: platform.namespace}},
            "value": value,
            "description": description,
        }
    )
