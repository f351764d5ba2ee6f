# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept for good of a project before it is purged, and when a purge is refused for lack of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.access import Access
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.catalog import Stored
from ansible_collections.supalove.platform.plugins.module_utils._engine.archives import exports_of, finals_of
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.records import _record
from ansible_collections.supalove.platform.plugins.module_utils._engine.deadline import Deadline
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import InvalidSpec
from ansible_collections.supalove.platform.plugins.module_utils._engine.export import _too_old
from ansible_collections.supalove.platform.plugins.module_utils._engine.final_backup import Final, keep_finals
from ansible_collections.supalove.platform.plugins.module_utils._engine.guard import refuse_wrong_purge
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Inventory, Platform
from ansible_collections.supalove.platform.plugins.module_utils._engine.purge import Purge, _reason_against
from ansible_collections.supalove.platform.plugins.module_utils._engine.settings import Settings
from archives import Life, at, catalogs_from
from builders import UID

SINCE = "2026-11-26T02:00:05+00:00"
KEY = f"exports/{UID}/final/20261126t020005z.dump"


def a_record(*, phase="Stopped", placement="shared/free-1", since=SINCE, uid=UID):
    condition = {"type": "Ready", "lastTransitionTime": since}
    status = {"uid": uid, "placement": placement, "phase": phase, "conditions": [condition]}
    meta = {"name": "acme", "namespace": "supalove-system", "uid": "u", "generation": 1}
    return _record({"metadata": meta, "spec": {}, "status": status})


class Archives:
    """It has these dumps and this one archive, and nothing may be written into it."""

    def __init__(self, *keys, life=None):
        self.keys = keys
        self.life = life

    def dumps(self, prefix, **_rest):
        found = (key for key in self.keys if key.startswith(prefix))
        return tuple(Stored(key=key, bytes=1, modified=datetime.now(UTC)) for key in found)

    def catalogs(self, archive, **_rest):
        return catalogs_from(self.life.objects, archive) if self.life is not None else ()


def finals(record, archives=None, **settings):
    """What a run that may only look finds of the one project."""
    run = SimpleNamespace(
        access=Access(client=None, databases=None, archives=archives),
        settings=Settings(purge={"acme": UID}, **settings),
        platform=Platform(),
        deadline=Deadline(limit_seconds=5),
    )
    return keep_finals(run, [record]).get("acme")


def test_a_dump_is_named_after_the_moment_at_which_the_project_stopped():
    found = finals(a_record(), Archives(), check=True)
    assert (found.key, found.is_new, found.failure) == (KEY, True, None)
    assert [str(step.id) for step in found.steps] == [f"FinalBackup/{KEY}"]


def test_what_a_run_that_was_killed_has_kept_is_found_and_not_made_again():
    """Nothing of the cluster is asked: its database may be gone already."""
    found = finals(a_record(), Archives(KEY))
    assert (found.key, found.steps) == (KEY, ())


def test_a_dump_of_an_earlier_stop_does_not_count():
    found = finals(a_record(since="2026-11-26T03:00:00+00:00"), Archives(KEY), check=True)
    assert found.key != KEY
    assert found.is_new


def test_a_nightly_export_does_not_count():
    assert finals(a_record(), Archives(f"{exports_of(UID)}20261126t020005z.dump"), check=True).is_new


def test_without_an_object_store_a_purge_is_refused_and_says_what_lifts_it():
    for placement in ("shared/free-1", "dedicated"):
        found = finals(a_record(placement=placement))
        assert "the platform has no object store" in found.failure.reason
        assert "purge_without_final_backup" in found.failure.reason


def test_a_project_that_is_to_go_without_is_not_looked_at():
    assert finals(a_record(), purge_without_final_backup=frozenset({"acme"})) is None


def an_archive(*, end=19):
    life = Life(archive=f"p-{UID}").segments(range(1, 20))
    life.backup(2, 2)
    if end:
        life.end(end)
    return life


def test_of_a_postgresql_of_its_own_the_archive_is_what_is_kept():
    life = an_archive()
    found = finals(a_record(placement="dedicated"), Archives(life=life))
    assert (found.key, found.steps, found.failure) == (f"p-{UID}/{life.id}/", (), None)


@pytest.mark.parametrize(("end", "said"), [(None, "has not noted"), (20, "ends before that"), (12, "of after")])
def test_an_archive_that_is_not_whole_is_refused_with_the_reason(end, said):
    found = finals(a_record(placement="dedicated"), Archives(life=an_archive(end=end)), check=True)
    assert said in found.failure.reason
    assert found.failure.object == f"p-{UID}"


def test_a_record_that_does_not_say_since_when_is_refused():
    assert "since when it is stopped" in finals(a_record(since=""), Archives()).failure.reason


def reason(record, final, uid=UID, **settings):
    run = SimpleNamespace(settings=Settings(purge={"acme": uid}, **settings))
    purge = Purge(record=record, uid=record.uid, databases=(), secrets=())
    found = _reason_against(run, purge, final)
    return found.reason if found else ""


WELL = Final(since=SINCE, key=KEY)


def test_a_project_that_was_started_while_its_final_backup_was_made_is_not_destroyed():
    assert reason(a_record(), WELL) == ""
    assert "only a project that has stopped" in reason(a_record(phase="Ready"), WELL)
    assert "run again" in reason(a_record(since="2026-11-26T03:00:00+00:00"), WELL)
    assert "another project of that name" in reason(a_record(uid="zzzzzzzzzzzz"), WELL)


def test_without_a_final_backup_nothing_is_destroyed_unless_that_was_said():
    assert "run again" in reason(a_record(), Final())
    assert reason(a_record(), Final(), purge_without_final_backup=frozenset({"acme"})) == ""


def test_only_what_is_purged_can_go_without_a_final_backup():
    inventory = Inventory(projects=(), tiers={}, platform=Platform())
    settings = Settings(purge={"acme": UID}, purge_without_final_backup=frozenset({"acne"}))
    with pytest.raises(InvalidSpec, match="purge_without_final_backup: found 'acne'"):
        refuse_wrong_purge(inventory, settings, {})


def test_no_export_removes_a_final_backup_however_old_it_is():
    new = Stored(key=f"{exports_of(UID)}new.dump", bytes=1, modified=at(9999))
    there = [Stored(key=key, bytes=1, modified=at(0)) for key in (f"{exports_of(UID)}old.dump", KEY)]
    gone = _too_old([*there, new], new, timedelta(days=30), kept=finals_of(UID))
    assert gone == (f"{exports_of(UID)}old.dump",)
