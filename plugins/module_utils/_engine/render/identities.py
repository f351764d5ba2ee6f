# SPDX-License-Identifier: BSD-2-Clause
"""Who may ask the API server for what: the identity of the API and dashboard, and that of the worker.

The API writes SupaloveProject and nothing else. The worker does what a run of the projects module does. It may list no
Secrets, and reads and writes those of two names only; a policy holds all its writes inside of projects' namespaces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..objects import Body, Desired
from ..project.model import Platform
from ..project.names import (
    GATEWAY_GROUP,
    GROUP,
    NAMESPACE_PREFIXES,
    PLATFORM_LABEL,
    RECORD_PLURAL,
    TRAEFIK_GROUP,
)
from ..project.vocabulary import OPENSHIFT_ROUTES
from .archive import SECRET as ARCHIVE
from .context import RESTRICTED, Context

API = "supalove-api"
WORKER = "supalove-worker"

# The label that says what a namespace enforces; with -version, of which release.
_ENFORCE = "pod-security.kubernetes.io/enforce"
RBAC = "rbac.authorization.k8s.io"
READ = ("get", "list", "watch")
WRITE = ("create", "update", "patch")
Rule = Mapping[str, Sequence[str]]


def _rule(group: str, resources: Sequence[str], verbs: Sequence[str], **rest: Sequence[str]) -> Rule:
    return {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs), **rest}


# Removing a record is for those who purge.
API_RULES = (_rule(GROUP, (RECORD_PLURAL,), (*READ, *WRITE)),)

# In the platform's own namespace.
WORKER_OWN_RULES = (
    _rule(GROUP, (RECORD_PLURAL, f"{RECORD_PLURAL}/status"), (*READ, *WRITE)),
    _rule(GROUP, (RECORD_PLURAL,), ("delete",)),
    _rule("coordination.k8s.io", ("leases",), ("get", "create", "update")),
)
# In all namespaces; `_boundary` says in which of them it may write.
WORKER_RULES = (
    _rule("", ("namespaces",), (*READ, *WRITE, "delete")),
    _rule(
        "",
        ("resourcequotas", "limitranges", "serviceaccounts", "configmaps", "services", "persistentvolumeclaims"),
        (*READ, *WRITE),
    ),
    _rule("", ("secrets",), ("create",)),
    _rule("", ("secrets",), ("get", "update"), resourceNames=[ARCHIVE, Context.CREDENTIALS]),
    _rule("", ("pods",), (*READ, "patch")),
    _rule("", ("pods/portforward",), ("get", "create")),
    _rule("", ("nodes",), ("list",)),
    _rule("node.k8s.io", ("runtimeclasses",), ("get",)),
    _rule("apps", ("deployments", "statefulsets"), (*READ, *WRITE)),
    _rule("batch", ("jobs",), ("get", "create", "delete")),
    _rule("networking.k8s.io", ("networkpolicies",), (*READ, *WRITE)),
    _rule(GATEWAY_GROUP, ("httproutes", "tlsroutes"), (*READ, *WRITE)),
    _rule(TRAEFIK_GROUP, ("middlewares",), (*READ, *WRITE)),
)
# Where Routes are asked for only: who may name a host takes it from whoever does so later, in all of the cluster.
WORKER_ROUTE_RULES = (
    _rule("route.openshift.io", ("routes",), (*READ, *WRITE)),
    _rule("route.openshift.io", ("routes/custom-host",), ("create", "update")),
)


def render_identities(platform: Platform) -> tuple[Desired, ...]:
    """Service accounts, their roles, and the worker's boundary."""
    space = platform.namespace
    routes = WORKER_ROUTE_RULES if platform.gateway_kind == OPENSHIFT_ROUTES else ()
    return (
        _object(platform, "v1", "ServiceAccount", API, space, automountServiceAccountToken=False),
        _object(platform, "v1", "ServiceAccount", WORKER, space, automountServiceAccountToken=False),
        *_granted(platform, API, API_RULES, space),
        *_granted(platform, WORKER, WORKER_OWN_RULES, space),
        *_granted(platform, WORKER, (*WORKER_RULES, *routes), None),
        *_boundary(platform),
    )


def _granted(platform: Platform, name: str, rules: Sequence[Rule], space: str | None) -> tuple[Desired, ...]:
    """A role of this name and its binding to the account of this name; in one namespace, or in all."""
    kind = "ClusterRole" if space is None else "Role"
    account = {"kind": "ServiceAccount", "name": name, "namespace": platform.namespace}
    reference = {"apiGroup": RBAC, "kind": kind, "name": name}
    version = f"{RBAC}/v1"
    return (
        _object(platform, version, kind, name, space, rules=[dict(rule) for rule in rules]),
        _object(platform, version, f"{kind}Binding", name, space, roleRef=reference, subjects=[account]),
    )


def _boundary(platform: Platform) -> tuple[Desired, ...]:
    """No role can say "in namespaces of projects", so a policy does; it is asked for writes and port-forwards.

    In a shared cluster's namespace the worker may open a port-forward and do nothing else.
    """
    account = f"system:serviceaccount:{platform.namespace}:{WORKER}"
    projects, clusters = (f"request.namespace.startsWith('{prefix}')" for prefix in NAMESPACE_PREFIXES)
    own = f"request.namespace == '{platform.namespace}' && request.resource.group in ['{GROUP}', 'coordination.k8s.io']"
    forward = f"{clusters} && request.operation == 'CONNECT' && request.subResource == 'portforward'"
    rule = {
        "apiGroups": ["*"],
        "apiVersions": ["*"],
        "operations": ["CREATE", "UPDATE", "DELETE", "CONNECT"],
        "resources": ["*/*"],
        "scope": "*",
    }
    policy = {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "matchPolicy": "Equivalent",
            "namespaceSelector": {},
            "objectSelector": {},
            "resourceRules": [rule],
        },
        # What an identity asks about itself is no write.
        "matchConditions": [
            {"name": "worker", "expression": f"request.userInfo.username == '{account}'"},
            {
                "name": "write",
                "expression": "!request.resource.group.endsWith('.k8s.io') || "
                "!request.resource.group.startsWith('auth')",
            },
        ],
        "validations": [
            {
                "expression": f"{projects} || ({own}) || ({forward})",
                "message": "the worker writes in namespaces of projects only",
                "reason": "Forbidden",
            },
            {
                "expression": "request.resource.resource != 'namespaces' || request.operation == 'DELETE' || "
                f"({_labels_say(RESTRICTED)} && !('{_ENFORCE}-version' in object.metadata.labels))",
                "message": "the worker keeps the pods of a project to the restricted profile",
                "reason": "Forbidden",
            },
        ],
    }
    version = "admissionregistration.k8s.io/v1"
    binding = {"policyName": WORKER, "validationActions": ["Deny"]}
    return (
        _object(platform, version, "ValidatingAdmissionPolicy", WORKER, None, spec=policy),
        _object(platform, version, "ValidatingAdmissionPolicyBinding", WORKER, None, spec=binding),
    )


def _labels_say(wanted: Mapping[str, str]) -> str:
    """In CEL: the object has these labels. Its profile decides what pods the worker can make in a namespace."""
    each = (f"object.metadata.labels[?'{key}'].orValue('') == '{value}'" for key, value in sorted(wanted.items()))
    return f"has(object.metadata.labels) && {' && '.join(each)}"


def _object(platform: Platform, version: str, kind: str, name: str, space: str | None, **rest: Any) -> Desired:
    meta: Body = {"name": name, "labels": {PLATFORM_LABEL: platform.namespace}}
    if space is not None:
        meta["namespace"] = space
    return Desired(body={"apiVersion": version, "kind": kind, "metadata": meta, **rest})
