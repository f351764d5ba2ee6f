# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of the engine in a process of its own: what the module's main() does, without Ansible around it.

    python -m benchmarks.engine ORDER

ORDER is a JSON file: kubeconfig, projects, tiers, platform, databases (the folder of the stand-in for shared clusters;
null where these are real), settings (of the engine) and prepare (the platform first; untimed).
The last line of the output is a JSON object with what was measured. The clock runs from the unparsed input to the
finished result; importing is measured apart. With the stand-in of the integration tests no SQL runs: it is loaded
before the clock starts and kept after it has stopped. Real clusters are reached as the module reaches them.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_STARTED = time.perf_counter()

from ansible_collections.supalove.platform.plugins.module_utils._ansible import collect_nothing  # noqa: E402
from ansible_collections.supalove.platform.plugins.module_utils._engine.access import Access  # noqa: E402
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.client import (  # noqa: E402
    Client,
    connect,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.kinds import (  # noqa: E402
    KINDS,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.postgresql.clusters import (  # noqa: E402
    through_api_server,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.prepare import prepare  # noqa: E402
from ansible_collections.supalove.platform.plugins.module_utils._engine.progress import Lines  # noqa: E402
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.parse import parse  # noqa: E402
from ansible_collections.supalove.platform.plugins.module_utils._engine.reconcile import reconcile  # noqa: E402
from ansible_collections.supalove.platform.plugins.module_utils._engine.settings import Drift, Settings  # noqa: E402
from ansible_collections.supalove.platform.plugins.module_utils._results import result_of  # noqa: E402
from standin_databases import MemoryDatabases  # noqa: E402
from standin_files import FileDatabases  # noqa: E402

from .processes import high_water  # noqa: E402
from .stopwatch import Timed  # noqa: E402

IMPORT_SECONDS = time.perf_counter() - _STARTED


def run(order: dict[str, Any]) -> dict[str, Any]:
    """Do what is ordered; what is short of the module's result, and the costs.

    `began` is the time of day at which the clock started, `stages` what the engine said, with the seconds since then.
    """
    given = order["settings"]
    settings = Settings(**{**given, "drift": Drift(given.get("drift", Settings().drift))})
    files = FileDatabases(Path(order["databases"])) if order["databases"] else None
    standin = MemoryDatabases(bodies=files.bodies) if files else None
    stages: list[tuple[float, str]] = []
    collect_nothing()
    before = _cpu_seconds()
    began, started = time.time(), time.perf_counter()

    def say(text: str) -> None:
        stages.append((time.perf_counter() - started, text))
        _say(text)

    inventory = parse(projects=order["projects"], tiers=order["tiers"], platform=order["platform"])
    with connect(
        kubeconfig=order["kubeconfig"], context=None, workers=settings.workers, backoff=settings.backoff
    ) as client:
        with _databases(client, standin) as databases:
            access = Access(client=client, databases=databases)
            report = reconcile(access, inventory, settings=settings, progress=Lines(say))
        requests = {"reads": client.reads, "writes": client.writes}
    result = result_of(report, show_diff=False)
    seconds = time.perf_counter() - started
    cpu_seconds = _cpu_seconds() - before
    if files and databases.writes:
        for id in files.bodies:
            files.keep(id)
    return {
        "seconds": seconds,
        "began": began,
        "stages": stages,
        "import_seconds": IMPORT_SECONDS,
        "cpu_seconds": cpu_seconds,
        "memory_bytes": high_water(Path("/proc/self")),
        "objects": sum(step.id.kind in KINDS for one in report.outcomes for step in one.steps),
        "requests": requests,
        "statements": {"reads": databases.reads, "writes": databases.writes},
        **({"sql_seconds": databases.seconds} if isinstance(databases, Timed) else {}),
        **{key: result[key] for key in ("failed", "msg", "counts") if key in result},
    }


@contextmanager
def _databases(client: Client, standin: MemoryDatabases | None) -> Iterator[MemoryDatabases | Timed]:
    if standin is not None:
        yield standin
        return
    with through_api_server(client) as clusters:
        yield Timed(clusters)


def prepare_platform(order: dict[str, Any]) -> None:
    """What all projects stand on. Nobody runs the shared clusters' pods here, so nobody waits for them."""
    settings = Settings(wait=False)
    inventory = parse(projects={}, tiers=order["tiers"], platform=order["platform"])
    with (
        connect(
            kubeconfig=order["kubeconfig"], context=None, workers=settings.workers, backoff=settings.backoff
        ) as client,
        through_api_server(client) as databases,
    ):
        access = Access(client=client, databases=databases)
        report = prepare(access, inventory, settings=settings, progress=Lines(_say))
    if not report.succeeded:
        raise SystemExit(f"the platform could not be prepared: {report.outcomes}")


def _say(text: str) -> None:
    print(f"    {text}", flush=True)


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    wanted = json.loads(Path(sys.argv[1]).read_text())
    if wanted.get("prepare"):
        prepare_platform(wanted)
    if "projects" in wanted:
        print(json.dumps(run(wanted)))
