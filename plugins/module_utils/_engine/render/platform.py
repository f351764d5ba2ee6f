# SPDX-License-Identifier: BSD-2-Clause
"""What all projects share and none of them owns: the platform's namespace, the record's definition, classes."""

from __future__ import annotations

from ..objects import Desired
from ..project.model import Inventory, Platform
from ..project.names import PLATFORM_LABEL, priority_class_of
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
        _namespace(platform),
        _network_policy(platform),
        render_record_definition(platform),
        _storage_class(platform),
        *classes,
        *render_identities(platform),
    )


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
