# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives as they are after months: a base backup every day, and WAL without a gap from the oldest one on."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from dataclasses import dataclass

from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.catalog import (
    Engine,
    Incarnation,
    Stored,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.layout import describe, incarnation_id
from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.segments import (
    SEGMENT_BYTES,
    Lsn,
    Segment,
    format_lsn,
)

DAY = datetime.timedelta(days=1)
# Of backups from which deltas go on: as the archiver makes them by default.
FULL_DAYS = 7
# Window and one day: what a run finds that is made every day.
LEAST_DAYS = 9
SYSTEM = 7412345678901234567
BACKUP_BYTES, WAL_BYTES = 40_000_000, 70_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """One incarnation, which `engine` writes. `segments_a_day`: one each RPO, as the heartbeat ends one.

    `number` tells archives apart, and shifts the day on which WAL-G begins a new chain of deltas.
    """

    name: str
    engine: Engine
    number: int
    now: datetime.datetime
    segments_a_day: int

    @property
    def days(self) -> int:
        """The age of the oldest backup: the one that a kept delta builds upon may be six days older."""
        return LEAST_DAYS + (self.number % FULL_DAYS if self.engine is Engine.WALG else 0)

    @property
    def id(self) -> str:
        return incarnation_id(self.now - 100 * DAY, "aaaaaaaa")

    def objects(self) -> Iterator[tuple[str, bytes | None]]:
        """Keys below the archive's incarnation, with the content of those that are read."""
        yield "incarnation.json", describe(self._incarnation())
        write = self._walg if self.engine is Engine.WALG else self._barman
        for age in range(self.days, 0, -1):
            yield from write(age)
        for number in range(self._number(self.days), self._number(0)):
            yield self._wal(Segment(1, number).name), None

    def listing(self) -> tuple[list[Stored], dict[str, bytes]]:
        """What the store says of all of it, and the documents."""
        objects = {f"{self.name}/{self.id}/{path}": content for path, content in self.objects()}
        documents = {key: content for key, content in objects.items() if content is not None}
        size = {True: WAL_BYTES, False: BACKUP_BYTES}
        listed = [
            Stored(
                key=key,
                bytes=size["wal" in key] if content is None else len(content),
                modified=self.now - DAY,
            )
            for key, content in sorted(objects.items())
        ]
        return listed, documents

    def _incarnation(self) -> Incarnation:
        return Incarnation(
            id=self.id,
            archive=self.name,
            engine=self.engine,
            postgresql=17,
            system_identifier=str(SYSTEM),
            began=self.now - 100 * DAY,
        )

    def _number(self, age: int) -> int:
        """Of the segment that was written so many days ago."""
        return 1 + (self.days - age) * self.segments_a_day

    def _finished(self, age: int) -> datetime.datetime:
        """Spread over the day, as the archives' own times are."""
        return self.now - age * DAY + DAY * (self.number % 24) / 24

    def _wal(self, name: str) -> str:
        return f"wal_005/{name}.zst" if self.engine is Engine.WALG else f"pg/wals/{name[:16]}/{name}.gz"

    def _walg_name(self, age: int) -> str:
        own = f"base_{Segment(1, self._number(age)).name}"
        is_full = (self.days - age) % FULL_DAYS == 0
        return own if is_full else f"{own}_D_{Segment(1, self._number(age + 1)).name}"

    def _walg(self, age: int) -> Iterator[tuple[str, bytes | None]]:
        """As WAL-G 3.0.9 writes them."""
        name = self._walg_name(age)
        lsn, finish = (self._number(age) * SEGMENT_BYTES + more for more in (0x28, 0x100))
        finished = self._finished(age)
        began = (finished - DAY / 48).isoformat()
        metadata = {
            "start_time": began,
            "finish_time": finished.isoformat(),
            "date_fmt": "%Y-%m-%dT%H:%M:%S.%fZ",
            "hostname": "postgresql-0",
            "data_dir": "/var/lib/postgresql/data/pgdata",
            "pg_version": 170002,
            "start_lsn": lsn,
            "finish_lsn": finish,
            "is_permanent": False,
            "system_identifier": SYSTEM,
            "uncompressed_size": 4 * BACKUP_BYTES,
            "compressed_size": BACKUP_BYTES,
        }
        sentinel = {
            "LSN": lsn,
            "FinishLSN": finish,
            "Timeline": 1,
            "SystemIdentifier": SYSTEM,
            "PgVersion": 170002,
            "StartTime": began,
            "FinishTime": finished.isoformat(),
            **({"DeltaFrom": self._walg_name(age + 1)} if "_D_" in name else {}),
        }
        folder = f"basebackups_005/{name}"
        yield f"{folder}/tar_partitions/part_001.tar.zst", None
        yield f"{folder}/tar_partitions/pg_control.tar.zst", None
        yield f"{folder}/metadata.json", json.dumps(metadata).encode()
        yield f"{folder}/files_metadata.json", None
        yield f"{folder}_backup_stop_sentinel.json", json.dumps(sentinel).encode()

    def _barman(self, age: int) -> Iterator[tuple[str, bytes | None]]:
        """As barman-cloud-backup 3.x writes them."""
        number, finished = self._number(age), self._finished(age)
        wal = Segment(1, number).name
        began = finished - DAY / 48
        info = {
            "backup_label": None,
            "begin_offset": 0x28,
            "begin_time": began.isoformat(" "),
            "begin_wal": wal,
            "begin_xlog": format_lsn(Lsn(number * SEGMENT_BYTES + 0x28)),
            "compression": "gzip",
            "end_offset": 0x100,
            "end_time": finished.isoformat(" "),
            "end_wal": wal,
            "end_xlog": format_lsn(Lsn(number * SEGMENT_BYTES + 0x100)),
            "mode": "concurrent",
            "pgdata": "/var/lib/postgresql/data/pgdata",
            "server_name": "cloud",
            "size": 4 * BACKUP_BYTES,
            "status": "DONE",
            "systemid": SYSTEM,
            "tablespaces": None,
            "timeline": 1,
            "version": 170002,
            "xlog_segment_size": SEGMENT_BYTES,
        }
        folder = f"pg/base/{began:%Y%m%dT%H%M%S}"
        yield f"{folder}/data.tar.gz", None
        yield f"{folder}/backup.info", "".join(f"{key}={value}\n" for key, value in info.items()).encode()
