# SPDX-License-Identifier: GPL-3.0-or-later
"""At random targets the restored rows are exactly those committed by then, and neighbours notice nothing.

What is right is decided by WAL itself (`fix_history.contents`), not by the order in which rows were written.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine import lives
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.recovery import AtTime, plan_recovery
from ansible_collections.supalove.platform.plugins.module_utils._engine.archives import dumps_of
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.life import TIME, Life
from fix_archive import SEED, Archived, archived
from fix_container import podman
from fix_dumps import load
from fix_history import (
    End,
    Row,
    Writers,
    contents,
    ends_of,
    inverted,
    make_table,
    recorded,
    rows_of,
    segments_of,
    writing,
)
from fix_object_store import ObjectStore
from fix_postgresql import Tenant
from fix_shared import ArchivedCluster, archived_cluster, copy_of_cluster

MICROSECOND = datetime.timedelta(microseconds=1)
REPORT = "random-targets.md"
HEAD = ("placement", "engine", "targets", "exact", "transactions", "segments", "base backups", "restored", "seed")


@dataclasses.dataclass(frozen=True)
class Plan:
    """`targets`: of each round. `stretches`: of writing in a round, each of `seconds`.

    A segment of WAL ends with each stretch. After the second one and every third from there a base backup is made.
    """

    targets: tuple[int, ...]
    stretches: int = 3
    seconds: float = 0.6


LONG = {"stretches": 7, "seconds": 1.5}
PLANS = [
    pytest.param("wal-g", Plan(targets=(2,)), id="wal-g"),
    pytest.param("barman-cloud", Plan(targets=(1,)), id="barman-cloud"),
    pytest.param("wal-g", Plan(targets=(3, 5), **LONG), id="wal-g-long", marks=pytest.mark.long),
    pytest.param("barman-cloud", Plan(targets=(3, 4), **LONG), id="barman-cloud-long", marks=pytest.mark.long),
]


def test_what_stands_in_wal_behind_a_later_end_is_not_there() -> None:
    """As PostgreSQL does it (recoveryStopsBefore in xlogrecovery.c); the end may be one that takes back."""
    now = datetime.datetime.now(datetime.UTC)
    ends = [
        End(xid=1, lsn="0/1", is_commit=True, at=now),
        End(xid=2, lsn="0/2", is_commit=False, at=now + 2 * MICROSECOND),
        End(xid=3, lsn="0/3", is_commit=True, at=now + MICROSECOND),
    ]
    rows = {xid: frozenset({(1, xid, 1)}) for xid in (1, 2, 3)}
    assert contents(ends, rows, now - MICROSECOND) == frozenset()
    assert contents(ends, rows, now + MICROSECOND) == rows[1]
    assert contents(ends, rows, now + 2 * MICROSECOND) == rows[1] | rows[3]
    assert inverted(ends) == ends[2:]


@dataclasses.dataclass(frozen=True)
class Past:
    """What happened to a database in one incarnation of its PostgreSQL: see `contents`. `backups`: when finished."""

    incarnation: str
    ends: Sequence[End]
    rows: Mapping[int, frozenset[Row]]
    backups: Sequence[datetime.datetime]
    before: frozenset[Row]
    instead: Mapping[int, frozenset[Row]]

    def at(self, target: datetime.datetime) -> frozenset[Row]:
        return contents(self.ends, self.rows, target, before=self.before, instead=self.instead)

    def commits(self) -> list[End]:
        """Of the writers, but the last one: PostgreSQL wants one that is later than a target."""
        return [one for one in self.ends if one.is_commit and one.xid in self.rows][:-1]


def at_random(past: Past, choice: random.Random) -> datetime.datetime:
    first, *_, last = (one.at for one in past.commits())
    return first + (last - first) * choice.random()


def at_a_commit(past: Past, choice: random.Random) -> datetime.datetime:
    """Of two whose order in WAL is not that of their times, if there are any."""
    commits = past.commits()
    return choice.choice([one for one in inverted(past.ends) if one in commits] or commits).at


def just_before_a_commit(past: Past, choice: random.Random) -> datetime.datetime:
    return choice.choice(past.commits()).at - MICROSECOND


def at_the_end_of_a_backup(past: Past, choice: random.Random) -> datetime.datetime:
    first, *_, last = (one.at for one in past.commits())
    return choice.choice([one for one in past.backups if first <= one <= last])


KINDS = (at_random, at_a_commit, just_before_a_commit, at_the_end_of_a_backup)


@dataclasses.dataclass
class Proof:
    """Of one placement with one engine. `wrong`: each target whose rows are not those that should be there.

    `tried`: of the `targets` those that are of one kind or another; the others are beginnings of lives.
    """

    placement: str
    engine: str
    versions: str = ""
    seed: int = SEED
    targets: int = 0
    tried: int = 0
    transactions: int = 0
    pasts: list[Past] = dataclasses.field(default_factory=list)
    wrong: list[str] = dataclasses.field(default_factory=list)

    def judge(self, what: str, past: Past, target: datetime.datetime, found: frozenset[Row]) -> None:
        right = past.at(target)
        self.targets += 1
        self.transactions += len(past.rows)
        print(f"{self.placement} {self.engine}: {what} {target}: {len(found)} rows, should be {len(right)}")
        if found != right:
            lost, more = sorted(right - found), sorted(found - right)
            self.wrong.append(f"seed {self.seed}, {what} {target} in {past.incarnation}: lost {lost}, too many {more}")

    def line(self) -> tuple[object, ...]:
        exact = self.targets - len(self.wrong)
        made = {(one.incarnation, at) for one in self.pasts for at in one.backups}
        segments = {(one.incarnation, segment) for one in self.pasts for segment in segments_of(one.ends)}
        restores = len({one.incarnation for one in self.pasts}) - 1 + len(self.pasts[-1].instead)
        return (self.placement, self.engine, self.targets, exact, self.transactions, len(segments), len(made), restores,
                self.seed)  # fmt: skip


@pytest.fixture(scope="module")
def proofs() -> Iterator[list[Proof]]:
    """What is written beside the other reports."""
    made: list[Proof] = []
    yield made
    lines = [HEAD, ["---"] * len(HEAD), *(one.line() for one in made if one.pasts)]
    table = "".join(f"| {' | '.join(str(word) for word in line)} |\n" for line in lines)
    versions = "; ".join(sorted({one.versions for one in made}))
    said = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {versions}\n\n{table}"
    (Path(os.environ["SUPALOVE_CHECKOUT_CACHE"]) / "reports" / REPORT).write_text(said)


def versions_of(pair: Archived, engine: str) -> str:
    program = {"wal-g": "wal-g", "barman-cloud": "barman-cloud-backup"}[engine]
    said = podman("exec", pair.archiver, program, "--version").split()
    # WAL-G's stand-in says that it is one in its fourth word.
    return f"PostgreSQL {pair.sql('SHOW server_version').split()[0]}, {' '.join(said[:4])}"


def await_backup(pair: Archived, ended: int = 0) -> None:
    """Until one more has ended. Barman begins with a checkpoint that takes its time, unless somebody has none."""
    pair.await_(lambda: pair.sql("CHECKPOINT") or pair.ended("backup") > ended, "the base backup does not end")


def back_up(pair: Archived) -> None:
    ended = pair.ended("backup")
    pair.ask("/backup")
    await_backup(pair, ended)
    assert pair.told()["backup"]["error"] == "", pair.logs()


def keep_wal(pair: Archived) -> str:
    """From now on, so that it can be read; the position."""
    with (pair.directory / "config/postgresql.conf").open("a") as file:
        file.write("wal_keep_size = 2GB\n")
    pair.sql("SELECT pg_reload_conf()")
    return pair.sql("SELECT pg_current_wal_insert_lsn()")


def write_all_the_time(pair: Archived, database: str, plan: Plan, seed: str) -> Writers:
    with writing(pair, database, seed) as writers:
        for stretch in range(plan.stretches):
            time.sleep(plan.seconds)
            pair.segment()
            if stretch % 3 == 1:
                back_up(pair)
    pair.await_archived(pair.segment())
    return writers


def past_of(
    pair: Archived,
    database: str,
    since: str,
    writers: Sequence[Writers],
    *,
    before: frozenset[Row] = frozenset(),
    instead: Mapping[int, frozenset[Row]] | None = None,
) -> Past:
    """From a position in WAL up to now; what the server says in other ways is the same."""
    rows = {xid: one.rows() for each in writers for xid, one in each.written.items()}
    (catalog,) = (one for one in pair.catalogs() if one.id == pair.incarnation)
    past = Past(
        incarnation=pair.incarnation,
        ends=ends_of(pair, since),
        rows=rows,
        backups=[one.finished for one in catalog.usable()],
        before=before,
        instead=dict(instead or {}),
    )
    assert past.at(datetime.datetime.now(datetime.UTC)) == rows_of(pair, database)
    times = {one.xid: one.at for one in past.ends if one.is_commit}
    there = {xid: at for xid, at in recorded(pair, database).items() if xid in rows}
    assert there
    assert there.items() <= times.items()
    return past


def life_to(pair: Archived, past: Past, target: datetime.datetime) -> Life:
    """As the engine plans it."""
    catalogs, wanted = pair.catalogs(), AtTime(time=target)
    life = lives.life_of(
        None, catalogs, plan_recovery(catalogs, wanted, now=datetime.datetime.now(datetime.UTC)), wanted
    )
    assert (life.incarnation, life.target) == (past.incarnation, TIME)
    return life


def prove(
    proof: Proof, pair: Archived, choice: random.Random, count: int, restore: Callable[[Life], frozenset[Row]]
) -> None:
    """At so many targets, by turns in each incarnation and of each kind."""
    for number in range(count):
        past = proof.pasts[number % len(proof.pasts)]
        kind = KINDS[proof.tried % len(KINDS)]
        proof.tried += 1
        target = kind(past, choice)
        proof.judge(kind.__name__, past, target, restore(life_to(pair, past, target)))


@pytest.mark.parametrize(("engine", "plan"), PLANS)
def test_a_project_of_its_own_gets_exactly_what_was_committed_by_then(
    object_store: ObjectStore, proofs: list[Proof], engine: str, plan: Plan
) -> None:
    """After the first round it goes on in the life that a restore began, and both lives are restored from."""
    proof = Proof(placement="dedicated", engine=engine)
    proofs.append(proof)
    choice = random.Random(proof.seed)  # noqa: S311 (no secret)

    def restore(life: Life) -> frozenset[Row]:
        with archived(object_store, engine, life=life, before=pair) as after:
            return rows_of(after, after.database)

    with ExitStack() as stack:
        pair = stack.enter_context(archived(object_store, engine))
        proof.versions = versions_of(pair, engine)
        make_table(pair, pair.database)
        write_in_a_life(proof, pair, plan, rows=frozenset())
        prove(proof, pair, choice, plan.targets[0], restore)
        for count in plan.targets[1:]:
            past = proof.pasts[-1]
            target = at_random(past, choice)
            life = life_to(pair, past, target)
            pair = stack.enter_context(archived(object_store, engine, life=life, before=pair))
            rows = rows_of(pair, pair.database)
            proof.judge("the beginning of a life", past, target, rows)
            write_in_a_life(proof, pair, plan, rows=rows)
            prove(proof, pair, choice, count - 1, restore)
    assert proof.wrong == []


def write_in_a_life(proof: Proof, pair: Archived, plan: Plan, *, rows: frozenset[Row]) -> None:
    """From its first base backup to the end of its server. `rows`: that are there at first."""
    await_backup(pair)
    since = keep_wal(pair)
    writers = write_all_the_time(pair, pair.database, plan, f"{proof.seed}")
    proof.pasts.append(past_of(pair, pair.database, since, [writers], before=rows))
    pair.stop()


@pytest.mark.parametrize(("engine", "plan"), PLANS)
def test_one_database_of_a_shared_cluster_gets_exactly_what_was_committed_by_then_and_neighbours_go_on(
    object_store: ObjectStore, proofs: list[Proof], engine: str, plan: Plan
) -> None:
    """The database is replaced again and again, while its neighbour's one session writes."""
    proof = Proof(placement="shared", engine=engine)
    proofs.append(proof)
    choice = random.Random(proof.seed)  # noqa: S311 (no secret)
    instead: dict[int, frozenset[Row]] = {}

    def restore(life: Life) -> frozenset[Row]:
        replace(live, tenant, life)
        rows = rows_of(live, tenant.database)
        renamed = live.sql(f"SELECT xmin FROM pg_database WHERE datname = '{tenant.database}'")
        instead[int(renamed)] = rows
        return rows

    with archived_cluster(object_store, engine) as live:
        proof.versions = versions_of(live, engine)
        tenant, neighbour = two_tenants(live)
        await_backup(live)
        since, started = keep_wal(live), live.sql("SELECT pg_postmaster_start_time()")
        writers: list[Writers] = []
        # An error of the neighbour's session is raised at its end.
        with writing(live, neighbour.database, f"{proof.seed} neighbour", count=1) as theirs:
            for number, count in enumerate(plan.targets):
                writers.append(write_all_the_time(live, tenant.database, plan, f"{proof.seed} {number}"))
                proof.pasts[:] = [past_of(live, tenant.database, since, writers, instead=instead)]
                prove(proof, live, choice, count, restore)
        assert rows_of(live, neighbour.database) == theirs.rows()
        assert live.sql("SELECT pg_postmaster_start_time()") == started
    assert proof.wrong == []


def two_tenants(live: ArchivedCluster) -> tuple[Tenant, Tenant]:
    with live.reached() as shared:
        made = shared.tenant(), shared.tenant()
        shared.bring(tuple(one for tenant in made for one in tenant.desired()))
    for tenant in made:
        make_table(live, tenant.database)
    return made


def replace(live: ArchivedCluster, tenant: Tenant, life: Life) -> None:
    """As the engine has it done: dumped out of a copy of the cluster, loaded beside the live database, swapped in."""
    key = f"platform/{dumps_of('scratch-test')}{tenant.database}.dump"
    kept = f"{tenant.database}_{datetime.datetime.now(datetime.UTC):%Y%m%dt%H%M%Sz}"
    with copy_of_cluster(live, life) as copy:
        assert tenant.database in copy.told()["copy"]["databases"]
        assert copy.work("/dump", database=tenant.database, key=key)["error"] == ""
    assert load(live, tenant.database, key)["error"] == ""
    assert live.ask("/swap", database=tenant.database, kept=kept) == (200, "done")
    assert live.ask("/drop", database=kept) == (200, "done")
