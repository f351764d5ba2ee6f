# SPDX-License-Identifier: BSD-2-Clause
"""The pods of a component: which there are, and how to make the kubelet look at one."""

from __future__ import annotations

from ...deadline import Deadline
from ...objects import ObjectId
from ...project.names import COMPONENT_LABEL, PROJECT_LABEL, TOUCHED_ANNOTATION
from .client import Client
from .kinds import collection_path
from .merge import merge


def running_pods(client: Client, namespace: str, component: str, *, deadline: Deadline) -> tuple[str, ...]:
    """The names of a project's pods that run and are not about to go. A probe in the place of one bears no project."""
    query = {"labelSelector": f"{COMPONENT_LABEL}={component},{PROJECT_LABEL}", "fieldSelector": "status.phase=Running"}
    items = client.list(collection_path("Pod", namespace), subject=f"Pod/{namespace}", deadline=deadline, query=query)
    return tuple(item["metadata"]["name"] for item in items if not item["metadata"].get("deletionTimestamp"))


def touch(client: Client, namespace: str, pod: str, *, mark: str, deadline: Deadline) -> None:
    """Change an annotation of the pod. The kubelet then brings its mounted Secrets up to date at once.

    It would otherwise do so within its sync period, which is a minute and more (the manual of Kubernetes on Secrets,
    "Mounted Secrets are updated automatically").
    """
    id = ObjectId(kind="Pod", namespace=namespace, name=pod)
    merge(client, id, {"metadata": {"annotations": {TOUCHED_ANNOTATION: mark}}}, deadline=deadline)
