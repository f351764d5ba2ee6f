# SPDX-License-Identifier: GPL-3.0-or-later
"""Base backups on request: API server, kubelet, and in the pod a real archiver, or its web server alone."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.health import problems_of
from ansible_collections.supalove.platform.plugins.module_utils._engine.archiving import archiving_of
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.archiver.client import (
    LARGEST,
    Archiver,
    exchange,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.records import read_records
from ansible_collections.supalove.platform.plugins.module_utils._engine.backup import backup
from ansible_collections.supalove.platform.plugins.module_utils._engine.credentials import Secret
from ansible_collections.supalove.platform.plugins.module_utils._engine.deadline import Backoff
from ansible_collections.supalove.platform.plugins.module_utils._engine.describe import describe
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import (
    Conflict,
    NotFound,
    Rejected,
    ServerFailed,
    Unreachable,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.progress import Silent
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.parse import parse
from ansible_collections.supalove.platform.plugins.module_utils._engine.settings import Settings
from ansible_collections.supalove.platform.plugins.module_utils._engine.steps import Result
from fix_archive import SECONDS, archived
from fix_container import ROOT, podman
from fix_engine import RECORDS
from fix_flaky import FINE, flaky, is_base
from fix_kubelet import NODE
from fix_postgresql import deadline

PLATFORM = {"object_store_endpoint": "https://127.0.0.1:8333", "object_store_ca": None}
UID = "abcdefgh2345"


def add_pod(engine, ref, *, archiver=True):
    """A dedicated project as a run leaves it, as far as a backup looks: its record, and the pod of its PostgreSQL."""
    request, namespace = engine.server.request, f"p-{ref}"
    request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    one = {"name": "archiver", "image": "none", "restartPolicy": "Always"}
    spec = {"nodeName": NODE, "containers": [{"name": "postgresql", "image": "none"}]}
    spec |= {"initContainers": [one]} if archiver else {}
    request("POST", f"/api/v1/namespaces/{namespace}/pods", {"metadata": {"name": "postgresql-0"}, "spec": spec})
    add_record(engine, ref)


def add_record(engine, ref, *, placement="dedicated", phase="Ready"):
    body = {"apiVersion": "supalove.cloud/v1alpha1", "kind": "SupaloveProject", "metadata": {"name": ref}}
    engine.server.request("POST", RECORDS, {**body, "spec": {"managedBy": "inventory", "tier": "free"}})
    status = {"uid": UID, "phase": phase, "placement": placement, "sessions": 0}
    engine.server.merge(f"{RECORDS}/{ref}/status", {"status": status})


@pytest.fixture
def project(engine, ref, kubelet):  # noqa: ARG001 (the pod is on its node)
    add_pod(engine, ref)
    yield ref
    engine.server.request("DELETE", f"{RECORDS}/{ref}")


@pytest.fixture
def pair(object_store):
    """An archive with its first base backup."""
    with archived(object_store, "wal-g") as made:
        made.await_(lambda: made.status()["backup"]["done"] == 1, "no base backup was made")
        yield made


@pytest.fixture
def leads_to(kubelet, monkeypatch):
    """Says where the port of every pod's archiver leads."""

    def lead(port):
        monkeypatch.setattr(kubelet, "connect", lambda _port: socket.create_connection(("127.0.0.1", port)))

    return lead


@pytest.fixture
def figures(leads_to, monkeypatch):
    """The web server of the archiver alone; its answers are what a test notes in `state`, and `ask` returns."""
    monkeypatch.syspath_prepend(str(ROOT / "images/archiver/root/usr/local/lib/supalove"))
    from archiver import web
    from archiver.state import State

    class Counting(State):
        reads = 0

        def read(self):
            self.reads += 1
            return super().read()

    made = Counting()
    made.note(archive="p-a", rpo_seconds=60, backup_hours=24)
    made.asked = []
    made.ask = lambda full: made.asked.append(full) or True
    made.told, made.answer = [], (200, "done")

    def answer_at(path):
        return lambda told: made.told.append((path, told)) or made.answer

    others = {path: answer_at(path) for path in ("/dump", "/check", "/load", "/swap", "/drop")}
    answers = {**web.backup_answers(lambda full: bool(made.ask(full))), **others}
    server = web.serve(made, answers, port=0)
    leads_to(server.server_port)
    yield made
    server.shutdown()
    server.server_close()
    for name in [name for name in sys.modules if name.partition(".")[0] == "archiver"]:
        monkeypatch.delitem(sys.modules, name)


def back_up(engine, *refs, full=False, **settings):
    """One run with a client of its own."""
    wanted = Settings(**{"timeout_seconds": 60.0, "backoff": Backoff(tries=2), **settings})
    platform = parse(projects={}, tiers={}, platform=PLATFORM).platform
    with engine.client() as client:
        report = backup(
            client, platform, refs=refs, clusters=None, full=full, settings=wanted, progress=Silent()
        )  # fmt: skip
    return report.outcomes


def ask(engine, ref, question):
    with engine.client() as client:
        return question(Archiver(client=client, namespace=f"p-{ref}"))


def test_a_base_backup_is_made_and_how_it_goes_is_told(engine, project, pair, leads_to):
    leads_to(pair.port)
    pair.sql("CREATE TABLE rows (id int)")
    pair.await_archived(pair.segment())
    (outcome,) = back_up(engine, project, full=True)
    assert (outcome.result, outcome.is_full) == (Result.CHANGED, True), outcome
    sentinels = [name for name in pair.names() if name.endswith("_backup_stop_sentinel.json")]
    assert len(sentinels) == 2
    status = ask(engine, project, lambda archiver: archiver.status(deadline=deadline()))
    assert problems_of(status) == ()
    assert (status.incarnation, status.engine, status.rpo_seconds) == (pair.incarnation, "wal-g", 10)
    assert status.newest_backup_at == outcome.finished
    assert status.wal.last
    platform = parse(projects={}, tiers={}, platform=PLATFORM).platform
    with engine.client() as client:
        (told,) = describe(client, platform, refs=[project], settings=Settings(), with_archive=True)
        (quiet,) = describe(client, platform, refs=[project], settings=Settings())
    assert told["archive"]["is_healthy"] is True
    assert told["archive"]["last_backup_at"] == outcome.finished.isoformat(timespec="seconds")
    assert "archive" not in quiet


def test_asked_for_twice_at_once_two_are_made_one_after_the_other(engine, project, pair, leads_to):
    leads_to(pair.port)
    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(back_up, engine, project) for _run in range(2)]
        results = [run.result()[0].result for run in runs]
    assert results == [Result.CHANGED] * 2
    status = ask(engine, project, lambda archiver: archiver.status(deadline=deadline()))
    assert (status.backup.done, status.backup.failures_ever) == (3, 0)


def test_an_archiver_that_ends_while_it_is_watched_fails_the_backup(engine, project, object_store, leads_to):
    killed = threading.Event()

    def held(method, path):
        """A base backup does not end before the archiver does."""
        if method in ("PUT", "POST") and is_base(path):
            killed.wait(SECONDS)
        return FINE

    with flaky(object_store) as way, archived(object_store, "wal-g", address=way.address) as pair:
        pair.await_(lambda: pair.told()["backup"]["done"] == 1, "no base backup was made")
        leads_to(pair.port)
        way.judge = held
        with ThreadPoolExecutor() as pool:
            run = pool.submit(back_up, engine, project, full=True)
            pair.await_(lambda: pair.told()["backup_running"], "no base backup has begun")
            podman("kill", pair.archiver)
            killed.set()
            (outcome,) = run.result()
    assert outcome.result is Result.FAILED
    assert "error forwarding port 8432" in outcome.failure.reason


def test_check_mode_asks_nobody(engine, project, leads_to):
    leads_to(1)
    (outcome,) = back_up(engine, project, full=True, check=True)
    assert (outcome.result, outcome.reason) == (Result.CHANGED, "a full base backup would be asked for")


def test_one_without_an_archiver_and_one_that_does_not_answer_fail_for_their_own_reasons(
    engine, project, leads_to, figures
):
    other = f"{project}-bare"
    add_pod(engine, other, archiver=False)
    leads_to(1)
    bare, gone = sorted(back_up(engine, project, other), key=lambda one: one.ref != other)
    engine.server.request("DELETE", f"{RECORDS}/{other}")
    assert [one.result for one in (bare, gone)] == [Result.FAILED] * 2
    assert "the pod has no archiver; run the module projects" in bare.failure.reason
    assert "error forwarding port 8432" in gone.failure.reason
    assert figures.asked == []


def test_one_that_runs_already_is_waited_for_and_then_ours_is_asked_for(engine, project, figures):
    figures.note(backup_running=True)
    steps = []

    def begin(full):
        steps.append("asked")
        figures.note(backup_running=True)
        threading.Timer(1.0, end, args=("ours",)).start()
        return full

    def end(whose):
        steps.append(whose)
        figures.succeeded("backup", "full")
        figures.note(backup_running=False)

    figures.ask = begin
    other = threading.Timer(2.0, end, args=("the other",))
    other.start()
    (outcome,) = back_up(engine, project, full=True)
    assert outcome.result is Result.CHANGED
    assert steps == ["the other", "asked", "ours"]


def test_without_waiting_it_is_asked_for_unless_one_runs(engine, project, figures):
    (outcome,) = back_up(engine, project, wait=False)
    assert (outcome.result, figures.asked) == (Result.CHANGED, [False])
    figures.note(backup_running=True)
    (outcome,) = back_up(engine, project, wait=False)
    assert (outcome.result, figures.asked) == (Result.UNCHANGED, [False])
    assert outcome.reason == "a base backup is running already; none was asked for"


def test_one_that_does_not_end_in_time_goes_on_and_is_named(engine, project, figures):
    figures.ask = lambda _full: figures.note(backup_running=True) or True
    (outcome,) = back_up(engine, project, timeout_seconds=8)
    assert outcome.result is Result.WAITING
    assert outcome.reason.endswith("was asked for and is running; it did not end within 8 s, and goes on")


def test_a_backup_that_fails_and_one_that_is_lost_say_why(engine, project, figures):
    figures.ask = lambda _full: figures.failed("backup", "no room") or True
    (outcome,) = back_up(engine, project)
    assert (outcome.result, outcome.failure.reason) == (Result.FAILED, "no room")
    figures.ask = lambda _full: figures.note(began=time.time()) or True
    (outcome,) = back_up(engine, project)
    assert "started anew before the base backup had ended" in outcome.failure.reason


def test_dumps_loads_and_swaps_are_asked_for_and_no_error_has_the_address_of_a_dump(engine, project, figures):
    database, url = f"p_{UID}", "https://store/x.dump?Signature=hidden"
    kept, owner = f"{database}_20261126t034450z", f"{database}_owner"

    def load(archiver):
        archiver.load(database, owner=owner, url=Secret(url), same_project=True, deadline=deadline())

    ask(engine, project, lambda archiver: archiver.dump(database, "platform/dumps/x.dump", deadline=deadline()))
    ask(engine, project, lambda archiver: archiver.check([database], deadline=deadline()))
    ask(engine, project, load)
    ask(engine, project, lambda archiver: archiver.swap(database, kept=kept, deadline=deadline()))
    assert ask(engine, project, lambda archiver: archiver.drop(kept, deadline=deadline())) is True
    assert figures.told == [
        ("/dump", {"database": database, "key": "platform/dumps/x.dump"}),
        ("/check", {"databases": [database]}),
        ("/load", {"database": database, "owner": owner, "url": url, "same_project": True}),
        ("/swap", {"database": database, "kept": kept}),
        ("/drop", {"database": kept}),
    ]
    figures.answer = (404, f"there is no database {kept}")
    assert ask(engine, project, lambda archiver: archiver.drop(kept, deadline=deadline())) is False
    figures.answer = (409, f"{url} is being loaded")
    with pytest.raises(Conflict) as caught:
        ask(engine, project, load)
    assert "hidden" not in str(caught.value)
    figures.answer = (503, "a lock")
    with pytest.raises(ServerFailed, match="a lock"):
        ask(engine, project, lambda archiver: archiver.swap(database, kept=kept, deadline=deadline()))


def test_where_nothing_is_archived_none_is_asked_for(engine, project, figures, monkeypatch):
    monkeypatch.setattr(sys.modules[backup.__module__], "BEGIN_SECONDS", 0)
    figures.note(refused="no keys")
    (outcome,) = back_up(engine, project)
    assert (outcome.result, figures.asked) == (Result.FAILED, [])
    assert outcome.failure.reason == "nothing is archived: no keys"


def test_an_archiver_that_is_just_beginning_is_waited_for(engine, project, figures):
    """A run has made its login again a moment ago; the backup that follows was refused with the reason of before."""

    def begin(full):
        figures.asked.append(full)
        figures.succeeded("backup", "full")
        return True

    figures.ask = begin
    figures.note(refused="no keys")
    threading.Timer(2, lambda: figures.note(refused="")).start()
    (outcome,) = back_up(engine, project, full=True)
    assert (outcome.result, figures.asked) == (Result.CHANGED, [True])


def test_a_shared_cluster_is_asked_once_and_who_does_not_answer_holds_up_nobody(engine, project, figures):
    placements = {"one": "shared/main", "two": "shared/main", "gone": "dedicated", "rest": "dedicated"}
    for name, placement in placements.items():
        add_record(engine, f"{project}-{name}", placement=placement, phase="Stopped" if name == "rest" else "Ready")
    with engine.client() as client:
        known = read_records(client, "supalove-system", deadline=deadline())
        chosen = [known[f"{project}-{name}"] for name in placements]
        platform = parse(projects={}, tiers={}, platform=PLATFORM).platform
        found = archiving_of(chosen, client, platform, workers=4, deadline=deadline())
    for one in chosen:
        engine.server.request("DELETE", f"{RECORDS}/{one.ref}")
    one, two, gone, rest = (found[each.ref] for each in chosen)
    assert one == two
    assert (one["archive"], one["is_healthy"], figures.reads) == ("p-a", True, 1)
    assert "the archiver does not answer: CONNECT Pod" in gone["problems"][0]
    assert rest.items() >= {"is_healthy": True, "problems": [], "message": "the project is stopped"}.items()


def test_somebody_who_was_quicker_is_a_conflict(engine, project, figures):
    figures.ask = lambda _full: False
    with pytest.raises(Conflict, match="a backup is running"):
        ask(engine, project, lambda archiver: archiver.ask_backup(full=False, deadline=deadline()))


def test_a_pod_that_is_not_there_is_not_found(engine, project):
    engine.server.request("DELETE", f"/api/v1/namespaces/p-{project}/pods/postgresql-0?gracePeriodSeconds=0")
    with pytest.raises(NotFound):
        ask(engine, project, lambda archiver: archiver.status(deadline=deadline()))


@contextlib.contextmanager
def answering(answer):
    """Who listens in the archiver's place, and says these bytes, the last of them again and again until it is cut."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with contextlib.suppress(OSError):
            peer, _address = listener.accept()
            with peer:
                peer.settimeout(SECONDS)
                peer.recv(65536)
                peer.sendall(answer)
                while answer.endswith(b"..."):
                    peer.sendall(b".")
                    time.sleep(0.05)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        # Closed alone, it would leave `accept` waiting.
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (b"", Unreachable, "closed connection|without response"),
        (b"220 smtp\r\n", Unreachable, "220 smtp"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", Unreachable, "IncompleteRead"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (LARGEST + 1), Unreachable, f"larger than {LARGEST} bytes"),
        (b'HTTP/1.1 200 OK\r\n\r\n{"archive": ""}', Rejected, "its status is not as this collection reads it"),
        (b"HTTP/1.1 501 No\r\n\r\nnot\nhere", Exception, "not here"),
        (b"HTTP/1.1 400 No\r\n\r\n", Rejected, "no reason given"),
    ],
)
def test_an_answer_that_is_no_archivers_is_one_error(engine, project, leads_to, answer, error, text):
    with answering(answer) as port:
        leads_to(port)
        with pytest.raises(error, match=text):
            ask(engine, project, lambda archiver: archiver.status(deadline=deadline()))


def test_an_answer_that_comes_byte_by_byte_ends_at_its_limit(tmp_path):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        stop = threading.Event()
        thread = threading.Thread(target=drip, args=(listener, stop))
        thread.start()
        try:
            with pytest.raises(TimeoutError, match="no whole answer came within 1 s"):
                exchange(path, "GET", "/status", 1.0)
        finally:
            stop.set()
            thread.join()


def drip(listener, stop):
    """Never a second without a byte, and an end that comes much later than the limit."""
    listener.settimeout(SECONDS)
    with contextlib.suppress(OSError):
        peer, _address = listener.accept()
        with peer:
            for _byte in range(400):
                if stop.wait(0.05):
                    return
                peer.sendall(b"H")
