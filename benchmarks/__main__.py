# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m benchmarks`: run the cases, keep the raw figures, write the page."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import time
from pathlib import Path

from . import archived, fronted, machine, pods, report, sizes
from .cases import ARCHIVES, CASES, FRONT, LAST, Options

DOCUMENT = Path(__file__).parent.parent / "docs/benchmarks.md"
# Between the parts of the page, which may be of several runs.
SEAM = "<!-- What follows is of a run of the cases on archives. -->\n"
FRONT_SEAM = "<!-- What follows is of a run of the case on the gateway. -->\n"
# What the table speaks of; other sizes are for trying things out and leave it alone.
PUBLISHED_PROJECTS = 1000
PUBLISHED_ROUNDS = 10
PUBLISHED_REQUESTS = 20000
LAB_IS_UP = "The lab's hosts run and would take the processor from what is measured; `make lab-down`, or --beside-lab."


def main() -> None:
    arguments = _parser().parse_args()
    if arguments.again:
        _publish(json.loads(arguments.report.read_text()))
        return
    if arguments.cases != (LAST,) and not arguments.beside_lab and pods.is_lab_up():
        raise SystemExit(LAB_IS_UP)
    options = Options(
        projects=arguments.projects,
        in_flight=arguments.in_flight,
        growth=arguments.growth,
        list_projects=min(arguments.list_projects, arguments.projects),
        loop_objects=arguments.loop_objects,
        rounds=arguments.rounds,
        controllers=arguments.controllers,
        rivals=arguments.rivals,
        requests=arguments.requests,
        sizes=sizes.sizes_from(arguments),
    )
    started = time.monotonic()
    run: report.Run = {
        "machine": machine.describe(),
        "options": {name: getattr(options, name) for name in Options.__slots__ if name != "sizes"},
        "sizes": dataclasses.asdict(options.sizes),
        "beside_lab": arguments.beside_lab,
        "figures": {},
    }
    if not ARCHIVES.keys().isdisjoint(arguments.cases):
        run["archives"] = machine.describe_archives()
    if not FRONT.keys().isdisjoint(arguments.cases):
        run["gateway"] = machine.describe_gateway()
    for name in arguments.cases:
        print(f"== {name}", flush=True)
        run["figures"][name] = CASES[name](options)
        run |= {"minutes": (time.monotonic() - started) / 60, "load_after": os.getloadavg()}
        _keep(run, arguments.report)
    _publish(run)


def _publish(run: report.Run) -> None:
    """Print what the run has to say; of the published page replace the parts whose cases it has all run."""
    engine, _seam, rest = DOCUMENT.read_text().partition(SEAM)
    archives, _seam, front = rest.partition(FRONT_SEAM)
    names = run["figures"].keys()
    if names - ARCHIVES.keys() - FRONT.keys():
        text = report.document(run)
        engine = text if _is_whole(run) else engine
        print(text)
    if names & ARCHIVES.keys():
        text = archived.document(run)
        archives = text if _is_whole_of_archives(run) else archives
        print(text)
    if names & FRONT.keys():
        text = fronted.document(run)
        front = text if _is_whole_of_front(run) else front
        print(text)
    DOCUMENT.write_text(f"{engine}{SEAM}{archives}" + (f"{FRONT_SEAM}{front}" if front else ""))


def _is_whole(run: report.Run) -> bool:
    options = run["options"]
    is_published = (options["projects"], options["rounds"]) == (PUBLISHED_PROJECTS, PUBLISHED_ROUNDS)
    has_all = CASES.keys() - ARCHIVES.keys() - FRONT.keys() <= run["figures"].keys()
    return is_published and options["rivals"] and has_all and not run["beside_lab"]


def _is_whole_of_archives(run: report.Run) -> bool:
    has_all = ARCHIVES.keys() <= run["figures"].keys()
    return sizes.sizes_of(run["sizes"]) == sizes.Sizes() and has_all and not run["beside_lab"]


def _is_whole_of_front(run: report.Run) -> bool:
    options = run["options"]
    found = (options["projects"], options["rounds"], options["requests"])
    return found == (PUBLISHED_PROJECTS, PUBLISHED_ROUNDS, PUBLISHED_REQUESTS) and not run["beside_lab"]


def _keep(run: report.Run, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(run, indent=1))
    print(f"  raw figures so far: {file}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--cases", type=_names, default=tuple(CASES), help=f"some of {','.join(CASES)}")
    parser.add_argument(
        "--projects",
        type=int,
        default=PUBLISHED_PROJECTS,
        help="of cases 1 to 3, gateway, and databases, there at most 200",
    )
    parser.add_argument("--in-flight", type=_numbers, default=(8, 16, 24, 32), help="the floor's requests in flight")
    parser.add_argument("--growth", type=_numbers, default=(100, 300, 1000, 3000), help="projects of the case growth")
    parser.add_argument("--list-projects", type=int, default=20, help="projects of the loop with a list per project")
    parser.add_argument("--loop-objects", type=int, default=5, help="objects of the loop with a task per object")
    parser.add_argument(
        "--rounds", type=int, default=PUBLISHED_ROUNDS, help="of the case pods; of databases up to 3, gateway 5"
    )
    parser.add_argument("--requests", type=int, default=PUBLISHED_REQUESTS, help="of the case gateway, in each turn")
    parser.add_argument("--controllers", action=argparse.BooleanOptionalAction, default=True, help="needs kwok")
    parser.add_argument("--rivals", action=argparse.BooleanOptionalAction, default=True, help="kubernetes.core")
    sizes.add_arguments(parser)
    parser.add_argument("--beside-lab", action="store_true", help="run beside the lab's hosts; no figure is worth much")
    reports = Path(os.environ["SUPALOVE_CHECKOUT_CACHE"]) / "reports"
    parser.add_argument("--report", type=Path, default=reports / "benchmarks.json", help="file of the raw figures")
    parser.add_argument("--again", action="store_true", help="only write the page again, from the report's figures")
    return parser


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    wrong = [name for name in names if name not in CASES]
    if wrong:
        raise argparse.ArgumentTypeError(f"no case {', '.join(wrong)}; there are {', '.join(CASES)}")
    return names


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    main()
