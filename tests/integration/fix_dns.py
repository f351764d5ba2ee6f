# SPDX-License-Identifier: GPL-3.0-or-later
"""A small authoritative server of TXT records, by UDP on loopback, that answers nothing but what is asked rightly."""

from __future__ import annotations

import contextlib
import dataclasses
import socketserver
import threading
from collections.abc import Iterator

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest


@dataclasses.dataclass
class Zone:
    """`texts`: what TXT records of names say. `asked`: names that were asked for. `broken`: it fails on all of them.

    `silent`: it answers nothing at all.
    """

    texts: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    asked: list[str] = dataclasses.field(default_factory=list)
    port: int = 0
    broken: bool = False
    silent: bool = False

    @property
    def resolver(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    def answer(self, query: dns.message.Message) -> dns.message.Message:
        """No recursion, one question, of class IN. A name without TXT records does not exist."""
        found = dns.message.make_response(query)
        if query.opcode() != dns.opcode.QUERY or len(query.question) != 1:
            found.set_rcode(dns.rcode.FORMERR)
            return found
        (question,) = query.question
        name = question.name.to_text(omit_final_dot=True)
        self.asked.append(name)
        if question.rdclass != dns.rdataclass.IN or self.broken:
            found.set_rcode(dns.rcode.SERVFAIL if self.broken else dns.rcode.REFUSED)
            return found
        found.flags |= dns.flags.AA
        texts = self.texts.get(name)
        if texts is None:
            found.set_rcode(dns.rcode.NXDOMAIN)
        elif question.rdtype == dns.rdatatype.TXT and texts:
            # A record is made of pieces of at most 255 bytes; here of two, so that they have to be joined.
            quoted = [f'"{text[:20]}" "{text[20:]}"' for text in texts]
            found.answer.append(dns.rrset.from_text(question.name, 5, "IN", "TXT", *quoted))
        return found


class _Handler(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        data, socket = self.request
        try:
            query = dns.message.from_wire(data)
        except dns.exception.DNSException:
            return
        answer = self.server.zone.answer(query)
        if not self.server.zone.silent:
            socket.sendto(answer.to_wire(), self.client_address)


class _Server(socketserver.ThreadingUDPServer):
    zone: Zone


@contextlib.contextmanager
def serving(zone: Zone) -> Iterator[Zone]:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.zone = zone
        zone.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, name="dns", kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield zone
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def zone() -> Iterator[Zone]:
    with serving(Zone()) as made:
        yield made
