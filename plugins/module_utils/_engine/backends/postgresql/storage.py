# SPDX-License-Identifier: BSD-2-Clause
"""How much of its storage each project's database takes, as the program beside the server has last noted it."""

from __future__ import annotations

from dataclasses import dataclass

from ...deadline import Deadline
from . import statements
from .client import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """Of one database: bytes, the limit that is set, and what follows from both since when."""

    bytes: int
    limit: int | None
    state: str
    since: str


def read_storage(session: Session, *, deadline: Deadline) -> dict[str, Storage]:
    """By the name of the database. One that was made a moment ago is not in it."""
    subject = f"PostgreSQL/{session.cluster} storage"
    rows = session.query(statements.compose(statements.STORAGE), subject=subject, deadline=deadline)
    return {
        name: Storage(bytes=size, limit=limit, state=state, since=since.isoformat(timespec="seconds"))
        for name, size, limit, state, since in rows
    }
