# SPDX-License-Identifier: BSD-2-Clause
"""Accidents that a run prevents, each by a function of its own that raises SafetyStop with figures. Pure.

What is wrong with single projects refuses these.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from .archive.retention import Choice, RetentionPlan
from .backends.kubernetes.nodes import Node
from .backends.kubernetes.records import Record
from .capacity import Pod, missing_runtimes, pods_of, runtimes_of, shortfalls
from .errors import InvalidSpec, Problem, SafetyStop
from .project.model import Inventory, Platform, Project
from .project.names import Ref
from .project.placement import CLUSTERS_VARIABLE
from .project.vocabulary import PROJECTS_VARIABLE, RUNTIMES_VARIABLE
from .settings import Settings
from .sight import Sight
from .steps import Failure


def refuse_lack_of_room(sights: Sequence[Sight], nodes: Sequence[Node], platform: Platform) -> None:
    """More than the data plane can run is better not begun. Counts every listed project, and the shared clusters."""
    runtimes = platform.runtime_classes
    pods = [
        pod
        for sight in sights
        for pod in pods_of(sight.objects(platform), f"{PROJECTS_VARIABLE}.{sight.project.ref}", runtimes)
    ]
    for cluster in platform.shared_clusters:
        pod = Pod(owner=f"{CLUSTERS_VARIABLE}.{cluster.name}", cpu=cluster.cpu, memory=cluster.memory)
        pods.append(pod.under(cluster.runtime_class, runtimes))
    problems = shortfalls(pods, nodes)
    if problems:
        raise InvalidSpec(problems)


def refuse_missing_runtime(sights: Sequence[Sight], known: Collection[str], nodes: Sequence[Node]) -> tuple[Sight, ...]:
    """Pods that name a runtime which is not there would not start, and must not start under another.

    `known`: the names of the RuntimeClasses that the cluster has.
    """
    return tuple(
        sight if sight.refused else replace(sight, refused=_missing_runtime(sight, known, nodes)) for sight in sights
    )


def _missing_runtime(sight: Sight, known: Collection[str], nodes: Sequence[Node]) -> Failure | None:
    for id, name in runtimes_of(sight.plan):
        problems = missing_runtimes([name], nodes, RUNTIMES_VARIABLE)
        if name not in known:
            value = "a runtime whose RuntimeClass does not exist"
            allowed = "one that the cluster has; run the module platform first, which makes it"
            problems = [Problem(path=f"{RUNTIMES_VARIABLE}.{name}", value=value, allowed=allowed)]
        for problem in problems:
            return Failure(step="plan", object=str(id), reason=str(problem))
    return None


def refuse_unknown_choice(inventory: Inventory, only: Collection[str]) -> None:
    """A misspelt ref in a choice of projects would make a run that does nothing look like success."""
    known = {project.ref for project in inventory.projects}
    wrong = [ref for ref in only if Ref(ref) not in known]
    if wrong:
        allowed = f"refs out of {PROJECTS_VARIABLE}"
        raise InvalidSpec(tuple(Problem(path="projects_only", value=ref, allowed=allowed) for ref in wrong))


def refuse_filtered_prune(settings: Settings) -> None:
    """Of a run on a few projects nobody can tell which others are no longer wanted."""
    if settings.prune and settings.only is not None:
        raise SafetyStop("prune with projects_only is refused: what is not chosen would look as if it were not wanted.")


def refuse_empty_prune(inventory: Inventory, settings: Settings) -> None:
    """An inventory that lists nothing is more likely broken than meant."""
    if settings.prune and not inventory.projects:
        raise SafetyStop(
            f"prune is refused, as {PROJECTS_VARIABLE} lists no project: all would be stopped. "
            "Set `state: absent` on the projects that are to stop."
        )


def refuse_mass_prune(stopping: Collection[Project], settings: Settings) -> None:
    """More projects at once than the limit allows have gone from the inventory."""
    if len(stopping) > settings.prune_limit:
        shown = ", ".join(sorted(project.ref for project in stopping)[:10])
        raise SafetyStop(
            f"prune would stop {len(stopping)} projects, among them {shown}; at most {settings.prune_limit} are "
            "allowed. If that is what you want, raise prune_limit."
        )


def refuse_wrong_purge(inventory: Inventory, settings: Settings, known: Mapping[Ref, Record]) -> None:
    """A purge destroys data: it names the project by ref and uid, and never one that is wanted."""
    purge = settings.purge
    wanted = {project.ref for project in inventory.projects if not project.is_stopped}
    problems: list[Problem] = []
    for ref, uid in purge.items():
        record = known.get(Ref(ref))
        found = record.uid if record else None
        if Ref(ref) in wanted:
            allowed = f"a project that is not wanted; set {PROJECTS_VARIABLE}.{ref}.state to absent first"
            problems.append(Problem(path=f"purge.{ref}", value="a project that is to run", allowed=allowed))
        elif record is not None and found != uid:
            problems.append(Problem(path=f"purge.{ref}", value=uid, allowed=f"the uid of the project, {found}"))
    problems += [
        Problem(path="purge_without_final_backup", value=ref, allowed="a project that is in purge")
        for ref in sorted(settings.purge_without_final_backup - purge.keys())
    ]
    if problems:
        raise InvalidSpec(tuple(problems))


def refuse_mass_removal(plan: RetentionPlan, limit_percent: int) -> None:
    """More backups of an archive at once than the limit allows: a wrong window, or a wrong clock."""
    going = [verdict for verdict in plan.verdicts if verdict.choice is Choice.REMOVE]
    total = len(plan.verdicts)
    if going and len(going) == total:
        raise SafetyStop(f"all {total} backups would go, which nothing allows: the newest is always kept")
    if len(going) * 100 > limit_percent * total:
        raise SafetyStop(
            f"{len(going)} of {total} backups would go, which is more than {limit_percent} %. Look at the reasons "
            "(--check --diff); if that is what you want, raise removal_limit_percent."
        )


def unknown_names(
    path: str, asked: Sequence[str] | None, known: Mapping[Ref, object] | Mapping[str, object] | set[str], what: str
) -> list[Problem]:
    """A problem for each name that is asked for and not among the known ones, of which some are told."""
    names = sorted(str(one) for one in known)
    allowed = f"{what}: {', '.join(names[:20]) or 'none'}"
    return [Problem(path=path, value=one, allowed=allowed) for one in asked or () if one not in names]
