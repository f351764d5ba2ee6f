# SPDX-License-Identifier: BSD-2-Clause
"""Where each project's database lives. Pure: it decides on what the records say and what is declared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..errors import InvalidSpec, Problem
from .life import Life
from .model import Platform, Project, SharedCluster
from .names import Ref
from .vocabulary import DEDICATED, PLATFORM_VARIABLE, PROJECTS_VARIABLE, SHARED

# A pooler and its successor while the one replaces the other.
POOLERS_AT_ONCE = 2
# One for the starting pooler, and one that the pooler before it may not have let go yet.
PROBE_SESSIONS = POOLERS_AT_ONCE

CLUSTERS_VARIABLE = f"{PLATFORM_VARIABLE}.shared_clusters"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """On which shared cluster a project's database is; None if it has a PostgreSQL of its own.

    `life`: what that one was last restored from; None in its first life.
    """

    cluster: str | None = None
    life: Life | None = None

    def __str__(self) -> str:
        return DEDICATED if self.cluster is None else f"{SHARED}/{self.cluster}"

    @classmethod
    def from_text(cls, text: str) -> Placement | None:
        """The placement as a record keeps it; None if there is none in it.

        >>> str(Placement.from_text("shared/free-1"))
        'shared/free-1'
        """
        kind, _slash, cluster = text.partition("/")
        if text == DEDICATED:
            return cls()
        return cls(cluster=cluster) if kind == SHARED and cluster else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """What a record says: where the project is, and how many sessions it may open there."""

    placement: Placement
    sessions: int


def login_sessions(project: Project) -> int:
    """Sessions that the tenant's login may have: a full pool of every pooler that runs during an update."""
    return project.connections * POOLERS_AT_ONCE


def sessions_of(project: Project) -> int:
    """Sessions that all of a project's logins may have at once."""
    return login_sessions(project) + PROBE_SESSIONS


def sessions_at(placement: Placement, project: Project) -> int:
    """Sessions that a project takes from a shared cluster; 0 where it has its own PostgreSQL."""
    return 0 if placement.cluster is None else sessions_of(project)


def place(projects: Iterable[Project], recorded: Mapping[Ref, Placed], platform: Platform) -> dict[Ref, Placement]:
    """The placement of every project. Raises InvalidSpec with all that has no place.

    1. What a record says stays, for projects that are not asked for now, too: they take room.
    2. A tier of the other kind of placement is a problem: databases do not move yet.
    3. A new shared project goes to the open cluster with the fewest projects, of two to the first by name, that has
       room for its database and its sessions. Projects are placed in the order of their refs.
    4. The sessions that all projects of a cluster may open together stay within what it takes.
    """
    wanted = sorted(projects, key=lambda project: project.ref)
    rooms = {cluster.name: _Room(cluster) for cluster in platform.shared_clusters}
    asked = {project.ref for project in wanted}
    for ref, placed in recorded.items():
        if ref not in asked and placed.placement.cluster in rooms:
            rooms[placed.placement.cluster].take(placed.sessions)
    problems: list[Problem] = []
    result = _kept(wanted, recorded, rooms, problems)
    for project in wanted:
        if project.ref not in recorded:
            result[project.ref] = _new_place(project, rooms, problems)
    problems += [problem for room in rooms.values() if (problem := room.problem()) is not None]
    if problems:
        raise InvalidSpec(tuple(problems))
    return result


class _Room:
    """What is taken of a cluster so far."""

    def __init__(self, cluster: SharedCluster) -> None:
        self.cluster = cluster
        self.databases = 0
        self.sessions = 0

    def take(self, sessions: int) -> None:
        self.databases += 1
        self.sessions += sessions

    def has_for(self, sessions: int) -> bool:
        cluster = self.cluster
        enough = self.databases < cluster.max_databases and self.sessions + sessions <= cluster.max_connections
        return enough and not cluster.cordoned

    def problem(self) -> Problem | None:
        if self.sessions <= self.cluster.max_connections:
            return None
        return Problem(
            path=f"{CLUSTERS_VARIABLE}.{self.cluster.name}.max_connections",
            value=self.cluster.max_connections,
            allowed=f"at least {self.sessions}, as the poolers of its {self.databases} projects may open as many "
            "sessions; or give these projects fewer connections",
        )


def _kept(
    projects: Iterable[Project], recorded: Mapping[Ref, Placed], rooms: Mapping[str, _Room], problems: list[Problem]
) -> dict[Ref, Placement]:
    kept: dict[Ref, Placement] = {}
    for project in projects:
        placed = recorded.get(project.ref)
        if placed is None:
            continue
        placement = placed.placement
        is_shared = placement.cluster is not None
        if is_shared != (project.tier.placement == SHARED):
            problems.append(_moves(project, placement))
        elif placement.cluster is not None and placement.cluster not in rooms:
            problems.append(_undeclared(project, placement.cluster))
        elif placement.cluster is not None:
            rooms[placement.cluster].take(sessions_of(project))
        kept[project.ref] = placement
    return kept


def _new_place(project: Project, rooms: Mapping[str, _Room], problems: list[Problem]) -> Placement:
    if project.tier.placement == DEDICATED:
        return Placement()
    sessions = sessions_of(project)
    open_rooms = [room for room in rooms.values() if room.has_for(sessions)]
    if not open_rooms:
        problems.append(_no_room(project, sessions, rooms))
        return Placement()
    best = min(open_rooms, key=lambda room: (room.databases, room.cluster.name))
    best.take(sessions)
    return Placement(cluster=best.cluster.name)


def _no_room(project: Project, sessions: int, rooms: Mapping[str, _Room]) -> Problem:
    fills = ", ".join(
        f"{name} has {room.databases} of {room.cluster.max_databases} projects and {room.sessions} of "
        f"{room.cluster.max_connections} sessions{' and is cordoned' if room.cluster.cordoned else ''}"
        for name, room in rooms.items()
    )
    return Problem(
        path=f"{PROJECTS_VARIABLE}.{project.ref}",
        value=f"a project of the tier {project.tier.name}, which needs {sessions} sessions on a shared cluster",
        allowed=f"what fits: {fills or 'no shared cluster is declared'}; add a cluster to {CLUSTERS_VARIABLE}, "
        "or raise max_databases or max_connections of one",
    )


def _moves(project: Project, placement: Placement) -> Problem:
    return Problem(
        path=f"{PROJECTS_VARIABLE}.{project.ref}.tier",
        value=project.tier.name,
        allowed=f"a tier whose placement is that of the project, {placement}; databases do not move between them yet",
    )


def _undeclared(project: Project, cluster: str) -> Problem:
    return Problem(
        path=f"{CLUSTERS_VARIABLE}.{cluster}",
        value=None,
        allowed=f"the declaration of the cluster on which the project {project.ref} is",
    )
