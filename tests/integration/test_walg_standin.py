# SPDX-License-Identifier: GPL-3.0-or-later
"""wal-g as the platform uses it, against a real SeaweedFS and PostgreSQL 17; each row of its exit codes.

With WALG_BINARY these run against a real wal-g.
"""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fix_container import ROOT
from fix_ports import free_port
from fix_walg import DATA, REAL, Archive, Host, Site, recover

SEGMENT = "000000010000000000000003"
LOG_LINE = re.compile(r"(INFO|WARNING|ERROR|DEBUG): \d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{6} ")
LISTED = ["backup_name", "time", "wal_file_name", "storage_name"]
DETAIL = [
    *("start_time", "finish_time", "date_fmt", "hostname", "data_dir", "pg_version", "start_lsn", "finish_lsn"),
    *("is_permanent", "system_identifier", "uncompressed_size", "compressed_size", "user_data"),
]
only_ours = pytest.mark.skipif(bool(REAL), reason="WAL-G itself is not so strict")


def key(value: str = "") -> dict[str, str]:
    return {"WALG_LIBSODIUM_KEY": value or secrets.token_hex(32), "WALG_LIBSODIUM_KEY_TRANSFORM": "hex"}


def unreachable(environment: dict[str, str]) -> dict[str, str]:
    return environment | {"AWS_ENDPOINT": f"https://127.0.0.1:{free_port()}"}


@pytest.mark.parametrize("name", ["000000010000000000000099", "00000002.history"])
def test_what_the_store_does_not_have_ends_with_74(host: Host, archive: Archive, name: str) -> None:
    place = host.place()
    done = host.walg(host.environment(archive), "wal-fetch", name, host.inside(place))
    assert (done.code, done.out) == (74, "")
    assert f"Archive '{name}' does not exist." in done.err
    assert LOG_LINE.match(done.err)
    assert not place.exists()


def test_a_store_that_refuses_connections_is_not_the_end_of_the_archive(host: Host, archive: Archive) -> None:
    environment = unreachable(host.environment(archive))
    done = host.walg(environment, "wal-fetch", SEGMENT, host.inside(host.place()))
    assert done.code == 1
    assert 'check file for existence in "default": failed to head s3 object' in done.err
    assert "RequestError: send request failed" in done.err


def test_a_wrong_secret_key_is_not_the_end_of_the_archive(host: Host, archive: Archive) -> None:
    environment = host.environment(archive, AWS_SECRET_ACCESS_KEY="not-the-key")
    done = host.walg(environment, "wal-fetch", SEGMENT, host.inside(host.place()))
    assert done.code == 1
    assert re.search(r"Forbidden: Forbidden\s+status code: 403", done.err)
    assert "not-the-key" not in done.err


def test_an_empty_archive_lists_no_backups(host: Host, archive: Archive) -> None:
    done = host.walg(host.environment(archive), "backup-list", "--json")
    assert (done.code, done.out.strip()) == (0, "[]")


def test_an_unknown_backup_cannot_be_fetched(host: Host, archive: Archive) -> None:
    name, place = "base_000000010000000000000099", host.place()
    done = host.walg(host.environment(archive), "backup-fetch", host.inside(place), name)
    assert done.code == 1
    assert f"Failed to select backup: Backup '{name}' does not exist." in done.err


def test_a_directory_that_is_not_empty_stays_as_it_is(site: Site) -> None:
    file = site.host.file(b"mine", "file")
    done = site.walg("backup-fetch", file.rpartition("/")[0], "LATEST")
    assert done.code == 1
    assert "for delta base must be empty" in done.err
    assert site.host.must("cat", file) == "mine"


@pytest.mark.parametrize("method", ["zstd", "lzma", "none"])
@pytest.mark.parametrize("encrypted", [False, True])
def test_what_is_pushed_is_fetched_as_it_was(host: Host, archive: Archive, method: str, *, encrypted: bool) -> None:
    data = secrets.token_bytes(300_000) + bytes(700_000)
    environment = host.environment(archive, WALG_COMPRESSION_METHOD=method, **(key() if encrypted else {}))
    assert host.walg(environment, "wal-push", host.file(data, SEGMENT)).code == 0
    ending = {"zstd": ".zst", "lzma": ".lzma", "none": ""}[method]
    assert archive.names() == [f"wal_005/{SEGMENT}{ending}"]
    place = host.place()
    assert host.walg(environment, "wal-fetch", SEGMENT, host.inside(place)).code == 0
    assert place.read_bytes() == data


def test_an_object_is_encrypted_by_the_store_as_asked(host: Host, archive: Archive) -> None:
    environment = host.environment(archive, WALG_S3_SSE="AES256")
    assert host.walg(environment, "wal-push", host.file(secrets.token_bytes(1000), SEGMENT)).code == 0
    place = {"Bucket": archive.store.bucket, "Key": f"{archive.prefix}/{archive.names()[0]}"}
    assert archive.store.client().head_object(**place)["ServerSideEncryption"] == "AES256"


@pytest.mark.parametrize(("size", "chunks"), [(20_000, 3), (16_384, 3), (100, 1)])
def test_encryption_is_libsodiums_stream_in_chunks_of_8192(
    host: Host, archive: Archive, size: int, chunks: int
) -> None:
    environment = host.environment(archive, WALG_COMPRESSION_METHOD="none", **key())
    assert host.walg(environment, "wal-push", host.file(secrets.token_bytes(size), SEGMENT)).code == 0
    assert len(archive.get(archive.names()[0])) == 24 + size + 17 * chunks


def test_no_damage_passes_for_a_segment(host: Host, archive: Archive) -> None:
    environment = host.environment(archive, **key())
    assert host.walg(environment, "wal-push", host.file(secrets.token_bytes(100_000), SEGMENT)).code == 0
    (stored,) = archive.names()
    whole = archive.get(stored)
    flipped = whole[:50_000] + bytes([whole[50_000] ^ 1]) + whole[50_001:]
    # 24 bytes of header, then chunks of 8192 + 17: this cut is between two of them.
    for damaged in (flipped, whole[:-100], whole[: 24 + 5 * 8209], b""):
        archive.put(stored, damaged)
        _fails_and_leaves_nothing(host, environment)
    archive.put(stored, whole)
    _fails_and_leaves_nothing(host, environment | key())


def _fails_and_leaves_nothing(host: Host, environment: dict[str, str]) -> None:
    place = host.place()
    place.mkdir(mode=0o777)
    place.chmod(0o777)
    done = host.walg(environment, "wal-fetch", SEGMENT, host.inside(place / "RECOVERYXLOG"))
    assert done.code == 1, done.err
    assert list(place.iterdir()) == []


def test_a_segment_is_not_overwritten_with_another(host: Host, archive: Archive) -> None:
    environment = host.environment(archive, WALG_PREVENT_WAL_OVERWRITE="true", **key())
    first, same, other = (host.file(data, SEGMENT) for data in (b"a" * 1000, b"a" * 1000, b"b" * 1000))
    assert host.walg(environment, "wal-push", first).code == 0
    again = host.walg(environment, "wal-push", same)
    assert again.code == 0
    assert "already archived with equal content, skipping" in again.err
    assert host.walg(environment, "wal-push", other).code == 1


def test_pushing_without_the_store_fails(site: Site) -> None:
    environment = unreachable(site.environment | {"WALG_PREVENT_WAL_OVERWRITE": "false"})
    done = site.host.walg(environment, "wal-push", site.host.file(b"a", SEGMENT))
    assert done.code == 1
    assert "failed to upload" in done.err
    done = site.host.walg(environment, "backup-push", DATA)
    assert done.code == 1
    assert re.search(r"WAL-G could not complete upload|unable to complete uploads", done.err)
    assert len(site.backups) == len(json.loads(site.walg("backup-list", "--json").out))


def test_backups_are_named_after_their_segments_and_listed_oldest_first(site: Site) -> None:
    full, delta, last = site.backups
    assert re.fullmatch(r"base_[0-9A-F]{24}", full)
    assert re.fullmatch(rf"base_[0-9A-F]{{24}}_D_{full.removeprefix('base_')}", delta)
    assert full < delta < last
    listed = json.loads(site.walg("backup-list", "--json").out)
    assert [list(one) for one in listed] == [LISTED] * 3
    assert [one["wal_file_name"] for one in listed] == [name[5:29] for name in site.backups]


def test_a_backup_tells_its_details(site: Site) -> None:
    for one in json.loads(site.walg("backup-list", "--detail", "--json").out):
        assert list(one) == [*LISTED, *DETAIL]
        assert one["pg_version"] // 10000 == 17
        assert one["user_data"] == {"projects": ["acme"]}
        assert one["finish_lsn"] > one["start_lsn"] > 0
        assert one["data_dir"] == DATA
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", one["start_time"])


def test_objects_have_wal_gs_names(site: Site) -> None:
    keys = site.archive.names()
    full = site.backups[0]
    assert f"basebackups_005/{full}_backup_stop_sentinel.json" in keys
    parts_of = {
        one.removeprefix(f"basebackups_005/{full}/") for one in keys if one.startswith(f"basebackups_005/{full}/")
    }
    parts = {f"tar_partitions/{name}.tar.zst" for name in ("part_001", "part_002", "pg_control", "backup_label")}
    assert {"metadata.json", "files_metadata.json"} | parts <= parts_of
    assert f"wal_005/{full[5:]}.zst" in keys
    assert any(re.fullmatch(rf"wal_005/{full[5:]}\.[0-9A-F]{{8}}\.backup\.zst", one) for one in keys)


def test_a_delta_stores_only_what_changed(site: Site) -> None:
    full, delta = (json.loads(site.archive.get(f"basebackups_005/{one}/metadata.json")) for one in site.backups[:2])
    assert delta["uncompressed_size"] < full["uncompressed_size"] / 2


@pytest.mark.parametrize("number", [1, 2], ids=["delta", "full"])
def test_a_backup_recovers_to_the_end_of_the_archive(site: Site, number: int) -> None:
    data = site.host.place()
    fetched = site.walg("backup-fetch", site.host.inside(data), site.backups[number])
    assert fetched.code == 0, fetched.err
    sockets = recover(site.host, data)
    assert site.host.sql("SELECT count(*), sum(id) FROM accounts", sockets) == (
        f"{site.rows}|{site.rows * (site.rows + 1) // 2}"
    )
    site.host.must("pg_ctl", "-D", site.host.inside(data), "-m", "fast", "stop")
    assert "Bad checksums:  0" in site.host.must("pg_checksums", "--check", "-D", site.host.inside(data))


def test_a_damaged_backup_leaves_nothing_behind(site: Site) -> None:
    archive, environment = site.copy()
    folder = f"basebackups_005/{site.backups[0]}/tar_partitions/"
    part, control = f"{folder}part_001.tar.zst", f"{folder}pg_control.tar.zst"
    whole = archive.get(part)
    archive.put(part, whole[: len(whole) // 2])
    _fetch_fails(site, environment)
    archive.put(part, whole)
    _fetch_fails(site, environment | key())
    archive.remove(control)
    _fetch_fails(site, environment)


def _fetch_fails(site: Site, environment: dict[str, str]) -> None:
    place = site.host.place()
    done = site.host.walg(environment, "backup-fetch", site.host.inside(place), site.backups[0])
    assert done.code == 1, done.err
    assert not (place / "global/pg_control").exists()


def test_a_killed_backup_is_no_backup_and_the_rate_is_kept(site: Site) -> None:
    _archive, environment = site.elsewhere(WALG_NETWORK_RATE_LIMIT="100000")
    before = ("timeout", "-s", "KILL", "3")
    done = site.host.walg(environment, "backup-push", DATA, before=before)
    assert done.code in (137, 124, 9)
    assert json.loads(site.host.walg(environment, "backup-list", "--json").out) == []
    _no_session_is_left(site)


def _no_session_is_left(site: Site) -> None:
    end = time.monotonic() + 10
    while site.host.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'wal-g'") != "0":
        assert time.monotonic() < end
        time.sleep(0.2)


def test_broken_pages_are_told(site: Site) -> None:
    site.host.sql("CREATE TABLE broken AS SELECT generate_series(1, 1000) AS n")
    path = site.host.sql("SELECT pg_relation_filepath('broken')")
    site.host.sql("CHECKPOINT")
    with (site.host.directory / "data" / path).open("r+b") as file:
        file.seek(8192 + 5000)
        file.write(b"damage")
    archive, environment = site.elsewhere()
    done = site.host.walg(environment, "backup-push", DATA)
    site.host.sql("DROP TABLE broken")
    assert done.code == 0, done.err
    (files,) = [one for one in archive.names() if one.endswith("/files_metadata.json")]
    told = json.loads(archive.get(files))["Files"]
    assert {name: one["CorruptBlocks"] for name, one in told.items() if one.get("CorruptBlocks")} == {f"/{path}": [1]}


def test_the_archive_shows_its_timelines(site: Site) -> None:
    (line,) = json.loads(site.walg("wal-show", "--detailed-json").out)
    fields = ["id", "parent_id", "switch_point_lsn", "start_segment", "end_segment", "segments_count"]
    assert list(line) == [*fields, "missing_segments", "backups", "segment_range_size", "status"]
    assert (line["id"], line["parent_id"], line["missing_segments"], line["status"]) == (1, 0, [], "OK")
    assert [one["backup_name"] for one in line["backups"]] == list(reversed(site.backups))


def test_gaps_are_told(site: Site) -> None:
    archive, environment = site.copy()
    (line,) = json.loads(site.walg("wal-show", "--detailed-json", "--without-backups").out)
    gap = f"{line['start_segment'][:16]}{int(line['start_segment'][16:], 16) + 1:08X}"
    archive.remove(f"wal_005/{gap}.zst")
    (line,) = json.loads(site.host.walg(environment, "wal-show", "--detailed-json").out)
    assert (line["missing_segments"], line["status"]) == ([gap], "LOST_SEGMENTS")


def test_a_whole_archive_is_verified(site: Site) -> None:
    done = site.walg("wal-verify", "integrity", "timeline", "--json")
    assert done.code == 0, done.err
    assert not done.out.endswith("\n")
    told = json.loads(done.out)
    assert told["integrity"]["status"] == "OK"
    assert {one["status"] for one in told["integrity"]["details"]} == {"FOUND"}
    assert told["timeline"] == {
        "status": "OK",
        "details": {"current_timeline_id": 1, "highest_storage_timeline_id": 1},
    }


def test_a_lost_segment_fails_the_verification(site: Site) -> None:
    archive, environment = site.copy()
    lost = site.backups[0][5:]
    archive.remove(f"wal_005/{lost}.zst")
    told = json.loads(
        site.host.walg(environment | {"WALG_UPLOAD_CONCURRENCY": "1"}, "wal-verify", "integrity", "--json").out
    )["integrity"]
    assert (told["status"], told["details"][0]["status"]) == ("FAILURE", "MISSING_LOST")


@pytest.mark.parametrize(
    "words",
    [("retain", "FULL", "1"), ("before", "FIND_FULL", "{last}", "--use-sentinel-time")],
    ids=lambda words: words[0],
)
def test_deleting_is_a_dry_run_until_it_is_confirmed(site: Site, words: tuple[str, ...]) -> None:
    last = site.backups[-1]
    archive, environment = site.copy()
    filled = [word.format(last=last) for word in words]
    before = archive.names()
    tried = site.host.walg(environment, "delete", *filled)
    assert tried.code == 0, tried.err
    assert archive.names() == before
    told = re.search(r"Dry run: objects would be deleted count=(\d+), Run with --confirm to execute", tried.err)
    assert told
    assert tried.err.count("Object marked for deletion: ") == int(told[1])
    done = site.host.walg(environment, "delete", *filled, "--confirm")
    assert f"Objects deleted successfully: count={told[1]}" in done.err
    left = archive.names()
    assert {one.split("/")[1][:29] for one in left if one.startswith("basebackups_005/")} == {last}
    assert min(one for one in left if one.startswith("wal_005/")).startswith(f"wal_005/{last[5:]}")
    assert len(before) - len(left) == int(told[1])


def test_what_a_delta_rests_on_is_not_deleted_before_it(site: Site) -> None:
    done = site.walg("delete", "before", site.backups[1])
    assert done.code == 1
    assert "Consider FIND_FULL option" in done.err


@pytest.fixture
def broken_archiving(site: Site) -> Iterator[None]:
    """A backup that starts now waits for ever for its last segment."""
    site.host.sql("ALTER SYSTEM SET archive_command = '/bin/false'")
    site.host.sql("SELECT pg_reload_conf()")
    yield
    site.host.sql("ALTER SYSTEM RESET archive_command")
    site.host.sql("SELECT pg_reload_conf()")


@pytest.mark.usefixtures("broken_archiving")
def test_a_stop_that_never_ends_is_ended_by_the_timeout(site: Site) -> None:
    archive, environment = site.elsewhere(WALG_STOP_BACKUP_TIMEOUT="2s")
    done = site.host.walg(environment, "backup-push", DATA)
    assert done.code == 1
    assert "statement timeout" in done.err
    assert "sentinel" not in "".join(archive.names())


@pytest.mark.usefixtures("broken_archiving")
def test_a_signal_ends_a_backup_and_its_session(site: Site) -> None:
    archive, environment = site.elsewhere()
    before = ("timeout", "--preserve-status", "-s", "TERM", "6")
    done = site.host.walg(environment, "backup-push", DATA, before=before)
    assert done.code == 1, done.err
    assert "received interruption signal" in done.err
    assert "sentinel" not in "".join(archive.names())
    _no_session_is_left(site)


@only_ours
@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"WALG_S3_PREFX": "s3://x"}, "WALG_S3_PREFX: WAL-G's stand-in knows no such variable"),
        ({"AWS_ENDPIONT": "https://x"}, "AWS_ENDPIONT"),
        ({"PGHOTS": "/run"}, "PGHOTS"),
        ({"AWS_REGION": ""}, "AWS_REGION is required to be set, but it isn't"),
        ({"AWS_ENDPOINT": ""}, "AWS_ENDPOINT is required to be set, but it isn't"),
        ({"AWS_SECRET_ACCESS_KEY": ""}, "AWS_SECRET_ACCESS_KEY is required to be set, but it isn't"),
        ({"WALG_COMPRESSION_METHOD": "lz4"}, "allowed in the stand-in: zstd, lzma, none"),
        ({"WALG_PREVENT_WAL_OVERWRITE": "yes"}, "expected true or false"),
        (key() | {"WALG_LIBSODIUM_KEY_TRANSFORM": "none"}, "allowed in the stand-in: hex, base64"),
        (key() | {"WALG_LIBSODIUM_KEY_TRANSFORM": ""}, "WALG_LIBSODIUM_KEY_TRANSFORM is required"),
        (key("abcd"), "key must be exactly 32 bytes (got 2 bytes)"),
        ({"WALG_S3_SSE": "aes"}, "allowed in the stand-in: AES256, aws:kms"),
        ({"WALG_S3_SSE": "aws:kms"}, "KMS key ID must be set if 'aws:kms' encryption is used"),
        ({"WALG_S3_SSE_KMS_ID": "alias/a"}, "KMS key ID must be set if 'aws:kms' encryption is used"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_environment_is_refused(host: Host, archive: Archive, more: dict[str, str], told: str) -> None:
    done = host.walg(host.environment(archive, **more), "wal-fetch", SEGMENT, host.inside(host.place()))
    assert done.code == 1
    assert told in done.err
    assert more.get("WALG_LIBSODIUM_KEY", "no key") not in done.err


@pytest.mark.parametrize(
    "words",
    [
        ("wal-psuh", "x"),
        ("wal-push", "--fast", "x"),
        ("wal-push",),
        pytest.param(("backup-list", "x"), marks=only_ours),
    ],
)
def test_a_wrong_command_line_is_refused(host: Host, archive: Archive, words: tuple[str, ...]) -> None:
    assert host.walg(host.environment(archive), *words).code == 1


@only_ours
def test_the_stand_in_says_what_it_is(host: Host) -> None:
    done = host.walg({}, "--version")
    assert done.out.startswith("wal-g version v3.0.9\tstand-in")


@only_ours
def test_one_file_holds_the_stand_in(tmp_path: Path) -> None:
    files = [tmp_path / "first", tmp_path / "second"]
    for file in files:
        subprocess.run([sys.executable, str(ROOT / "tests/lab/walg/build.py"), str(file)], check=True)
    assert files[0].read_bytes() == files[1].read_bytes()
    done = subprocess.run([sys.executable, str(files[0]), "wal-psuh"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert 'unknown command "wal-psuh"' in done.stderr
