# SPDX-License-Identifier: GPL-3.0-or-later
"""Compression, then libsodium's secretstream in chunks of 8192 bytes behind its header, as WAL-G stores objects."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import lzma
import subprocess
import threading
from collections.abc import Iterator
from typing import Any, Protocol

from .contract import Failure, suffix
from .settings import Settings

CHUNK = 8192
HEADER = 24
OVERHEAD = 17
TAG_MESSAGE = 0
TAG_FINAL = 3
LIBRARY = "libsodium.so.23"


class Sink(Protocol):
    def write(self, data: bytes, /) -> int: ...
    def close(self) -> None: ...
    def abandon(self) -> None: ...


class Codec:
    """How the objects of a site are encoded."""

    def __init__(self, settings: Settings) -> None:
        self.method: str = settings.get("WALG_COMPRESSION_METHOD")
        self.level: int = settings.get("WALG_ZSTD_LEVEL")
        self.key = settings.key()
        self.suffix = suffix(self.method)

    def encoding(self, sink: Sink) -> Sink:
        """What is written to the result arrives encoded in `sink`; closing it closes that."""
        inner: Sink = sink if self.key is None else _Encrypting(sink, self.key)
        if self.method == "zstd":
            return _Zstd(inner, self.level)
        return _Lzma(inner) if self.method == "lzma" else inner

    def decoded(self, pieces: Iterator[bytes], ending: str) -> Iterator[bytes]:
        """The content of an object whose name ends in `ending`; Failure if it is damaged, cut or of another key."""
        if self.key is not None:
            pieces = _decrypted(pieces, self.key)
        if ending == suffix("zstd"):
            return _unzstd(pieces)
        return _unlzma(pieces) if ending == suffix("lzma") else pieces


class _Encrypting:
    def __init__(self, sink: Sink, key: bytes) -> None:
        self.sink = sink
        self._buffer = bytearray()
        self._state = _new_state()
        header = ctypes.create_string_buffer(HEADER)
        _sodium().crypto_secretstream_xchacha20poly1305_init_push(self._state, header, key)
        sink.write(header.raw)

    def write(self, data: bytes, /) -> int:
        self._buffer += data
        while len(self._buffer) >= CHUNK:
            self._push(bytes(self._buffer[:CHUNK]), TAG_MESSAGE)
            del self._buffer[:CHUNK]
        return len(data)

    def close(self) -> None:
        self._push(bytes(self._buffer), TAG_FINAL)
        self.sink.close()

    def abandon(self) -> None:
        self.sink.abandon()

    def _push(self, data: bytes, tag: int) -> None:
        out = ctypes.create_string_buffer(len(data) + OVERHEAD)
        length, push = ctypes.c_ulonglong(len(data)), _sodium().crypto_secretstream_xchacha20poly1305_push
        push(self._state, out, None, data, length, None, ctypes.c_ulonglong(0), ctypes.c_ubyte(tag))
        self.sink.write(out.raw)


class _Lzma:
    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self._compressor = lzma.LZMACompressor(format=lzma.FORMAT_ALONE)

    def write(self, data: bytes, /) -> int:
        self.sink.write(self._compressor.compress(data))
        return len(data)

    def close(self) -> None:
        self.sink.write(self._compressor.flush())
        self.sink.close()

    def abandon(self) -> None:
        self.sink.abandon()


class _Zstd:
    """The program zstd, between a writer and the sink, which a thread fills."""

    def __init__(self, sink: Sink, level: int) -> None:
        self.sink = sink
        self._failures: list[Exception] = []
        command = ["zstd", "--quiet", "--stdout", f"-{level}"]
        self._program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._thread = threading.Thread(target=self._pump, name="zstd")
        self._thread.start()

    def write(self, data: bytes, /) -> int:
        assert self._program.stdin is not None
        try:
            self._program.stdin.write(data)
        except BrokenPipeError:
            self._end()
            raise Failure("zstd ended early") from None
        return len(data)

    def close(self) -> None:
        self._end()
        if self._program.returncode != 0:
            raise Failure(f"zstd ended with code {self._program.returncode}")
        self.sink.close()

    def abandon(self) -> None:
        self._program.kill()
        with contextlib.suppress(Exception):
            self._end()
        self.sink.abandon()

    def _pump(self) -> None:
        assert self._program.stdout is not None
        try:
            while data := self._program.stdout.read(1 << 17):
                self.sink.write(data)
        except Exception as error:  # noqa: BLE001  (it is raised in the other thread)
            self._failures.append(error)
            self._program.kill()

    def _end(self) -> None:
        assert self._program.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._program.stdin.close()
        self._thread.join()
        self._program.wait()
        if self._failures:
            raise self._failures[0]


def _decrypted(pieces: Iterator[bytes], key: bytes) -> Iterator[bytes]:
    buffer = bytearray()
    state = _new_state()
    size, started, final = HEADER, False, False
    more = True
    while more:
        piece = next(pieces, b"")
        more = bool(piece)
        buffer += piece
        while len(buffer) >= size or (buffer and not more):
            data = bytes(buffer[:size])
            del buffer[:size]
            if final:
                raise Failure("premature end")
            if started:
                plain, final = _pull(state, data)
                yield plain
                continue
            if len(data) < HEADER:
                raise Failure("failed to read libsodium header")
            if _sodium().crypto_secretstream_xchacha20poly1305_init_pull(state, data, key) != 0:
                raise Failure("corrupted libsodium header")
            size, started = CHUNK + OVERHEAD, True
    if not final:
        raise Failure("unexpected end of the encrypted object")


def _pull(state: Any, data: bytes) -> tuple[bytes, bool]:
    if len(data) < OVERHEAD:
        raise Failure("corrupted chunk")
    out = ctypes.create_string_buffer(max(1, len(data) - OVERHEAD))
    tag = ctypes.c_ubyte()
    length, pull = ctypes.c_ulonglong(len(data)), _sodium().crypto_secretstream_xchacha20poly1305_pull
    if pull(state, out, None, ctypes.byref(tag), data, length, None, ctypes.c_ulonglong(0)) != 0:
        raise Failure("corrupted chunk")
    return out.raw[: len(data) - OVERHEAD], tag.value == TAG_FINAL


def _unzstd(pieces: Iterator[bytes]) -> Iterator[bytes]:
    command = ["zstd", "--quiet", "--decompress", "--stdout"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stderr is not None
        failures: list[Exception] = []
        thread = threading.Thread(target=_feed, args=(program, pieces, failures), name="zstd")
        thread.start()
        try:
            while data := program.stdout.read(1 << 20):
                yield data
            thread.join()
            told = program.stderr.read().decode(errors="replace").strip()
            if failures:
                raise failures[0]
            if program.wait() != 0:
                raise Failure(f"failed to decompress: {told}")
        finally:
            program.kill()
            thread.join()


def _feed(program: Any, pieces: Iterator[bytes], failures: list[Exception]) -> None:
    empty = True
    try:
        for piece in pieces:
            empty = False
            program.stdin.write(piece)
        if empty:
            failures.append(Failure("failed to decompress: the object is empty"))
    except BrokenPipeError:
        pass
    except Exception as error:  # noqa: BLE001  (it is raised in the other thread)
        failures.append(error)
    finally:
        with contextlib.suppress(BrokenPipeError):
            program.stdin.close()


def _unlzma(pieces: Iterator[bytes]) -> Iterator[bytes]:
    decompressor = lzma.LZMADecompressor(format=lzma.FORMAT_ALONE)
    try:
        for piece in pieces:
            if decompressor.eof:
                raise Failure("failed to decompress: data after the end")
            yield decompressor.decompress(piece)
    except lzma.LZMAError as error:
        raise Failure(f"failed to decompress: {error}") from error
    if not decompressor.eof:
        raise Failure("failed to decompress: unexpected end of the object")


@functools.cache
def _sodium() -> Any:
    library = ctypes.CDLL(LIBRARY)
    if library.sodium_init() < 0:
        raise Failure("libsodium does not start")
    return library


def _new_state() -> Any:
    return ctypes.create_string_buffer(_sodium().crypto_secretstream_xchacha20poly1305_statebytes())
