# SPDX-License-Identifier: GPL-3.0-or-later
"""backup-push: a backup of a running server, its sentinel last."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import time
from collections.abc import Mapping
from typing import Any

from . import log
from .catalog import backups, files_metadata, go_time, parse_time, sentinel
from .codec import Codec
from .contract import Failure, backup_object, message, record
from .server import About, Server
from .settings import Settings
from .store import Pace, Store, UploadFailed
from .tarball import Files, Options, Tree

DATE_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


@dataclasses.dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    directory: str
    full: bool
    permanent: bool
    verify: bool
    without_files_metadata: bool
    user_data: Any


@dataclasses.dataclass(frozen=True)
class Base:
    """The backup that a delta is made from."""

    name: str
    sentinel: Mapping[str, Any]
    files: Files
    count: int

    def fields(self) -> dict[str, Any]:
        full = self.sentinel.get("DeltaFullName", self.name)
        lsn = self.sentinel["LSN"]
        return {"DeltaLSN": lsn, "DeltaFrom": self.name, "DeltaFullName": full, "DeltaCount": self.count}

    def unchanged_before(self) -> float:
        """A file that was written later may be torn in the base. A second allows for the file system's clock."""
        return parse_time(self.sentinel["StartTime"]).timestamp() - 1


def push(settings: Settings, request: Request) -> None:
    store, codec, server = Store(settings, limited=True), Codec(settings), Server()
    try:
        name = _push(settings, request, store, codec, server)
    except UploadFailed as error:
        raise Failure(message("backup_upload_failed", why=error)) from error
    finally:
        server.close()
    log.info(message("backup_written", name=name))


def _push(settings: Settings, request: Request, store: Store, codec: Codec, server: Server) -> str:
    started, about = time.time(), server.about()
    _must_be_ours(about, request.directory)
    base = None if request.full or request.without_files_metadata else _base_of(settings, store, about)
    if base and request.permanent:
        raise Failure("a permanent delta is not in the stand-in; add --full")
    log.info(f"Delta backup from {base.name}." if base else "Doing full backup.")
    if about.archive_mode == "off" or about.archive_command == "":
        log.warning("archive_mode is not enabled. This may cause inconsistent backups.")
    segment, start_lsn = server.start_backup(go_time(started))
    name = f"base_{segment}"
    if base:
        if base.sentinel["FinishLSN"] > start_lsn:
            raise Failure(f"Finish LSN of backup {base.name} greater than current LSN")
        name += f"_D_{base.name.removeprefix('base_')[:24]}"
    options = Options(
        threshold=settings.get("WALG_TAR_SIZE_THRESHOLD"),
        verify_from=start_lsn if _verifies(request, about) else None,
        pace=Pace(settings.get("WALG_DISK_RATE_LIMIT")),
        base=base.files if base else {},
        unchanged_before=base.unchanged_before() if base else 0,
    )
    tree = Tree(store, codec, name, about.data_directory, options)
    tree.store_files()
    tree.store_control()
    log.info("Calling pg_stop_backup()")
    label, spaces, finish_lsn = server.stop_backup(settings.get("WALG_STOP_BACKUP_TIMEOUT"))
    tree.store_texts({"backup_label": label, "tablespace_map": spaces})
    metadata = {
        "start_time": go_time(started),
        "finish_time": go_time(time.time()),
        "date_fmt": DATE_FORMAT,
        "hostname": socket.gethostname(),
        "data_dir": about.data_directory,
        "pg_version": about.version,
        "start_lsn": start_lsn,
        "finish_lsn": finish_lsn,
        "is_permanent": request.permanent,
        "system_identifier": about.system_identifier,
        "timeline": about.timeline,
        "uncompressed_size": tree.uncompressed,
        "compressed_size": tree.compressed,
    }
    if request.user_data is not None:
        metadata["user_data"] = request.user_data
    _put(store, backup_object("metadata", name), record("metadata", metadata))
    if not request.without_files_metadata:
        files = {"Files": tree.files, "TarFileSets": tree.parts, "DatabasesByNames": {}}
        _put(store, backup_object("files_metadata", name), files)
    told = _sentinel(metadata, base, without_files=request.without_files_metadata, catalog_size=tree.walked)
    _put(store, backup_object("sentinel", name), told)
    return name


def _must_be_ours(about: About, given: str) -> None:
    """The directory is the server's own; it is PostgreSQL 17 and no standby (others are not in the stand-in)."""
    if os.path.realpath(given) != os.path.realpath(about.data_directory):
        raise Failure(message("wrong_directory", given=given, found=about.data_directory))
    if about.version // 10000 != 17:
        raise Failure(f"PostgreSQL {about.version // 10000} is not in the stand-in, only 17")
    if about.in_recovery:
        raise Failure("a backup of a standby is not in the stand-in")


def _verifies(request: Request, about: About) -> bool:
    if request.verify and not about.checksums:
        log.warning("data_checksum is disabled in the database. Skipping checksum validation.")
    return request.verify and about.checksums


def _base_of(settings: Settings, store: Store, about: About) -> Base | None:
    """What a delta is made from.

    1. None if deltas are off, there is no backup, or the newest keeps no list of its files.
    2. The newest backup, or with LATEST_FULL the full one that it rests on.
    3. None again if the delta would be one step more than allowed.
    """
    most = settings.get("WALG_DELTA_MAX_STEPS")
    found = backups(store) if most else []
    if not found:
        return None
    name = found[-1].name
    told = sentinel(store, name)
    count = told.get("DeltaCount", 0) + 1
    if count > most:
        log.info("Reached max delta steps. Doing full backup.")
        return None
    if settings.get("WALG_DELTA_ORIGIN") == "LATEST_FULL" and "DeltaFullName" in told:
        name = told["DeltaFullName"]
        told, count = sentinel(store, name), 1
    if told.get("FilesMetadataDisabled"):
        return None
    if told["SystemIdentifier"] != about.system_identifier:
        raise Failure("Current database and database of base backup are not equal.")
    return Base(name=name, sentinel=told, files=files_metadata(store, name)["Files"], count=count)


def _sentinel(metadata: Mapping[str, Any], base: Base | None, *, without_files: bool, catalog_size: int) -> Any:
    values = {
        "LSN": metadata["start_lsn"],
        "Timeline": metadata["timeline"],
        "PgVersion": metadata["pg_version"],
        "FinishLSN": metadata["finish_lsn"],
        "SystemIdentifier": metadata["system_identifier"],
        "UncompressedSize": metadata["uncompressed_size"],
        "CompressedSize": metadata["compressed_size"],
        "DataCatalogSize": catalog_size,
        "Spec": None,
        "Version": 2,
        "StartTime": metadata["start_time"],
        "FinishTime": metadata["finish_time"],
        "DateFmt": metadata["date_fmt"],
        "Hostname": metadata["hostname"],
        "DataDir": metadata["data_dir"],
        "IsPermanent": metadata["is_permanent"],
    }
    if base:
        values |= base.fields()
    if "user_data" in metadata:
        values["UserData"] = metadata["user_data"]
    if without_files:
        values["FilesMetadataDisabled"] = True
    return record("sentinel", values)


def _put(store: Store, name: str, value: Any) -> None:
    store.put(name, json.dumps(value, separators=(",", ":")).encode())
