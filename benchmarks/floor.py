# SPDX-License-Identifier: GPL-3.0-or-later
"""The floor: the least that a client of the API server can do, as fast as Python does it.

FROZEN. The engine is measured against this program, so it is not changed when the engine is; whoever finds a faster way
to send the same requests writes a new floor, and all figures of the old one are void.

It plans nothing, decides nothing, retries nothing and renders nothing: requests come ready from a file, and of an
answer only the status is looked at (`lists` parses every answer, as any reader must). Standard library only, plain
sockets in threads: one TLS connection for each request in flight, one write and mostly one read per request, bytes
prepared before the clock starts. The clock runs from the first connection to the last answer.

    python floor.py sends FILE IN_FLIGHT   one JSON object per line: stage, verb, path, content, accept, body;
                                           a stage begins when the one before it has been answered
    python floor.py lists FILE IN_FLIGHT   one JSON object per line: path (a whole collection), accept

The environment names the server: FLOOR_SERVER (host:port), FLOOR_CA (file), FLOOR_TOKEN. The last line of the output
is a JSON object with what was measured.
"""

from __future__ import annotations

import collections
import dataclasses
import gc
import itertools
import json
import os
import resource
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

END_OF_HEAD = b"\r\n\r\n"
# JSON has no raw line ends of this kind in it, so only the last chunk can look like this.
END_OF_CHUNKS = b"\r\n0\r\n\r\n"
READ_BYTES = 1 << 18


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """Status, and the body without its chunks' sizes."""

    status: int
    body: bytes


class Connection:
    """One TLS connection on which requests follow each other."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext) -> None:
        plain = socket.create_connection((host, port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = context.wrap_socket(plain, server_hostname=host)

    def ask(self, request: bytes) -> Answer:
        """Send one request, read its answer whole."""
        self._socket.sendall(request)
        data = self._read()
        while (end := data.find(END_OF_HEAD)) < 0:
            data += self._read()
        head, body = data[:end].lower(), data[end + len(END_OF_HEAD) :]
        status = int(head[9:12])
        if b"\r\ntransfer-encoding: chunked" in head:
            parts, tail = [body], (b"\r\n" + body)[-len(END_OF_CHUNKS) :]
            while tail != END_OF_CHUNKS:
                parts.append(self._read())
                tail = (tail + parts[-1])[-len(END_OF_CHUNKS) :]
            return Answer(status, b"".join(parts))
        length = int(head.split(b"\r\ncontent-length: ", 1)[1].split(b"\r\n", 1)[0])
        parts, got = [body], len(body)
        while got < length:
            parts.append(self._read())
            got += len(parts[-1])
        return Answer(status, b"".join(parts))

    def _read(self) -> bytes:
        data = self._socket.recv(READ_BYTES)
        if not data:
            raise ConnectionError("the server closed the connection")
        return data


def without_chunks(body: bytes) -> bytes:
    """A chunked body put together; one that is not chunked as it is (JSON objects begin with a brace)."""
    if body.startswith(b"{"):
        return body
    parts: list[bytes] = []
    at = 0
    while True:
        end = body.index(b"\r\n", at)
        size = int(body[at:end], 16)
        if not size:
            return b"".join(parts)
        parts.append(body[end + 2 : end + 2 + size])
        at = end + 2 + size + 2


class Server:
    """Where requests go, and as whom."""

    def __init__(self) -> None:
        self.host, _, port = os.environ["FLOOR_SERVER"].rpartition(":")
        self.port = int(port)
        self.context = ssl.create_default_context(cafile=os.environ["FLOOR_CA"])
        self.token = os.environ["FLOOR_TOKEN"]

    def request(self, verb: str, path: str, accept: str, content: str, body: bytes) -> bytes:
        """The bytes of one request."""
        head = [
            f"{verb} {path} HTTP/1.1",
            f"Host: {self.host}:{self.port}",
            f"Authorization: Bearer {self.token}",
            f"Accept: {accept}",
            *([f"Content-Type: {content}", f"Content-Length: {len(body)}"] if body else []),
        ]
        return "\r\n".join(head).encode() + END_OF_HEAD + body

    def all(self, requests: list[bytes], in_flight: int, done: Callable[[Connection, bytes], None]) -> None:
        """Every request once, in their order, `in_flight` at a time; the first error ends the program."""
        queue = collections.deque(requests)
        errors: list[Exception] = []

        def work() -> None:
            try:
                connection = Connection(self.host, self.port, self.context)
                for request in _each(queue):
                    if errors:
                        return
                    done(connection, request)
            except Exception as error:  # noqa: BLE001 - raised again below, where it ends the program
                errors.append(error)

        threads = [threading.Thread(target=work) for _ in range(min(in_flight, len(requests)))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]


def _each(queue: collections.deque[bytes]) -> Iterator[bytes]:
    """What is left, whoever takes it."""
    while True:
        try:
            request = queue.popleft()
        except IndexError:
            return
        yield request


def sends(lines: list[str], in_flight: int) -> dict[str, object]:
    """Send everything, stage by stage; every answer must be a success."""
    server = Server()
    stages: dict[int, list[bytes]] = {}
    for line in lines:
        one = json.loads(line)
        request = server.request(one["verb"], one["path"], one["accept"], one["content"], one["body"].encode())
        stages.setdefault(one["stage"], []).append(request)
    statuses: collections.Counter[int] = collections.Counter()
    lock = threading.Lock()

    def send(connection: Connection, request: bytes) -> None:
        answer = connection.ask(request)
        if answer.status not in (200, 201):
            raise RuntimeError(f"{answer.status} {request[:200]!r} {answer.body[:500]!r}")
        with lock:
            statuses[answer.status] += 1

    started = time.perf_counter()
    for _, requests in sorted(stages.items()):
        server.all(requests, in_flight, send)
    return {"seconds": time.perf_counter() - started, "requests": sum(statuses.values()), "created": statuses[201]}


def lists(lines: list[str], in_flight: int) -> dict[str, object]:
    """Read whole collections and parse them; the objects are kept, as a reader needs them."""
    server = Server()
    requests = [server.request("GET", one["path"], one["accept"], "", b"") for one in map(json.loads, lines)]
    kept: list[list[object]] = []
    read = itertools.count()

    def parse(connection: Connection, request: bytes) -> None:
        answer = connection.ask(request)
        if answer.status != 200:
            raise RuntimeError(f"{answer.status} {request[:200]!r} {answer.body[:500]!r}")
        kept.append(json.loads(without_chunks(answer.body))["items"])
        next(read)

    started = time.perf_counter()
    server.all(requests, in_flight, parse)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "requests": next(read), "objects": sum(map(len, kept))}


def main() -> None:
    """Run one of the two."""
    verb, file, in_flight = sys.argv[1:]
    gc.disable()  # nothing here is cyclic, and millions of parsed values would be looked through again and again
    run = {"sends": sends, "lists": lists}[verb]
    found = run(Path(file).read_text().splitlines(), int(in_flight))
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({**found, "cpu_seconds": used.ru_utime + used.ru_stime}))


if __name__ == "__main__":
    main()
