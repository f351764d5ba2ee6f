# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m benchmarks`: run the cases, keep the raw figures, write the table."""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

from . import machine, report
from .cases import CASES, Options

DOCUMENT = Path(__file__).parent.parent / "docs/benchmarks.md"
# What the table speaks of; other sizes are for trying things out and leave it alone.
PUBLISHED_PROJECTS = 1000


def main() -> None:
    arguments = _parser().parse_args()
    if arguments.again:
        _publish(json.loads(arguments.report.read_text()))
        return
    options = Options(
        projects=arguments.projects,
        in_flight=arguments.in_flight,
        growth=arguments.growth,
        list_projects=min(arguments.list_projects, arguments.projects),
        loop_objects=arguments.loop_objects,
        controllers=arguments.controllers,
        rivals=arguments.rivals,
    )
    started = time.monotonic()
    run: report.Run = {
        "machine": machine.describe(),
        "options": {name: getattr(options, name) for name in Options.__slots__},
    }
    run["figures"] = {}
    for name in arguments.cases:
        print(f"== {name}: {options.projects} projects", flush=True)
        run["figures"][name] = CASES[name](options)
        run |= {"minutes": (time.monotonic() - started) / 60, "load_after": os.getloadavg()}
        _keep(run, arguments.report)
    _publish(run)


def _publish(run: report.Run) -> None:
    """Print the page; keep it as the published one if the run was whole."""
    text = report.document(run)
    options = run["options"]
    if set(run["figures"]) == set(CASES) and options["projects"] == PUBLISHED_PROJECTS and options["rivals"]:
        DOCUMENT.write_text(text)
    print(text)


def _keep(run: report.Run, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(run, indent=1))
    print(f"  raw figures so far: {file}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--cases", type=_names, default=tuple(CASES), help=f"some of {','.join(CASES)}")
    parser.add_argument("--projects", type=int, default=PUBLISHED_PROJECTS, help="of all cases but growth")
    parser.add_argument("--in-flight", type=_numbers, default=(8, 16, 24, 32), help="the floor's requests in flight")
    parser.add_argument("--growth", type=_numbers, default=(100, 300, 1000, 3000), help="projects of the case growth")
    parser.add_argument("--list-projects", type=int, default=20, help="projects of the loop with a list per project")
    parser.add_argument("--loop-objects", type=int, default=5, help="objects of the loop with a task per object")
    parser.add_argument("--controllers", action=argparse.BooleanOptionalAction, default=True, help="needs kwok")
    parser.add_argument("--rivals", action=argparse.BooleanOptionalAction, default=True, help="kubernetes.core")
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
