# SPDX-License-Identifier: GPL-3.0-or-later
"""Which entries of a dump are restored. Each is a line of `pg_restore --list`:

    4321; 1259 16390 TABLE public rows p_abcdefgh2345_owner

number; catalog and oid; what it is, schema or "-", name, owner. A name may have spaces in it, an owner of ours none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from .sql import SUPERUSERS_EXTENSIONS

_EXTENSIONS = "|".join(("plpgsql", *SUPERUSERS_EXTENSIONS)).encode()
# There already, and the platform's: the schema public, the language, what only a superuser looks into, the rights
# of PostgreSQL's own functions, and what held its tenants back at that moment.
_LEFT_OUT = re.compile(
    rb"\d+; \d+ \d+ (?:"
    rb"(?:SCHEMA - public|(?:ACL|COMMENT) - SCHEMA public) \S*"
    rb"|(?:EXTENSION -|COMMENT - EXTENSION) (?:" + _EXTENSIONS + rb")(?: \S*)?"
    rb"|ACL (?:pg_catalog|information_schema) .*"
    rb"|ACL - SCHEMA (?:pg_catalog|information_schema) \S*"
    rb"|EVENT TRIGGER - supalove_[a-z]+ \S*"
    rb")"
)


def wanted(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a list but those that are left out."""
    return (line for line in lines if not _LEFT_OUT.fullmatch(line.rstrip(b"\n")))
