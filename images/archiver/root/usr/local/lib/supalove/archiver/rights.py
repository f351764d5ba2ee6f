# SPDX-License-Identifier: GPL-3.0-or-later
"""Rights in a dump that mean the same in another project: those of everybody, and of the groups of its API.

A function whose rights are left behind can be called by everybody, over the API as well. `pg_restore --file` writes
rights as statements, each about one role. They run as the project's own user, as all of a dump does; what is made sure
of here is that psql takes them for SQL and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator

from .sql import OWNER

EVERYBODY = "PUBLIC"
# A line of `pg_restore --list` (see toc.py).
_ENTRY = re.compile(rb"\d+; \d+ \d+ (?:DEFAULT )?ACL ")
_QUOTED = re.compile('"(?:[^"]|"")*"')
# Who owns all that is loaded gives them on what it makes.
_OF_OWNER = re.compile(rf"(?<=ALTER DEFAULT PRIVILEGES )FOR ROLE {OWNER.pattern} ")
# Names without what is quoted in them: so there is no command of psql, none of its variables, no other role's default.
_RIGHT = re.compile(
    r"(?:GRANT|REVOKE|ALTER DEFAULT PRIVILEGES(?! FOR ROLE)) "
    r'[\w$.,()\[\]" ]+ (?:TO|FROM) (?P<role>\w+)(?: WITH GRANT OPTION)?;'
)


def listed(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a list that are rights."""
    return (line for line in lines if _ENTRY.match(line))


def carried(lines: Iterable[str], roles: Container[str]) -> Iterator[str]:
    """Of the lines of a script the statements about one of these roles."""
    for statement in _statements(lines):
        right = _OF_OWNER.sub("", statement, count=1)
        found = _RIGHT.fullmatch(_QUOTED.sub('""', right))
        if found and found["role"] in roles:
            yield right


def _statements(lines: Iterable[str]) -> Iterator[str]:
    """A name may have line breaks in it: then its quotes are closed in a later line."""
    begun = ""
    for line in lines:
        if not begun and line.startswith("--"):
            continue
        begun += line
        if begun.count('"') % 2 == 0:
            yield begun.rstrip("\n")
            begun = ""
