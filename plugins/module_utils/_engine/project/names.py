# SPDX-License-Identifier: BSD-2-Clause
"""Every name that is ever derived from a project. What strangers can see comes from the uid, never from the ref."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import NewType

Ref = NewType("Ref", str)
Uid = NewType("Uid", str)

REF_LONGEST = 40
UID_LENGTH = 12
# Stands for the uid that a new project has not got yet, where a plan is only shown.
PENDING_UID = Uid("x" * UID_LENGTH)

GROUP = "supalove.cloud"
VERSION = "v1alpha1"
RECORD_KIND = "SupaloveProject"
RECORD_PLURAL = "supaloveprojects"
FIELD_MANAGER = "supalove"

# Of others, by which the gateway is told what to do.
GATEWAY_GROUP = "gateway.networking.k8s.io"
GATEWAY_API = f"{GATEWAY_GROUP}/v1"
TRAEFIK_GROUP = "traefik.io"
TRAEFIK_API = f"{TRAEFIK_GROUP}/v1alpha1"
PROJECT_LABEL = f"{GROUP}/project"
COMPONENT_LABEL = f"{GROUP}/component"
UID_LABEL = f"{GROUP}/uid"
PLATFORM_LABEL = f"{GROUP}/platform"
CLUSTER_LABEL = f"{GROUP}/shared-cluster"
FINGERPRINT_ANNOTATION = f"{GROUP}/fingerprint"
# Tells a run that lost the answer whether it is its own creation that it finds.
MARK_ANNOTATION = f"{GROUP}/created-by"
CREDENTIALS_ANNOTATION = f"{GROUP}/credentials"
# On a record, from its first write: a run that is killed before it writes a status leaves them to the next.
PLACEMENT_ANNOTATION = f"{GROUP}/placement"
SESSIONS_ANNOTATION = f"{GROUP}/sessions"
# What its PostgreSQL was last restored from; from the moment on in which that is decided.
LIFE_ANNOTATION = f"{GROUP}/life"
# What of a move has to be known besides from where to where, as project/placement.py writes it.
MOVE_ANNOTATION = f"{GROUP}/move"
# Where its database was archived before, as project/placement.py writes it.
PAST_ANNOTATION = f"{GROUP}/past"
# On a pod: when its kubelet was last asked to look at it.
TOUCHED_ANNOTATION = f"{GROUP}/touched"
# On a pod: why it is a new one though nothing else about it is.
RESTARTED_ANNOTATION = f"{GROUP}/restarted"
# On a Deployment: when it was restarted because it was down, as restarts.py writes it.
RESTARTS_ANNOTATION = f"{GROUP}/restarts"
CONFIG_ANNOTATION = f"{GROUP}/config"
# On the namespace of a copy of a PostgreSQL that is thrown away, and until when somebody may want it.
SCRATCH_LABEL = f"{GROUP}/scratch"
EXPIRES_ANNOTATION = f"{GROUP}/expires"
# What Kubernetes itself writes on every namespace, so that no other can bear it: its name.
NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name"
# Of every PostgreSQL, a copy that is thrown away included.
POSTGRESQL_POD = "postgresql-0"
# On what a verification of isolation makes for itself, and removes.
PROBE_LABEL = f"{GROUP}/probe"

# On a node, followed by a runtime's name: pods of that have been seen to run there.
RUNTIME_LABEL_PREFIX = "node.supalove.cloud/runtime-"
# The same as an annotation: the version that was seen.
PROVEN_ANNOTATION_PREFIX = "node.supalove.cloud/proven-"
# On the pod that proves it, which goes when it has.
PROOF_LABEL = f"{GROUP}/runtime-proof"

# Of projects' namespaces, and of shared clusters'. No other namespace of the platform begins so.
NAMESPACE_PREFIXES = ("p-", "s-")

# Host names under the platform's domain that are or may become the platform's own.
RESERVED_REFS = frozenset(
    {
        "admin",
        "api",
        "app",
        "auth",
        "console",
        "dashboard",
        "default",
        "docs",
        "mail",
        "ns1",
        "ns2",
        "registry",
        "s3",
        "status",
        "supalove",
        "system",
        "vault",
        "www",
    }
)

_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?")
# Base32 letters of RFC 4648 in lower case.
_UID_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
UID_PATTERN = f"[a-z2-7]{{{UID_LENGTH}}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The names of one project. The port and service names are the same in every namespace."""

    namespace: str
    database: str
    owner: str
    probe: str
    rest: str
    auth: str


def names_of(ref: Ref, uid: Uid) -> Names:
    """All derived names.

    >>> names_of(Ref("acme"), Uid("abcdefgh2345")).owner
    'p_abcdefgh2345_owner'
    """
    base = f"p_{uid}"
    owner, probe, rest, auth = (f"{base}_{role}" for role in ("owner", "probe", "rest", "auth"))
    return Names(namespace=namespace_of(ref), database=base, owner=owner, probe=probe, rest=rest, auth=auth)


def namespace_of(ref: Ref) -> str:
    """The Kubernetes namespace of a project."""
    return f"{NAMESPACE_PREFIXES[0]}{ref}"


def cluster_namespace_of(cluster: str) -> str:
    """The Kubernetes namespace of a shared PostgreSQL cluster. No project's begins with the same letter."""
    return f"{NAMESPACE_PREFIXES[1]}{cluster}"


def runtime_label_of(runtime: str) -> str:
    """The label of nodes that have a runtime."""
    return f"{RUNTIME_LABEL_PREFIX}{runtime}"


def priority_class_of(tier: str) -> str:
    """The PriorityClass of a tier's pods."""
    return f"supalove-{tier}"


def is_dns_label(text: str, *, longest: int = 63) -> bool:
    """True for an RFC 1123 label of at most `longest` characters."""
    return len(text) <= longest and _LABEL.fullmatch(text) is not None


def new_uid(choose: Callable[[str], str] = secrets.choice) -> Uid:
    """A fresh uid: 60 random bits; `choose` picks one letter of a text."""
    return Uid(random_letters(UID_LENGTH, choose))


def random_letters(count: int, choose: Callable[[str], str] = secrets.choice) -> str:
    """Letters for a name that nobody can guess, 5 random bits in each."""
    return "".join(choose(_UID_LETTERS) for _letter in range(count))
