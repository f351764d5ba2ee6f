# SPDX-License-Identifier: GPL-3.0-or-later
"""The page's sections on cases 5 and 6, in which PostgreSQL is real. They have no goals."""

from __future__ import annotations

from statistics import median
from typing import Any

Run = dict[str, Any]

PODS = """\
On the lab's cluster (`tests/lab`): real kubelets, containerd, PostgreSQL and PgBouncer, on hosts that are containers of
this machine. In each of {rounds} rounds and in each tier one project is made: the inventory is that of the lab's demo
and one project more, so the engine reads, plans and compares them all. The clock starts with the work of the module's
main(), without starting Python ({imports:.1f} s for the imports), and stops when psql, in a pod of the project's
namespace, has the answer to `SELECT 1` through the project's PgBouncer. All images are on the nodes. Then the project
is made absent and purged, untimed.

The client's own start is not counted, but takes place meanwhile and takes processor from the rest: the client is
started as soon as the project's Secret is there, and from then on asks again and again, 50 ms after each refusal. In
{early} of {all} rounds it asked before the pooler was ready, so that nobody waited for it.
"""
MOMENTS_TEXT = """\
Where the time goes: seconds since main() began, medians. The engine's are by its progress; the pods' are the moments at
which a watch was told of a condition or a container's state, as the times in the objects are whole seconds. The steps
on the shared cluster's PostgreSQL took {sql:.2f} s of the time in tier free.
"""
# In the order in which they come in tier pro.
MOMENTS = {
    "looked": "engine: has the lease, looks again",
    "database created": "database's pod: created",
    "database scheduled": "database's pod: scheduled",
    "pooler created": "pooler's pod: created",
    "pooler scheduled": "pooler's pod: scheduled",
    "written": "engine: all is written",
    "database started": "database's pod: container started",
    "pooler started": "pooler's pod: container started",
    "client asks": "client: asks for the first time",
    "database ready": "database's pod: ready",
    "pooler ready": "pooler's pod: ready",
    "seen ready": "engine: sees all ready",
    "main() returned": "engine: main() returns",
    "first SQL": "**client: first SQL answered**",
}
DATABASES = """\
A real PostgreSQL {version} in a container of our image, with the settings of a shared cluster for 200 databases, its
data on the machine's disk, with fsync; new and empty for each measurement. The engine and psql took turns; the best
turn of each is its rate. The engine reaches it as in production, through the API server and a port-forward, whose far
end is the kubelet of the integration tests. As in case 1, no controllers run and nobody waits for readiness. psql runs
in the server's container, over its socket, as superuser.
"""
SQL_TEXT = (
    "a database that only its own logins may enter, made from a template without the rights that everybody has by "
    "default; two logins with passwords; their grants; limits on sessions of logins and database"
)
BARE = "a bare database that every login may enter: no logins, no grants, no limits"


def pods_section(figures: Run) -> list[str]:
    """Case 5."""
    if "pods" not in figures:
        return []
    tiers: dict[str, list[Run]] = figures["pods"]
    runs = [one for some in tiers.values() for one in some]
    early = sum(one["moments"]["client asks"] < one["moments"]["pooler ready"] for one in runs)
    return [
        "## 5. Real pods: from main() to the first SQL through PgBouncer",
        "",
        PODS.format(
            rounds=len(runs) // len(tiers),
            imports=median(one["import_seconds"] for one in runs),
            early=early,
            all=len(runs),
        ),
        "| tier | median, seconds | least | most |",
        "|---|---|---|---|",
        *(_spread(tier, [one["seconds"] for one in some]) for tier, some in tiers.items()),
        "",
        MOMENTS_TEXT.format(sql=median(one["sql_seconds"] for one in tiers["free"])),
        f"| moment | {' | '.join(tiers)} |",
        f"|---|{'---|' * len(tiers)}",
        *(
            f"| {text} | {' | '.join(_moment(some, name) for some in tiers.values())} |"
            for name, text in MOMENTS.items()
        ),
        "",
    ]


def _spread(tier: str, seconds: list[float]) -> str:
    return f"| {tier} | {median(seconds):.1f} | {min(seconds):.1f} | {max(seconds):.1f} |"


def _moment(runs: list[Run], name: str) -> str:
    """In tier free there is no pod of a database."""
    seen = [one["moments"][name] for one in runs if name in one["moments"]]
    return f"{median(seen):.2f}" if seen else ""


def databases_section(figures: Run) -> list[str]:
    """Case 6."""
    if "databases" not in figures:
        return []
    found = figures["databases"]
    statements = sum(found["engine"][0]["statements"].values()) / found["count"]
    rows = [
        ("engine, the whole run", _seconds(found["engine"]), "a project with all its objects; of that:"),
        (
            f"its steps on PostgreSQL, {statements:.0f} statements each",
            _seconds(found["engine"], "sql_seconds"),
            SQL_TEXT,
        ),
        ("`psql -c 'CREATE DATABASE ...'` in a loop", _seconds(found["loop"]), BARE),
        ("the same statements in one psql", _seconds(found["session"]), "the same"),
    ]
    return [
        f"## 6. {found['count']} projects in tier free on one shared cluster",
        "",
        DATABASES.format(version=found["postgresql"]),
        "| what | databases/s | seconds, turn by turn | what each database is |",
        "|---|---|---|---|",
        *(_rate_row(text, seconds, found["count"], note) for text, seconds, note in rows),
        "",
    ]


def _seconds(runs: list[Run], key: str = "seconds") -> list[float]:
    return [one[key] for one in runs]


def _rate_row(text: str, seconds: list[float], count: int, note: str) -> str:
    """The best of the turns is the rate."""
    turns = ", ".join(f"{one:.1f}" for one in seconds)
    return f"| {text} | {count / min(seconds):.1f} | {turns} | {note} |"
