# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m benchmarks`: run the cases, keep the raw figures, write the table."""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

from . import machine, pods, report
from .cases import CASES, LAST, Options

DOCUMENT = Path(__file__).parent.parent / "docs/benchmarks.md"
# What the table speaks of; other sizes are for trying things out and leave it alone.
PUBLISHED_PROJECTS = 1000
PUBLISHED_ROUNDS = 10
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
    )
    started = time.monotonic()
    run: report.Run = {
        "machine": machine.describe(),
        "options": {name: getattr(options, name) for name in Options.__slots__},
        "beside_lab": arguments.beside_lab,
        "figures": {},
    }
    for name in arguments.cases:
        print(f"== {name}", flush=True)
        run["figures"][name] = CASES[name](options)
        run |= {"minutes": (time.monotonic() - started) / 60, "load_after": os.getloadavg()}
        _keep(run, arguments.report)
    _publish(run)


def _publish(run: report.Run) -> None:
    """Print the page; keep it as the published one if the run was whole."""
    text = report.document(run)
    if _is_whole(run):
        DOCUMENT.write_text(text)
    print(text)


def _is_whole(run: report.Run) -> bool:
    options = run["options"]
    sizes = (options["projects"], options["rounds"]) == (PUBLISHED_PROJECTS, PUBLISHED_ROUNDS)
    return sizes and options["rivals"] and set(run["figures"]) == set(CASES) and not run["beside_lab"]


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
        help="of all cases but growth and pods; databases: at most 200",
    )
    parser.add_argument("--in-flight", type=_numbers, default=(8, 16, 24, 32), help="the floor's requests in flight")
    parser.add_argument("--growth", type=_numbers, default=(100, 300, 1000, 3000), help="projects of the case growth")
    parser.add_argument("--list-projects", type=int, default=20, help="projects of the loop with a list per project")
    parser.add_argument("--loop-objects", type=int, default=5, help="objects of the loop with a task per object")
    parser.add_argument("--rounds", type=int, default=PUBLISHED_ROUNDS, help="of the case pods; of databases, up to 3")
    parser.add_argument("--controllers", action=argparse.BooleanOptionalAction, default=True, help="needs kwok")
    parser.add_argument("--rivals", action=argparse.BooleanOptionalAction, default=True, help="kubernetes.core")
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
