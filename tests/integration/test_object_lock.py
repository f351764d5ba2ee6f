# SPDX-License-Identifier: GPL-3.0-or-later
"""A bucket that locks, and objects that the store encrypts: a real SeaweedFS with our own clients."""

from __future__ import annotations

import contextlib
import http.client
import re
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.object_store.apply import remove
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.object_store.observe import (
    Lock,
    read_archive,
    read_lock,
    read_names,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.deadline import Backoff
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import BackendError, Conflict, NotFound
from archives import ARCHIVE
from test_object_store import PREFIX, a_client, a_life, a_plan, fill, in_time
from test_object_store_identities import OURS, an_identity, ensured, outcome_of, s3_of

MIB = 1024**2
ONCE = Backoff(tries=1)
ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "roles/object_store/templates/lifecycle.service.j2"
PAGE = ROOT / "docs/object-store.md"


def versions(store, prefix=""):
    """All versions of objects and all delete markers, each as key and id."""
    found = store.client().list_object_versions(Bucket=store.bucket, Prefix=prefix)
    return tuple(
        [(one["Key"], one["VersionId"]) for one in found.get(kind, ())] for kind in ("Versions", "DeleteMarkers")
    )


def test_a_locked_bucket_is_told_and_one_without_a_lock_too(object_store, locked_store):
    with a_client(locked_store) as client:
        assert read_lock(client, deadline=in_time()) == Lock(mode="GOVERNANCE", days=1)
    with a_client(object_store) as client:
        assert read_lock(client, deadline=in_time()) is None


def test_who_has_the_keys_of_an_archive_cannot_destroy_what_is_in_it(locked_store):
    identity = an_identity(locked_store)
    ensured(locked_store, identity)
    s3, bucket = s3_of(locked_store, identity), locked_store.bucket
    at = {"Bucket": bucket, "Key": f"{OURS}1"}
    one = {**at, "VersionId": s3.put_object(**at, Body=b"precious")["VersionId"]}
    off, soon = {"Status": "OFF"}, datetime.now(UTC) + timedelta(minutes=1)
    retention = {"Mode": "GOVERNANCE", "RetainUntilDate": soon}
    suspended, nothing = {"Status": "Suspended"}, {"ObjectLockEnabled": "Enabled"}
    calls = {
        "delete the version": lambda: s3.delete_object(**one),
        "delete it in spite of the lock": lambda: s3.delete_object(**one, BypassGovernanceRetention=True),
        "delete many": lambda: s3.delete_objects(
            Bucket=bucket,
            BypassGovernanceRetention=True,
            Delete={"Objects": [{"Key": at["Key"], "VersionId": one["VersionId"]}]},
        ),
        "shorten the lock": lambda: s3.put_object_retention(**one, Retention=retention, BypassGovernanceRetention=True),
        "write with a lock of its own": lambda: s3.put_object(
            **at, Body=b"x", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=soon
        ),
        "hold": lambda: s3.put_object_legal_hold(**one, LegalHold=off),
        "keep no versions": lambda: s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=suspended),
        "lock nothing": lambda: s3.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=nothing),
        "expire nothing": lambda: s3.delete_bucket_lifecycle(Bucket=bucket),
        "list versions": lambda: s3.list_object_versions(Bucket=bucket, Prefix=OURS),
    }
    found = {name: outcome_of(call) for name, call in calls.items()}
    assert set(found.values()) <= {"AccessDenied", "403"}, found
    assert s3.put_object(**at, Body=b"worthless")["VersionId"] != one["VersionId"]
    assert outcome_of(lambda: s3.delete_object(**at)) == "done"
    assert outcome_of(lambda: s3.get_object(**at)) == "NoSuchKey"
    assert locked_store.client().get_object(**one)["Body"].read() == b"precious"


@pytest.mark.parametrize(("mode", "bypassed"), [("GOVERNANCE", "done"), ("COMPLIANCE", "AccessDenied")])
def test_the_administrator_removes_what_is_locked_only_on_purpose_or_not_at_all(locked_store, mode, bypassed):
    s3, bucket = locked_store.client(), {"Bucket": locked_store.bucket}
    lock = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": mode, "Days": 1}}}
    s3.put_object_lock_configuration(**bucket, ObjectLockConfiguration=lock)
    one = {**bucket, "Key": "1", "VersionId": s3.put_object(**bucket, Key="1", Body=b"x")["VersionId"]}
    suspended = {"Status": "Suspended"}
    assert outcome_of(lambda: s3.delete_object(**one)) == "AccessDenied"
    assert outcome_of(lambda: s3.put_bucket_versioning(**bucket, VersioningConfiguration=suspended)) != "done"
    assert outcome_of(lambda: s3.delete_bucket(**bucket)) == "BucketNotEmpty"
    assert outcome_of(lambda: s3.delete_object(**one, BypassGovernanceRetention=True)) == bypassed


def test_what_somebody_deleted_is_there_again_as_the_page_on_the_store_has_it(locked_store):
    before = (f"{OURS}1", f"{OURS}2")
    for key in before:
        locked_store.put(key, b"precious")
    s3 = locked_store.client()
    s3.delete_objects(Bucket=locked_store.bucket, Delete={"Objects": [{"Key": key} for key in before]})
    (code,) = re.findall(r"```python\n(for page.*?)```", PAGE.read_text(), re.DOTALL)
    code = code.replace('"platform/"', "prefix")
    for since, there in ((timedelta(hours=1), []), (timedelta(hours=-1), list(before))):
        known = {"s3": s3, "bucket": locked_store.bucket, "prefix": PREFIX, "since": datetime.now(UTC) + since}
        exec(code, known)  # noqa: S102 (our own page)
        assert locked_store.keys() == there
    assert locked_store.get(before[0]) == b"precious"


def test_retention_goes_on_and_all_that_it_removed_stays_as_older_versions(locked_store):
    life = a_life()
    fill(locked_store, life)
    before, _none = versions(locked_store)
    with a_client(locked_store) as client:
        plan = a_plan(read_archive(client, ARCHIVE, deadline=in_time()))
        done = remove(client, plan, deadline=in_time())
        assert done.is_complete
        left = read_archive(client, ARCHIVE, deadline=in_time())
        assert a_plan(left).keys == ()
        assert read_names(client, deadline=in_time()) == (ARCHIVE,)
        with pytest.raises(NotFound):
            client.get(plan.keys[0], limit=1, deadline=in_time())
    assert locked_store.keys() == sorted(PREFIX + key for key in set(life.objects) - set(plan.keys))
    there, markers = versions(locked_store)
    assert sorted(there) == sorted(before)
    assert sorted(key for key, _id in markers) == sorted(PREFIX + key for key in plan.keys)


def test_an_object_that_was_deleted_can_be_written_anew_and_not_twice(locked_store):
    """The note of an end is made at every stop, and taken back at every start."""
    with a_client(locked_store) as client:
        for content in (b"first", b"second"):
            client.put_new("p-a/end.json", content, deadline=in_time())
            with pytest.raises(Conflict):
                client.put_new("p-a/end.json", b"other", deadline=in_time())
            assert client.get("p-a/end.json", limit=9, deadline=in_time()) == content
            client.delete(["p-a/end.json"], deadline=in_time())


def test_what_the_engine_writes_is_encrypted_and_read_as_it_was(locked_store, tmp_path):
    content = bytes(range(256)) * (9 * MIB // 256)
    (tmp_path / "dump").write_bytes(content)
    with a_client(locked_store, encryption="AES256") as client:
        client.put_new("small", b"small", deadline=in_time())
        client.upload(str(tmp_path / "dump"), "large", deadline=in_time())
        client.copy("large", "copy", deadline=in_time())
    for key in ("small", "large", "copy"):
        told = locked_store.client().head_object(Bucket=locked_store.bucket, Key=PREFIX + key)
        assert told["ServerSideEncryption"] == "AES256", key
        assert told["ObjectLockMode"] == "GOVERNANCE", key
    assert locked_store.get(f"{PREFIX}copy") == locked_store.get(f"{PREFIX}large") == content


def test_a_key_of_the_key_service_is_named_in_every_request_that_writes(object_store, tmp_path):
    """SeaweedFS has no key service here, and refuses."""
    (tmp_path / "file").write_bytes(b"x")
    sent = []
    with a_client(object_store, encryption="aws:kms", kms_key="alias/archives", backoff=ONCE) as client:
        client._s3.meta.events.register("before-send.s3", lambda request, **_rest: sent.append(request))
        with pytest.raises(BackendError):
            client.put_new("a", b"x", deadline=in_time())
        with pytest.raises(BackendError):
            client.upload(str(tmp_path / "file"), "b", deadline=in_time())
    header = "x-amz-server-side-encryption"
    assert [one.url.rsplit("/", 1)[-1] for one in sent] == ["a", "b"]
    assert {one.headers[header] for one in sent} == {b"aws:kms"}
    assert {one.headers[f"{header}-aws-kms-key-id"] for one in sent} == {b"alias/archives"}


def test_the_daily_run_removes_versions_whose_time_is_up_and_none_that_is_locked(locked_store):
    """The command that the unit of the role gives to the server's shell."""
    for name in ("old", "locked", "young"):
        locked_store.put(f"{PREFIX}{name}", b"x")
        locked_store.client().delete_object(Bucket=locked_store.bucket, Key=f"{PREFIX}{name}")
    there, _markers = versions(locked_store)
    known = {key.removeprefix(PREFIX): id for key, id in there}
    ago = int(time.time()) - 3 * 24 * 3600
    say(locked_store, "old", known["old"], {"Noncurrent-Since-Ns": f"{ago}000000000", "Retention-Until-Date": str(ago)})
    say(locked_store, "locked", known["locked"], {"Noncurrent-Since-Ns": f"{ago}000000000"})
    said = run_lifecycle(locked_store)
    assert "complete; cursors checkpointed" in said, said
    left = [sorted(key.removeprefix(PREFIX) for key, _id in found) for found in versions(locked_store)]
    assert left == [["locked", "young"]] * 2


def say(store, name, version, attributes):
    """Change what the server's own file system says of a version."""
    path = f"/buckets/{store.bucket}/{PREFIX}{name}.versions/v_{version}?tagging"
    headers = {f"Seaweed-X-Amz-{key}": text for key, text in attributes.items()}
    connection = http.client.HTTPConnection("127.0.0.1", int(ports_of(store)["filer.port"]), timeout=10)
    with contextlib.closing(connection):
        connection.request("PUT", path, headers=headers)
        assert connection.getresponse().status == 202


def ports_of(store):
    return dict(one[1:].split("=", 1) for one in store.program.arguments if one.startswith("-") and "=" in one)


def run_lifecycle(store):
    """What the unit of the role runs; its ports are others here."""
    ports = ports_of(store)
    lines = re.findall(r"^StandardInputText=(.*)$", TEMPLATE.read_text(), re.MULTILINE)
    text = "\n".join(lines).replace("{{ __object_store_port + 10000 }}", ports["s3.port.grpc"]) + "\n"
    where = [f"-{part}=127.0.0.1:{ports[f'{part}.port']}.{ports[f'{part}.port.grpc']}" for part in ("master", "filer")]
    command = [store.program.arguments[0], "-logtostderr=true", "shell", *where]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout + done.stderr
