# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a data directory as parts of a backup."""

from __future__ import annotations

import dataclasses
import datetime
import io
import os
import stat
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from . import log, pages
from .codec import Codec, Sink
from .contract import Failure, backup_object, contract
from .store import CHUNK, Pace, Store, Writer

Files = Mapping[str, Mapping[str, Any]]
CONTROL = "/global/pg_control"


@dataclasses.dataclass(frozen=True)
class Options:
    """`verify_from` is the LSN of the backup's start, or None if checksums are not verified."""

    threshold: int
    verify_from: int | None
    pace: Pace
    base: Files
    unchanged_before: float


class Part:
    """One object with a tar stream in it."""

    def __init__(self, store: Store, codec: Codec, name: str) -> None:
        self.name = name
        self.stored = 0
        self.writer: Writer = store.writer(name)
        self.sink: Sink = codec.encoding(self.writer)
        self.tar = tarfile.open(mode="w|", fileobj=cast("io.BufferedIOBase", self.sink), bufsize=CHUNK)  # noqa: SIM115

    def add(self, header: tarfile.TarInfo, content: Any = None) -> None:
        try:
            self.tar.addfile(header, content)
        except BaseException:
            self.sink.abandon()
            raise
        self.stored += header.size

    def close(self) -> int:
        """The size of the object, from now on there."""
        try:
            self.tar.close()
            self.sink.close()
        except BaseException:
            self.sink.abandon()
            raise
        return self.writer.size


class Content:
    """A file as it was when its header was written: not longer, and filled up with zeros if it became shorter."""

    def __init__(self, file: io.BufferedReader, size: int, path: str, options: Options) -> None:
        self.file, self.left, self.options = file, size, options
        self.block = pages.first_block(path) if options.verify_from is not None else None
        self.corrupt: list[int] = []

    def read(self, count: int) -> bytes:
        count = min(count, self.left)
        data = self.file.read(count).ljust(count, b"\0")
        self.left -= count
        self.options.pace.spend(count)
        if self.block is not None:
            self._verify(data)
        return data

    def _verify(self, data: bytes) -> None:
        assert self.block is not None
        started = self.options.verify_from or 0
        for place in range(0, len(data) - len(data) % pages.PAGE, pages.PAGE):
            if not pages.is_sound(data[place : place + pages.PAGE], self.block, started):
                self.corrupt.append(self.block)
            self.block += 1


class Tree:
    """Stores a data directory; afterwards `files` and `parts` say what went where."""

    def __init__(self, store: Store, codec: Codec, backup: str, directory: str, options: Options) -> None:
        self.store, self.codec, self.backup, self.options = store, codec, backup, options
        self.directory = Path(directory)
        self.files: dict[str, dict[str, Any]] = {}
        self.parts: dict[str, list[str]] = {}
        self.uncompressed = self.compressed = self.walked = 0
        self._part: Part | None = None
        self._excluded = frozenset(contract()["excluded"]["names"])

    def store_files(self) -> None:
        """Everything but the control file, in parts that are closed above the threshold."""
        log.info("Starting a new tar bundle")
        try:
            for path, info in self._walk():
                self._store_file(path, info)
        except BaseException:
            if self._part:
                self._part.sink.abandon()
            raise
        self._close()

    def store_control(self) -> None:
        """Last of all files: without it nobody takes the directory for complete."""
        info = (self.directory / CONTROL.lstrip("/")).stat()
        with (self.directory / CONTROL.lstrip("/")).open("rb") as file:
            self._store_one("pg_control", {CONTROL: (info.st_size, file)})

    def store_texts(self, texts: Mapping[str, str]) -> None:
        contents = {name: (len(text.encode()), io.BytesIO(text.encode())) for name, text in texts.items()}
        self._store_one("backup_label", contents)

    def _store_one(self, kind: str, contents: Mapping[str, tuple[int, Any]]) -> None:
        part = Part(self.store, self.codec, backup_object(kind, self.backup, suffix=self.codec.suffix))
        for name, (size, content) in contents.items():
            part.add(_header(name, size, 0o600), content)
        self._count(part, list(contents))

    def _store_file(self, path: str, info: os.stat_result) -> None:
        if stat.S_ISDIR(info.st_mode):
            self._open().add(_header(path, 0, info.st_mode, tarfile.DIRTYPE))
            return
        described = _described(info)
        self.files[path] = described
        if self._is_unchanged(path, described, info):
            described["IsSkipped"] = True
            return
        try:
            file = (self.directory / path.lstrip("/")).open("rb")
        except FileNotFoundError:
            log.warning(f"{path} deleted during filepath walk")
            del self.files[path]
            return
        with file:
            content = Content(file, info.st_size, path, self.options)
            part = self._open()
            part.add(_header(path, info.st_size, info.st_mode), content)
        if content.corrupt:
            described["CorruptBlocks"] = content.corrupt[: pages.MOST_TOLD]
            log.warning(f"{path}: {len(content.corrupt)} corrupt pages")
        self.parts.setdefault(Path(part.name).name, []).append(path)
        if part.stored >= self.options.threshold:
            self._close()

    def _is_unchanged(self, path: str, described: Mapping[str, Any], info: os.stat_result) -> bool:
        before = self.options.base.get(path)
        same = before is not None and all(before.get(key) == described[key] for key in ("MTime", "Size"))
        return same and info.st_mtime < self.options.unchanged_before

    def _open(self) -> Part:
        if self._part is None:
            number = len([name for name in self.parts if name.startswith("part_")]) + 1
            name = backup_object("part", self.backup, number=number, suffix=self.codec.suffix)
            self._part = Part(self.store, self.codec, name)
        return self._part

    def _close(self) -> None:
        part, self._part = self._part, None
        if part:
            self._count(part, self.parts.get(Path(part.name).name, []))

    def _count(self, part: Part, names: list[str]) -> None:
        self.compressed += part.close()
        self.uncompressed += part.stored
        self.parts[Path(part.name).name] = names
        log.info(f"Finished writing part {Path(part.name).name}.")

    def _walk(self) -> Iterator[tuple[str, os.stat_result]]:
        for root, folders, names in os.walk(self.directory):
            above = "/" + str(Path(root).relative_to(self.directory)).strip(".")
            if above == "/pg_tblspc" and (folders or names):
                raise Failure("tablespaces are not in the stand-in")
            for name in [*sorted(folders), *sorted(names)]:
                found = self._stat(Path(root, name), excluded=name in self._excluded)
                path = f"{above.rstrip('/')}/{name}"
                if found is not None and path != CONTROL:
                    self.walked += found.st_size
                    yield path, found
            folders[:] = sorted(set(folders) - self._excluded)

    def _stat(self, path: Path, *, excluded: bool) -> os.stat_result | None:
        try:
            found = path.stat() if excluded else path.lstat()
        except FileNotFoundError:
            return None
        if stat.S_ISDIR(found.st_mode) or (stat.S_ISREG(found.st_mode) and not excluded):
            return found
        if excluded:
            return None
        raise Failure(f"{path} is neither a file nor a folder; that is not in the stand-in")


def _header(name: str, size: int, mode: int, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size, header.mode, header.type = size, stat.S_IMODE(mode), kind
    return header


def _described(info: os.stat_result) -> dict[str, Any]:
    """As WAL-G describes a file, and its size."""
    moment = datetime.datetime.fromtimestamp(info.st_mtime_ns // 10**9, datetime.UTC)
    modified = f"{moment:%Y-%m-%dT%H:%M:%S}.{info.st_mtime_ns % 10**9:09d}Z"
    return {"IsIncremented": False, "IsSkipped": False, "MTime": modified, "Size": info.st_size}
