# SPDX-License-Identifier: GPL-3.0-or-later
"""Users of the object store: each reaches the prefix of its archive and nothing beyond it."""

from __future__ import annotations

import dataclasses

import botocore.exceptions
import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.object_store import identities
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.object_store.apply import remove
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.object_store.identities import (
    Access,
    Identity,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.object_store.observe import (
    read_archive,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.credentials import Secret
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import Conflict, Denied
from fix_certificates import write_certificates
from fix_object_store import await_answer, serve
from test_object_store import PREFIX, a_client, a_life, a_plan, fill, in_time

OURS = f"{PREFIX}p-abc/"
# Around it: neighbours whose names begin the same, what lies above, and what a path could be bent to.
OUTSIDE = [f"{PREFIX}p-abcd/1", f"{PREFIX}p-other/1", f"{PREFIX}p-abc", "top", "archives"]


def an_identity(store, *, access=Access.READ_WRITE, secret="s" * 40, number=1, prefix="p-abc/"):
    """Names and ids are the server's, and so of this test's bucket: test-1 and test-10 are two."""
    return Identity(
        name=f"p-abc.{store.bucket}",
        access_key=f"AK{number}{store.bucket.upper().replace('-', '')}".ljust(20, "X"),
        secret_key=Secret(secret),
        prefix=prefix,
        access=access,
    )


def ensured(store, identity):
    with a_client(store) as client:
        changed = identities.ensure(client, identity, deadline=in_time())
        return changed, client.writes


def s3_of(store, identity):
    return store.client(identity.access_key, identity.secret_key.reveal())


def outcome_of(call):
    """What the server says: `done`, or the code of its refusal, of the only key where it is one of a batch."""
    try:
        answer = call()
    except botocore.exceptions.ClientError as error:
        # What is no IAM user's to ask is refused in the form of S3, which boto3 does not look for there.
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        return error.response.get("Error", {}).get("Code") or str(status)
    return answer["Errors"][0]["Code"] if answer.get("Errors") else "done"


def reads(s3, bucket, key):
    return {
        "get": lambda: s3.get_object(Bucket=bucket, Key=key),
        "head": lambda: s3.head_object(Bucket=bucket, Key=key),
        "list": lambda: s3.list_objects_v2(Bucket=bucket, Prefix=key),
        "list, version 1": lambda: s3.list_objects(Bucket=bucket, Prefix=key),
        "list like a folder": lambda: s3.list_objects_v2(Bucket=bucket, Prefix=key, Delimiter="/"),
    }


def multipart(s3, bucket, key):
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    at = {"Bucket": bucket, "Key": key, "UploadId": upload}
    part = s3.upload_part(**at, PartNumber=1, Body=b"part")
    return s3.complete_multipart_upload(**at, MultipartUpload={"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]})


def writes(s3, bucket, key):
    """In an order in which each finds what it needs."""
    return {
        "put": lambda: s3.put_object(Bucket=bucket, Key=key, Body=b"new"),
        "put in parts": lambda: multipart(s3, bucket, key),
        "delete": lambda: s3.delete_object(Bucket=bucket, Key=key),
        "delete many": lambda: s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key}]}),
    }


def test_a_key_for_a_prefix_reads_and_writes_there(object_store):
    """Writing is what did not work in seaweedfs/seaweedfs#10191."""
    identity = an_identity(object_store)
    ensured(object_store, identity)
    object_store.put(f"{OURS}1", b"data")
    s3 = s3_of(object_store, identity)
    calls = {**reads(s3, object_store.bucket, f"{OURS}1"), **writes(s3, object_store.bucket, f"{OURS}1")}
    assert {name: outcome_of(call) for name, call in calls.items()} == dict.fromkeys(calls, "done")
    assert object_store.keys() == []


@pytest.mark.parametrize("access", Access)
def test_a_key_for_a_prefix_does_nothing_outside_of_it(object_store, access):
    identity = an_identity(object_store, access=access)
    ensured(object_store, identity)
    for key in OUTSIDE[:2] + OUTSIDE[3:4]:
        object_store.put(key, b"secret")
    before = object_store.keys()
    s3, bucket = s3_of(object_store, identity), object_store.bucket
    for key in OUTSIDE:
        calls = {**reads(s3, bucket, key), **writes(s3, bucket, key)}
        found = {name: outcome_of(call) for name, call in calls.items()}
        assert set(found.values()) <= {"AccessDenied", "403"}, (key, found)
        copied = outcome_of(
            lambda key=key: s3.copy_object(Bucket=bucket, Key=f"{OURS}copy", CopySource={"Bucket": bucket, "Key": key})
        )
        assert copied == "AccessDenied", key
    assert object_store.keys() == before
    assert {object_store.get(key) for key in before} == {b"secret"}


@pytest.mark.parametrize("access", Access)
def test_a_key_for_a_prefix_cannot_bend_a_path_or_ask_the_bucket(object_store, access):
    identity = an_identity(object_store, access=access)
    ensured(object_store, identity)
    object_store.put(f"{PREFIX}p-other/1", b"secret")
    before = object_store.keys()
    s3, bucket = s3_of(object_store, identity), object_store.bucket
    bent = f"{OURS}../p-other/1"
    calls = {
        **{f"bent {name}": call for name, call in reads(s3, bucket, bent).items() if "list" not in name},
        **{f"bent {name}": call for name, call in writes(s3, bucket, bent).items()},
        "list all": lambda: s3.list_objects_v2(Bucket=bucket),
        "list above": lambda: s3.list_objects_v2(Bucket=bucket, Prefix=PREFIX),
        "list versions": lambda: s3.list_object_versions(Bucket=bucket),
        "list uploads": lambda: s3.list_multipart_uploads(Bucket=bucket),
        "policy": lambda: s3.get_bucket_policy(Bucket=bucket),
        "new bucket": lambda: s3.create_bucket(Bucket=f"{bucket}-own"),
        "no bucket": lambda: s3.delete_bucket(Bucket=bucket),
    }
    found = {name: outcome_of(call) for name, call in calls.items()}
    assert "done" not in found.values(), found
    listed = outcome_of(lambda: s3.list_objects_v2(Bucket=bucket, Prefix=bent))
    assert listed != "done" or not s3.list_objects_v2(Bucket=bucket, Prefix=bent).get("Contents")
    assert object_store.keys() == before
    iam = object_store.client(identity.access_key, identity.secret_key.reveal(), service="iam")
    assert outcome_of(iam.list_users) == "403"
    assert outcome_of(lambda: iam.create_access_key(UserName="admin")) == "403"


def test_a_key_that_only_reads_changes_nothing_in_its_prefix(object_store):
    identity = an_identity(object_store, access=Access.READ_ONLY)
    ensured(object_store, identity)
    object_store.put(f"{OURS}1", b"data")
    s3, bucket = s3_of(object_store, identity), object_store.bucket
    assert {outcome_of(call) for call in reads(s3, bucket, f"{OURS}1").values()} == {"done"}
    assert {outcome_of(call) for call in writes(s3, bucket, f"{OURS}1").values()} == {"AccessDenied"}
    assert object_store.get(f"{OURS}1") == b"data"


def test_a_store_that_refuses_a_marker_keeps_the_parts_of_its_backup(object_store):
    """Whoever may only read plans a removal, and nothing of it happens."""
    life = a_life()
    fill(object_store, life)
    identity = an_identity(object_store, access=Access.READ_ONLY)
    ensured(object_store, identity)
    keys = {"access_key": Secret(identity.access_key), "secret_key": identity.secret_key}
    with a_client(object_store, **keys) as client:
        plan = a_plan(read_archive(client, "p-abc", deadline=in_time()))
        done = remove(client, plan, deadline=in_time())
        assert client.writes == 1
    assert done.keys == ()
    assert [one.key for one in done.refused] == list(plan.removals[0].markers[0])
    assert "AccessDenied" in done.refused[0].reason
    assert len(object_store.keys()) == len(life.objects)


def test_a_second_time_changes_nothing_and_writes_nothing(object_store):
    identity = an_identity(object_store)
    assert ensured(object_store, identity) == (True, 3)
    assert ensured(object_store, identity) == (False, 0)


def test_rights_that_are_not_as_they_should_be_are_set_right(object_store):
    identity = an_identity(object_store)
    ensured(object_store, identity)
    less = dataclasses.replace(identity, access=Access.READ_ONLY)
    assert ensured(object_store, less) == (True, 1)
    put = writes(s3_of(object_store, less), object_store.bucket, f"{OURS}1")["put"]
    assert outcome_of(put) == "AccessDenied"
    assert ensured(object_store, identity) == (True, 1)
    assert outcome_of(put) == "done"


def test_a_key_of_another_secret_is_replaced(object_store):
    old = an_identity(object_store, secret="o" * 40)
    new = an_identity(object_store, secret="n" * 40)
    ensured(object_store, old)
    assert ensured(object_store, new)[0]
    listing = {"Bucket": object_store.bucket, "Prefix": OURS}
    assert outcome_of(lambda: s3_of(object_store, new).list_objects_v2(**listing)) == "done"
    assert outcome_of(lambda: s3_of(object_store, old).list_objects_v2(**listing)) == "SignatureDoesNotMatch"


def test_an_old_key_works_until_it_is_retired(object_store):
    old, new = an_identity(object_store, number=1), an_identity(object_store, number=2)
    ensured(object_store, old)
    ensured(object_store, new)
    listing = {"Bucket": object_store.bucket, "Prefix": OURS}
    assert outcome_of(lambda: s3_of(object_store, old).list_objects_v2(**listing)) == "done"
    with a_client(object_store) as client:
        gone = identities.retire(client, old.name, but=new.access_key, deadline=in_time())
        assert gone == (old.access_key,)
        assert identities.keys_of(client, old.name, deadline=in_time()) == (new.access_key,)
    assert outcome_of(lambda: s3_of(object_store, old).list_objects_v2(**listing)) == "InvalidAccessKeyId"
    assert outcome_of(lambda: s3_of(object_store, new).list_objects_v2(**listing)) == "done"


def test_a_key_id_that_somebody_else_has_is_refused_and_not_taken(object_store):
    first = an_identity(object_store)
    ensured(object_store, first)
    second = dataclasses.replace(first, name=f"{first.name}.other", prefix="p-other/")
    with pytest.raises(Conflict, match="already in use") as caught:
        ensured(object_store, second)
    assert second.name in str(caught.value)
    assert first.secret_key.reveal() not in str(caught.value)
    assert outcome_of(writes(s3_of(object_store, first), object_store.bucket, f"{OURS}1")["put"]) == "done"


def test_a_removed_user_is_gone_with_its_key_and_removing_it_again_is_harmless(object_store):
    identity = an_identity(object_store)
    ensured(object_store, identity)
    with a_client(object_store) as client:
        assert identity.name in identities.names(client, deadline=in_time())
        assert identities.remove(client, identity.name, deadline=in_time())
        assert identity.name not in identities.names(client, deadline=in_time())
        assert not identities.remove(client, identity.name, deadline=in_time())
    put = writes(s3_of(object_store, identity), object_store.bucket, f"{OURS}1")["put"]
    assert outcome_of(put) == "InvalidAccessKeyId"
    assert ensured(object_store, identity) == (True, 3)
    assert outcome_of(put) == "done"


def test_who_is_not_an_administrator_makes_no_users(object_store):
    identity = an_identity(object_store)
    ensured(object_store, identity)
    keys = {"access_key": Secret(identity.access_key), "secret_key": identity.secret_key}
    with a_client(object_store, **keys) as client, pytest.raises(Denied):
        identities.ensure(client, dataclasses.replace(identity, name="more"), deadline=in_time())


@pytest.mark.parametrize("prefix", ["", "p-abc", "/", "p-*/", "p-?/", "${aws:username}/", "../", "p-abc/../", "a//"])
def test_a_prefix_that_could_mean_more_than_itself_is_no_prefix(object_store, prefix):
    with pytest.raises(ValueError, match="is no prefix"):
        an_identity(object_store, prefix=prefix)


def test_users_and_their_limits_outlive_a_restart_of_the_store(tmp_path):
    write_certificates(tmp_path)
    store = dataclasses.replace(serve(tmp_path), bucket="restarted")
    try:
        await_answer(store)
        store.client().create_bucket(Bucket=store.bucket)
        store.put(f"{PREFIX}p-other/1", b"secret")
        identity = an_identity(store)
        ensured(store, identity)
        store.program.stop()
        store.program.start()
        await_answer(store)
        s3 = s3_of(store, identity)
        inside = {**writes(s3, store.bucket, f"{OURS}1"), **reads(s3, store.bucket, OURS)}
        kept = ("put", "list", "delete")
        assert {name: outcome_of(inside[name]) for name in kept} == dict.fromkeys(kept, "done")
        outside = {**reads(s3, store.bucket, f"{PREFIX}p-other/1"), **writes(s3, store.bucket, f"{PREFIX}p-other/1")}
        assert {outcome_of(call) for call in outside.values()} <= {"AccessDenied", "403"}
        assert ensured(store, identity) == (False, 0)
    finally:
        store.program.stop()
