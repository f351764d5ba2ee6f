# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import psycopg
import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.postgresql.client import _translated
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.postgresql.observe import (
    _role_spec,
    comment_of,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.postgresql.plan import (
    plan_databases,
    plan_removal,
    wanted_spec,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import (
    Conflict,
    Denied,
    NotFound,
    Rejected,
    ServerFailed,
    Throttled,
    Unreachable,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.objects import Desired
from ansible_collections.supalove.platform.plugins.module_utils._engine.observed import Live
from builders import observed
from hypothesis import given
from hypothesis import strategies as st

BASE = "p_abcdefgh2345"
SOURCE = {"namespace": "p-acme", "secret": "credentials", "key": "owner.verifier", "uid": "u"}
PRIVILEGES = ("CONNECT", "CREATE", "TEMPORARY")


def desired(kind: str, name: str, spec: dict[str, Any]) -> Desired:
    meta = {"namespace": "main", "name": name}
    return Desired(body={"apiVersion": "postgresql", "kind": kind, "metadata": meta, "spec": spec})


def a_role(name: str = f"{BASE}_owner", **spec: Any) -> Desired:
    base = {"login": True, "connectionLimit": 6, "memberOf": ["supalove_tenant"], "verifier": SOURCE}
    return desired("DatabaseRole", name, {**base, **spec})


def a_database(name: str = BASE, **spec: Any) -> Desired:
    grants = {f"{BASE}_owner": ["CREATE", "CONNECT", "TEMPORARY"], f"{BASE}_probe": ["CONNECT"]}
    base = {"connectionLimit": 8, "allowConnections": True, "storageLimit": 1000, "grants": grants}
    return desired("Database", name, {**base, **spec})


def there(one: Desired, **changes: Any) -> Live:
    """What is observed of it once it is as wanted; `changes` replace parts of the spec."""
    body = {**one.body, "spec": {**wanted_spec(one), **changes}}
    return Live(id=one.id, uid="1", version="1", fingerprint="", labels={}, body=body)


def steps(wanted: tuple[Desired, ...], *lives: Live) -> list[str]:
    return [str(step) for step in plan_databases(wanted, observed(*lives)).steps]


ITS_PASSWORD = "its password is not the one of Secret/p-acme/credentials owner.verifier"
HALF_DROPPED = "dropping it was interrupted, and nobody can enter it any more; remove the project or restore it"
ROLE, DATABASE = f"DatabaseRole/main/{BASE}_owner", f"Database/main/{BASE}"


@pytest.mark.parametrize(
    ("one", "live", "expected"),
    [
        (a_role(), None, f"create {ROLE}: it does not exist"),
        (a_database(), None, f"create {DATABASE}: it does not exist"),
        (a_role(), there(a_role()), None),
        (a_database(), there(a_database()), None),
        (a_role(), there(a_role(), login=False), f"update {ROLE}: spec.login is False, wanted is True"),
        (
            a_role(),
            there(a_role(), attributes=["superuser", "createrole"]),
            f"update {ROLE}: spec.attributes is superuser, createrole, wanted is none",
        ),
        (
            a_role(memberOf=[]),
            there(a_role(), memberOf=["pg_monitor"]),
            f"update {ROLE}: spec.memberOf is pg_monitor, wanted is none",
        ),
        (
            a_role(),
            there(a_role(), verifier=None, connectionLimit=1),
            f"update {ROLE}: {ITS_PASSWORD}, spec.connectionLimit is 1, wanted is 6",
        ),
        (
            a_role(verifier={**SOURCE, "uid": "new"}),
            there(a_role()),
            f"update {ROLE}: {ITS_PASSWORD}",
        ),
        (
            a_database(allowConnections=False),
            there(a_database(allowConnections=False), sessions=2),
            f"update {DATABASE}: spec.sessions is 2, wanted is 0",
        ),
        (
            a_database(grants={}),
            there(a_database(grants={}), grants={"PUBLIC": ["CONNECT"]}),
            f"update {DATABASE}: spec.grants.PUBLIC is CONNECT, wanted is unset",
        ),
        (
            a_database(),
            there(a_database(), owner="mallory"),
            f"update {DATABASE}: spec.owner is mallory, wanted is supalove",
        ),
        (
            a_database(),
            there(a_database(), connectionLimit=-2),
            f"refuse {DATABASE}: {HALF_DROPPED}",
        ),
    ],
)
def test_a_step_says_what_is_and_what_is_wanted(one, live, expected):
    found = steps((one,), *([live] if live else []))
    assert found == ([] if expected is None else [expected])


def test_no_step_shows_where_in_the_secret_more_than_its_key():
    (step,) = plan_databases((a_role(),), observed(there(a_role(), verifier=None))).steps
    assert "verifier" in step.after["spec"]
    assert "SCRAM" not in f"{step} {step.before} {step.after}"


def test_databases_are_removed_before_the_roles_that_they_name_and_only_what_is_there():
    wanted = (a_role(), a_role(f"{BASE}_probe"), a_database())
    plan = plan_removal(wanted, observed(there(a_role()), there(a_database())))
    assert [str(step) for step in plan.steps] == [
        f"delete {DATABASE}: it is no longer wanted",
        f"delete {ROLE}: it is no longer wanted",
    ]


names = st.from_regex(r"p_[a-z2-7]{12}(_[a-z]{1,8})?", fullmatch=True)
grants = st.dictionaries(names, st.lists(st.sampled_from(PRIVILEGES), min_size=1, unique=True), max_size=4)
databases = st.builds(
    a_database, names, connectionLimit=st.integers(-1, 500), allowConnections=st.booleans(), grants=grants
)
roles = st.builds(
    a_role, names, login=st.booleans(), connectionLimit=st.integers(-1, 500), memberOf=st.lists(names, unique=True)
)
wanted_sets = st.lists(st.one_of(roles, databases), unique_by=lambda one: one.id, max_size=8)


@given(wanted_sets)
def test_after_all_is_applied_nothing_is_left_to_do(wanted):
    plan = plan_databases(wanted, observed(*map(there, wanted)))
    assert (plan.steps, plan.unchanged) == ((), len(wanted))


@given(wanted_sets, st.randoms(use_true_random=False))
def test_the_order_of_what_is_found_does_not_matter(wanted, random):
    lives = [there(one) for one in wanted if random.random() < 0.5]
    shuffled = random.sample(lives, len(lives))
    assert plan_databases(wanted, observed(*lives)) == plan_databases(wanted, observed(*shuffled))


@given(databases, databases)
def test_two_databases_are_the_same_only_if_nothing_wanted_differs(one, other):
    found = there(other)
    live = Live(id=one.id, uid="1", version="1", fingerprint="", labels={}, body=found.body)
    assert bool(plan_databases((one,), observed(live)).steps) == (wanted_spec(one) != wanted_spec(other))


@pytest.mark.parametrize(
    ("comment", "digest", "source"),
    [
        (comment_of("s", "d"), "d", "s"),
        (comment_of("s", "d"), "e", None),
        (comment_of("s", "d"), None, None),
        (None, "d", None),
        ("", "", None),
        ("somebody's own words", "words", None),
        ("other s d", "d", None),
    ],
)
def test_a_verifier_is_known_only_by_our_own_word_about_the_same_verifier(comment, digest, source):
    found = {"login": True, "connectionLimit": 1, "attributes": [], "memberOf": [], "settings": [], "comment": comment}
    assert _role_spec({**found, "digest": digest})["verifier"] == source


class Diagnosis:
    def __init__(self, text):
        self.message_primary = text


def said(sqlstate: str | None, text: str = "it went wrong") -> Any:
    """An error of psycopg, which has such attributes and cannot be made with an SQLSTATE of one's own."""
    return type("Said", (psycopg.OperationalError,), {"sqlstate": sqlstate, "diag": Diagnosis(text)})(text)


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        (said(None), Unreachable, None),
        (said(None, "FATAL:  password authentication failed for user"), Denied, "28P01"),
        (said(None, "FATAL:  no pg_hba.conf entry for host"), Denied, "28000"),
        (said(None, "FATAL:  too many connections for role"), Throttled, "53300"),
        (said(None, "FATAL:  sorry, too many clients already"), Throttled, "53300"),
        (said(None, "FATAL:  the database system is starting up"), Unreachable, "57P03"),
        (said("08006"), Unreachable, "08006"),
        (said("57P01"), Unreachable, "57P01"),
        (said("57014"), ServerFailed, "57014"),
        (said("28000"), Denied, "28000"),
        (said("42501"), Denied, "42501"),
        (said("53300"), Throttled, "53300"),
        (said("53100"), ServerFailed, "53100"),
        (said("25006"), ServerFailed, "25006"),
        (said("42P04"), Conflict, "42P04"),
        (said("55006"), Conflict, "55006"),
        (said("40P01"), Conflict, "40P01"),
        (said("3D000"), NotFound, "3D000"),
        (said("42704"), NotFound, "42704"),
        (said("XX000"), ServerFailed, "XX000"),
        (said("2BP01"), Rejected, "2BP01"),
        (said("42601"), Rejected, "42601"),
    ],
)
def test_an_sqlstate_becomes_what_the_user_can_do_about_it(error, kind, status):
    found = _translated(error, subject="Database/main/p_x", verb="CREATE", tell=True)
    assert (type(found), found.status) == (kind, status)
    assert str(found).startswith("CREATE Database/main/p_x: ")


def test_no_verifier_and_no_long_speech_gets_into_a_text():
    text = "near SCRAM-SHA-256$4096:c2FsdA==$abc:def " + "x" * 500
    found = _translated(said("42601", text), subject="it", verb="ALTER", tell=True)
    assert "c2FsdA" not in str(found)
    assert len(found.reason) == 300
    assert "near" not in str(_translated(said("42601", text), subject="it", verb="ALTER", tell=False))
