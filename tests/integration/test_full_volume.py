# SPDX-License-Identifier: GPL-3.0-or-later
"""WAL that the archive does not take never fills the volume: before that, tenants are stopped."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg
import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.health import STOPPED, problems_of
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.status import parse_status
from fix_archive import Archived, archived
from fix_container import podman
from fix_flaky import Flaky, flaky
from fix_object_store import ObjectStore

VOLUME_MIB = 320
MIB = 1024**2
RESERVE = 4 * 16 * MIB
# Nothing of this is in any table, and every role may do it.
WAL_ONLY = "SELECT pg_logical_emit_message(true, 'filler', repeat('x', 2097152))"
# Four times what the archiver waits between two heartbeats, each of which would end a segment.
QUIET_SECONDS = 40
SETTLE_SECONDS = 180
POSITION = "SELECT pg_current_wal_insert_lsn()"


@pytest.fixture
def way(object_store: ObjectStore) -> Iterator[Flaky]:
    with flaky(object_store) as made:
        yield made


@pytest.fixture
def small(object_store: ObjectStore, way: Flaky) -> Iterator[Archived]:
    """A project on a small volume, with its first base backup."""
    with archived(object_store, "wal-g", address=way.address, volume_mib=VOLUME_MIB) as made:
        made.await_(lambda: made.status()["backup"]["done"] == 1, "no base backup was made")
        with made.tenant() as tenant:
            tenant.execute("CREATE TABLE rows (id int PRIMARY KEY)")
        yield made


def write_until_stopped(pair: Archived) -> list[int]:
    """A tenant that writes nothing but WAL, and a row with each; which rows it was told are committed."""
    committed: list[int] = []
    with pair.tenant() as tenant:
        for number in range(1000):
            try:
                with tenant.transaction():
                    tenant.execute(WAL_ONLY)
                    tenant.execute("INSERT INTO rows VALUES (%s)", (number,))
            except psycopg.errors.AdminShutdown:
                return committed
            committed.append(number)
            time.sleep(0.05)
    pytest.fail(f"nobody stopped it: {pair.status()}\n{pair.logs()}")


def refusal(pair: Archived) -> str:
    try:
        pair.tenant().close()
    except psycopg.OperationalError as error:
        return str(error)
    return ""


def position(pair: Archived) -> int:
    return int(pair.sql(f"SELECT ({POSITION}) - '0/0'", "postgres"))


def settle(pair: Archived) -> None:
    """Until WAL has stood still for longer than it takes to end several segments."""
    end = time.monotonic() + SETTLE_SECONDS
    before, since = position(pair), time.monotonic()
    while time.monotonic() < since + QUIET_SECONDS:
        assert time.monotonic() < end, "WAL goes on growing"
        time.sleep(1)
        now = position(pair)
        if now != before:
            before, since = now, time.monotonic()


def free_bytes(pair: Archived) -> int:
    return int(pair.status()["volume_free_bytes"])


def is_stopped(pair: Archived) -> bool:
    return pair.sql("SELECT stopped FROM supalove_quota.volume", "postgres") == "True"


# On a busy machine the writer, into memory, may be faster than two looks: "the last second" of docs/storage-quota.md.
@pytest.mark.long
def test_while_the_store_is_away_tenants_stop_before_the_volume_is_full_and_go_on_when_it_is_back(
    small: Archived, way: Flaky
) -> None:
    way.cut()
    committed = write_until_stopped(small)
    small.await_(lambda: "nearly full of WAL" in refusal(small), "a tenant may still begin a session")
    small.await_(lambda: small.status()["writes_stopped"], "the archiver does not tell")
    assert STOPPED in problems_of(parse_status(_raw(small)))
    # Neither the heartbeat nor anything else of the platform's takes what is left, however long the store is away.
    # Who first reads a page after a checkpoint may set hints in it, and with checksums that is WAL: it comes to an end.
    settle(small)
    podman("restart", "--time", "5", small.quota)
    assert "nearly full of WAL" in refusal(small)
    way.mend()
    small.await_(lambda: not refusal(small), "tenants are not let in again")
    small.await_(lambda: not is_stopped(small), "it is not noted")
    with small.tenant() as tenant:
        tenant.execute("INSERT INTO rows VALUES (-1)")
    small.await_archived(small.segment())
    found = [int(line) for line in small.sql("SELECT id FROM rows WHERE id >= 0 ORDER BY id").splitlines()]
    assert found == committed
    small.await_(lambda: not small.status()["writes_stopped"], "the heart does not beat again")
    assert small.sql("SELECT count(*) FROM pg_event_trigger") == "0"
    assert "PANIC" not in podman("logs", small.server)


def test_a_volume_that_is_full_of_something_else_stops_nobody(small: Archived) -> None:
    """The archive takes all WAL: then who lacks room may clean up."""
    filler = small.directory / "data/filler"
    filler.write_bytes(bytes(free_bytes(small) - RESERVE // 2))
    small.await_(lambda: free_bytes(small) < RESERVE, "it is not full")
    time.sleep(5)
    assert not refusal(small)
    assert not is_stopped(small)


def _raw(pair: Archived) -> bytes:
    return podman("exec", pair.archiver, "/usr/local/bin/supalove-archiver", "status").encode()
