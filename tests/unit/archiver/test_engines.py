# SPDX-License-Identifier: GPL-3.0-or-later
"""What the archive engines are told of how the object store is to encrypt."""

from __future__ import annotations

from pathlib import Path

import pytest
from archiver import store
from archiver.config import Config
from archiver.engines import BarmanCloud, Place, WalG

KEY = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd"


def a_place(encryption: str = "", kms_key: str = "") -> Place:
    config = Config(
        endpoint="https://192.0.2.7:8333",
        region="us-east-1",
        bucket="supalove",
        prefix="platform",
        archive="p-abc",
        engine="wal-g",
        rpo_seconds=60,
        backup_hours=24,
        full_days=7,
        rate_limit=0,
        ca="",
        encryption=encryption,
        kms_key=kms_key,
    )
    return Place(config=config, archive="p-abc", incarnation="20261101t000000z-aaaaaaaa")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ((), {}),
        (("AES256",), {"WALG_S3_SSE": "AES256"}),
        (("aws:kms", KEY), {"WALG_S3_SSE": "aws:kms", "WALG_S3_SSE_KMS_ID": KEY}),
    ],
)
def test_wal_g_is_told_by_variables(asked: tuple[str, ...], told: dict[str, str]) -> None:
    environment = WalG(place=a_place(*asked)).environment()
    assert {name: text for name, text in environment.items() if "SSE" in name} == told


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ((), []),
        (("AES256",), ["--encryption", "AES256"]),
        (("aws:kms", KEY), ["--encryption", "aws:kms", "--sse-kms-key-id", KEY]),
    ],
)
def test_barman_is_told_where_it_writes_and_nowhere_else(asked: tuple[str, ...], told: list[str]) -> None:
    barman = BarmanCloud(place=a_place(*asked))
    for words in (barman.push(Path("1")), barman.backup(Path("data"), full=True)):
        assert [one for one in words if one in told] == told
    for words in (barman.fetch("1", Path("2")), barman.restore("b", Path("data")), barman.fetch_series()):
        assert not set(words) & {"--encryption", "--sse-kms-key-id"}, "programs that only read refuse them"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ((), {}),
        (("AES256",), {"ServerSideEncryption": "AES256"}),
        (("aws:kms", KEY), {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": KEY}),
    ],
)
def test_the_archivers_own_documents_and_dumps_are_encrypted_alike(
    asked: tuple[str, ...], told: dict[str, str]
) -> None:
    assert store._encrypted(a_place(*asked)) == told
