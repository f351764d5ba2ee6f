# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's object store: who reaches what of it, and what a further run does."""

from __future__ import annotations

import json
import secrets
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import hosts, layout, object_store, playbook
from lab.object_store import BUCKET, ObjectStore

pytestmark = pytest.mark.usefixtures("platform")

SERVER = layout.host("control-1")
NEIGHBOUR = layout.host("data-1")
# Master, volumes, filer and S3, by HTTP and by gRPC. Without 8080 of the volumes, which others use, too.
INTERNAL = (9333, 19333, 18080, 8888, 18888, 18333)


@pytest.fixture(scope="module")
def administrator() -> ObjectStore:
    return object_store.administrator()


@pytest.fixture(scope="module")
def tenant(administrator: ObjectStore) -> Iterator[ObjectStore]:
    """Somebody who may use the prefix `mine` of the bucket, in which others have objects, too."""
    name, key, secret = f"test-{secrets.token_hex(4)}", secrets.token_hex(10).upper(), secrets.token_hex(20)
    assert administrator.iam("CreateUser", UserName=name) == 200
    assert administrator.iam("CreateAccessKey", UserName=name, AccessKeyId=key, SecretAccessKey=secret) == 200
    policy = object_store.prefix_policy(BUCKET, "mine")
    assert administrator.iam("PutUserPolicy", UserName=name, PolicyName="archive", PolicyDocument=policy) == 200
    for path in ("mine/a", "minemore/a", "theirs/a"):
        administrator.s3().put_object(Bucket=BUCKET, Key=path, Body=b"content")
    yield administrator.known_as(key, secret)
    for path in ("mine/a", "minemore/a", "theirs/a"):
        administrator.s3().delete_object(Bucket=BUCKET, Key=path)
    assert administrator.iam("DeleteAccessKey", UserName=name, AccessKeyId=key) == 200
    assert administrator.iam("DeleteUserPolicy", UserName=name, PolicyName="archive") == 200
    assert administrator.iam("DeleteUser", UserName=name) == 200


def names(seen: ObjectStore, prefix: str) -> list[str]:
    return [each["Key"] for each in seen.s3().list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])]


def test_a_login_uses_its_prefix(tenant: ObjectStore) -> None:
    client = tenant.s3()
    client.put_object(Bucket=BUCKET, Key="mine/b", Body=b"more")
    assert client.get_object(Bucket=BUCKET, Key="mine/b")["Body"].read() == b"more"
    assert names(tenant, "mine/") == ["mine/a", "mine/b"]
    client.delete_object(Bucket=BUCKET, Key="mine/b")
    assert names(tenant, "mine/") == ["mine/a"]


def test_a_login_cannot_leave_its_prefix(administrator: ObjectStore, tenant: ObjectStore) -> None:
    stolen = {"Bucket": BUCKET, "Key": "mine/stolen", "CopySource": {"Bucket": BUCKET, "Key": "theirs/a"}}
    refused = {
        f"{verb} {arguments}": tenant.status(verb, **{"Bucket": BUCKET, **arguments})
        for verb, arguments in (
            ("get_object", {"Key": "theirs/a"}),
            ("get_object", {"Key": "minemore/a"}),
            ("put_object", {"Key": "theirs/b", "Body": b"x"}),
            ("put_object", {"Key": "theirs/a", "Body": b"x"}),
            ("delete_object", {"Key": "theirs/a"}),
            ("copy_object", stolen),
            ("list_objects_v2", {}),
            ("list_objects_v2", {"Delimiter": "/"}),
            ("list_objects_v2", {"Prefix": "theirs/"}),
            ("list_objects_v2", {"Prefix": "mine"}),
            ("list_objects", {"Prefix": "theirs/"}),
            ("list_object_versions", {}),
            ("list_multipart_uploads", {}),
            ("delete_bucket", {}),
            ("create_bucket", {"Bucket": "another"}),
        )
    }
    assert refused == dict.fromkeys(refused, 403)
    # A request for many answers for each.
    answer = tenant.s3().delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "theirs/a"}]})
    assert [each["Code"] for each in answer["Errors"]] == ["AccessDenied"]
    # A way back up leads nowhere.
    assert tenant.status("get_object", Bucket=BUCKET, Key="mine/../theirs/a") == 400
    assert names(tenant, "mine/../theirs/") == []
    assert administrator.s3().get_object(Bucket=BUCKET, Key="theirs/a")["Body"].read() == b"content"


def test_a_login_gives_itself_no_right(tenant: ObjectStore) -> None:
    policy = object_store.prefix_policy(BUCKET, "theirs")
    for action in ("ListUsers", "CreateUser", "PutUserPolicy", "CreateAccessKey"):
        values = {"UserName": "supalove-admin", "PolicyName": "archive", "PolicyDocument": policy}
        assert tenant.iam(action, **values) == 403, action


def test_nobody_in_particular_is_refused(administrator: ObjectStore, tenant: ObjectStore) -> None:
    stranger = ObjectStore(address=administrator.address, authority=administrator.authority)
    assert stranger.status("get_object", Bucket=BUCKET, Key="mine/a") == 403
    assert stranger.status("list_objects_v2", Bucket=BUCKET) == 403
    assert stranger.status("put_object", Bucket=BUCKET, Key="mine/a", Body=b"x") == 403
    assert stranger.status("list_buckets") == 403
    assert tenant.known_as(tenant.access_key, "wrong").status("list_objects_v2", Bucket=BUCKET, Prefix="mine/") == 403


def open_ports(host: layout.Host, address: str) -> list[int]:
    """Which of the object store's ports a host reaches at an address."""
    ports = " ".join(str(port) for port in (8333, *INTERNAL))
    script = f'for p in {ports}; do timeout 2 bash -c "</dev/tcp/{address}/$p" 2>/dev/null && echo $p; done; true'
    return [int(port) for port in hosts.run_on(host, script).split()]


def test_other_hosts_reach_the_port_of_s3_and_none_of_the_internal_ones() -> None:
    assert open_ports(NEIGHBOUR, SERVER.address) == [8333]


def test_even_its_own_host_reaches_no_internal_port() -> None:
    assert open_ports(SERVER, "127.0.0.1") == [8333]
    listening = hosts.run_on(SERVER, "ss --listening --tcp --numeric --processes --no-header")
    assert "systemd-socket-" in listening
    assert '"weed"' not in listening


def test_the_certificate_is_the_object_stores_own(administrator: ObjectStore) -> None:
    assert administrator.status("head_bucket", Bucket=BUCKET) == 200
    with socket.create_connection((SERVER.address, 8333)) as plain, pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(plain, server_hostname=SERVER.address)


def test_the_administrators_secret_is_in_private_files_and_in_no_argument() -> None:
    assert object_store.LOGIN.stat().st_mode & 0o777 == 0o600
    login = json.loads(object_store.LOGIN.read_text())
    assert login.keys() == {"access_key", "secret_key"}
    shown = hosts.run_on(SERVER, "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ; journalctl --no-pager --output=cat")
    assert login["secret_key"] not in shown
    kept = hosts.run_on(SERVER, "find /etc/seaweedfs /etc/supalove/object-store-authority -type f -perm /006")
    assert sorted(kept.split()) == ["/etc/seaweedfs/master.toml", "/etc/seaweedfs/tls/ca.pem"]
    assert hosts.run_on(SERVER, "stat --format='%a %U' /var/lib/seaweedfs").split() == ["700", "seaweedfs"]


def test_what_a_killed_server_and_a_controller_that_lost_its_file_knew_is_there_again(
    lab: Path, tenant: ObjectStore
) -> None:
    before = object_store.LOGIN.read_text()
    hosts.run_on(SERVER, "systemctl kill --signal=KILL seaweedfs")
    object_store.LOGIN.unlink()
    done = playbook.run("object_store", lab)
    assert done.code == 0, done.output[-3000:]
    assert object_store.LOGIN.read_text() == before
    assert names(tenant, "mine/") == ["mine/a"]
    assert tenant.status("get_object", Bucket=BUCKET, Key="theirs/a") == 403


def test_a_certificate_that_ends_soon_is_renewed_and_served(lab: Path, administrator: ObjectStore) -> None:
    before = ssl.get_server_certificate((SERVER.address, 8333))
    done = playbook.run("object_store", lab, "-e", "object_store_certificate_renew_days=366")
    assert done.code == 0, done.output[-3000:]
    assert ssl.get_server_certificate((SERVER.address, 8333)) != before
    assert administrator.status("head_bucket", Bucket=BUCKET) == 200


def test_what_cannot_work_is_refused_at_once_before_anything_is_changed(lab: Path, tmp_path: Path) -> None:
    """On another host than the one that has the data."""
    other = tmp_path / "object_store.yml"
    other.write_text("object_store: {hosts: {data-1: {}}}\n")
    settings = {"object_store_checksums": {}, "object_store_size_mib": 300}
    done = playbook.run("object_store", lab, "-i", str(other), "-e", json.dumps(settings))
    assert done.code != 0
    told = " ".join(done.output.split())
    for text in ("SeaweedFS publishes MD5 only", "less than four files", "control-1 has the data of an object store"):
        assert text in told
    assert not done.changes
    assert not hosts.has_path(NEIGHBOUR, "/etc/seaweedfs")
