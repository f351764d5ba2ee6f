# SPDX-License-Identifier: GPL-3.0-or-later
"""The page's part on the gateway: case 11. It has no goals; what a request costs has a bare Traefik beside it."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from .gateway import BARE, IDLE_SECONDS, KEYED, UNCHECKED, UPSTREAM
from .servers import MIB

Run = dict[str, Any]

PREFACE = """\
One real Traefik, configured by the engine, on a real API server; the real verifier, one of it, from its image; the bare
Traefik is the same program as its own defaults have it, with TLS, one route and nothing else. The engine makes the
projects of case 2, with Auth, PostgREST, keys and routes, under Kubernetes' controllers and the scheduler. kwok's fake
pods are ready at once, and whatever address they get is answered by one small server in Go (`tests/lab/go/asker`),
which is the load's client as well. No database and no service of a project runs, and all network is the machine's own.

**Client, Traefik, verifier and server share the two processors of the machine below, so rates say little, and ratios
of what took turns say something.** With the gateway on machines of its own they would be others.
"""
BESIDE = """\
**To be repeated:** other work took processor from this run. Its seconds are too many, its rates too small, and ratios
are noisy; the load is below.
"""
ANSWERS = """\
The clock starts with the engine, or with what the row says, and stops when the last project has answered 200 through
TLS. Of what was repeated the median counts; all figures are in brackets.
"""
MEMORY = """\
Resident memory, and what Traefik takes of a processor in {idle} seconds in which nothing is asked and nothing changes:
**{busy:.1%}** with {projects} projects. While so many were made it took {used:.0f} s of a processor, as it makes all
of its configuration anew upon each change, once a second at the most; until it came to rest passed {rest:.0f} s more,
after its own start {again:.0f} s.
"""
LOAD = """\
{connections} connections that stay open, HTTP/1.1, each with its next request as soon as it has the answer; {requests}
small requests a turn, {rounds} turns each, which begin with another each round. To the gateway they go to all
{projects} projects in turn, so that no project's share of requests is used up. With a key (`/rest/v1`): clients'
headers, limit of bodies, share of requests, question to the verifier, path rewritten, line in the log. Nobody asked:
afterwards, the same requests by routes that have all that but the question. A rate is the median of its turns; the
share is that of the bare Traefik's in the same round. The processor's time is of all turns, for each request.
"""
COST = """\
**The verifier's cost**: with a key the gateway answers {share:.2f} of the requests that it answers with nobody asked;
each takes {traefik:.0f} µs more of Traefik and {verifier:.0f} µs of the verifier."""
HEADS = (
    "asked",
    "requests/s, turn by turn",
    "share of bare",
    "p50, ms",
    "p99, ms",
    "times bare's p99",
    "µs of processor: Traefik",
    "verifier",
    "server",
    "client",
)
NAMES = {
    UPSTREAM: "the server alone, without TLS",
    BARE: "bare Traefik, TLS, one route",
    KEYED: "gateway, with a key",
    UNCHECKED: "gateway, nobody asked about keys",
}


def document(run: Run) -> str:
    """The part, from its heading on."""
    found = run["figures"]["gateway"]
    lines = [
        "## The gateway",
        "",
        PREFACE,
        *([BESIDE] if run["beside_lab"] else []),
        *_answers(found),
        *_memory(found),
        *_load(found),
        *_machine(run),
    ]
    return "\n".join(lines) + "\n"


def _answers(found: Run) -> list[str]:
    size, restart = found["size"], found["restart"]
    rows = [
        ("the engine makes all", found["all"]["engine_seconds"], found["all"]["answer_seconds"]),
        ("the engine makes one more", _several(found["later"], "engine_seconds"), _several(found["later"])),
        ("a route alone is written", _several(found["route"], "written_seconds"), _several(found["route"])),
        ("all routes are written at once", found["routes"]["written_seconds"], found["routes"]["answer_seconds"]),
        ("Traefik is started, first answer", "", restart["first_seconds"]),
        ("Traefik is started, last answer", "", restart["last_seconds"]),
    ]
    return [
        f"## 11. {size['projects']} projects behind one gateway",
        "",
        ANSWERS,
        "| what | that is done, s | all answer, s |",
        "|---|---|---|",
        *(f"| {text} | {_shown(done)} | {_shown(answered)} |" for text, done, answered in rows),
        "",
    ]


def _several(some: Sequence[Run], key: str = "answer_seconds") -> str:
    values = [one[key] for one in some]
    return f"{median(values):.1f} ({', '.join(f'{one:.1f}' for one in values)})"


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.1f}"


def _memory(found: Run) -> list[str]:
    projects = found["size"]["projects"]
    rows = {
        "Traefik, no project": "empty_bytes",
        "Traefik, the most while they were made": "peak_bytes",
        f"Traefik, {projects} projects": "full_bytes",
        f"Traefik, {projects} projects, started anew": "restarted_bytes",
        "the same after the load": "loaded_bytes",
        "bare Traefik after the load": "bare_bytes",
        "verifier after the load": "verifier_bytes",
    }
    text = MEMORY.format(
        idle=IDLE_SECONDS,
        busy=found["idle"],
        projects=projects,
        used=found["all"]["traefik_cpu_seconds"],
        rest=found["all"]["rest_seconds"],
        again=found["restart"]["rest_seconds"],
    )
    return [text, "| | MiB |", "|---|---|", *(f"| {name} | {found[key] / MIB:.0f} |" for name, key in rows.items()), ""]


def _load(found: Run) -> list[str]:
    turns, unchecked = found["turns"], found["unchecked_turns"]
    rows = [_row(NAMES[name], turns[name], turns[BARE]) for name in (UPSTREAM, BARE, KEYED)]
    with_key, without = _per_request(turns[KEYED]), _per_request(unchecked[UNCHECKED])
    share = _share(turns[KEYED], turns[BARE]) / _share(unchecked[UNCHECKED], unchecked[BARE])
    traefik, verifier = (with_key[who] - without[who] for who in ("traefik", "verifier"))
    return [
        LOAD.format(**found["size"]),
        f"| {' | '.join(HEADS)} |",
        "|---" * len(HEADS) + "|",
        *rows,
        _row(NAMES[UNCHECKED], unchecked[UNCHECKED], unchecked[BARE]),
        "",
        COST.format(share=share, traefik=traefik, verifier=verifier),
        "",
    ]


def _row(name: str, turns: Sequence[Run], bare: Sequence[Run]) -> str:
    rates, used = _rates(turns), _per_request(turns)
    p50, p99, bare_p99 = (
        median(one[key] for one in some) for some, key in ((turns, "p50"), (turns, "p99"), (bare, "p99"))
    )
    cells = [
        name,
        f"{median(rates):.0f} ({', '.join(f'{one:.0f}' for one in rates)})",
        f"{_share(turns, bare):.2f}",
        f"{p50 * 1000:.2f}",
        f"{p99 * 1000:.1f}",
        f"{p99 / bare_p99:.1f}",
        f"{used['bare' if name == NAMES[BARE] else 'traefik']:.0f}",
        *(f"{used[who]:.0f}" for who in ("verifier", "upstream", "client")),
    ]
    return f"| {' | '.join(cells)} |"


def _share(turns: Sequence[Run], bare: Sequence[Run]) -> float:
    return median(one / other for one, other in zip(_rates(turns), _rates(bare), strict=True))


def _rates(turns: Sequence[Run]) -> list[float]:
    return [one["requests"] / one["seconds"] for one in turns]


def _per_request(turns: Sequence[Run]) -> dict[str, float]:
    """Microseconds of processor of each program, over all turns: the kernel counts them in hundredths of a second."""
    count = sum(one["requests"] for one in turns)
    return {who: sum(one["cpu_seconds"][who] for one in turns) / count * 1e6 for who in turns[0]["cpu_seconds"]}


def _machine(run: Run) -> list[str]:
    names = ("date", "processor", "memory", "kernel", "load before", "Kubernetes", "datastore", "kwok")
    told = {**{key: run["machine"][key] for key in names}, **run["gateway"]}
    told |= {"load after": " ".join(f"{load:.2f}" for load in run["load_after"])}
    told["duration"] = f"{run['minutes']:.0f} minutes"
    return ["## Its machine", "", "| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in told.items()), ""]
