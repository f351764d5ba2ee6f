# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import configparser
import re

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.files import (
    identifier,
    literal,
    write_connection,
    write_ini,
    write_pg_hba,
    write_postgresql_conf,
)
from hypothesis import given
from hypothesis import strategies as st

lines = st.text(st.characters(exclude_characters="\r\n\x00", exclude_categories=["Cs"]), max_size=20)
words = st.from_regex(r"[a-z_]{1,10}", fullmatch=True)


def read_postgresql_conf(text: str) -> dict[str, str]:
    """As guc-file.l reads a quoted value: a doubled quote is one, a backslash escapes."""
    found = {}
    for key, quoted in re.findall(r"^(\w+) = '((?:[^']|'')*)'$", text, re.MULTILINE):
        found[key] = re.sub(r"\\(.)", r"\1", quoted.replace("''", "'"))
    return found


def read_connection(text: str) -> dict[str, str]:
    return {key: value.replace("''", "'") for key, value in re.findall(r"(\w+)='((?:[^']|'')*)'", text)}


@given(st.dictionaries(words, lines))
def test_what_is_written_to_postgresql_conf_is_read_back(settings):
    assert read_postgresql_conf(write_postgresql_conf(settings)) == settings


@given(st.dictionaries(words, lines))
def test_what_is_written_to_a_connection_is_read_back(parameters):
    assert read_connection(write_connection(parameters)) == parameters


@given(st.dictionaries(words, st.integers() | words, min_size=1))
def test_what_is_written_to_an_ini_is_read_back(values):
    parser = configparser.RawConfigParser()
    parser.read_string(write_ini({"pgbouncer": values}))
    assert dict(parser["pgbouncer"]) == {key: str(value) for key, value in values.items()}


@given(words, words)
def test_names_in_pg_hba_are_quoted_so_that_no_word_is_special(database, user):
    (_header, rule) = write_pg_hba([("host", database, user, "0.0.0.0/0", "reject")]).splitlines()
    assert rule == f'host "{database}" "{user}" 0.0.0.0/0 reject' or "all" in (database, user)


def test_only_the_word_all_stands_unquoted_in_pg_hba():
    assert write_pg_hba([("local", "all", "replication", "reject")]).splitlines()[1] == 'local all "replication" reject'


@pytest.mark.parametrize("evil", ["a\nb", "a\rb", "a\x00b"])
def test_a_line_break_reaches_no_file(evil):
    for write in (
        lambda: write_postgresql_conf({"a": evil}),
        lambda: write_ini({"s": {"a": evil}}),
        lambda: write_connection({"a": evil}),
        lambda: write_pg_hba([("host", evil, "u", "reject")]),
    ):
        with pytest.raises(ValueError, match="is one line"):
            write()


def test_a_quote_cannot_stand_in_a_name_of_pg_hba():
    with pytest.raises(ValueError, match="no double quote"):
        write_pg_hba([("host", 'a"b', "u", "reject")])


@given(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_sql_quoting_leaves_no_way_out(text):
    name, string = identifier(text), literal(text)
    assert re.fullmatch(r'"(?:[^"]|"")*"', name, re.DOTALL)
    assert re.fullmatch(r"E?'(?:[^'\\]|''|\\\\)*'", string, re.DOTALL)
    assert name[1:-1].replace('""', '"') == text


@pytest.mark.parametrize("quote", [identifier, literal])
def test_a_nul_is_refused_in_sql(quote):
    with pytest.raises(ValueError, match="NUL"):
        quote("a\x00b")
