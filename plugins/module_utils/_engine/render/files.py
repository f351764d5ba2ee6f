# SPDX-License-Identifier: BSD-2-Clause
"""Writers of PostgreSQL's and PgBouncer's configuration files, and of names in SQL: quoting is decided here alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

Value: TypeAlias = "str | int | bool"

HEADER = "written by supalove; changes made here are lost"


def write_postgresql_conf(settings: Mapping[str, Value]) -> str:
    """postgresql.conf with every value quoted, which the server accepts for every type."""
    return _lines("# ", (f"{key} = {_conf_value(value)}" for key, value in sorted(settings.items())))


def write_pg_hba(rules: Iterable[Sequence[str]]) -> str:
    """pg_hba.conf (PgBouncer's too) out of rules like ("host", database, user, address, method).

    Database and user are names, quoted so that no word in them is special; only `all` is meant as it stands. A name
    that begins with a slash is a regular expression (PostgreSQL 16).
    """
    return _lines("# ", (" ".join(_hba_rule(rule)) for rule in rules))


def write_pg_ident(entries: Iterable[Sequence[str]]) -> str:
    """pg_ident.conf out of entries like (map, system user, login); as in pg_hba.conf a login may be an expression."""
    return _lines("# ", (" ".join((name, _hba_name(system), _hba_name(login))) for name, system, login in entries))


def write_ini(sections: Mapping[str, Mapping[str, Value]]) -> str:
    """pgbouncer.ini. A value of it has no quoting, so one with a line break is refused."""
    lines: list[str] = []
    for section, values in sections.items():
        lines.append(f"[{section}]")
        lines.extend(f"{key} = {_one_line(_plain(value))}" for key, value in values.items())
    return _lines("; ", lines)


def write_connection(parameters: Mapping[str, Value]) -> str:
    """The connection string of an entry in PgBouncer's [databases]."""
    return " ".join(f"{key}={_single_quoted(_one_line(_plain(value)))}" for key, value in parameters.items())


def identifier(name: str) -> str:
    """A name in SQL.

    >>> identifier('a"b')
    '"a""b"'
    """
    if "\x00" in name or not name:
        raise ValueError("a name in SQL is not empty and has no NUL")
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string in SQL, whatever standard_conforming_strings says.

    >>> literal("it's")
    "'it''s'"
    """
    if "\x00" in text:
        raise ValueError("a string in SQL has no NUL")
    quoted = _single_quoted(text)
    return "E" + quoted.replace("\\", "\\\\") if "\\" in text else quoted


def _lines(comment: str, lines: Iterable[str]) -> str:
    return "\n".join([comment + HEADER, *lines]) + "\n"


def _conf_value(value: Value) -> str:
    """In a quoted value of postgresql.conf a backslash begins an escape, and a quote is doubled."""
    return _single_quoted(_one_line(_plain(value)).replace("\\", "\\\\"))


def _hba_rule(rule: Sequence[str]) -> list[str]:
    kind, database, user, *rest = rule
    return [kind, _hba_name(database), _hba_name(user), *rest]


def _hba_name(name: str) -> str:
    """pg_hba.conf cannot hold a quote inside a quoted name."""
    if name == "all":
        return name
    if '"' in _one_line(name):
        raise ValueError("a name in pg_hba.conf has no double quote")
    return f'"{name}"'


def _plain(value: Value) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def _one_line(text: str) -> str:
    if any(letter in text for letter in "\r\n\x00"):
        raise ValueError("a value in a configuration file is one line")
    return text


def _single_quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
