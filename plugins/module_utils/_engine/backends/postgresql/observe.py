# SPDX-License-Identifier: BSD-2-Clause
"""What is there: one query over the catalogs that all databases of a cluster share."""

from __future__ import annotations

import hashlib
from typing import Any

from ...databases import DATABASE_KIND, ROLE_KIND
from ...deadline import Deadline
from ...objects import Body, ObjectId, canonical_json
from ...observed import Live, Observed
from . import statements
from .client import Session

PUBLIC = "PUBLIC"
# Of the comment on a role: a mark that it is ours, which verifier it got, and the digest of that.
COMMENT_WORDS = 3
COMMENT_MARK = "supalove"


def observe(session: Session, *, deadline: Deadline) -> Observed:
    """Every role and database of projects in the session's cluster."""
    return _read(session, None, None, subject=f"PostgreSQL/{session.cluster}", deadline=deadline)


def read_object(session: Session, id: ObjectId, *, deadline: Deadline) -> Live | None:
    """One role or database, or None if there is none."""
    role, database = (id.name if id.kind == kind else "" for kind in (ROLE_KIND, DATABASE_KIND))
    return _read(session, role, database, subject=str(id), deadline=deadline).find(id)


def comment_of(source: str, digest: str) -> str:
    """What stands on a role whose verifier was set, so that the next run knows which one that was.

    Everybody on the cluster can read it. It is written after the verifier: without it, or if the verifier is another
    by now, the verifier is set again.
    """
    return f"{COMMENT_MARK} {source} {digest}"


def digest_of(verifier: str) -> str:
    """As the view in the cluster computes it."""
    return hashlib.sha256(verifier.encode()).hexdigest()[:32]


def _read(session: Session, role: str | None, database: str | None, *, subject: str, deadline: Deadline) -> Observed:
    """None stands for all. No name is empty."""
    values = {"role": role, "database": database}
    rows = session.query(statements.compose(statements.STATE), values, subject=subject, deadline=deadline)
    lives = (_live(session.cluster, kind, oid, name, found) for kind, oid, name, found in rows)
    return Observed(objects={live.id: live for live in lives})


def _live(cluster: str, kind: str, oid: int, name: str, found: dict[str, Any]) -> Live:
    spec = _role_spec(found) if kind == ROLE_KIND else _database_spec(found)
    told = [spec, found.get("digest")]
    meta = {"namespace": cluster, "name": name}
    body: Body = {"apiVersion": "postgresql", "kind": kind, "metadata": meta, "spec": spec}
    return Live(
        id=ObjectId.of(body),
        uid=str(oid),
        version=hashlib.blake2b(canonical_json(told).encode(), digest_size=12).hexdigest(),
        fingerprint="",
        labels={},
        body=body,
    )


def _role_spec(found: dict[str, Any]) -> Body:
    return {
        "login": found["login"],
        "connectionLimit": found["connectionLimit"],
        "attributes": found["attributes"],
        "memberOf": sorted(found["memberOf"]),
        "settings": dict(one.split("=", 1) for one in found["settings"]),
        "verifier": _source(found["comment"], found["digest"]),
    }


def _source(comment: str | None, digest: str | None) -> str | None:
    """Which verifier the role has, if it is still the one that was set."""
    words = (comment or "").split(" ")
    if len(words) != COMMENT_WORDS or words[0] != COMMENT_MARK or digest is None or words[2] != digest:
        return None
    return words[1]


def _database_spec(found: dict[str, Any]) -> Body:
    grants: dict[str, list[str]] = {}
    for grantee, privilege in sorted(found["grants"]):
        grants.setdefault(grantee or PUBLIC, []).append(privilege)
    return {
        "connectionLimit": found["connectionLimit"],
        "allowConnections": found["allowConnections"],
        "owner": found["owner"],
        "template": found["template"],
        "storageLimit": found["storageLimit"],
        "grants": grants,
        "sessions": found["sessions"],
    }
