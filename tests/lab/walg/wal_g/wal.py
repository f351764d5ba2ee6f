# SPDX-License-Identifier: GPL-3.0-or-later
"""wal-push and wal-fetch."""

from __future__ import annotations

from pathlib import Path

from . import log
from .codec import Codec
from .contract import Absent, Failure, contract, folder, message
from .segments import WAL_FILE
from .settings import Settings
from .store import CHUNK, Store


def push(settings: Settings, path: str) -> None:
    store, codec = Store(settings), Codec(settings)
    name = Path(path).name
    if WAL_FILE.fullmatch(name) is None:
        raise Failure(f"upload: '{path}' is not named as a WAL file")
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise Failure(f"upload: could not open '{path}': {error.strerror}") from error
    if settings.get("WALG_PREVENT_WAL_OVERWRITE") and _is_stored(store, codec, name, data, path):
        return
    stored = object_of(codec, name)
    sink = codec.encoding(store.writer(stored))
    try:
        sink.write(data)
        sink.close()
    except BaseException:
        sink.abandon()
        raise
    log.info(message("wal_pushed", name=Path(stored).name))


def fetch(settings: Settings, name: str, destination: str) -> None:
    """Raises Absent if the store says that it has no such file. The destination appears when it is complete."""
    store, codec = Store(settings), Codec(settings)
    target = Path(destination)
    if target.exists():
        raise Failure(f"{destination} exists; wal-fetch makes a new file")
    beside = target.with_name(f".{target.name}.wal-g")
    try:
        _download(store, codec, name, beside)
        beside.rename(target)
    except OSError as error:
        raise Failure(f"cannot write {destination}: {error.strerror}") from error
    finally:
        beside.unlink(missing_ok=True)


def read(store: Store, codec: Codec, name: str) -> bytes:
    stored = find(store, codec, name)
    return b"".join(codec.decoded(store.read(stored), ending_of(stored, name)))


def find(store: Store, codec: Codec, name: str) -> str:
    """The object that holds a WAL file, whatever it is compressed with; raises Absent."""
    endings = sorted((line["name"] for line in contract()["suffixes"].values()), key=codec.suffix.__ne__)
    for ending in endings:
        stored = folder("wal") + (f"{name}.{ending}" if ending else name)
        if store.exists(stored):
            return stored
    raise Absent(message("wal_absent", name=name))


def object_of(codec: Codec, name: str) -> str:
    return folder("wal") + (f"{name}.{codec.suffix}" if codec.suffix else name)


def ending_of(stored: str, name: str) -> str:
    return stored.removeprefix(folder("wal") + name).lstrip(".")


def _download(store: Store, codec: Codec, name: str, beside: Path) -> None:
    stored = find(store, codec, name)
    try:
        pieces = store.read(stored)
    except Absent as error:
        # It was there a moment ago: not the end of the archive.
        raise Failure(str(error)) from error
    with beside.open("wb", buffering=CHUNK) as file:
        for piece in codec.decoded(pieces, ending_of(stored, name)):
            file.write(piece)


def _is_stored(store: Store, codec: Codec, name: str, data: bytes, path: str) -> bool:
    try:
        stored = read(store, codec, name)
    except Absent:
        return False
    if stored != data:
        raise Failure(message("wal_differs", path=path))
    log.info(message("wal_equal", path=path))
    return True
