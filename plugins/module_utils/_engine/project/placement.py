# SPDX-License-Identifier: BSD-2-Clause
"""Where each project's database lives. Pure: it decides on what the records say and what is declared."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

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
class Move:
    """Where a project's database is going: a shared cluster, or None for a PostgreSQL of its own.

    `kept`: under which name it stays behind where it was, once it has gone. `has_gone`: it has; there is no way back.
    `sessions`: what the project takes from the cluster that it leaves, as its tier of before has it.
    """

    cluster: str | None
    kept: str = ""
    has_gone: bool = False
    sessions: int = 0

    def __str__(self) -> str:
        """What a record keeps beside the placement."""
        told = {"kept": self.kept, "has_gone": self.has_gone, "sessions": self.sessions}
        return json.dumps(told, sort_keys=True, separators=(",", ":"))

    def with_details(self, text: str) -> Move | None:
        """With what a record keeps beside the placement; None if this version cannot read it."""
        try:
            told = json.loads(text)
            kept, gone, sessions = str(told["kept"]), bool(told["has_gone"]), int(told["sessions"])
        except (ValueError, KeyError, TypeError):
            return None
        return replace(self, kept=kept, has_gone=gone, sessions=sessions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """Where a project's database was archived before, and until when. `storage`: bytes of the volume there."""

    archive: str
    until: datetime
    storage: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """On which shared cluster a project's database is; None if it has a PostgreSQL of its own.

    `life`: what the project's own PostgreSQL was last restored from; None in its first life. It is kept while the
    database is on a shared cluster, as the volume of that life is.
    `move`: where it is going; None as a rule. `past`: where it was, oldest first.
    """

    cluster: str | None = None
    life: Life | None = None
    move: Move | None = None
    past: tuple[Past, ...] = ()

    @property
    def clusters(self) -> tuple[str, ...]:
        """The shared clusters that it has to do with now."""
        named = (self.cluster, self.move.cluster if self.move else None)
        return tuple(one for one in named if one is not None)

    def __str__(self) -> str:
        """Where it is and is going, as people and records have it."""
        return _place_text(self.cluster) + (f">{_place_text(self.move.cluster)}" if self.move else "")

    @classmethod
    def from_text(cls, text: str) -> Placement | None:
        """The placement as a record keeps it; None if there is none in it.

        >>> str(Placement.from_text("shared/free-1"))
        'shared/free-1'
        >>> Placement.from_text("dedicated>shared/free-1").move.cluster
        'free-1'
        """
        here, sign, there = text.partition(">")
        if not _is_place(here) or (sign and not _is_place(there)):
            return None
        return cls(cluster=_cluster_in(here), move=Move(cluster=_cluster_in(there)) if sign else None)


def past_as_text(past: Iterable[Past]) -> str:
    """As a record keeps it."""
    told = [{"archive": one.archive, "until": one.until.isoformat(), "storage": one.storage} for one in past]
    return json.dumps(told, sort_keys=True, separators=(",", ":"))


def past_from_text(text: str) -> tuple[Past, ...] | None:
    """As a record keeps it; None if this version cannot read it.

    >>> past_from_text("[]")
    ()
    """
    try:
        return tuple(
            Past(archive=str(one["archive"]), until=datetime.fromisoformat(one["until"]), storage=int(one["storage"]))
            for one in json.loads(text or "[]")
        )
    except (ValueError, KeyError, TypeError):
        return None


def _place_text(cluster: str | None) -> str:
    return DEDICATED if cluster is None else f"{SHARED}/{cluster}"


def _is_place(text: str) -> bool:
    kind, _slash, cluster = text.partition("/")
    return text == DEDICATED or (kind == SHARED and bool(cluster))


def _cluster_in(text: str) -> str | None:
    return text.partition("/")[2] or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """What a record says: where the project is, and how many sessions it may open there."""

    placement: Placement
    sessions: int


def login_sessions(project: Project) -> int:
    """Sessions that the tenant's login may have: a full pool of every pooler that runs during an update."""
    return project.connections * POOLERS_AT_ONCE


def rest_pool(project: Project) -> int:
    """Sessions of PostgREST in a pooler; its own pool is larger, and waits for these.

    A shared database has little to give; of its own PostgreSQL's a quarter.
    """
    return 2 if project.tier.placement == SHARED else max(3, min(20, project.connections // 4))


def auth_pool(project: Project) -> int:
    """The same of Auth, without the one of its migrations."""
    return 1 if project.tier.placement == SHARED else 2


def service_sessions(project: Project) -> tuple[int, int]:
    """Sessions that the logins of PostgREST and of Auth may have."""
    if not project.tier.has_services:
        return 0, 0
    return rest_pool(project) * POOLERS_AT_ONCE, (auth_pool(project) + 1) * POOLERS_AT_ONCE


def sessions_of(project: Project) -> int:
    """Sessions that all of a project's logins may have at once."""
    return login_sessions(project) + sum(service_sessions(project)) + PROBE_SESSIONS


def sessions_at(placement: Placement, project: Project) -> int:
    """Sessions that a project takes from a shared cluster; 0 where it has its own PostgreSQL."""
    if placement.move is not None and placement.cluster is not None:
        return placement.move.sessions
    return sessions_of(project) if placement.clusters else 0


def place(projects: Iterable[Project], recorded: Mapping[Ref, Placed], platform: Platform) -> dict[Ref, Placement]:
    """The placement of every project. Raises InvalidSpec with all that has no place.

    1. What a record says stays, for projects that are not asked for now, too: they take room. So does one whose tier
       is of the other kind of placement by now (`misplaced`): a database moves only when it is told to.
    2. A new shared project goes to the open cluster with the fewest projects, of two to the first by name, that has
       room for its database and its sessions. Projects are placed in the order of their refs.
    3. The sessions that all projects of a cluster may open together stay within what it takes.
    """
    wanted = sorted(projects, key=lambda project: project.ref)
    problems: list[Problem] = []
    rooms = _rooms_beside(wanted, recorded, platform)
    result = _kept(wanted, recorded, rooms, problems)
    for project in wanted:
        if project.ref not in recorded:
            result[project.ref] = _new_place(project, rooms, problems)
    problems += [problem for room in rooms.values() if (problem := room.problem()) is not None]
    if problems:
        raise InvalidSpec(tuple(problems))
    return result


def place_anew(
    project: Project, projects: Iterable[Project], recorded: Mapping[Ref, Placed], platform: Platform
) -> Placement:
    """Where the database of a project is to go that is elsewhere. Raises InvalidSpec if there is no room for it."""
    problems: list[Problem] = []
    wanted = sorted(projects, key=lambda one: one.ref)
    rooms = _rooms_beside(wanted, recorded, platform)
    _kept(wanted, recorded, rooms, problems)
    found = _new_place(project, rooms, problems)
    if problems:
        raise InvalidSpec(tuple(problems))
    return found


def misplaced(project: Project, placement: Placement) -> str:
    """Why nothing can be done for a project before it has moved; empty if it is where its tier wants it."""
    if placement.move is not None:
        return (
            f"its database is about to move ({placement}), and that has not ended: run the playbook move.yml, with the "
            "tier of before to give it up"
        )
    # What is on a shared cluster is stopped there whatever its tier; to stop a server, its size has to be known.
    if _fits(project, placement) or (project.is_stopped and placement.cluster is not None):
        return ""
    return (
        f"its database is {placement}, and the tier {project.tier.name} wants it {project.tier.placement}: move it "
        "(playbook move.yml), or give the project a tier of the placement that it has"
    )


def _fits(project: Project, placement: Placement) -> bool:
    return (placement.cluster is not None) == (project.tier.placement == SHARED)


def _rooms_beside(wanted: Iterable[Project], recorded: Mapping[Ref, Placed], platform: Platform) -> dict[str, _Room]:
    """What is left beside projects that are not asked for."""
    rooms = {cluster.name: _Room(cluster) for cluster in platform.shared_clusters}
    asked = {project.ref for project in wanted}
    for ref, placed in recorded.items():
        if ref not in asked:
            for cluster in rooms.keys() & placed.placement.clusters:
                rooms[cluster].take(placed.sessions)
    return rooms


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
        placement, move = placed.placement, placed.placement.move
        # As long as it is not where its tier wants it, its logins there have the rights of the tier before.
        taken = {placement.cluster: sessions_of(project) if _fits(project, placement) else placed.sessions}
        taken |= {move.cluster: sessions_of(project)} if move else {}
        for cluster, sessions in taken.items():
            if cluster is not None and cluster not in rooms:
                problems.append(_undeclared(project, cluster))
            elif cluster is not None:
                rooms[cluster].take(sessions)
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


def _undeclared(project: Project, cluster: str) -> Problem:
    return Problem(
        path=f"{CLUSTERS_VARIABLE}.{cluster}",
        value=None,
        allowed=f"the declaration of the cluster on which the project {project.ref} is",
    )
