# SPDX-License-Identifier: GPL-3.0-or-later
"""The module object_store_bucket against a real SeaweedFS on loopback."""

from __future__ import annotations

import difflib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from ansible_collections.supalove.platform.plugins.modules import object_store_bucket
from fix_ports import free_port

LOGIN = {"access_key": "ADMINISTRATOR", "secret_key": "the-secret-of-the-administrator"}
START_SECONDS = 60


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the server answers. It has no bucket yet."""
    folder = tmp_path_factory.mktemp("weed")
    program = shutil.which("weed")
    assert program, "weed is missing from this Python environment; run `make venv`"
    pair = {"accessKey": LOGIN["access_key"], "secretKey": LOGIN["secret_key"]}
    identity = {"name": "administrator", "credentials": [pair], "actions": ["Admin"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    names = ("master", "volume", "filer", "s3")
    numbers = [free_port() for _ in range(8)]
    ports = [f"-{name}.port={number}" for name, number in zip(names, numbers[:4], strict=True)]
    ports += [f"-{name}.port.grpc={number}" for name, number in zip(names, numbers[4:], strict=True)]
    options = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", "-volume.preStopSeconds=1", "-s3"]
    options += ["-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={folder / 's3.json'}", f"-dir={folder}"]
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen([program, "server", *options, *ports], stdout=log, stderr=log, cwd=folder)
    try:
        await_port(numbers[3], folder / "log")
        yield f"http://127.0.0.1:{numbers[3]}"
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()


def await_port(port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    pytest.fail(f"weed did not listen within {START_SECONDS} s: {log.read_text()[-2000:]}")


def run(address: str, name: str, *, check: bool = False, **others: Any) -> dict[str, Any]:
    """The module as Ansible runs it: a program that reads its arguments and prints its result."""
    given = {"url": address, "name": name, "deadline_seconds": 30, **LOGIN, **others, "_ansible_check_mode": check}
    done = subprocess.run(
        [sys.executable, "-P", str(object_store_bucket.__file__)],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": given}),
        env={**os.environ, "PYTHONPATH": os.environ["SUPALOVE_COLLECTIONS"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    assert LOGIN["secret_key"] not in json.dumps(result)
    return result


def test_a_bucket_is_made_once(address: str) -> None:
    diff = {"before": "", "after": "archive\n"}
    checked = run(address, "archive", check=True)
    assert (checked["changed"], checked["diff"]) == (True, diff)
    made = run(address, "archive")
    assert (made["changed"], made["diff"], made["name"]) == (True, diff, "archive")
    for check in (True, False):
        assert run(address, "archive", check=check)["changed"] is False


def s3_of(address: str) -> Any:
    """The administrator's client."""
    return boto3.client(
        "s3",
        endpoint_url=address,
        region_name="us-east-1",
        aws_access_key_id=LOGIN["access_key"],
        aws_secret_access_key=LOGIN["secret_key"],
    )


def lock_of(address: str, name: str) -> dict[str, Any]:
    found = s3_of(address).get_object_lock_configuration(Bucket=name)["ObjectLockConfiguration"]
    return dict(found["Rule"]["DefaultRetention"])


def rules_of(address: str, name: str) -> dict[str, Any]:
    found = s3_of(address).get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    return {one["ID"]: one for one in found}


def test_a_bucket_that_locks_is_made_with_the_end_of_its_older_versions(address: str) -> None:
    after = "locked\nobject lock: GOVERNANCE for 15 days\nolder versions: expire after 15 days\n"
    for check in (True, False):
        made = run(address, "locked", lock_days=15, check=check)
        assert (made["changed"], made["diff"]) == (True, {"before": "", "after": after})
    assert lock_of(address, "locked") == {"Mode": "GOVERNANCE", "Days": 15}
    assert s3_of(address).get_bucket_versioning(Bucket="locked")["Status"] == "Enabled"
    rule = rules_of(address, "locked")["supalove-versions"]
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 15}
    assert rule["Expiration"] == {"ExpiredObjectDeleteMarker": True}
    for check in (True, False):
        again = run(address, "locked", lock_days=15, check=check)
        assert (again["changed"], again["diff"]) == (False, {"before": after, "after": after})
    # Asked for no more, it stays.
    assert run(address, "locked")["changed"] is False
    assert lock_of(address, "locked") == {"Mode": "GOVERNANCE", "Days": 15}


def test_another_lock_replaces_the_one_before_and_leaves_other_rules(address: str) -> None:
    run(address, "relocked", lock_days=15)
    other = {"ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 3}}
    rules = {"Rules": [other, rules_of(address, "relocked")["supalove-versions"]]}
    s3_of(address).put_bucket_lifecycle_configuration(Bucket="relocked", LifecycleConfiguration=rules)
    checked = run(address, "relocked", lock_days=30, lock_mode="COMPLIANCE", check=True)
    assert "-object lock: GOVERNANCE for 15 days" in unified(checked["diff"])
    assert "+object lock: COMPLIANCE for 30 days" in unified(checked["diff"])
    assert lock_of(address, "relocked")["Days"] == 15
    assert run(address, "relocked", lock_days=30, lock_mode="COMPLIANCE")["changed"]
    assert lock_of(address, "relocked") == {"Mode": "COMPLIANCE", "Days": 30}
    found = rules_of(address, "relocked")
    assert found["supalove-versions"]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}
    assert found["theirs"]["Expiration"] == {"Days": 3}


def unified(diff: dict[str, str]) -> str:
    return "\n".join(difflib.unified_diff(diff["before"].splitlines(), diff["after"].splitlines(), lineterm=""))


def test_a_run_that_was_killed_after_it_made_the_bucket_is_finished(address: str) -> None:
    s3_of(address).create_bucket(Bucket="half", ObjectLockEnabledForBucket=True)
    done = run(address, "half", lock_days=15)
    assert done["diff"]["before"] == "half\nobject lock: nothing\n"
    assert (done["changed"], lock_of(address, "half")["Days"]) == (True, 15)
    assert run(address, "half", lock_days=15)["changed"] is False


@pytest.mark.parametrize("check", [True, False])
def test_a_bucket_that_was_made_without_a_lock_is_refused(address: str, *, check: bool) -> None:
    run(address, "open")
    failed = run(address, "open", lock_days=15, check=check)
    assert failed["failed"]
    assert "open was made without object lock, which a bucket has from its beginning or never" in failed["msg"]
    assert run(address, "open")["changed"] is False


@pytest.mark.parametrize(
    ("others", "text"),
    [
        ({"secret_key": "wrong"}, "HTTP 403"),
        ({"access_key": "nobody"}, "is not known there, or may not do this"),
        ({"name": "No Bucket"}, "No Bucket"),
        ({"ca_path": "/nowhere/ca.pem"}, "/nowhere/ca.pem, by which"),
        ({"lock_days": -1}, "lock_days is -1; allowed is 0"),
        ({"lock_days": 1, "lock_mode": "governance"}, "GOVERNANCE, COMPLIANCE"),
    ],
)
def test_what_prevents_it_is_said_at_once(address: str, others: dict[str, Any], text: str) -> None:
    began = time.monotonic()
    failed = run(address, **{"name": "other", **others})
    assert failed["failed"]
    assert text in failed["msg"]
    assert time.monotonic() - began < 20


def test_a_server_that_does_not_answer_is_waited_for_and_then_named() -> None:
    port = free_port()
    failed = run(f"http://127.0.0.1:{port}", "archive", deadline_seconds=2)
    assert "waited 2 s; last seen: " in failed["msg"]
    assert f"http://127.0.0.1:{port} cannot be reached" in failed["msg"]


def test_a_check_takes_a_server_that_does_not_answer_for_an_empty_one() -> None:
    port = free_port()
    assert run(f"http://127.0.0.1:{port}", "archive", check=True)["changed"]
