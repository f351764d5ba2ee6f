# SPDX-License-Identifier: GPL-3.0-or-later
"""`make bench-recovery`: how long a PostgreSQL takes through the WAL of an idle day, by archive engine and processor.

Real containers of our images, confined as in their pods, and a real object store, which can be made to answer late.
Each segment of WAL holds one commit, as the heartbeat leaves it: what is measured is how segments come, not how they
are replayed. The clock runs from the start of the server, its base backup in place, to its promotion.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.supalove.platform.plugins.module_utils._engine.project.life import LATEST
from fix_archive import Archived, archived, laid_out, life_of, restoring, start
from fix_certificates import write_certificates
from fix_container import podman
from fix_flaky import flaky
from fix_object_store import ObjectStore, await_answer, serve

ENGINES = ("wal-g", "barman-cloud")
# Of the archiver beside a server in use, and beside a scratch copy.
PROCESSORS = (0.25, 1.0)
SERVER = 0.5
# A server makes a checkpoint every five minutes, and an RPO of 60 s ends five segments in that time.
CHECKPOINT_EVERY = 5
LIMIT_SECONDS = 3600


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recovery", description=__doc__)
    parser.add_argument("--engine", action="append", choices=ENGINES, help="one of them; both if it is not given")
    parser.add_argument("--segments", type=int, default=200)
    parser.add_argument("--processors", action="append", type=float, help=f"of the archiver; default {PROCESSORS}")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds by which the store answers later")
    told = parser.parse_args()
    print("| engine | archiver's processors | segments | seconds | each |\n|---|---|---|---|---|")
    for engine in told.engine or ENGINES:
        with running_store() as store, archived(store, engine) as before:
            write(before, told.segments)
            for processors in told.processors or PROCESSORS:
                seconds = recover(store, before, engine, processors=processors, delay=told.delay)
                each = seconds / told.segments
                print(f"| {engine} | {processors:g} | {told.segments} | {seconds:.0f} | {each:.2f} |", flush=True)


@contextlib.contextmanager
def running_store() -> Iterator[ObjectStore]:
    with tempfile.TemporaryDirectory(prefix="supalove-bench-") as folder:
        write_certificates(Path(folder))
        store = serve(Path(folder))
        try:
            await_answer(store)
            store = dataclasses.replace(store, bucket="recovery")
            store.client().create_bucket(Bucket=store.bucket)
            yield store
        finally:
            store.program.stop()


def write(before: Archived, segments: int) -> None:
    """Archive so many, after a base backup; then there is no server any more."""
    before.await_(lambda: before.told().get("backup", {}).get("done"), "no base backup was made")
    before.sql("CREATE TABLE rows (at timestamptz)")
    for number in range(segments):
        before.sql("INSERT INTO rows VALUES (now())")
        if number % CHECKPOINT_EVERY == 0:
            before.sql("CHECKPOINT")
        last = before.segment()
    before.await_(lambda: any(name.startswith(last) for name in before.names()), "not archived", LIMIT_SECONDS)
    before.stop()


def recover(store: ObjectStore, before: Archived, engine: str, *, processors: float, delay: float) -> float:
    """Seconds from the start of the server to its promotion."""
    life = life_of(before, engine, target=LATEST, last=before.last_segment())
    with contextlib.ExitStack() as stack:
        way = stack.enter_context(flaky(store))
        address = way.address if delay else store.address
        made = stack.enter_context(laid_out(store, engine, address=address, life=life, before=before))
        first = restoring(made)
        if podman("wait", first) != "0":
            raise SystemExit(podman("logs", first))
        way.delay_seconds = lambda _path: delay
        began = time.monotonic()
        start(made)
        for container, limit in ((made.archiver, processors), (made.server, SERVER)):
            # Not their memory: that of the machine stands for the volume, and what is written there would count.
            podman("update", "--cpus", str(limit), container)
        mark = made.directory / "data/pgdata/recovery.signal"
        made.await_(lambda: not mark.exists(), "it does not end", LIMIT_SECONDS)
        seconds = time.monotonic() - began
        made.await_(made.is_up, "PostgreSQL did not get ready")
    return seconds


if __name__ == "__main__":
    main()
