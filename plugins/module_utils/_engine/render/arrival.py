# SPDX-License-Identifier: BSD-2-Clause
"""What a database that moves needs where it is going. All that serves clients meanwhile stays as it is.

So the quota of a namespace grows before its PostgreSQL comes, and shrinks only after that has gone.
"""

from __future__ import annotations

from dataclasses import replace

from ..objects import Desired, ObjectId
from ..project.names import COMPONENT_LABEL, Ref, namespace_of
from ..project.placement import Move
from .archive import archive_egress
from .context import Context
from .database import render_database
from .namespace import render_namespace
from .shared import render_shared_database

POLICY = "arrival"


def render_arrival(context: Context, move: Move) -> tuple[Desired, ...]:
    """The database there; a PostgreSQL of its own needs room in the namespace, and a way to the archive."""
    there = replace(context, placement=replace(context.placement, cluster=move.cluster, move=None))
    if move.cluster is not None:
        return render_shared_database(there)
    return (*render_namespace(there), _policy(there), *render_database(there))


def arrival_policy_of(ref: Ref) -> ObjectId:
    """What nobody needs once the database has arrived."""
    return ObjectId(kind="NetworkPolicy", namespace=namespace_of(ref), name=POLICY)


def _policy(context: Context) -> Desired:
    """Nobody comes to it yet. The policy of the pooler and the database is still that of the place before."""
    spec = {
        "podSelector": {"matchLabels": {COMPONENT_LABEL: context.POSTGRESQL}},
        "policyTypes": ["Ingress", "Egress"],
        "egress": archive_egress(context.platform),
    }
    return context.object("networking.k8s.io/v1", "NetworkPolicy", POLICY, spec=spec)
