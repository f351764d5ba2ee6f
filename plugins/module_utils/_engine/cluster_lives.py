# SPDX-License-Identifier: BSD-2-Clause
"""In which life a shared cluster is. Its namespace keeps that, in the form in which a project's record does."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from .backends.kubernetes.client import Client
from .backends.kubernetes.observe import read_object
from .backends.kubernetes.readiness import State, readiness_of
from .deadline import Deadline
from .errors import SafetyStop
from .observed import Live, Observed
from .project.life import Life
from .project.model import SharedCluster
from .project.names import LIFE_ANNOTATION
from .render.cluster import cluster_claim_of, cluster_namespace_object_of, cluster_server_of
from .steps import Failure

_NUMBER = re.compile(r"-([0-9]+)$")


def read_life(client: Client, cluster: str, *, deadline: Deadline) -> Life | None:
    """What a cluster was last restored from; None in its first life. Raises SafetyStop, BackendError."""
    return _life_in(read_object(client, cluster_namespace_object_of(cluster), deadline=deadline))


def lives_of(observed: Observed, clusters: Iterable[SharedCluster]) -> dict[str, Life]:
    """By name the lives of clusters that are not in their first one. Raises SafetyStop for one it cannot read."""
    found = {one.name: _life_in(observed.find(cluster_namespace_object_of(one.name))) for one in clusters}
    return {name: life for name, life in found.items() if life is not None}


def restoring(client: Client, cluster: str, *, deadline: Deadline) -> str:
    """The archive that a life of a cluster begins out of; empty if it has begun, and its server is ready."""
    life = read_life(client, cluster, deadline=deadline)
    if life is None or not life.is_restored:
        return ""
    server = read_object(client, cluster_server_of(cluster), deadline=deadline)
    has_begun = _mounted(server) == cluster_claim_of(cluster, life).name
    is_ready = server is not None and readiness_of(server.body or {}).state is State.READY
    return "" if has_begun and is_ready else life.archive


def volume_refusal(observed: Observed, clusters: Iterable[SharedCluster], lives: Mapping[str, Life]) -> Failure | None:
    """Why no server may be started on the volume that a life has.

    1. It was there and is gone. A new one would be empty, or filled with what was there long ago.
    2. It is that of an earlier life: somebody has changed what the namespace keeps.
    """
    for cluster in clusters:
        life = lives.get(cluster.name)
        claim, mounted = cluster_claim_of(cluster.name, life), _mounted(observed.find(cluster_server_of(cluster.name)))
        if mounted == claim.name and observed.find(claim) is None:
            reason = f"it was there and is gone, with all its data. Restore the cluster {cluster.name} (restore.yml)"
            return Failure(step="plan", object=str(claim), reason=reason)
        if _number_of(mounted) > (life.number if life else 1):
            where = cluster_namespace_object_of(cluster.name)
            reason = f"its data are on {mounted}, and {LIFE_ANNOTATION} of {where} is of an earlier life; set it back"
            return Failure(step="plan", object=str(claim), reason=reason)
    return None


def _life_in(live: Live | None) -> Life | None:
    meta = ((live.body if live else None) or {}).get("metadata") or {}
    text = str((meta.get("annotations") or {}).get(LIFE_ANNOTATION, ""))
    life = Life.from_text(text)
    if text and life is None and live is not None:
        raise SafetyStop(f"this version cannot read {LIFE_ANNOTATION} of {live.id}; use a newer one")
    return life


def _mounted(server: Live | None) -> str:
    """The claim that a StatefulSet has its data on; empty if there is none."""
    spec = (((server.body if server else None) or {}).get("spec") or {}).get("template", {}).get("spec", {})
    claims = (one.get("persistentVolumeClaim", {}).get("claimName", "") for one in spec.get("volumes", ()))
    return next(filter(None, claims), "")


def _number_of(claim: str) -> int:
    found = _NUMBER.search(claim)
    return int(found[1]) if found else 1
