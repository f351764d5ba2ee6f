# SPDX-License-Identifier: BSD-2-Clause
"""The one place that asks the DNS, with dnspython: the standard library knows addresses and no other records."""

from __future__ import annotations

from functools import cached_property

from ...deadline import Deadline
from ...errors import MissingLibrary, Unreachable

try:
    import dns.exception
    import dns.nameserver
    import dns.resolver
except ImportError as error:
    _MISSING: ImportError | None = error
else:
    _MISSING = None

# For one name, tries included.
ANSWER_SECONDS = 10.0


class Resolvers:
    """Asks these resolvers, address and port each; those of the host if there are none. May be used by threads."""

    def __init__(self, addresses: tuple[tuple[str, int], ...] = ()) -> None:
        self._addresses = addresses

    def texts(self, name: str, *, deadline: Deadline) -> tuple[str, ...]:
        """What TXT records of a name say, each in one piece; nothing if there are none.

        Raises Unreachable if no resolver tells, MissingLibrary.
        """
        if _MISSING is not None:
            raise MissingLibrary("dnspython") from _MISSING
        deadline.require(f"the DNS to tell of {name}")
        lifetime = min(ANSWER_SECONDS, deadline.remaining())
        try:
            answer = self._resolver.resolve(f"{name}.", "TXT", search=False, lifetime=lifetime)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return ()
        except dns.exception.DNSException as error:
            raise Unreachable(subject=f"TXT/{name}", verb="QUERY", reason=_reason(error)) from error
        return tuple(b"".join(one.strings).decode("ascii", "replace") for one in answer)

    @cached_property
    def _resolver(self) -> dns.resolver.Resolver:
        made = dns.resolver.Resolver(configure=not self._addresses)
        if self._addresses:
            made.nameservers = [dns.nameserver.Do53Nameserver(*one) for one in self._addresses]
        return made


def _reason(error: dns.exception.DNSException) -> str:
    """In one line: dnspython says what each of its tries came to."""
    return " ".join(str(error).split()) or type(error).__name__
