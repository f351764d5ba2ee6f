# SPDX-License-Identifier: GPL-3.0-or-later
"""The running PostgreSQL, over one session."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from typing import Any

import psycopg2
import psycopg2.extensions
import psycopg2.extras

from .contract import Failure
from .segments import lsn_of


@dataclasses.dataclass(frozen=True)
class About:
    version: int
    data_directory: str
    system_identifier: int
    timeline: int
    in_recovery: bool
    checksums: bool
    archive_mode: str
    archive_command: str


class Server:
    """Ending the session ends a backup that was not stopped."""

    def __init__(self) -> None:
        database = os.environ.get("PGDATABASE") or "postgres"
        options = "-c search_path=pg_catalog"
        # It waits in Python, so that a signal ends a wait for the archive.
        psycopg2.extensions.set_wait_callback(psycopg2.extras.wait_select)
        try:
            self.connection = psycopg2.connect(dbname=database, application_name="wal-g", options=options)
        except psycopg2.Error as error:
            raise Failure(f"Connect: postgres connection failed: {str(error).strip()}") from error
        self.connection.autocommit = True

    def close(self) -> None:
        """Cancelled first: the server does not notice that nobody waits for its statement any more."""
        with contextlib.suppress(psycopg2.Error):
            self.connection.cancel()
        self.connection.close()

    def about(self) -> About:
        row = self._row(
            "SELECT current_setting('server_version_num')::int, current_setting('data_directory'),"
            " (SELECT system_identifier FROM pg_control_system()), (SELECT timeline_id FROM pg_control_checkpoint()),"
            " pg_is_in_recovery(), current_setting('data_checksums')::bool, current_setting('archive_mode'),"
            " current_setting('archive_command')"
        )
        return About(*row)

    def start_backup(self, label: str) -> tuple[str, int]:
        """The segment in which it starts, and the LSN."""
        name, lsn = self._row("SELECT pg_walfile_name(lsn), lsn::text FROM pg_backup_start(%s, true) AS lsn", label)
        return name, lsn_of(lsn)

    def stop_backup(self, seconds: float) -> tuple[str, str, int]:
        """backup_label, tablespace_map and the LSN, once all WAL that the backup needs is archived."""
        self._row("SELECT set_config('statement_timeout', %s, false)", str(int(seconds * 1000)))
        label, spaces, lsn = self._row("SELECT labelfile, spcmapfile, lsn::text FROM pg_backup_stop(true)")
        return label, spaces, lsn_of(lsn)

    def current(self) -> tuple[int, int]:
        """Timeline and LSN of now."""
        timeline, lsn = self._row("SELECT timeline_id, pg_current_wal_lsn()::text FROM pg_control_checkpoint()")
        return timeline, lsn_of(lsn)

    def _row(self, statement: str, *values: object) -> Any:
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(statement, values or None)
                return cursor.fetchone()
        except psycopg2.Error as error:
            raise Failure(f"QueryRunner: {str(error).strip()}") from error
