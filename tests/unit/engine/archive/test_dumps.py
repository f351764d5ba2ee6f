# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a dump is restored, and what the archiver and the engine have to call alike."""

from __future__ import annotations

import inspect
import io
import re

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine import databases
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.archiver.client import NO_DATABASE
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import Uid
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.quota import settings_sql

OWNER = "p_abcdefgh2345_owner"


@pytest.mark.parametrize(
    "line",
    [
        "10; 2615 2200 SCHEMA - public pg_database_owner",
        f"10; 2615 2200 SCHEMA - public {OWNER}",
        f"3650; 0 0 COMMENT - SCHEMA public {OWNER}",
        f"3650; 0 0 ACL - SCHEMA public {OWNER}",
        "4; 3079 24616 EXTENSION - amcheck ",
        "4; 3079 13556 EXTENSION - plpgsql ",
        "3649; 0 0 COMMENT - EXTENSION plpgsql ",
        "3651; 0 0 ACL pg_catalog FUNCTION pg_lock_status() postgres",
        "3651; 0 0 ACL pg_catalog TABLE pg_proc postgres",
        "3457; 3466 16412 EVENT TRIGGER - supalove_volume postgres",
        "3458; 3466 16413 EVENT TRIGGER - supalove_quota postgres",
    ],
)
def test_what_the_platform_has_made_already_is_not_restored(archiver_package, line):
    assert not list(archiver_package.toc.wanted([f"{line}\n".encode()]))


@pytest.mark.parametrize(
    "line",
    [
        ";",
        "; Selected TOC Entries:",
        f"7; 2615 24577 SCHEMA - public and more {OWNER}",
        f"7; 0 0 COMMENT - SCHEMA public and more {OWNER}",
        f"7; 2615 24577 SCHEMA - publicity {OWNER}",
        f"9; 1259 24577 TABLE public SCHEMA - public {OWNER}",
        "2; 3079 24579 EXTENSION - pgcrypto ",
        "3653; 0 0 COMMENT - EXTENSION pgcrypto ",
        f"3660; 0 0 ACL own TABLE pg_catalog {OWNER}",
        f"3661; 0 0 ACL public TABLE rows {OWNER}",
        f"3662; 826 24700 DEFAULT ACL own DEFAULT PRIVILEGES FOR TABLES {OWNER}",
    ],
)
def test_nothing_of_the_tenants_is_left_out(archiver_package, line):
    assert list(archiver_package.toc.wanted([f"{line}\n".encode()])) == [f"{line}\n".encode()]


SCRIPT = """--
-- Name: TABLE "odd
; Type: ACL; Schema: public; Owner: p_abcdefgh2345_owner
--

SET client_encoding = 'UTF8';
\\restrict abc
GRANT SELECT ON TABLE public."odd ""name""
GRANT ALL ON TABLE public.inner TO anon;
" TO anon;
GRANT SELECT(id),UPDATE("a b") ON TABLE public.rows TO authenticated WITH GRANT OPTION;
GRANT ALL ON TABLE public.rows TO p_abcdefgh2345_probe;
REVOKE ALL ON FUNCTION public.secret(a integer[], VARIADIC b "My Type") FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE p_abcdefgh2345_owner IN SCHEMA public GRANT ALL ON TABLES TO anon;
ALTER DEFAULT PRIVILEGES FOR ROLE p_abcdefgh2345_owner REVOKE ALL ON FUNCTIONS FROM PUBLIC;
"""
CARRIED = [
    "SET client_encoding = 'UTF8';",
    'GRANT SELECT ON TABLE public."odd ""name""\nGRANT ALL ON TABLE public.inner TO anon;\n" TO anon;',
    'GRANT SELECT(id),UPDATE("a b") ON TABLE public.rows TO authenticated WITH GRANT OPTION;',
    'REVOKE ALL ON FUNCTION public.secret(a integer[], VARIADIC b "My Type") FROM PUBLIC;',
    "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO anon;",
    "ALTER DEFAULT PRIVILEGES REVOKE ALL ON FUNCTIONS FROM PUBLIC;",
]
ROLES = {"PUBLIC", "anon", "authenticated"}


def test_rights_are_carried_into_another_project_where_they_mean_the_same(archiver_package):
    assert list(archiver_package.rights.carried(io.StringIO(SCRIPT), ROLES)) == CARRIED
    assert list(archiver_package.rights.carried(io.StringIO(SCRIPT), {"nobody"})) == CARRIED[:1]


@pytest.mark.parametrize(
    "line",
    [
        'GRANT ALL ON TABLE public.rows TO "anon;";',
        "GRANT ALL ON TABLE public.rows TO anon; \\! true",
        "GRANT ALL ON TABLE public.:rows TO anon;",
        # To psql the quotes are inside of a text, and what is between them is not.
        'GRANT $$ " $$ \\! true #" TO anon;',
        'GRANT ALL ON $x$ " $x$ \\c - postgres " TO anon;',
        "GRANT ALL ON TABLE ' \" ' \\! true \" TO anon;",
        'GRANT ALL ON TABLE a --" \n\\! true \n" TO anon;',
        'GRANT ALL ON TABLE a /*" */ \\! true " TO anon;',
        'GRANT ALL ON TABLE U&"x" TO anon;',
        "GRANT p_abcdefgh2345_owner TO anon;",
        "GRANT ALL ON TABLE public.rows TO p_other GRANTED BY x TO anon;",
        "ALTER DEFAULT PRIVILEGES FOR ROLE supabase_admin IN SCHEMA public GRANT ALL ON TABLES TO anon;",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public FOR ROLE x GRANT ALL ON TABLES TO anon;",
        "SET client_encoding = 'SJIS';",
        "SET SESSION AUTHORIZATION anon;",
    ],
)
def test_what_is_more_than_one_statement_about_a_right_is_not_let_through_to_psql(archiver_package, line):
    """A dump that was made by hand ran commands in the archiver, which reaches the databases of all."""
    assert list(archiver_package.rights.carried(io.StringIO(f"{line}\n"), ROLES)) == []


@pytest.mark.parametrize("text", ['"' + "a\n" * 40_000, "GRANT " + "a" * 70_000])
def test_a_statement_without_an_end_is_refused_before_it_takes_the_archivers_memory(archiver_package, text):
    with pytest.raises(ValueError, match="longer than 65536 bytes"):
        list(archiver_package.rights.carried(io.StringIO(text), ROLES))


def test_the_groups_whose_rights_are_carried_are_the_engines(archiver_package):
    assert re.findall("'(\\w+)'", archiver_package.sql.GROUPS) == list(databases.API_GROUPS)


def test_the_first_error_is_told_with_what_it_was_about_and_without_rows(archiver_package):
    said = """pg_restore: while PROCESSING TOC:
pg_restore: from TOC entry 3640; 0 24580 TABLE DATA public one p_abcdefgh2345_owner
pg_restore: error: COPY failed for table "one": ERROR:  function helper(integer) does not exist
LINE 1: helper(number)
CONTEXT:  COPY one, line 1: "hidden"
"""
    told = archiver_package.loads._first_error(said)
    assert told.startswith(
        'COPY failed for table "one": ERROR:  function helper(integer) does not exist (at TABLE DATA'
    )
    assert "hidden" not in told


def test_archiver_and_engine_mean_the_same_databases_and_logins(archiver_package):
    sql = archiver_package.sql
    assert sql.PATTERNS["databases"] == databases.DATABASES
    assert sql.PATTERNS["new_databases"] == databases.LOADED_DATABASES
    assert sql.PATTERNS["loaders"] == databases.LOADERS
    assert (sql.NEW_SUFFIX, sql.LOADER_PREFIX) == (databases.LOADED_SUFFIX, databases.LOADER_PREFIX)
    names = archiver_package.loads._Names("p_abcdefgh2345", OWNER)
    assert names.loader == databases.loader_of(Uid("abcdefgh2345"))
    assert f"'{databases.TEMPLATE}'" in sql.MAKE_NEW
    assert databases.TENANT in sql.STRANGERS
    assert settings_sql() == sql.SETTINGS


def test_what_a_swap_keeps_is_no_projects_database(archiver_package):
    kept = "p_abcdefgh2345_20261126t034450z"
    assert archiver_package.sql.KEPT.fullmatch(kept)
    for pattern in (databases.DATABASES, databases.LOADED_DATABASES):
        assert not re.search(pattern, kept)


def test_the_engine_knows_the_answer_about_a_database_that_is_not_there(archiver_package):
    assert f'f"{NO_DATABASE}' in inspect.getsource(archiver_package.loads.Loads.drop)


def test_a_secret_address_is_not_in_an_error(archiver_package):
    url = "https://store/bucket/x.dump?X-Amz-Signature=abc"
    assert "abc" not in archiver_package.download._safe(ValueError(f"unknown url: {url}"), url)
    assert archiver_package.download._safe(OSError("no route"), url) == "no route"
