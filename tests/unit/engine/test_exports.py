# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules restore, drill, export and import_dump are told and return."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from ansible_collections.supalove.platform.plugins.module_utils import _results, _specs
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.drills import Proof
from ansible_collections.supalove.platform.plugins.module_utils._engine.drill import Drilled, DrillReport
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import InvalidSpec
from ansible_collections.supalove.platform.plugins.module_utils._engine.export import Exported, ExportReport
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import Uid
from ansible_collections.supalove.platform.plugins.module_utils._engine.restore import Origin
from ansible_collections.supalove.platform.plugins.module_utils._engine.steps import Failure

UID = Uid("abcdefgh2345")
NOW = datetime(2026, 11, 26, 2, tzinfo=UTC)


@pytest.fixture
def dump(tmp_path):
    path = tmp_path / "prototype.dump"
    path.write_bytes(b"PGDMP\x01\x10")
    return str(path)


def told(**given):
    return {"file": None, "key": None, "with_grants": False, **given}


def test_a_dump_is_a_file_or_an_object(dump):
    assert _specs.dump_from(told(file=dump))["file"] == dump
    assert _specs.dump_from(told(key="exports/a/b.dump"))["key"] == "exports/a/b.dump"


@pytest.mark.parametrize("given", [{}, {"file": "/dev/null", "key": "exports/a/b.dump"}])
def test_none_or_both_are_refused(given):
    with pytest.raises(InvalidSpec, match="one of file, key"):
        _specs.dump_from(told(**given))


def test_a_file_that_is_no_dump_is_refused_before_anything_is_done(tmp_path):
    script = tmp_path / "prototype.sql"
    script.write_text("CREATE TABLE kept ();\n")
    with pytest.raises(InvalidSpec, match="custom format"):
        _specs.dump_from(told(file=str(script)))
    with pytest.raises(InvalidSpec, match="No such file"):
        _specs.dump_from(told(file=str(tmp_path / "none")))


def test_a_project_that_was_not_exported_fails_the_task_and_is_shown_first():
    failure = Failure(step="dump", object="p_abc", reason="no room")
    report = ExportReport(
        outcomes=(Exported(ref="acme", key="exports/abc/1.dump", bytes=3), Exported(ref="beta", failure=failure))
    )
    result = _results.export_result_of(report)
    assert result["counts"] == {"exported": 1, "failed": 1, "removed": 0}
    assert [one["ref"] for one in result["exports"]] == ["beta", "acme"]
    assert result["failed"]
    assert "beta: p_abc: no room" in result["msg"]


def drilled(error=""):
    return Drilled(ref="acme", cluster="", archive="p-abc", proof=Proof(at=NOW, target=NOW, error=error))


def test_a_drill_that_proves_nothing_fails_the_task():
    report = DrillReport(drilled=(drilled("gap"),), proofs={"p-abc": drilled("gap").proof}, archives=("p-abc", "s-f"))
    result = _results.drill_result_of(report, check=False)
    assert result["counts"] == {"archives": 2, "proven": 0, "drilled": 1, "failed": 1}
    assert result["unproven"] == ["p-abc", "s-f"]
    assert "acme (p-abc): gap" in result["msg"]


def test_what_a_drill_has_proven_is_no_longer_unproven():
    report = DrillReport(drilled=(drilled(),), proofs={"p-abc": drilled().proof}, archives=("p-abc",))
    result = _results.drill_result_of(report, check=False)
    assert (result["unproven"], "failed" in result) == ([], False)


def origin(**given):
    return {"source_ref": None, "source_uid": None, "source_archive": None, **given}


def test_the_past_is_the_projects_own_another_ones_or_that_of_one_that_is_gone():
    assert _specs.origin_from(origin()) == Origin()
    assert _specs.origin_from(origin(source_ref="beta")) == Origin(ref="beta")
    gone = _specs.origin_from(origin(source_uid=UID, source_archive="s-free-1"))
    assert gone == Origin(uid=UID, archive="s-free-1")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"source_ref": "beta", "source_uid": UID}, "one of source_ref, source_uid"),
        ({"source_uid": "beta"}, "12 letters and digits"),
        ({"source_archive": "s-free-1"}, "none without source_uid"),
        ({"source_uid": UID, "source_archive": "../x"}, "the name of an archive"),
    ],
)
def test_a_past_that_is_nobodys_is_refused(given, told):
    with pytest.raises(InvalidSpec, match=told):
        _specs.origin_from(origin(**given))
