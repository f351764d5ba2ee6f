# SPDX-License-Identifier: GPL-3.0-or-later
"""From raw figures to the page: what each goal asks, what was found, met or not. A run may lack cases."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from . import real, workload
from .cases import Options

Run = dict[str, Any]

# Of a record's status: the mark that work has begun and the outcome. Of the lease: taken and given back.
BOOKKEEPING = 4
MIB = 2**20

PREFACE = """\
Cases 1 to 4: {projects} projects, {pro} in tier pro, each with a PostgreSQL of its own, the others in tier free, on
{clusters} shared clusters that take {databases} databases each; with all their real objects, on a real API server.
Client, API server and etcd share the machine described below. The client is a ServiceAccount with bounded RBAC, so its
requests queue under API priority and fairness. Load is the machine's one-minute average at the end of a measurement;
work that is not the measurement's own makes its figures worse and ratios noisy. Cases 5 and 6 have real PostgreSQL
servers; their sections say what else differs.

In cases 1 to 4 SQL is switched off, and no Job runs, as there are no real pods: in place of PostgreSQL stands
`tests/integration/standin_files.py`, a file for each role and database. The engine plans and applies them as ever. The
whole playbooks run `benchmarks/library/projects_standin.py`, which is the module with that stand-in; for the engine
alone the stand-in is loaded before the clock starts and kept after it stops, in the playbooks its files are read on the
clock.

The floor (`benchmarks/floor.py`, frozen) is the least that a client can do: the same server-side applies, the records'
status included, ready in memory, plain sockets, no plan, no comparison, no retry. Creation and growth are measured
without controllers, so that only the client and the API server compete for the processors. The re-runs are measured on
objects that were brought to readiness by {kinds}, which were stopped then; for
growth, whoever runs the benchmark says of the workloads that they are ready.
"""
CREATION = """\
Engine and floor took turns, each run on a new datastore; the best of each counts. For {objects} objects the engine sent
{sent} requests, the floor {floor}, an apply for each object and each record's status: the engine also reads what is
there, takes a lease and makes sure that a namespace is nobody else's. It also did {statements} steps on the stand-in.
The processor's seconds depend less on what else the machine does than the clock.
"""
RERUN = """\
Creation {how}: {created:.1f} s.
Engine: the work of the module's main(), from unparsed input to result, without starting Python ({imports:.1f} s for
the imports). Best of {repeats}.
The change is to `clients` of one project in tier free, which needs no restart of a PostgreSQL.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What is wanted of a figure; `found` and `bound` in the same unit, `at_least` says on which side of the bound."""

    text: str
    found: float
    bound: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.found >= self.bound if self.at_least else self.found <= self.bound

    def row(self) -> str:
        sign = "at least" if self.at_least else "at most"
        return f"| {self.text} | {self.found:.3g} | {sign} {self.bound:.3g} | {'yes' if self.met else '**no**'} |"


PROFILES = """\
## Where the time goes

Profiled with cProfile on 2026-11-24, in all threads, 500 projects, by the processor's time.

- **Creation.** Client, API server and etcd share two cores, so what the client computes the server has to wait for. The
  server's part is that of the floor (see above); the engine's own is four to five times the floor's. A third of it is
  PBKDF2: a new project has three logins, and the verifier of each takes 4,096 iterations, as PostgreSQL's own do; the
  floor has them in its file. The rest is, in this order, TLS and sockets, JSON in both directions, the heads of
  answers, the comparison of every answer with what was wanted, and rendering. None of these stands out.
- **Unchanged re-run.** Half is the LIST itself, with the same parsing as the floor's. A quarter is making sense of each
  object (its identity, and who last wrote what); a quarter is comparing records, and what they certify, with that.
  Ansible's own start is the larger part of the whole playbook.
"""


def document(run: Run) -> str:
    """The whole page."""
    figures = run["figures"]
    options = Options(**{**run["options"], "in_flight": (), "growth": ()})
    goals = [goal for part in (_create_goals, _rerun_goals, _growth_goals) for goal in part(figures)]
    lines = [
        "<!-- SPDX-License-Identifier: GPL-3.0-or-later -->",
        "<!-- Written by `make bench`; changes by hand are lost. -->",
        "# Benchmarks",
        "",
        *_preface(options),
        "## Goals",
        "",
        "| goal | found | bound | met |",
        "|---|---|---|---|",
        *(goal.row() for goal in goals),
        "",
        *_create_table(figures, options),
        *_rerun_table(figures, options),
        *_growth_table(figures),
        *real.pods_section(figures),
        *real.databases_section(figures),
        PROFILES,
        *_machine_table(run),
    ]
    return "\n".join(lines) + "\n"


def _preface(options: Options) -> list[str]:
    pro = sum(spec["tier"] == "pro" for spec in workload.projects(options.projects).values())
    kinds = "Kubernetes' controllers, the scheduler and kwok's fake nodes" if options.controllers else "nobody"
    clusters = len(workload.platform(options.projects)["shared_clusters"])
    databases = workload.CLUSTER["max_databases"]
    return [
        PREFACE.format(projects=options.projects, pro=pro, clusters=clusters, databases=databases, kinds=kinds),
    ]


def _create_goals(figures: Run) -> Iterator[Goal]:
    if "create" in figures:
        engine, floor = _best_creation(figures["create"])
        yield Goal(
            text="1. create all: the engine's objects per second as a share of the floor's",
            found=_rate(engine, "objects") / _rate(floor, "created"),
            bound=0.85,
            at_least=True,
        )


def _rerun_goals(figures: Run) -> Iterator[Goal]:
    if "unchanged" in figures:
        yield from _reading_goals(figures, figures["unchanged"])


def _reading_goals(figures: Run, found: Run) -> Iterator[Goal]:
    metadata = _best(found["metadata"])["seconds"]
    listing = _best_listing(found)["seconds"]
    yield Goal(text="2. unchanged, `metadata`: time as a multiple of the bare LIST", found=metadata / listing, bound=2)
    writes = max(_writes(one) for one in [*found["metadata"], *found["full"]])
    yield Goal(text="2. unchanged: writes", found=writes, bound=0)
    if "others" in figures:
        other = min(one["seconds"] for one in figures["others"].values())
        for seconds, what in ((metadata, "main() alone"), (found["playbook_metadata"]["seconds"], "whole playbook")):
            text = f"2. unchanged, `metadata`, {what}: times faster than the best of the others"
            yield Goal(text=text, found=other / seconds, bound=50, at_least=True)
    if "create" in figures:
        apply = _best(one["unchanged"] for one in figures["create"]["floor"].values())["seconds"]
        text = "2. unchanged, `full`: time as a multiple of the floor's unchanged apply"
        yield Goal(text=text, found=_best(found["full"])["seconds"] / apply, bound=1.1)
    change = found["change"]
    surplus = abs(_writes(change) - change["needed"] - BOOKKEEPING)
    yield Goal(text="3. one project changed: writes too many or too few", found=surplus, bound=0)


def _growth_goals(figures: Run) -> Iterator[Goal]:
    sizes = figures.get("growth", {})
    if {"1000", "3000"} <= set(sizes):
        for what, name in (("create", "creation"), ("unchanged", "unchanged re-run")):
            ratio = sizes["3000"][what]["seconds"] / sizes["1000"][what]["seconds"]
            yield Goal(text=f"4. growth of the {name}: t(3000) / t(1000)", found=ratio, bound=3.3)
    if "1000" in sizes:
        # Of the case unchanged, too, if it ran: drift full holds the most.
        growth = [sizes["1000"][what] for what in ("create", "unchanged")]
        runs = [*growth, *(figures["unchanged"][f"playbook_{drift}"] for drift in _drifts(figures))]
        peak = max(one["memory_bytes"] for one in runs) / MIB
        yield Goal(text="4. memory of the module at 1,000 projects, MiB", found=peak, bound=400)


def _drifts(figures: Run) -> tuple[str, ...]:
    return ("metadata", "full") if "unchanged" in figures else ()


def _create_table(figures: Run, options: Options) -> list[str]:
    if "create" not in figures:
        return []
    rows = [_row("engine, 16 projects at once", one, one["objects"]) for one in figures["create"]["engine"]]
    for in_flight, one in figures["create"]["floor"].items():
        rows.append(_row(f"floor, {in_flight} in flight", one["create"], one["create"]["created"]))
    for in_flight, one in figures["create"]["floor"].items():
        rows.append(_row(f"floor, {in_flight} in flight, unchanged", one["unchanged"], one["create"]["created"]))
    engine, floor = _best_creation(figures["create"])
    return [
        f"## 1. Create {options.projects} projects",
        "",
        CREATION.format(
            objects=engine["objects"],
            sent=_sent(engine),
            floor=_sent(floor),
            statements=engine["statements"]["writes"],
        ),
        "| client | seconds | objects/s | requests/s | CPU seconds: client | API server and etcd | load |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
    ]


def _rerun_table(figures: Run, options: Options) -> list[str]:
    if "unchanged" not in figures:
        return []
    found = figures["unchanged"]
    change = found["change"]
    rows: list[tuple[str, float, str]] = [
        ("floor, LIST of the same kinds", _best_listing(found)["seconds"], "best of 1, 2, 4 and 11 in flight"),
        ("engine, `metadata`", _best(found["metadata"])["seconds"], _requests(found["metadata"][0])),
        ("engine, `full`", _best(found["full"])["seconds"], _requests(found["full"][0])),
        ("whole playbook, `metadata`", found["playbook_metadata"]["seconds"], _memory(found["playbook_metadata"])),
        ("whole playbook, `full`", found["playbook_full"]["seconds"], _memory(found["playbook_full"])),
        ("engine, one project changed", change["seconds"], f"{_requests(change)}; {change['needed']} objects differ"),
    ]
    if "create" in figures:
        apply = _best(one["unchanged"] for one in figures["create"]["floor"].values())
        rows.append(("floor, unchanged apply of all", apply["seconds"], f"{apply['requests']} requests"))
    for key, text in _OTHERS.items():
        if key in figures.get("others", {}):
            rows.append((text.format(o=options), figures["others"][key]["seconds"], "whole program"))
    created = found["created"]
    return [
        f"## 2 and 3. Unchanged re-run, and one project of {options.projects} changed",
        "",
        RERUN.format(
            how="with all controllers at work, until everything is ready" if options.controllers else "without waiting",
            created=created["seconds"],
            imports=created["import_seconds"],
            repeats=len(found["metadata"]),
        ),
        "| what | seconds | |",
        "|---|---|---|",
        *(f"| {text} | {seconds:.2f} | {note} |" for text, seconds, note in rows),
        "",
    ]


_OTHERS = {
    "kubectl": "`kubectl apply --server-side`, one file",
    "list": "`kubernetes.core.k8s`, one list for all",
    "list_per_project": "`kubernetes.core.k8s`, a list per project (extrapolated from {o.list_projects} projects)",
    "loop": "`kubernetes.core.k8s`, a loop per object (extrapolated from {o.loop_objects} objects)",
}


def _growth_table(figures: Run) -> list[str]:
    if "growth" not in figures:
        return []
    rows = [
        f"| {size} | {one['create']['seconds']:.1f} | {_requests(one['create'])} | {_memory(one['create'])} "
        f"| {one['unchanged']['seconds']:.2f} | {_requests(one['unchanged'])} | {_memory(one['unchanged'])} "
        f"| {_mib(one['weight']['api_server_bytes'])} | {_mib(one['weight']['etcd_bytes'])} |"
        for size, one in figures["growth"].items()
    ]
    return [
        "## 4. Growth",
        "",
        "Memory is the peak: of each run of the engine, and of the API server in all of them. Of etcd it is its file.",
        "",
        "| projects | create, s | requests | memory | unchanged, s | requests | memory | API server | etcd |",
        "|---|---|---|---|---|---|---|---|---|",
        *rows,
        "",
    ]


def _machine_table(run: Run) -> list[str]:
    told = {**run["machine"], "load after": " ".join(f"{load:.2f}" for load in run["load_after"])}
    told["duration"] = f"{run['minutes']:.0f} minutes"
    return ["## Machine", "", "| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in told.items()), ""]


def _best_creation(found: Run) -> tuple[Run, Run]:
    return _best(found["engine"]), _best(one["create"] for one in found["floor"].values())


def _best_listing(found: Run) -> Run:
    return _best(one for runs in found["lists"].values() for one in runs)


def _best(runs: Iterable[Run]) -> Run:
    return min(runs, key=lambda one: float(one["seconds"]))


def _rate(one: Run, counted: str) -> float:
    return float(one[counted] / one["seconds"])


def _row(text: str, one: Run, objects: int) -> str:
    costs = f"{one['cpu_seconds']:.1f} | {one['server_cpu_seconds']:.1f} | {one['load']}"
    seconds = one["seconds"]
    return f"| {text} | {seconds:.1f} | {objects / seconds:.0f} | {_sent(one) / seconds:.0f} | {costs} |"


def _sent(one: Run) -> int:
    """Requests; the floor counts them itself, the engine by reads and writes."""
    sent = one["requests"]
    return sum(sent.values()) if isinstance(sent, dict) else int(sent)


def _writes(one: Run) -> int:
    """To the API server and to the stand-in for shared clusters."""
    return int(one["requests"]["writes"] + one["statements"]["writes"])


def _requests(one: Run) -> str:
    return f"{one['requests']['reads']} reads, {one['requests']['writes']} writes"


def _memory(one: Run) -> str:
    return _mib(one["memory_bytes"])


def _mib(amount: int) -> str:
    return f"{amount / MIB:.0f} MiB"
