# SPDX-License-Identifier: BSD-2-Clause
"""What every part of a project's rendering needs to know, worked out once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from ..objects import Body, Desired, canonical_json, fingerprint
from ..project.model import Platform, Project
from ..project.names import (
    COMPONENT_LABEL,
    CONFIG_ANNOTATION,
    CREDENTIALS_ANNOTATION,
    PROJECT_LABEL,
    UID_LABEL,
    Names,
    Uid,
    names_of,
    priority_class_of,
)
from ..project.placement import Placement
from ..project.vocabulary import OPENSHIFT_ROUTES
from ..service_keys import POOLER_HOST, POOLER_PORT

DATA_PLANE = "node.supalove.cloud/data-plane"


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """A project with its uid and derived names, and the few words that several of its objects share."""

    POSTGRESQL: ClassVar[str] = "postgresql"
    POOLER: ClassVar[str] = POOLER_HOST
    CREDENTIALS: ClassVar[str] = "credentials"
    SERVICE_ACCOUNT: ClassVar[str] = "project"
    POSTGRESQL_PORT: ClassVar[int] = 5432
    POOLER_PORT: ClassVar[int] = POOLER_PORT
    # Recovery after a crash can be long, and a restart would only begin it anew. As long in supalove-postgresql.
    START_SECONDS: ClassVar[int] = 3600
    # What clients call their database; the real name contains the uid and stays hidden.
    DATABASE_ALIAS: ClassVar[str] = "postgres"
    # Keys in the Secret: the login that clients use, and the role of PostgreSQL that the pooler uses for them.
    CLIENT_KEY: ClassVar[str] = "owner"
    SERVER_KEY: ClassVar[str] = "server"
    PROBE_KEY: ClassVar[str] = "probe"

    project: Project
    platform: Platform
    placement: Placement
    uid: Uid
    # The uid of the Secret of credentials, empty as long as there is none.
    secret_uid: str
    names: Names

    @property
    def host(self) -> str:
        """Its name outside of the cluster."""
        return host_of(self.project, self.platform)

    @property
    def sql_host(self) -> str:
        """The name of its pooler outside of the cluster."""
        return sql_host_of(self.project, self.platform)

    @property
    def replicas(self) -> int:
        """Pods of each of the project's workloads."""
        return 0 if self.project.is_stopped else 1

    def labels(self, component: str) -> dict[str, str]:
        """Labels by which a Service or a policy selects the pods of a component."""
        return {PROJECT_LABEL: self.project.ref, COMPONENT_LABEL: component}

    def object(
        self,
        api_version: str,
        kind: str,
        name: str,
        *,
        component: str | None = None,
        annotations: Mapping[str, str] | None = None,
        **rest: Any,
    ) -> Desired:
        """A desired object in the project's namespace."""
        labels = {PROJECT_LABEL: self.project.ref, UID_LABEL: self.uid}
        if component is not None:
            labels[COMPONENT_LABEL] = component
        meta: Body = {"name": name, "namespace": self.names.namespace, "labels": labels}
        if annotations is not None:
            meta["annotations"] = dict(annotations)
        return Desired(body={"apiVersion": api_version, "kind": kind, "metadata": meta, **rest})

    def pod_template(
        self,
        component: str,
        *,
        config: Mapping[str, str],
        user: int,
        spec: Body,
        annotations: Mapping[str, str] = MappingProxyType({}),
    ) -> Body:
        """A pod of the project; new when its configuration or Secret is, or an annotation.

        A Secret that was lost is made anew with other passwords, of which only a new pod knows.
        """
        return pod_template(
            labels={**self.labels(component), UID_LABEL: self.uid},
            annotations={
                CONFIG_ANNOTATION: digest_of(config),
                CREDENTIALS_ANNOTATION: self.secret_uid,
                **annotations,
            },
            service_account=self.SERVICE_ACCOUNT,
            priority_class=priority_class_of(self.project.tier.name),
            runtime_class=self.project.tier.runtime_class,
            user=user,
            spec=spec,
        )


# Labels of a namespace whose pods keep to the restricted profile.
_MODES = ("enforce", "audit", "warn")
RESTRICTED: Mapping[str, str] = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in _MODES}

CONTAINER_SECURITY: Mapping[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def pod_template(
    *,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    service_account: str,
    priority_class: str,
    runtime_class: str | None,
    user: int,
    spec: Body,
) -> Body:
    """A pod on the data plane under the restricted profile; a change of an annotation makes it anew."""
    pod: Body = {
        "serviceAccountName": service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "priorityClassName": priority_class,
        "nodeSelector": {DATA_PLANE: "true"},
        "tolerations": tolerations(),
        "securityContext": {**pod_security(user), "fsGroup": user, "fsGroupChangePolicy": "OnRootMismatch"},
        **spec,
    }
    if runtime_class is not None:
        pod["runtimeClassName"] = runtime_class
    return {"metadata": {"labels": dict(labels), "annotations": dict(annotations)}, "spec": pod}


def pod_security(user: int) -> Body:
    """What the restricted profile wants of a pod; of its containers it wants CONTAINER_SECURITY."""
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def tolerations() -> list[Body]:
    """Of pods that may run on the data plane."""
    return [{"key": DATA_PLANE, "operator": "Equal", "value": "true", "effect": "NoSchedule"}]


def digest_of(config: Mapping[str, str]) -> str:
    """Changes with any of the files."""
    return fingerprint({"config": canonical_json(config)})


def host_of(project: Project, platform: Platform) -> str:
    """The name of a project with services outside of the cluster."""
    return f"{project.ref}.{platform.domain}"


def sql_host_of(project: Project, platform: Platform) -> str:
    """The name of its pooler. OpenShift's router ends TLS for a name or passes it on, so there it is another one."""
    host = host_of(project, platform)
    return f"sql.{host}" if platform.gateway_kind == OPENSHIFT_ROUTES else host


def context_of(project: Project, platform: Platform, placement: Placement, uid: Uid, secret_uid: str = "") -> Context:
    """The context of one project."""
    names = names_of(project.ref, uid)
    return Context(project=project, platform=platform, placement=placement, uid=uid, secret_uid=secret_uid, names=names)


def guaranteed(*, cpu: str, memory: str) -> Body:
    """Resources whose requests are their limits, which makes the pod's class of service Guaranteed."""
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}}


def empty_dir(name: str, size: str, *, in_memory: bool = False) -> Body:
    """A bounded volume that lives as long as its pod."""
    return {"name": name, "emptyDir": {"sizeLimit": size, **({"medium": "Memory"} if in_memory else {})}}
