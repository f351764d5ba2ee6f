# SPDX-License-Identifier: GPL-3.0-or-later
"""The cases. Each takes the options and returns its raw figures; what they mean is report.py's business."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import PROJECT_LABEL

from . import backups, gateway, lag, one_database, pods, postgresql, retention, rivals, workload
from .cluster import Cluster, Figures, fresh
from .sizes import Sizes

# The reads of one client at a time, and all kinds at once, with something between.
LISTS_IN_FLIGHT = (1, 2, 4, 11)
REPEATS = 3
# Of case 11.
MOST_TURNS = 5
CONNECTIONS = 16
# Of case 6: what one shared cluster takes.
DATABASES = 200
LAST = "pods"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Sizes of a run. `rounds`: of case 5, and the most of cases 6 and 11. `requests`: of each turn of case 11.

    `controllers`: create the state of cases 2 and 3 with all controllers and kwok at work. `sizes`: of cases 7 to 10.
    """

    projects: int
    in_flight: tuple[int, ...]
    growth: tuple[int, ...]
    list_projects: int
    loop_objects: int
    rounds: int
    controllers: bool
    rivals: bool
    requests: int = 20000
    sizes: Sizes = field(default_factory=Sizes)


def create(options: Options) -> Figures:
    """Case 1, and of the floor the unchanged apply of case 2: engine and floor take turns, each on a new datastore.

    No controllers run, so that what is measured is the client and the API server, and nobody waits for readiness.
    """
    projects = workload.projects(options.projects)
    engine: list[Figures] = []
    floor: dict[str, Figures] = {}
    with _sends(projects) as (file, repeated):
        for in_flight in options.in_flight:
            with fresh(workload.platform(len(projects))) as cluster:
                engine.append(_told("engine creates", cluster.engine(projects, wait=False)))
            with fresh(workload.platform(len(projects))) as cluster:
                made = _told(f"floor creates, {in_flight} in flight", cluster.floor("sends", file, in_flight))
                again = _told("floor applies unchanged", cluster.floor("sends", repeated, in_flight))
                floor[str(in_flight)] = {"create": made, "unchanged": again}
    return {"engine": engine, "floor": floor}


def unchanged(options: Options) -> Figures:
    """Cases 2 and 3 on one datastore: created until ready with controllers, which then stop; reading, then a change."""
    projects = workload.projects(options.projects)
    with fresh(workload.platform(len(projects))) as cluster:
        if options.controllers:
            with cluster.controllers(projects):
                created = _told("engine creates and waits for all ready", cluster.engine(projects, wait=True))
        else:
            created = _told("engine creates", cluster.engine(projects, wait=False))
        wait = options.controllers
        figures: Figures = {"created": created, "lists": {}, "metadata": [], "full": []}
        lists = cluster.root / "lists.jsonl"
        workload.write_lists(lists)
        for number in range(REPEATS):
            for in_flight in LISTS_IN_FLIGHT:
                found = _told(f"floor lists, {in_flight} in flight", cluster.floor("lists", lists, in_flight))
                figures["lists"].setdefault(str(in_flight), []).append(found)
            figures["metadata"].append(_told("engine, metadata", cluster.engine(projects, wait=wait)))
            if number < REPEATS - 1:
                figures["full"].append(_told("engine, full", cluster.engine(projects, wait=wait, drift="full")))
        for drift in ("metadata", "full"):
            ran = rivals.our_playbook(cluster, projects, wait=wait, drift=drift)
            figures[f"playbook_{drift}"] = _told(f"ansible-playbook, {drift}", ran)
        figures["change"] = _change(cluster, projects)
    return figures


def _change(cluster: Cluster, projects: dict[str, Any]) -> Figures:
    """Of one project what needs no restart of a PostgreSQL: here no pod runs that could pause its pooler for that."""
    ref = next(ref for ref, spec in projects.items() if spec["tier"] == "free")
    after = {**projects[ref], **workload.CHANGE}
    found = _told("engine changes one project", cluster.engine({**projects, ref: after}, wait=False))
    return {**found, "needed": workload.changes({ref: projects[ref]}, {ref: after})}


def others(options: Options) -> Figures:
    """What people use instead, on the floor's objects, which are there and unchanged."""
    projects = workload.projects(options.projects)
    with _sends(projects) as (file, _repeated), fresh(workload.platform(len(projects))) as cluster:
        _told("floor creates", cluster.floor("sends", file, max(options.in_flight)))
        cluster.let_apply_secrets()
        bodies = list(workload.bodies_of(file))
        figures: Figures = {"kubectl": _told("kubectl", {"seconds": rivals.kubectl_apply(cluster, bodies)})}
        if options.rivals:
            figures |= _core(rivals.Core(cluster), bodies, options)
    return figures


def _core(core: rivals.Core, bodies: list[dict[str, Any]], options: Options) -> Figures:
    groups = itertools.groupby(bodies, key=lambda body: body["metadata"]["labels"][PROJECT_LABEL])
    lists = [list(group) for _ref, group in itertools.islice(groups, options.list_projects)]
    singles = [[body] for body in bodies[: options.loop_objects]]
    startup = core.startup()
    found = {
        "list": core.one_list(bodies),
        "list_per_project": core.extrapolated(lists, of=options.projects, startup=startup),
        "loop": core.extrapolated(singles, of=len(bodies), startup=startup),
    }
    return {key: _told(f"kubernetes.core.k8s, {key}", {"seconds": seconds}) for key, seconds in found.items()}


def growth(options: Options) -> Figures:
    """Case 4: the same at several sizes, each on a new datastore, without controllers, which are stood in for."""
    figures: Figures = {}
    for count in options.growth:
        projects = workload.projects(count)
        with fresh(workload.platform(len(projects))) as cluster:
            made = _told(f"engine creates {count}", cluster.engine(projects, wait=False))
            # What is not known to be ready is worked out and looked at again by every run.
            cluster.make_ready(projects)
            again = [_told("engine, metadata", cluster.engine(projects, wait=True)) for _ in range(2)]
            weight = cluster.weight()
        best = min(again, key=lambda one: float(one["seconds"]))
        figures[str(count)] = {"create": made, "unchanged": best, "weight": weight}
    return figures


def databases(options: Options) -> Figures:
    """Case 6: Free projects on one shared cluster that is real; engine and plain SQL take turns, each on a new one.

    Without controllers, as in case 1.
    """
    count = min(DATABASES, options.projects)
    projects = workload.free_projects(count)
    figures: Figures = {"count": count, "engine": [], **{key: [] for key in postgresql.SCRIPTS}}
    for _ in range(min(REPEATS, options.rounds)):
        with fresh(workload.ONE_CLUSTER, is_real=True) as cluster, postgresql.started() as server:
            figures["postgresql"] = server.sql("SHOW server_version").split()[0]
            with postgresql.pod_of(cluster, server), postgresql.making(server, count):
                figures["engine"].append(_told(f"engine creates {count} Free", cluster.engine(projects, wait=False)))
        for key in postgresql.SCRIPTS:
            with postgresql.started() as server, postgresql.making(server, count):
                figures[key].append(
                    _told(f"psql creates {count}, {key}", {"seconds": postgresql.run(server, key, count)})
                )
    return figures


def real_pods(options: Options) -> Figures:
    """Case 5: tiers take turns, so that what else the machine does meets both."""
    figures: Figures = {tier: [] for tier in pods.TIERS}
    with pods.demo() as lab:
        for number in range(options.rounds):
            for tier, runs in figures.items():
                found = pods.first_sql(lab, f"bench-{tier}-{number}", tier)
                runs.append(_told(f"main() to the first SQL, {tier}", found))
    return figures


def front_door(options: Options) -> Figures:
    """Case 11: the projects of case 2 behind one gateway, and that beside a bare Traefik."""
    size = gateway.Size(
        projects=options.projects,
        rounds=min(MOST_TURNS, options.rounds),
        requests=options.requests,
        connections=CONNECTIONS,
    )
    return gateway.measure(size)


# Cases 7 to 10: of a PostgreSQL and its archive. They need no API server, and are a part of the page by themselves.
ARCHIVES: Mapping[str, Callable[[Options], Figures]] = {
    "lag": lambda options: lag.measure(options.sizes),
    "backups": lambda options: backups.measure(options.sizes),
    "one_database": lambda options: one_database.measure(options.sizes),
    "retention": lambda options: retention.measure(options.sizes),
}
# Case 11, a part of the page, too.
FRONT: Mapping[str, Callable[[Options], Figures]] = {"gateway": front_door}
CASES: Mapping[str, Callable[[Options], Figures]] = {
    "create": create,
    "unchanged": unchanged,
    "others": others,
    "growth": growth,
    "databases": databases,
    **ARCHIVES,
    **FRONT,
    # The last: the lab's hosts would take the others' processor.
    LAST: real_pods,
}


@contextmanager
def _sends(projects: dict[str, Any]) -> Iterator[tuple[Path, Path]]:
    """The floor's requests in a file, and those of it that can be repeated; further clusters use them, too."""
    with TemporaryDirectory(prefix="supalove-bench-") as folder:
        file, repeated = Path(folder) / "sends.jsonl", Path(folder) / "repeated.jsonl"
        workload.write_sends(projects, file, repeated)
        yield file, repeated


def _told(what: str, found: Figures) -> Figures:
    """Say what was measured, and note how busy the machine was."""
    load = round(os.getloadavg()[0], 2)
    per_second = f", {found['objects'] / found['seconds']:.0f} objects/s" if found.get("objects") else ""
    print(f"  {what}: {found['seconds']:.2f} s{per_second} (load {load})", flush=True)
    return {**found, "load": load}
