# SPDX-License-Identifier: GPL-3.0-or-later
"""A move that ends anywhere, by a kill or a lost answer, and is begun again: no row is lost, and it comes to its end.

The systems are a model that keeps their promises; tests/integration/test_moves.py shows that the real ones do.
"""

from __future__ import annotations

import contextlib
from functools import partial
from types import SimpleNamespace

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine import live_dump
from ansible_collections.supalove.platform.plugins.module_utils._engine import move as moving
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import (
    Conflict,
    NotFound,
    SafetyStop,
    Unreachable,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.progress import Silent
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import Uid, names_of
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.parse import parse
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.placement import Placed, Placement
from ansible_collections.supalove.platform.plugins.module_utils._engine.settings import Settings
from ansible_collections.supalove.platform.plugins.module_utils._engine.steps import Report
from builders import CLUSTER, FREE, SHARED

UID = Uid("abcdefgh2345")
DATABASE = names_of("acme", UID).database
SHARED_HOME, OWN_HOME = "s-one", "p-acme"
MIB = 1024**2


class Killed(BaseException):
    """The end of a run at any point, as SIGKILL is."""


class Server:
    """A PostgreSQL with its archiver: databases by name, each with its rows."""

    def __init__(self):
        self.databases = {}
        self.token = ""
        self.is_running = True


class World:
    """What there is. Every question counts; the one with the number `ends_at` is the last of its run."""

    def __init__(self, home, record):
        self.servers = {SHARED_HOME: Server(), OWN_HOME: Server()}
        self.servers[home].databases[DATABASE] = ["first"]
        self.servers[OWN_HOME].is_running = home == OWN_HOME
        self.record = record
        self.dumps = {}
        self.questions = 0
        self.ends_at = None
        self.loses_at = None
        self.before_answer = lambda: None

    def ask(self):
        self.questions += 1
        if self.questions == self.ends_at:
            raise Killed
        self.before_answer()
        return self.questions == self.loses_at

    def serving(self):
        """Where the project's pooler goes."""
        placement = Placement.from_text(str(self.record))
        return self.servers[OWN_HOME if placement.cluster is None else SHARED_HOME]

    def write(self, row):
        """What a client does whenever it can."""
        server = self.serving()
        if server.is_running and DATABASE in server.databases and not server.token:
            server.databases[DATABASE].append(row)
            return [row]
        return []

    def bring(self, access, inventory, *, settings, progress, lease=None):  # noqa: ARG002
        """What a run on the project does for a placement."""
        self.ask()
        (placement,) = settings.places.values()
        there = placement.move.cluster if placement.move else placement.cluster
        server = self.servers[OWN_HOME if there is None else SHARED_HOME]
        server.is_running = True
        server.databases.setdefault(DATABASE, [])
        self.ask()
        self.record = placement
        return Report(outcomes=())

    def load(self, access, into, key, *, with_grants, progress, deadline):  # noqa: ARG002
        """Beside the database that is there."""
        self.ask()
        self.servers[into.source.namespace].databases[f"{DATABASE}_new"] = list(self.dumps[f"platform/{key}"])

    def await_work(self, archiver, what, before, *, progress, deadline):  # noqa: ARG002
        """Of the newest dump."""
        return SimpleNamespace(dump=SimpleNamespace(last=f"{DATABASE} {next(reversed(self.dumps))}"))


class Archiver:
    """As the real one answers; a lost answer is about something that was done."""

    def __init__(self, world, namespace):
        self.world, self.server, self.subject = world, world.servers[namespace], f"Pod/{namespace}"

    def _answer(self, done):
        lost = self.world.ask()
        if not self.server.is_running:
            raise NotFound(subject=self.subject, verb="CONNECT", reason="there is no pod")
        answer = done()
        if lost:
            raise Unreachable(subject=self.subject, verb="POST", reason="connection reset")
        return answer

    def look(self, database, *, deadline):  # noqa: ARG002
        there = self.server.databases
        return self._answer(lambda: (8 * MIB, ()) if database in there else None)

    def status(self, *, deadline):  # noqa: ARG002
        return self._answer(lambda: SimpleNamespace(kept=()))

    def close(self, database, *, seconds, deadline):  # noqa: ARG002
        def done():
            self.server.token = "token"
            return "token"

        return self._answer(done)

    def hold(self, database, *, token, seconds, deadline):
        """Nobody holds for as long as this lasts."""

    def open(self, database, *, deadline):  # noqa: ARG002
        def done():
            self.server.token = ""
            return database in self.server.databases

        return self._answer(done)

    def dump(self, database, key, *, token, deadline):  # noqa: ARG002
        def done():
            if token != self.server.token:
                raise Conflict(subject=self.subject, verb="POST", reason="open")
            self.world.dumps[key] = list(self.server.databases[database])

        self._answer(done)

    def drop(self, name, *, deadline):  # noqa: ARG002
        return self._answer(lambda: self.server.databases.pop(name, None) is not None)

    def swap(self, database, *, kept, deadline):  # noqa: ARG002
        def done():
            there = self.server.databases
            if f"{database}_new" not in there:
                if kept in there and database in there:
                    return
                raise NotFound(subject=self.subject, verb="POST", reason="nothing was loaded")
            if kept in there:
                raise Conflict(subject=self.subject, verb="POST", reason=f"there is a database {kept} already")
            there[kept], there[database] = there[database], there.pop(f"{database}_new")

        self._answer(done)

    def retire(self, database, *, token, kept, deadline):  # noqa: ARG002
        def done():
            there = self.server.databases
            if database not in there and kept in there:
                return ""
            if database not in there:
                raise NotFound(subject=self.subject, verb="POST", reason=f"there is no database {database}")
            if token != self.server.token or not token:
                raise Conflict(subject=self.subject, verb="POST", reason="open")
            there[kept] = there.pop(database)
            self.server.token = ""
            return "2026-11-26T02:00:00+00:00"

        return self._answer(done)


@pytest.fixture
def world(monkeypatch, request):
    """The project acme, at the place that the test names, with the tier of the other one."""
    home, tier = request.param
    made = World(SHARED_HOME if home == "shared" else OWN_HOME, Placement(cluster="one" if home == "shared" else None))
    made.tier = tier

    def stop(self, deadline, *volumes):  # noqa: ARG001
        made.ask()
        made.servers[OWN_HOME].is_running = False
        if volumes:
            made.servers[OWN_HOME].databases.clear()
        made.ask()

    def drop_arrived(self, cluster, deadline):  # noqa: ARG001
        made.ask()
        made.servers[SHARED_HOME].databases.pop(DATABASE, None)

    def await_work(archiver, what, before, *, progress, deadline):  # noqa: ARG001
        key = next(reversed(made.dumps))
        return SimpleNamespace(dump=SimpleNamespace(last=f"{DATABASE} {key}"))

    @contextlib.contextmanager
    def lease(self):  # noqa: ARG001
        yield SimpleNamespace(bound=lambda deadline: deadline)

    replaced = {
        "Archiver": lambda *, client, namespace: Archiver(client, namespace),
        "reconcile": made.bring,
        "load": made.load,
        "clients_held": lambda *args, **rest: contextlib.nullcontext(),  # noqa: ARG005
        "remove": lambda *args, **rest: None,  # noqa: ARG005
    }
    for name, one in replaced.items():
        monkeypatch.setattr(moving, name, one)
    for name in ("Archiver", "await_work"):
        monkeypatch.setattr(live_dump, name, replaced.get(name, made.await_work))
    monkeypatch.setattr(live_dump, "_let_dump", lambda *args: None)  # noqa: ARG005
    steps = {"_lease": lease, "_stop": stop, "_drop_arrived": drop_arrived}
    for name, one in steps.items():
        monkeypatch.setattr(moving._Job, name, one)
    monkeypatch.setattr(moving.records, "read_records", lambda *args, **rest: {"acme": recorded(made)})  # noqa: ARG005
    return made


def recorded(world):
    return SimpleNamespace(uid=UID, unreadable="", placed=Placed(placement=world.record, sessions=8))


def run(world, tier=None):
    inventory = parse(
        projects={"acme": {"tier": tier or world.tier}},
        tiers={"free": SHARED, "pro": FREE},
        platform={"shared_clusters": {"one": CLUSTER}},
    )
    access = SimpleNamespace(client=world, required_archives=SimpleNamespace(discard=lambda keys, *, deadline: None))  # noqa: ARG005
    return moving.move(
        access, inventory, ref="acme", most_bytes=100 * MIB, settings=Settings(), progress=Silent()
    )  # fmt: skip


def in_use(world):
    """The rows that a client sees, if it sees any."""
    server = world.serving()
    return server.databases.get(DATABASE) if server.is_running else None


BOTH_WAYS = pytest.mark.parametrize("world", [("shared", "pro"), ("own", "free")], indirect=True, ids=["out", "back"])


@BOTH_WAYS
def test_an_undisturbed_move_brings_every_row_and_a_second_one_does_nothing(world):
    done = run(world)
    assert in_use(world) == ["first"]
    assert done.after == world.record
    assert world.record.past[-1].until.isoformat() == "2026-11-26T02:00:00+00:00"
    assert run(world).kept == ""


@BOTH_WAYS
def test_a_move_that_is_killed_anywhere_loses_no_row_and_the_next_run_ends_it(world):
    length = questions_of(world)
    for number in range(1, length + 1):
        begin_anew(world)
        world.ends_at = number
        with contextlib.suppress(Killed):
            run(world)
        world.ends_at = None
        # The archiver opens what a killed run has closed.
        for server in world.servers.values():
            server.token = ""
        confirmed = ["first", *world.write("second")]
        run(world)
        assert in_use(world) == confirmed, number
        assert world.record.move is None


@BOTH_WAYS
def test_a_lost_answer_anywhere_loses_no_row_and_the_next_run_ends_it(world):
    length = questions_of(world)
    for number in range(1, length + 1):
        begin_anew(world)
        world.loses_at = number
        with contextlib.suppress(Unreachable):
            run(world)
        world.loses_at = None
        confirmed = ["first", *world.write("second")]
        run(world)
        assert in_use(world) == confirmed, number


@BOTH_WAYS
def test_what_is_written_because_somebody_opened_the_database_keeps_it_where_it_is(world):
    """A server that was started anew opens it, and a client is faster than the end of the move."""
    length, written = questions_of(world), 0
    for number in range(1, length + 1):
        begin_anew(world)
        confirmed = ["first"]

        world.before_answer = partial(intrude, world, number, confirmed)
        with contextlib.suppress(Conflict):
            run(world)
        world.before_answer = lambda: None
        run(world)
        assert in_use(world) == confirmed, number
        written += len(confirmed) == 2
    assert written > length / 2


@BOTH_WAYS
def test_a_move_that_was_killed_is_given_up_with_the_tier_of_before_unless_it_has_gone(world):
    length, given_up = questions_of(world), 0
    before = {"pro": "free", "free": "pro"}[world.tier]
    for number in range(1, length + 1):
        begin_anew(world)
        world.ends_at = number
        with contextlib.suppress(Killed):
            run(world)
        world.ends_at = None
        for server in world.servers.values():
            server.token = ""
        if world.record.move is None:
            continue
        has_gone = DATABASE not in world.serving().databases or not world.serving().is_running
        with pytest.raises(SafetyStop, match="has gone from where it was") if has_gone else contextlib.nullcontext():
            run(world, tier=before)
        given_up += not has_gone
        if has_gone:
            run(world)
        assert in_use(world) == ["first"], number
    assert given_up > 0


@pytest.mark.parametrize("world", [("shared", "pro")], indirect=True)
def test_an_archiver_that_does_not_know_the_question_is_not_taken_for_a_database_that_has_gone(world, monkeypatch):
    """An empty one was put in its place, and the run was green."""

    def look(self, database, *, deadline):  # noqa: ARG001
        raise NotFound(subject=self.subject, verb="POST", reason="GET /status, GET /metrics, POST /backup")

    monkeypatch.setattr(Archiver, "look", look)
    with pytest.raises(NotFound):
        run(world)
    assert in_use(world) == ["first"]


@pytest.mark.parametrize("world", [("shared", "pro")], indirect=True)
def test_a_database_that_is_lost_is_not_moved(world):
    world.servers[SHARED_HOME].databases.clear()
    with pytest.raises(SafetyStop, match="it is lost, and nothing to move"):
        run(world)


@pytest.mark.parametrize("world", [("shared", "pro")], indirect=True)
def test_grants_that_the_other_server_could_not_have_are_named_before_anything_is_closed(world, monkeypatch):
    monkeypatch.setattr(Archiver, "look", lambda self, database, *, deadline: (MIB, ("p_neighbour_owner",)))  # noqa: ARG005
    with pytest.raises(SafetyStop, match="grants to p_neighbour_owner"):
        run(world)
    assert world.record == Placement(cluster="one")


@pytest.mark.parametrize("world", [("shared", "pro")], indirect=True)
def test_a_dump_of_an_earlier_run_is_not_taken_for_this_ones(world, monkeypatch):
    last = SimpleNamespace(last=f"{DATABASE} dumps/other.dump")
    ended = SimpleNamespace(dump=last)
    monkeypatch.setattr(live_dump, "await_work", lambda *args, **rest: ended)  # noqa: ARG005
    with pytest.raises(SafetyStop, match="an earlier run began"):
        run(world)
    assert in_use(world) == ["first"]
    assert not world.servers[SHARED_HOME].token


def intrude(world, number, confirmed):
    """At this question the database is opened, and a client commits."""
    if world.questions == number:
        world.serving().token = ""
        confirmed += world.write("second")


def questions_of(world):
    """How many a whole move asks."""
    run(world)
    return world.questions


def begin_anew(world):
    home = SHARED_HOME if world.tier == "pro" else OWN_HOME
    fresh = World(home, Placement(cluster="one" if world.tier == "pro" else None))
    tier = world.tier
    world.__dict__.update(fresh.__dict__, tier=tier)
