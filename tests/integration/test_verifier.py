# SPDX-License-Identifier: GPL-3.0-or-later
"""The verifier of our image as its pod runs it, asked over real sockets as the gateway asks."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import secrets
import socket
import time
from collections.abc import Iterator

import pytest
from fix_container import container, image_of, in_network_of, is_running, logs, podman

PORT = 8080
SECONDS = 10
READ_SECONDS, IDLE_SECONDS = 2, 8
# Longer than anything here takes, on whatever machine.
LONG_SECONDS = 60
KEY, OTHER = (f"sb_secret_{secrets.token_urlsafe(32)}" for _ in range(2))


@dataclasses.dataclass(frozen=True)
class Verifier:
    id: str
    pid: int

    def connect(self) -> socket.socket:
        def connect_here() -> socket.socket:
            return socket.create_connection(("127.0.0.1", PORT), timeout=SECONDS)

        return in_network_of(self.pid, connect_here)

    def ask(self, *headers: str, path: str | None = None) -> Answer:
        """On a connection of its own."""
        with self.connect() as connection:
            connection.sendall(request(*headers, path=path))
            return receive(connection)


@dataclasses.dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def message(self) -> str:
        return json.loads(self.body)["message"]


def address(*keys: tuple[str, int]) -> str:
    return "/?" + "&".join(f"key={hashlib.sha256(key.encode()).hexdigest()}.{end}" for key, end in keys)


def request(*headers: str, path: str | None = None) -> bytes:
    lines = [f"GET {address((KEY, 0)) if path is None else path} HTTP/1.1", "Host: verifier", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def receive(connection: socket.socket) -> Answer:
    """The next answer, and not a byte more."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        assert byte, f"the connection ended after {head!r}"
        head += byte
    first, *lines = head.decode().rstrip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = b""
    while len(body) < int(headers["content-length"]):
        body += connection.recv(int(headers["content-length"]) - len(body))
    return Answer(status=int(first.split()[1]), headers=headers, body=body)


def ends(connection: socket.socket) -> bool:
    try:
        return connection.recv(65536) == b""
    except ConnectionResetError:
        return True


@contextlib.contextmanager
def running(**settings: int) -> Iterator[Verifier]:
    variables = [
        word for name, value in settings.items() for word in ("--env", f"SUPALOVE_VERIFIER_{name.upper()}={value}")
    ]
    with contextlib.ExitStack() as stack:
        id = container(stack, *variables, image_of("verifier"))
        made = Verifier(id=id, pid=int(podman("inspect", "--format", "{{.State.Pid}}", id)))
        end = time.monotonic() + SECONDS
        while True:
            try:
                made.connect().close()
            except ConnectionRefusedError:
                assert time.monotonic() < end, logs(id)
                time.sleep(0.05)
            else:
                break
        yield made


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    with running(read_seconds=READ_SECONDS, idle_seconds=IDLE_SECONDS, drain_seconds=1) as made:
        yield made
        assert is_running(made.id), logs(made.id)
        said = logs(made.id)
        assert "listens on port 8080" in said
        for secret in (KEY, OTHER, "Bearer", *(hashlib.sha256(key.encode()).hexdigest() for key in (KEY, OTHER))):
            assert secret not in said


def test_a_good_key_passes_as_the_token_of_the_request(verifier):
    answer = verifier.ask(f"apikey: {KEY}")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["authorization"] == f"Bearer {KEY}"
    assert answer.headers["cache-control"] == "no-store"


def test_a_token_of_the_clients_own_is_kept(verifier):
    answer = verifier.ask(f"APIKey:   {KEY}  ", "authorization: Bearer its.own.token")
    assert (answer.status, answer.headers["authorization"]) == (200, "Bearer its.own.token")


PAST, FUTURE = 1, 4_000_000_000


@pytest.mark.parametrize(
    ("headers", "keys", "message"),
    [
        ([], [(KEY, 0)], "No API key found in request"),
        (["apikey:"], [(KEY, 0)], "No API key found in request"),
        ([f"Authorization: Bearer {KEY}"], [(KEY, 0)], "No API key found in request"),
        ([f"apikey: {OTHER}"], [(KEY, 0)], "Invalid authentication credentials"),
        ([f"apikey: {KEY}"], [(OTHER, 0), (OTHER, FUTURE)], "Invalid authentication credentials"),
        ([f"apikey: {OTHER}"], [(KEY, PAST)], "Invalid authentication credentials"),
        ([f"apikey: {KEY}"], [(OTHER, FUTURE), (KEY, PAST)], "API key has expired"),
        ([f"apikey: {KEY}", f"apikey: {OTHER}"], [(KEY, 0)], "Invalid authentication credentials"),
        ([f"apikey: {OTHER}", f"apikey: {KEY}"], [(KEY, 0)], "Invalid authentication credentials"),
        ([f"apikey: {KEY}, {KEY}"], [(KEY, 0)], "Invalid authentication credentials"),
        ([f"apikey: {KEY}", "Authorization: a", "Authorization: b"], [(KEY, 0)], "Invalid authentication credentials"),
    ],
)
def test_anything_else_is_refused_with_its_reason(verifier, headers, keys, message):
    answer = verifier.ask(*headers, path=address(*keys))
    assert (answer.status, answer.message) == (401, message)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["cache-control"] == "no-store"
    assert "authorization" not in answer.headers


def test_a_preflight_passes_without_a_key_and_what_follows_it_does_not(verifier):
    with verifier.connect() as connection:
        for headers, status in ((["X-Forwarded-Method: OPTIONS"], 200), (["X-Forwarded-Method: GET"], 401), ([], 401)):
            connection.sendall(request(*headers))
            answer = receive(connection)
            assert (answer.status, "authorization" in answer.headers) == (status, False)


def test_of_two_methods_none_is_meant(verifier):
    assert verifier.ask("X-Forwarded-Method: OPTIONS", "X-Forwarded-Method: GET").status == 401


def test_a_key_that_is_exchanged_passes_beside_the_next_one(verifier):
    assert verifier.ask(f"apikey: {KEY}", path=address((OTHER, 0), (KEY, FUTURE))).status == 200


def test_it_says_that_it_is_there(verifier):
    assert verifier.ask(path="/healthz").status == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/other", 404),
        ("/?key=abc.0", 400),
        ("/?key=" + "0" * 64, 400),
        (address(*[(KEY, 0)] * 17), 400),
        ("/?" + "k" * 5000, 414),
    ],
)
def test_a_question_that_is_none_is_refused(verifier, path, status):
    assert verifier.ask(f"apikey: {KEY}", path=path).status == status


def test_what_is_wrong_with_a_question_is_logged_once(verifier):
    for _ in range(3):
        verifier.ask(path="/?key=abc.0")
    assert logs(verifier.id).count("the gateway's question is malformed") == 1


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request(f"apikey: {KEY}", f"Cookie: {'c' * 40_000}"), 431),
        (request(f"apikey: {KEY}", *[f"X-{n}: {'x' * 100}" for n in range(400)]), 431),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody", 413),
        (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\nno header\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (request("Connection: Upgrade", "Upgrade: websocket", f"apikey: {KEY}"), 200),
    ],
)
def test_what_is_too_large_or_no_question_or_wants_another_protocol_ends_the_connection(verifier, sent, status):
    with verifier.connect() as connection:
        connection.sendall(sent)
        assert receive(connection).status == status
        assert ends(connection)


def test_a_header_without_an_end_is_refused_before_it_is_whole(verifier):
    with verifier.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nCookie: ")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(100):
                connection.sendall(b"c" * 4096)
                time.sleep(0.005)
        with contextlib.suppress(ConnectionResetError):
            assert b" 431 " in connection.recv(100)


def test_a_connection_serves_one_question_after_the_other(verifier):
    with verifier.connect() as connection:
        for key, status in ((KEY, 200), (OTHER, 401), (KEY, 200)):
            connection.sendall(request(f"apikey: {key}"))
            assert receive(connection).status == status


def test_pipelined_questions_are_answered_in_their_order(verifier):
    keys = [KEY, OTHER, KEY, KEY, OTHER] * 20
    with verifier.connect() as connection:
        connection.sendall(b"".join(request(f"apikey: {key}") for key in keys))
        assert [receive(connection).status for _ in keys] == [200 if key == KEY else 401 for key in keys]


def test_a_question_may_come_byte_by_byte(verifier):
    with verifier.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request(f"apikey: {KEY}", "Authorization: Bearer own"):
            connection.sendall(bytes([byte]))
        assert receive(connection).headers["authorization"] == "Bearer own"


@pytest.mark.parametrize("last", [b"GET / HTTP/1.0\r\n\r\n", request("Connection: close")])
def test_a_client_that_wants_no_more_is_closed_behind_its_answer(verifier, last):
    with verifier.connect() as connection:
        connection.sendall(last)
        assert receive(connection).headers["connection"] == "close"
        assert ends(connection)


@pytest.mark.parametrize("begun", [b"", b"GET / HT", request(f"apikey: {KEY}")[:-2]])
def test_a_slow_client_is_cut_however_much_it_trickles(verifier, begun):
    began = time.monotonic()
    with verifier.connect() as connection:
        assert is_cut(connection, begun)
    assert time.monotonic() - began > READ_SECONDS * 0.5


def is_cut(connection: socket.socket, begun: bytes) -> bool:
    """Whether it ends before we have trickled for long: a byte at a time, if anything is begun."""
    try:
        connection.sendall(begun)
        for byte in b"X-Slow: " + b"x" * 100:
            time.sleep(0.2)
            if begun:
                connection.sendall(bytes([byte]))
            connection.settimeout(0.01)
            with contextlib.suppress(TimeoutError):
                if ends(connection):
                    return True
    except (BrokenPipeError, ConnectionResetError):
        return True
    return False


def test_a_client_that_does_not_take_its_answers_is_cut(verifier):
    with verifier.connect() as connection:
        connection.settimeout(LONG_SECONDS)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            send_for_ever(connection, request(f"apikey: {KEY}") * 500)


def send_for_ever(connection: socket.socket, data: bytes) -> None:
    while True:
        connection.sendall(data)


def test_an_idle_connection_is_kept_longer_than_a_slow_one_and_not_for_ever(verifier):
    with verifier.connect() as connection:
        connection.sendall(request())
        receive(connection)
        time.sleep(READ_SECONDS + 1.5)
        connection.sendall(request())
        assert receive(connection).status == 401
        began = time.monotonic()
        connection.settimeout(LONG_SECONDS)
        assert ends(connection)
        assert time.monotonic() - began > IDLE_SECONDS - 1


def test_more_connections_than_allowed_are_turned_away_and_the_others_served():
    limits = {"connections": 20, "read_seconds": LONG_SECONDS, "drain_seconds": 0}
    with running(**limits) as verifier, contextlib.ExitStack() as stack:
        held = [stack.enter_context(verifier.connect()) for _ in range(20)]
        for connection in held:
            connection.sendall(request())
            assert receive(connection).status == 401
        with verifier.connect() as over:
            assert receive(over).status == 503
        held[0].sendall(request(f"apikey: {KEY}"))
        assert receive(held[0]).status == 200


def test_told_to_stop_it_answers_what_still_comes_and_then_ends():
    limits = {"read_seconds": LONG_SECONDS, "drain_seconds": 6}
    with running(**limits) as verifier, verifier.connect() as kept, verifier.connect() as begun:
        kept.sendall(request())
        receive(kept)
        whole = request(f"apikey: {KEY}")
        begun.sendall(whole[:20])
        podman("kill", "--signal", "TERM", verifier.id)
        end = time.monotonic() + LONG_SECONDS
        while "stops; " not in logs(verifier.id):
            assert time.monotonic() < end, logs(verifier.id)
        # The Service may not know yet that the pod goes.
        assert verifier.ask(f"apikey: {KEY}").headers["connection"] == "close"
        kept.sendall(whole)
        assert receive(kept).headers["connection"] == "close"
        begun.sendall(whole[20:])
        assert receive(begun).status == 200
        assert podman("wait", verifier.id) == "0"
        assert "has stopped" in logs(verifier.id)


@pytest.mark.parametrize("wrong", ["eighty", "-1", "65536", ""])
def test_a_wrong_setting_ends_it_at_once(wrong):
    with contextlib.ExitStack() as stack:
        id = container(stack, "--env", f"SUPALOVE_VERIFIER_PORT={wrong}", image_of("verifier"))
        assert podman("wait", id) == "1"
        assert f"SUPALOVE_VERIFIER_PORT is '{wrong}', expected a number from 0 to 65535" in logs(id)
