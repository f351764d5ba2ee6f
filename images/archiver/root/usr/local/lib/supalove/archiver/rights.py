# SPDX-License-Identifier: GPL-3.0-or-later
"""Rights in a dump that mean the same in another project: those of everybody, and of the groups of its API.

A function whose rights are left behind can be called by everybody, over the API as well. `pg_restore --file` writes
rights as statements, each about one role. They run as the project's own user, as all of a dump does. But who made the
dump may have written them by hand, and psql does more than SQL: only what is sure to be one statement about one right
is let through, and psql is told to take no commands of its own any more.

Texts are as bytes are, a character each (latin-1): what is quoted may be in any encoding.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator
from functools import partial
from typing import TextIO

from .sql import OWNER

EVERYBODY = "PUBLIC"
# Bytes of a statement. One about a function has its arguments in it, 100 at the most.
LONGEST = 64 * 1024
# A line of `pg_restore --list` (see toc.py).
_ENTRY = re.compile(rb"\d+; \d+ \d+ (?:DEFAULT )?ACL ")
_QUOTED = re.compile('"(?:[^"]|"")*"')
# Outside of quotes: pg_dump quotes every name that has anything else in it. No backslash, colon, dollar or apostrophe.
_PLAIN = re.compile(r'[A-Za-z0-9_.,()\[\] "]+;')
_HEADS = ("GRANT ", "REVOKE ", *(f"ALTER DEFAULT PRIVILEGES {what} " for what in ("GRANT", "REVOKE", "IN SCHEMA")))
# None of them can be a name that is not quoted; each would make it about another role.
_ELSEWHERE = {"TO", "FROM", "FOR", "GRANTED"}
# Who owns all that is loaded gives them on what it makes.
_OF_OWNER = re.compile(rf"(?<=ALTER DEFAULT PRIVILEGES )FOR ROLE {OWNER.pattern} ")
# In those that a server may have, psql sees every quote that there is (psqlscan.l, safe_encoding).
_ENCODING = re.compile(
    r"SET client_encoding = '(?:UTF8|SQL_ASCII|(?:LATIN|WIN)\d+|ISO_8859_\d|KOI8[RU]|EUC_[A-Z_\d]+)';"
)


def listed(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a list that are rights."""
    return (line for line in lines if _ENTRY.match(line))


def carried(script: TextIO, roles: Container[str]) -> Iterator[str]:
    """Of a script its encoding, and the statements about one of these roles. Raises ValueError for one too long."""
    for statement in _statements(iter(partial(script.readline, LONGEST + 1), "")):
        right = _OF_OWNER.sub("", statement, count=1)
        if _ENCODING.fullmatch(right) or _role_of(right) in roles:
            yield right


def _role_of(right: str) -> str:
    """Whom a statement is about, if it is about a right; else nobody."""
    bare = _QUOTED.sub('""', right)
    if not bare.startswith(_HEADS) or not _PLAIN.fullmatch(bare):
        return ""
    *what, preposition, role = bare[:-1].removesuffix(" WITH GRANT OPTION").split(" ")
    is_right = preposition in ("TO", "FROM") and "ON" in what and not _ELSEWHERE & {*what}
    return role if is_right else ""


def _statements(lines: Iterable[str]) -> Iterator[str]:
    """A name may have line breaks in it: then its quotes are closed in a later line."""
    parts: list[str] = []
    length, is_open = 0, False
    for line in lines:
        if not parts and line.startswith("--"):
            continue
        parts.append(line)
        length += len(line)
        if length > LONGEST:
            raise ValueError(f"a statement about rights is longer than {LONGEST} bytes")
        is_open ^= line.count('"') % 2 == 1
        if not is_open:
            yield "".join(parts).rstrip("\n")
            parts, length = [], 0
