# SPDX-License-Identifier: GPL-3.0-or-later
"""backup-fetch: a backup, and what it rests on, into an empty directory; the control file is written last."""

from __future__ import annotations

import contextlib
import io
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from . import log
from .catalog import files_metadata, select, sentinel
from .codec import Codec
from .contract import Absent, Failure, backup_object, message
from .settings import Settings
from .store import CHUNK, Store
from .tarball import CONTROL

LABELS = ("backup_label", "tablespace_map")


def fetch(settings: Settings, directory: str, name: str) -> None:
    store, codec, target = Store(settings, limited=True), Codec(settings), Path(directory)
    backup = select(store, name)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise Failure(message("not_empty", path=directory))
    log.info(f"Selecting the backup with name {backup.name}...")
    made = not target.exists()
    try:
        if made:
            target.mkdir(mode=0o700, parents=True)
        Restore(store, codec, target).run(backup.name)
    except BaseException as error:
        _clear(target, itself=made)
        if isinstance(error, OSError | Absent):
            raise Failure(f"Failed to fetch backup: {error}") from error
        raise
    log.info("Backup extraction complete.")


class Restore:
    def __init__(self, store: Store, codec: Codec, target: Path) -> None:
        self.store, self.codec, self.target = store, codec, target

    def run(self, name: str) -> None:
        """Newest first: what a delta skipped comes from the backup below it."""
        first: str | None = name
        wanted: set[str] | None = None
        below: str | None = first
        while below is not None:
            told = sentinel(self.store, below)
            wanted = self._unpack(below, told, wanted, with_labels=below == name)
            below = told.get("DeltaFrom")
            if below and wanted:
                log.info(f"Delta from {below} at LSN {told['DeltaLSN']}")
        if wanted:
            raise Failure(f"Failed to fetch backup: {len(wanted)} files are in no backup, one is {min(wanted)}")
        self._control(name)

    def _unpack(
        self, name: str, told: Mapping[str, Any], wanted: set[str] | None, *, with_labels: bool
    ) -> set[str] | None:
        """What is still wanted after this backup; None stands for everything."""
        parts = self._parts(name)
        if not told.get("FilesMetadataDisabled"):
            files = files_metadata(self.store, name)
            lost = set(files["TarFileSets"]) - set(parts)
            if lost:
                raise Failure(f"Failed to fetch backup: {name} lacks {', '.join(sorted(lost))}")
            wanted = set(files["Files"]) if wanted is None else wanted
        for part, stored in sorted(parts.items()):
            if part.startswith("part_"):
                wanted = self._extract(stored, wanted)
            elif part.startswith("backup_label.") and with_labels:
                left = self._extract(stored, set(LABELS))
                if left:
                    raise Failure(f"Failed to fetch backup: {name} has no {', '.join(sorted(left))}")
        return wanted

    def _control(self, name: str) -> None:
        stored = [place for part, place in self._parts(name).items() if part.startswith("pg_control.")]
        if not stored or self._extract(stored[0], {CONTROL}):
            raise Failure(message("no_pg_control"))

    def _parts(self, name: str) -> dict[str, str]:
        folder = str(PurePosixPath(backup_object("part", name, number=1, suffix="")).parent) + "/"
        return {PurePosixPath(item.name).name: item.name for item in self.store.list(folder)}

    def _extract(self, stored: str, wanted: set[str] | None) -> set[str] | None:
        ending = stored.rpartition(".tar.")[2]
        reader = io.BufferedReader(_Pieces(self.codec.decoded(self.store.read(stored), ending)), CHUNK)
        left = None if wanted is None else set(wanted)
        try:
            with tarfile.open(mode="r|", fileobj=reader, bufsize=CHUNK) as tar:
                for member in tar:
                    if member.isdir():
                        self._place(member).mkdir(mode=0o700, parents=True, exist_ok=True)
                    elif left is None or member.name in left:
                        self._write(tar, member)
                        left = None if left is None else left - {member.name}
            # What follows the tar must still decode: the object may be damaged at its very end.
            while reader.read(CHUNK):
                pass
        except tarfile.TarError as error:
            raise Failure(f"Failed to fetch backup: {stored}: {error}") from error
        log.info(f"Finished extraction of {PurePosixPath(stored).name}")
        return left

    def _write(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        source, place = tar.extractfile(member), self._place(member)
        if source is None:
            raise Failure(f"Failed to fetch backup: {member.name} is no regular file")
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with place.open("wb") as file:
            shutil.copyfileobj(source, file, CHUNK)
        place.chmod(member.mode)

    def _place(self, member: tarfile.TarInfo) -> Path:
        parts = PurePosixPath(member.name.lstrip("/")).parts
        if ".." in parts or not parts:
            raise Failure(f"Failed to fetch backup: {member.name} leaves the directory")
        return self.target.joinpath(*parts)


class _Pieces(io.RawIOBase):
    """A file to read from, made of pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces, self.buffer = pieces, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        while not self.buffer:
            piece = next(self.pieces, None)
            if piece is None:
                return 0
            self.buffer = memoryview(piece)
        count = min(len(into), len(self.buffer))
        into[:count] = self.buffer[:count]
        self.buffer = self.buffer[count:]
        return count


def _clear(target: Path, *, itself: bool) -> None:
    """Only what was made here: the directory was empty or absent."""
    with contextlib.suppress(OSError):
        for path in target.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if itself:
            target.rmdir()
