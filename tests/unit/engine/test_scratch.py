# SPDX-License-Identifier: GPL-3.0-or-later
"""What a copy of a PostgreSQL is made of: nobody gets in, and it writes into no archive."""

from __future__ import annotations

from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.object_store.identities import (
    Access,
    Identity,
    policy_of,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.credentials import Secret
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.life import TIME, Life
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Archiving, Platform
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.context import RESTRICTED
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.scratch import Scratch, render_scratch
from builders import one

PLATFORM = Platform(object_store_endpoint="https://192.0.2.7:8333")
LIFE = Life(
    number=2,
    archive="s-free-1",
    incarnation="20261101t000000z-aaaaaaaa",
    engine="wal-g",
    backup="base_000000010000000000000002",
    target=TIME,
    value="2026-11-01 05:00:00+00:00",
    last_segment="000000010000000000000009",
)
OBJECTS = render_scratch(
    PLATFORM,
    Scratch(
        name="scratch-abcdefgh",
        archive="s-free-1",
        archiving=Archiving(),
        life=LIFE,
        storage=8 * 1024**3,
        expires=1_800_000_000,
        seconds=900,
    ),
)
POD = one("Pod", "postgresql-0", OBJECTS)["spec"]


def test_nobody_gets_in_and_nothing_goes_out_but_to_the_object_store():
    spec = one("NetworkPolicy", "scratch", OBJECTS)["spec"]
    assert (spec["podSelector"], spec["policyTypes"]) == ({}, ["Ingress", "Egress"])
    assert "ingress" not in spec
    assert [rule["to"] for rule in spec["egress"]] == [[{"ipBlock": {"cidr": "192.0.2.7/32"}}]]


def test_its_server_archives_nothing_and_its_archiver_only_fetches():
    conf = one("ConfigMap", "postgresql", OBJECTS)["data"]["postgresql.conf"]
    assert "archive_mode = 'off'" in conf
    assert "archive_command" not in conf
    assert [container["args"] for container in POD["initContainers"]] == [["restore"], ["serve"]]


def test_no_login_but_the_superuser_over_the_socket_and_the_one_that_dumps():
    hba = one("ConfigMap", "postgresql", OBJECTS)["data"]["pg_hba.conf"]
    rules = [line for line in hba.splitlines() if line and not line.startswith("#")]
    assert rules == [
        'local all "postgres" peer',
        'local all "supalove_dump" trust',
        "local all all reject",
    ]


def test_it_ends_by_itself_and_is_not_started_again():
    assert (POD["restartPolicy"], POD["activeDeadlineSeconds"]) == ("Never", 900)
    meta = one("Namespace", "scratch-abcdefgh", OBJECTS)["metadata"]
    assert meta["annotations"] == {"supalove.cloud/expires": "1800000000"}
    assert RESTRICTED.items() <= meta["labels"].items()


def test_its_data_are_on_a_bounded_volume_that_goes_with_it():
    volumes = {volume["name"]: volume for volume in POD["volumes"]}
    assert volumes["data"]["emptyDir"] == {"sizeLimit": "9Gi"}
    mounted = {mount["name"] for each in (*POD["containers"], *POD["initContainers"]) for mount in each["volumeMounts"]}
    assert mounted <= volumes.keys()


def test_what_reads_an_archive_for_it_writes_only_where_dumps_are():
    identity = Identity(
        name="x",
        access_key="a",
        secret_key=Secret("s"),
        prefix="s-free-1/",
        access=Access.READ_ONLY,
        writes="dumps/scratch-abcdefgh/",
    )
    found = policy_of(identity, bucket="supalove", root="platform/")["Statement"]
    writing = [one["Resource"] for one in found if "s3:PutObject" in one["Action"]]
    assert writing == [["arn:aws:s3:::supalove/platform/dumps/scratch-abcdefgh/*"]]
    assert all("s3:DeleteObject" not in one["Action"] or one["Resource"] in writing for one in found)
