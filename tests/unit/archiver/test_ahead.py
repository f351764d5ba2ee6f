# SPDX-License-Identifier: GPL-3.0-or-later
"""WAL of a recovery is fetched ahead, and never is anything but a whole segment of the archive handed to the server.

The server's own program asks, the archiver's own loop answers; the archive is a folder, and the engine a shell.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from archiver import ahead
from archiver.segments import SEGMENT_BYTES, following, is_segment
from archiver.state import State
from archiver.wal import Wal

WANTED = Path(__file__).parents[3] / "images/postgresql/root/usr/local/bin/supalove-wanted"
SECONDS = 60
START = "0000000100000000000000FC"
NAMES = [START, *following(START, 19)]
MISSING = 74
# Notes what it is asked for; then a copy, or MISSING.
COPY = 'cp "{archive}/$1" "$2"'
NOTE = 'echo "$1" >> "{asked}"'
GET = f'{NOTE}; [ -e "{{archive}}/$1" ] || exit {MISSING}; {COPY}'
SERIES = 'while read -r name destination; do sh -c "$0" sh "$name" "$destination" || exit; echo "$name"; done'


@dataclass
class Folder:
    """An archive in a folder, and how its files are got."""

    place: Path
    has_series: bool = False
    missing: int = MISSING
    get: str = GET

    def environment(self) -> Mapping[str, str]:
        return {}

    def fetch(self, name: str, destination: Path) -> list[str]:
        return ["sh", "-c", self._script(), "sh", name, str(destination)]

    def fetch_series(self) -> list[str]:
        return ["sh", "-c", SERIES, self._script()] if self.has_series else []

    def push(self, path: Path) -> list[str]:
        raise NotImplementedError

    def backup(self, data: Path, *, full: bool) -> list[str]:
        raise NotImplementedError

    def restore(self, name: str, data: Path) -> list[str]:
        raise NotImplementedError

    def _script(self) -> str:
        return self.get.format(archive=self.place, asked=self.asked_file)

    @property
    def asked_file(self) -> Path:
        return self.place.with_name("asked")

    def asked(self) -> list[str]:
        return self.asked_file.read_text().split() if self.asked_file.exists() else []

    def store(self, *names: str) -> None:
        for name in names:
            with (self.place / name).open("wb") as file:
                file.write(name.encode())
                file.truncate(SEGMENT_BYTES)


@dataclass
class Recovery:
    """A data directory that is recovered, with an archiver beside it."""

    data: Path
    spool: Path
    archive: Folder
    state: State = field(default_factory=State)
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def folder(self) -> Path:
        return self.data.with_name("pgdata.ahead")

    def names(self) -> list[str]:
        """What is ready to be taken."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(one.name for one in self.folder.iterdir() if is_segment(one.name))
        return []

    def ask(self, name: str, *bounds: str) -> tuple[int, str]:
        """As the server: exit code, and what the file that it got begins with."""
        place = self.data / "pg_wal/RECOVERYXLOG"
        place.unlink(missing_ok=True)
        environment = {**os.environ, "SUPALOVE_SPOOL": str(self.spool), "PGDATA": str(self.data)}
        command = ["sh", str(WANTED), name, "pg_wal/RECOVERYXLOG", *bounds]
        done = subprocess.run(command, env=environment, cwd=self.data, check=False, timeout=SECONDS)
        return done.returncode, place.read_bytes()[: len(name)].decode() if place.exists() else ""

    def promote(self) -> None:
        (self.data / "recovery.signal").unlink()

    def archiver(self) -> Wal:
        def nothing(_name: str) -> None:
            """Nothing is sent."""

        def source() -> Folder:
            return self.archive

        return Wal(
            data=self.data, spool=self.spool, engine_of=source, source_of=source, state=self.state, conflict=nothing
        )

    @contextlib.contextmanager
    def archiving(self) -> Iterator[None]:
        """The archiver's loop, as the resident has it. In the end the recovery is over and nothing is left."""
        wal = self.archiver()

        def loop() -> None:
            while not self.stopping.wait(0.02):
                wal.tick_in()

        thread = threading.Thread(target=loop, name="loop")
        thread.start()
        try:
            yield
            (self.data / "recovery.signal").unlink(missing_ok=True)
            await_(lambda: not self.folder.exists(), "the folder stays")
            await_(lambda: not hands(), "what fetches ahead goes on")
        finally:
            (self.data / "recovery.signal").unlink(missing_ok=True)
            self.stopping.set()
            thread.join()


def hands() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "ahead"]


def await_(is_so: Callable[[], object], what: str) -> None:
    end = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < end, what
        time.sleep(0.02)


STAYS = "a program that stays"
EITHER = pytest.mark.parametrize("kind", ["a program for each", STAYS])


@pytest.fixture
def kind() -> str:
    return STAYS


@pytest.fixture
def recovery(tmp_path: Path, kind: str) -> Recovery:
    for folder in ("archive", "spool", "volume/pgdata/pg_wal"):
        (tmp_path / folder).mkdir(parents=True)
    archive = Folder(tmp_path / "archive", has_series=kind == STAYS)
    archive.store(*NAMES)
    made = Recovery(tmp_path / "volume/pgdata", tmp_path / "spool", archive)
    (made.data / "recovery.signal").touch()
    return made


@EITHER
def test_every_segment_is_handed_over_in_its_turn_and_the_next_ones_wait_for_the_server(recovery: Recovery) -> None:
    with recovery.archiving():
        for name in NAMES:
            assert recovery.ask(name, NAMES[-1]) == (0, name)
        assert recovery.state.read().ahead.done > 0
    # None twice, and none but those.
    assert sorted(recovery.archive.asked()) == NAMES


def with_one_taken(recovery: Recovery, monkeypatch: pytest.MonkeyPatch) -> ahead.Ahead:
    """Without hands of its own: the first segment was asked for, and the second one fetched ahead and just taken."""
    monkeypatch.setattr(ahead, "HANDS", 0)
    made = ahead.Ahead(data=recovery.data, source_of=lambda: recovery.archive, state=recovery.state)
    fetch = ahead.Fetch(lambda: recovery.archive, lambda: "")
    made.tick({NAMES[0]: NAMES[-1]})
    assert made._next() == NAMES[1]
    made._fetch(NAMES[1], fetch)
    fetch.close()
    (recovery.folder / NAMES[1]).unlink()
    return made


def test_a_segment_that_is_asked_for_right_after_one_was_taken_is_not_fetched_twice(
    recovery: Recovery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it took was seen after what it asked for, and led back: a hand fetched what was being fetched already."""
    made = with_one_taken(recovery, monkeypatch)
    made.tick({NAMES[2]: NAMES[-1]})
    assert not made.has(NAMES[2])
    assert made._next() == NAMES[3]


def test_what_the_server_has_just_taken_is_not_fetched_again_for_a_wish_that_is_about_to_go(
    recovery: Recovery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "TAKEN_SECONDS", 0.2)
    made = with_one_taken(recovery, monkeypatch)
    made.tick({NAMES[1]: NAMES[-1]})
    assert made.has(NAMES[1])
    # A server that was started again may want it once more.
    await_(lambda: not made.has(NAMES[1]), "it is never fetched again")


def test_what_came_after_the_server_had_looked_is_there_when_it_looks_again(
    recovery: Recovery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was thrown away as what is behind the server, and fetched once more."""
    made = with_one_taken(recovery, monkeypatch)
    made.tick({NAMES[1]: NAMES[-1]})
    assert made._next() == NAMES[2]
    fetch = ahead.Fetch(lambda: recovery.archive, lambda: "")
    made._fetch(NAMES[2], fetch)
    fetch.close()
    made.tick({NAMES[2]: NAMES[-1]})
    assert made._next() == NAMES[3]
    assert made.has(NAMES[2])
    assert (recovery.folder / NAMES[2]).exists()


def test_a_wish_that_was_read_before_the_server_went_on_leads_nobody_back(
    recovery: Recovery, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = with_one_taken(recovery, monkeypatch)
    assert made._next() == NAMES[2]
    made.tick({NAMES[1]: NAMES[-1]})
    assert made._next() == NAMES[3]


def test_no_more_than_the_bound_waits_for_the_server(recovery: Recovery) -> None:
    with recovery.archiving():
        assert recovery.ask(START, NAMES[-1]) == (0, START)
        await_(lambda: len(recovery.names()) == ahead.SEGMENTS, "they do not come")
        assert recovery.names() == NAMES[1 : ahead.SEGMENTS + 1]
        assert recovery.ask(NAMES[1], NAMES[-1]) == (0, NAMES[1])
        await_(lambda: recovery.names() == NAMES[2 : ahead.SEGMENTS + 2], "the next one does not come")
    assert sorted(recovery.archive.asked()) == NAMES[: ahead.SEGMENTS + 2]


def test_nothing_after_the_last_segment_of_the_plan_is_fetched_unasked(recovery: Recovery) -> None:
    last = NAMES[3]
    with recovery.archiving():
        for name in NAMES[:4]:
            assert recovery.ask(name, last) == (0, name)
        # The archive has grown since, and the server goes on by itself.
        assert recovery.ask(NAMES[4], last) == (0, NAMES[4])
    assert sorted(recovery.archive.asked()) == NAMES[:5]


def test_nothing_after_the_segment_that_an_earlier_try_came_to_is_fetched_or_handed_over(recovery: Recovery) -> None:
    reached = NAMES[3]
    with recovery.archiving():
        for name in NAMES[:4]:
            assert recovery.ask(name, NAMES[1], reached) == (0, name)
        assert recovery.ask(NAMES[4], NAMES[1], reached) == (1, "")
    assert sorted(recovery.archive.asked()) == NAMES[:4]


def test_a_history_is_asked_for_when_the_server_does_and_nothing_is_fetched_after_it(recovery: Recovery) -> None:
    with recovery.archiving():
        assert recovery.ask("00000002.history", NAMES[-1]) == (1, "")
    assert recovery.archive.asked() == ["00000002.history"]


@EITHER
def test_what_was_missing_ahead_is_found_if_it_is_there_when_the_server_asks(recovery: Recovery) -> None:
    late = NAMES[2]
    (recovery.archive.place / late).unlink()
    with recovery.archiving():
        assert recovery.ask(START, NAMES[-1]) == (0, START)
        await_(lambda: late in recovery.archive.asked(), "it is not fetched ahead")
        await_(lambda: recovery.state.read().ahead.failures_ever > 0, "it is not missing")
        recovery.archive.store(late)
        assert recovery.ask(NAMES[1], NAMES[-1]) == (0, NAMES[1])
        assert recovery.ask(late, NAMES[-1]) == (0, late)


def test_the_archive_itself_says_that_a_segment_is_missing_once_the_server_asks_for_it(recovery: Recovery) -> None:
    end = NAMES[2]
    for name in NAMES[2:]:
        (recovery.archive.place / name).unlink()
    with recovery.archiving():
        for name in NAMES[:2]:
            assert recovery.ask(name, NAMES[1]) == (0, name)
        assert recovery.ask(end, NAMES[1]) == (1, "")
        # What the plan counted on has gone.
        assert recovery.ask(end, end) == (255, "")
    assert recovery.archive.asked().count(end) == 2


HALF = 'head -c 1000000 "{archive}/$1" > "$2"; '


@EITHER
@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(f"{HALF} kill -9 $$", id="killed"),
        pytest.param(f"{HALF} exit 1", id="failed"),
        pytest.param(HALF, id="cut"),
        pytest.param(":", id="nothing"),
    ],
)
def test_a_program_that_breaks_in_the_midst_leaves_nothing_that_could_be_used(recovery: Recovery, broken: str) -> None:
    """The one that the server waits for gets it whole."""
    recovery.archive.get = f'case "$2" in *.ahead/*) {broken} ;; *) {COPY} ;; esac'
    with recovery.archiving():
        for name in NAMES[:4]:
            assert recovery.ask(name, NAMES[-1]) == (0, name)
            assert recovery.names() == []
        await_(lambda: recovery.state.read().ahead.failures_ever > 0, "nothing is fetched ahead")
        await_(lambda: not any(recovery.folder.iterdir()), "what is broken stays")
        assert recovery.state.read().ahead.done == 0


@EITHER
def test_a_store_that_fails_is_not_pestered_while_the_server_waits(recovery: Recovery) -> None:
    recovery.archive.get = f'{NOTE}; case "$2" in *.ahead/*) exit 1 ;; *) {COPY} ;; esac'
    with recovery.archiving():
        assert recovery.ask(START, NAMES[-1]) == (0, START)
        await_(lambda: recovery.state.read().ahead.failures_ever > 0, "nothing is fetched ahead")
        time.sleep(20 * ahead.LOOK_SECONDS)
        assert len(recovery.archive.asked()) <= 1 + ahead.HANDS


def test_a_recovery_that_begins_again_further_back_gets_everything_again(recovery: Recovery) -> None:
    with recovery.archiving():
        for name in [*NAMES[:12], *NAMES[3:]]:
            assert recovery.ask(name, NAMES[-1]) == (0, name)


def test_of_a_timeline_that_the_server_leaves_nothing_is_used_or_kept(recovery: Recovery) -> None:
    other = [f"00000002{name[8:]}" for name in NAMES]
    recovery.archive.store(*other)
    with recovery.archiving():
        assert recovery.ask(START, NAMES[-1]) == (0, START)
        await_(lambda: recovery.names() == NAMES[1 : ahead.SEGMENTS + 1], "they do not come")
        assert recovery.ask(other[1], NAMES[-1]) == (0, other[1])
        await_(lambda: recovery.names() == other[2 : ahead.SEGMENTS + 2], "those of before are kept")


def test_what_a_killed_archiver_has_left_is_removed_by_the_next(recovery: Recovery) -> None:
    recovery.folder.mkdir()
    for name in (NAMES[1], f"{NAMES[2]}.partial"):
        (recovery.folder / name).write_bytes(b"of another")
    with recovery.archiving():
        assert recovery.ask(START, NAMES[-1]) == (0, START)
        assert recovery.ask(NAMES[1], NAMES[-1]) == (0, NAMES[1])


def test_an_archiver_that_is_killed_is_no_hindrance_to_the_next(recovery: Recovery) -> None:
    """What it was asked for is still in the spool, and its own files are gone."""
    asking = threading.Thread(target=recovery.ask, args=(START, NAMES[-1]))
    asking.start()
    await_(lambda: any((recovery.spool / "wanted").glob("*")), "it does not ask")
    with recovery.archiving():
        asking.join()
        assert recovery.ask(NAMES[1], NAMES[-1]) == (0, NAMES[1])


def test_nothing_is_fetched_ahead_on_a_volume_that_is_nearly_full(
    recovery: Recovery, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = 4096
    room = os.statvfs_result((block, block, 0, 0, ahead.SPARE_BYTES // block, 0, 0, 0, 0, 255))
    monkeypatch.setattr(ahead.os, "statvfs", lambda _path: room)
    with recovery.archiving():
        for name in NAMES[:3]:
            assert recovery.ask(name, NAMES[-1]) == (0, name)
    assert recovery.state.read().ahead.done == 0


def test_for_a_server_that_does_not_take_it_nothing_is_fetched_ahead(recovery: Recovery) -> None:
    """Its image is an older one: it leaves an empty wish."""
    with recovery.archiving():
        (recovery.spool / "wanted" / START).touch()
        await_((recovery.spool / "answers" / START).exists, "it is not fetched")
        (recovery.spool / "wanted" / START).unlink()
    assert recovery.archive.asked() == [START]


@EITHER
def test_a_promotion_ends_what_is_on_its_way_and_frees_its_room(recovery: Recovery) -> None:
    recovery.archive.get = f'case "$2" in *.ahead/*) sleep 600 ;; *) {COPY} ;; esac'
    with recovery.archiving():
        assert recovery.ask(START, NAMES[-1]) == (0, START)
        await_(hands, "nothing is fetched ahead")
        recovery.promote()
        await_(lambda: not hands(), "it goes on")


def test_without_a_recovery_nothing_is_fetched_ahead(recovery: Recovery) -> None:
    recovery.promote()
    with recovery.archiving():
        assert recovery.ask(START, NAMES[-1]) == (0, START)
    assert recovery.archive.asked() == [START]


def test_names_go_on_into_the_next_log_and_never_beyond_the_last() -> None:
    assert following("0000000A00000001000000FE", 3) == [
        "0000000A00000001000000FF",
        "0000000A0000000200000000",
        "0000000A0000000200000001",
    ]
    assert following(NAMES[3], 5, last=NAMES[5]) == NAMES[4:6]
    assert following(NAMES[5], 5, last=NAMES[5]) == following(NAMES[6], 5, last=NAMES[5]) == []
    assert following(NAMES[3], 1, last="-") == [NAMES[4]]
