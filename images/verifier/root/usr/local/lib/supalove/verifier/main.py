# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: one process, until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import os
import resource
import signal
import socket
import time
from collections.abc import Mapping

import uvloop

from .server import Limits, Server, say

PORT = "SUPALOVE_VERIFIER_PORT"
DRAIN = "SUPALOVE_VERIFIER_DRAIN_SECONDS"
# Files that are open without any client.
OWN_FILES = 32


class Unusable(Exception):
    """A setting is wrong. The text names it."""


def main(arguments: list[str]) -> int:
    """Serve until told to stop; 0 if all that was asked has been answered."""
    parser = argparse.ArgumentParser(prog="supalove-verifier", description=__doc__)
    parser.add_argument("--version", action="version", version=f"uvloop {uvloop.__version__}")
    parser.parse_args(arguments)
    try:
        port, drain = number(os.environ, PORT, 8080), number(os.environ, DRAIN, 5)
        limits = limits_of(os.environ)
    except Unusable as error:
        say(f"ERROR: {error}")
        return 1
    uvloop.run(serve(port, limits, drain_seconds=drain))
    return 0


def number(environment: Mapping[str, str], name: str, default: int) -> int:
    """Raises Unusable.

    >>> number({"SUPALOVE_VERIFIER_PORT": "8081"}, "SUPALOVE_VERIFIER_PORT", 8080)
    8081
    """
    text = environment.get(name, str(default))
    if not text.isascii() or not text.isdigit() or not 0 <= int(text) < 2**16:
        raise Unusable(f"{name} is {text!r}, expected a number from 0 to 65535")
    return int(text)


def limits_of(environment: Mapping[str, str]) -> Limits:
    """SUPALOVE_VERIFIER_<field of Limits>, and not more clients than there may be files. Raises Unusable."""
    given = {
        one.name: number(environment, f"SUPALOVE_VERIFIER_{one.name.upper()}", int(getattr(Limits(), one.name)))
        for one in dataclasses.fields(Limits)
    }
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY:
        given["connections"] = min(given["connections"], max(1, hard - OWN_FILES))
    return Limits(**given)


async def serve(port: int, limits: Limits, *, drain_seconds: float) -> None:
    """Answer until SIGTERM or SIGINT.

    Then, as the Service forgets a pod only after it was told to stop: new connections are still served for
    `drain_seconds`, each closed behind its answer; and at the most `read_seconds` later all have ended.
    """
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    server = Server(limits)
    listener = await loop.create_server(server.connection, sock=_socket(port), backlog=1024)
    say(f"listens on port {port}, for {limits.connections} connections at the most")
    await _watch(server, stop)
    server.is_draining = True
    say(f"stops; {len(server.connections)} connections are open")
    await _watch(server, seconds=drain_seconds)
    listener.close()
    server.close_idle()
    end = time.monotonic() + limits.read_seconds + 1
    while server.connections and time.monotonic() < end:
        await asyncio.sleep(0.05)
        server.cut_slow(time.monotonic())
    say("has stopped")


async def _watch(server: Server, stop: asyncio.Event | None = None, *, seconds: float = float("inf")) -> None:
    """Cut who is slow, until `stop` or for `seconds`."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not (stop and stop.is_set()):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for((stop or asyncio.Event()).wait(), min(1.0, left))
        server.cut_slow(time.monotonic())


def _socket(port: int) -> socket.socket:
    """For IPv4, and IPv6 where the machine has it."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))
