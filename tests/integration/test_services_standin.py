# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-ins for GoTrue and PostgREST do over real servers what their contract says, and refuse what it does not."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time

import pytest
from fix_container import podman
from fix_services import (
    AUTH,
    METRICS,
    POOLER,
    POOLER_WITHOUT_STATEMENTS,
    POSTGRESQL,
    SECONDS,
    ended,
    new_key,
    service_image,
    wait_until,
)
from lab.services import tokens

REST = 3000


signed_up = pytest.mark.usefixtures("user")


@pytest.fixture(scope="module")
def user(pod):
    """A session of somebody who has signed up."""
    reply = pod.ask("POST", AUTH, "/signup", {"email": "Ada@example.com", "password": "correct horse"})
    assert reply.status == 200, reply.body
    return reply.body


def at_once(calls):
    threads = [threading.Thread(target=call) for call in calls]
    for one in threads:
        one.start()
    for one in threads:
        one.join()


def session(pod, email):
    return pod.ask("POST", AUTH, "/signup", {"email": email, "password": "correct horse"}).body


# Settings; every mistake that there can be is tried in tests/unit/lab/test_services_settings.py


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"GOTRUE_DB_MAX_POOL_SIZE": "0"}, "GOTRUE_DB_MAX_POOL_SIZE: '0' is less than 1"),
        ({"PGHOST": "x"}, "PGHOST: is not a variable of GoTrue"),
        ({"GOTRUE_JWT_SECRET": "short-secret"}, "GOTRUE_JWT_SECRET: its value does not match"),
        ({"GOTRUE_SMTP_USER": "acme"}, "GOTRUE_SMTP_PASS: is missing beside GOTRUE_SMTP_USER"),
    ],
)
def test_auth_ends_at_once_with_wrong_settings(pod, changed, said):
    code, log = pod.try_auth("serve", **changed)
    assert (code, said in log) == (1, True), log
    assert "short-secret" not in log


def test_a_file_wins_over_the_environment_and_has_to_exist(pod):
    image = service_image("gotrue")
    code, log = pod.try_out(image, pod.auth_settings(), "auth", "serve", "-c", "/etc/supalove/absent.env")
    assert (code, "open /etc/supalove/absent.env: No such file or directory" in log) == (1, True)
    pod.write("over.env", "GOTRUE_DB_DRIVER=mysql\n")
    code, log = pod.try_out(image, pod.auth_settings(), "auth", "migrate", "-c", "/etc/supalove/over.env")
    assert (code, "GOTRUE_DB_DRIVER: 'mysql' is not one of 'postgres'" in log) == (1, True)


def test_a_directory_of_files_is_for_serve_alone(pod):
    code, log = pod.try_auth("migrate", "--config-dir", "/etc/supalove")
    assert (code, "migrate does not read it" in log) == (1, True)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"PGRST_JWT_SECRET": "@/etc/supalove/absent"}, "/etc/supalove/absent: No such file"),
        ({"PGRST_DB_USE_LEGACY_GUCS": "false"}, "PGRST_DB_USE_LEGACY_GUCS: is not a variable of postgrest"),
        ({"PGRST_DB_PREPARED_STATEMENTS": "true"}, "PGRST_DB_PREPARED_STATEMENTS: has to be false behind"),
        ({"PGRST_ADMIN_SERVER_PORT": "3100"}, "admin-server-port cannot be the same as server-port"),
    ],
)
def test_rest_ends_at_once_with_wrong_settings(pod, changed, said):
    code, log = pod.try_rest(**changed)
    assert (code, said in log) == (1, True), log


@pytest.mark.parametrize("name", ["gotrue", "postgrest"])
def test_it_says_that_it_is_a_stand_in(pod, name):
    words = {"gotrue": ["auth", "version"], "postgrest": ["/bin/postgrest", "--version"]}[name]
    code, log = pod.try_out(service_image(name), {}, *words)
    assert (code, "(stand-in)" in log) == (0, True)


# Auth


def test_migrating_again_changes_nothing(pod):
    code, log = pod.try_auth("migrate", GOTRUE_DB_DATABASE_URL=pod.uri("auth", POSTGRESQL))
    assert (code, "count 0" in log) == (0, True)
    assert pod.sql("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'auth'") == "p_auth"


def test_a_migration_without_a_schema_in_its_path_fails_as_the_real_one(pod):
    pod.sql("CREATE DATABASE bare", "postgres")
    code, log = pod.try_auth("migrate", GOTRUE_DB_DATABASE_URL=pod.uri("auth", POSTGRESQL).replace("/app", "/bare"))
    assert (code, "permission denied for schema public" in log) == (1, True), log
    pod.sql("ALTER ROLE p_auth IN DATABASE bare SET search_path = auth", "postgres")
    code, log = pod.try_auth("migrate", GOTRUE_DB_DATABASE_URL=pod.uri("auth", POSTGRESQL).replace("/app", "/bare"))
    assert (code, "no schema has been selected to create in" in log, "3F000" in log) == (1, True, True), log


def test_health_is_static(pod):
    reply = pod.ask("GET", AUTH, "/health")
    assert (reply.status, reply.body["name"]) == (200, "GoTrue")


def test_a_token_has_the_claims_and_the_key_of_the_settings(pod, user):
    claims = tokens.verified(user["access_token"], [tokens.public(pod.keys[0])])
    expected = {
        "iss": "https://acme.example.com/auth/v1",
        "aud": "authenticated",
        "role": "authenticated",
        "email": "ada@example.com",
        "sub": user["user"]["id"],
    }
    assert expected.items() <= claims.items()
    assert claims["session_id"]
    assert claims["exp"] - claims["iat"] == 3600


def test_public_keys_alone_are_shown(pod):
    (key,) = pod.ask("GET", AUTH, "/.well-known/jwks.json").body["keys"]
    assert (key["kid"], key["key_ops"], "d" in key) == ("new", ["verify"], False)


@signed_up
def test_signing_in_and_refreshing_give_new_tokens_once(pod):
    good = {"email": "ada@example.com", "password": "correct horse"}
    first = pod.ask("POST", AUTH, "/token?grant_type=password", good)
    assert first.status == 200
    given = {"refresh_token": first.body["refresh_token"]}
    second = pod.ask("POST", AUTH, "/token?grant_type=refresh_token", given)
    assert (second.status, second.body["refresh_token"] != first.body["refresh_token"]) == (200, True)
    again = pod.ask("POST", AUTH, "/token?grant_type=refresh_token", given)
    assert (again.status, again.body["error_code"]) == (400, "refresh_token_already_used")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/signup", {"email": "ada@example.com", "password": "correct horse"}, 422, "user_already_exists"),
        ("POST", "/signup", {"email": "bob@example.com", "password": "short"}, 422, "weak_password"),
        ("POST", "/signup", {"email": "nobody", "password": "correct horse"}, 400, "validation_failed"),
        ("POST", "/signup", {}, 422, "anonymous_provider_disabled"),
        ("POST", "/signup", "text", 400, "bad_json"),
        (
            "POST",
            "/token?grant_type=password",
            {"email": "ada@example.com", "password": "no"},
            400,
            "invalid_credentials",
        ),
        (
            "POST",
            "/token?grant_type=password",
            {"email": "eve@example.com", "password": "x"},
            400,
            "invalid_credentials",
        ),
        ("POST", "/token?grant_type=refresh_token", {"refresh_token": "x"}, 400, "refresh_token_not_found"),
        ("POST", "/token", {}, 400, "validation_failed"),
        ("GET", "/verify", None, 400, "validation_failed"),
        ("GET", "/authorize", None, 400, "validation_failed"),
        ("GET", "/callback", None, 400, "bad_oauth_callback"),
        ("GET", "/user", None, 401, "no_authorization"),
        ("POST", "/logout", None, 401, "no_authorization"),
    ],
)
@signed_up
def test_what_auth_refuses_has_the_code_of_the_real_one(pod, method, path, body, status, code):
    reply = pod.ask(method, AUTH, path, body)
    assert (reply.status, reply.body["code"], reply.body["error_code"]) == (status, status, code)


@pytest.fixture
def own_auth(pod):
    """The port of another Auth of the same project, with settings of its own."""
    port = 9997
    own = {
        "GOTRUE_API_PORT": str(port),
        "GOTRUE_METRICS_ENABLED": "false",
        "GOTRUE_EXTERNAL_ANONYMOUS_USERS_ENABLED": "true",
        "GOTRUE_MAILER_AUTOCONFIRM": "false",
        "GOTRUE_SMTP_HOST": "smtp.example.com",
        "GOTRUE_SMTP_ADMIN_EMAIL": "no-reply@example.com",
        "GOTRUE_EXTERNAL_GITHUB_ENABLED": "true",
        "GOTRUE_EXTERNAL_GITHUB_CLIENT_ID": "abc",
        "GOTRUE_EXTERNAL_GITHUB_SECRET": "def",
        "GOTRUE_EXTERNAL_GITHUB_REDIRECT_URI": "https://acme.example.com/auth/v1/callback",
    }
    auth = pod.run(service_image("gotrue"), {}, "auth", "serve", *pod.auth_file("own.env", **own))
    wait_until(lambda: pod.ask("GET", port, "/health").status == 200, auth)
    yield port
    podman("stop", "--time", "5", auth)


def test_auth_says_whom_it_lets_in(pod, own_auth):
    everybody = pod.ask("GET", own_auth, "/settings").body
    assert everybody["external"] == {"anonymous_users": True, "email": True, "github": True, "phone": False}
    assert everybody["mailer_autoconfirm"] is False
    assert pod.ask("GET", AUTH, "/settings").body["external"] == {
        "anonymous_users": False,
        "email": True,
        "phone": False,
    }


def test_where_anonymous_users_are_let_in_each_is_another_one(pod, own_auth):
    first, second = (pod.ask("POST", own_auth, "/signup", {}) for _time in range(2))
    assert (first.status, second.status) == (200, 200), first.body
    assert first.body["user"]["id"] != second.body["user"]["id"]
    claims = tokens.verified(first.body["access_token"], [tokens.public(pod.keys[0])])
    assert (claims["is_anonymous"], claims["role"], claims["email"]) == (True, "authenticated", "")
    told = pod.ask("GET", own_auth, "/user", token=first.body["access_token"]).body
    assert (told["id"], told["is_anonymous"]) == (first.body["user"]["id"], True)


def test_logging_out_ends_the_session(pod):
    made = session(pod, "logout@example.com")
    assert pod.ask("GET", AUTH, "/user", token=made["access_token"]).body["email"] == "logout@example.com"
    assert pod.ask("POST", AUTH, "/logout", token=made["access_token"]).status == 204
    reply = pod.ask("GET", AUTH, "/user", token=made["access_token"])
    assert (reply.status, reply.body["error_code"]) == (403, "session_not_found")


@pytest.mark.parametrize("kind", ["expired", "foreign", "key without sub"])
def test_a_token_of_nobody_is_refused_by_auth(pod, user, kind):
    foreign = tokens.sign({"sub": user["user"]["id"], "exp": int(time.time()) + 60}, new_key())
    token = {
        "expired": pod.token(sub=user["user"]["id"], exp=int(time.time()) - 1),
        "foreign": foreign,
        "key without sub": pod.token(1, role="anon"),
    }[kind]
    reply = pod.ask("GET", AUTH, "/user", token=token)
    assert (reply.status, reply.body["error_code"]) == (403, "bad_jwt")


@signed_up
def test_no_more_connections_than_its_pool_are_in_use(pod):
    good = {"email": "ada@example.com", "password": "correct horse"}
    statuses = []
    sign_in = ("POST", AUTH, "/token?grant_type=password", good)
    at_once([lambda: statuses.append(pod.ask(*sign_in).status)] * 8)
    assert statuses == [200] * 8
    assert int(pod.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'p_auth'")) <= 2


def test_figures_of_auth_are_on_their_own_port(pod):
    assert "standin_gotrue_requests_total" in pod.ask("GET", METRICS, "/metrics").body
    assert pod.ask("GET", AUTH, "/metrics").status == 404


def test_without_confirmation_nobody_signs_in(pod):
    changed = {"API_PORT": "9998", "MAILER_AUTOCONFIRM": "false", "METRICS_ENABLED": "false"}
    words = pod.auth_file("other.env", **{f"GOTRUE_{name}": value for name, value in changed.items()})
    id = pod.run(service_image("gotrue"), {}, "auth", "serve", *words)
    wait_until(lambda: pod.ask("GET", 9998, "/health").status == 200, id)
    good = {"email": "late@example.com", "password": "correct horse"}
    assert "access_token" not in pod.ask("POST", 9998, "/signup", good).body
    reply = pod.ask("POST", 9998, "/token?grant_type=password", good)
    assert (reply.status, reply.body["error_code"]) == (400, "email_not_confirmed")
    podman("kill", "--signal", "TERM", id)
    assert podman("wait", id) == "0"


# REST


def test_rows_are_written_and_read_by_their_user_alone(pod):
    ada, bob = (session(pod, f"{name}@rows.example.com")["access_token"] for name in ("ada", "bob"))
    made = pod.ask("POST", REST, "/todos", {"task": "write"}, token=ada, Prefer="return=representation")
    assert made.status == 201
    (row,) = made.body
    assert pod.ask("POST", REST, "/todos", [{"task": "b"}, {"task": "c"}], token=bob).status == 201
    assert pod.ask("GET", REST, "/todos?select=task", token=ada).body == [{"task": "write"}]
    assert pod.ask("GET", REST, "/todos?select=task&order=task.desc&limit=1", token=bob).body == [{"task": "c"}]
    assert pod.ask("GET", REST, "/todos", token=pod.token(1, role="anon")).body == []
    assert pod.sql(f"SELECT task FROM todos WHERE id = {row['id']}") == "write"
    everything = pod.ask("GET", REST, f"/todos?id=eq.{row['id']}", token=pod.token(1, role="service_role"))
    assert [one["task"] for one in everything.body] == ["write"]


def test_rows_are_changed_and_removed_by_their_user_alone(pod):
    ada, bob = (session(pod, f"{name}@change.example.com")["access_token"] for name in ("ada", "bob"))
    (row,) = pod.ask("POST", REST, "/todos", {"task": "x"}, token=ada, Prefer="return=representation").body
    place = f"/todos?id=eq.{row['id']}"
    assert pod.ask("PATCH", REST, place, {"task": "stolen"}, token=bob, Prefer="return=representation").body == []
    assert pod.ask("PATCH", REST, place, {"task": "y"}, token=ada).status == 204
    changed = pod.ask("PATCH", REST, place, {"task": "z"}, token=ada, Prefer="return=representation")
    assert (changed.status, changed.body[0]["task"]) == (200, "z")
    assert pod.ask("DELETE", REST, place, token=bob).status == 204
    assert pod.ask("DELETE", REST, place, token=ada, Prefer="return=representation").body[0]["task"] == "z"


def test_a_row_for_somebody_else_is_refused(pod, user):
    body = {"task": "x", "owner": "00000000-0000-0000-0000-000000000000"}
    reply = pod.ask("POST", REST, "/todos", body, token=user["access_token"])
    assert (reply.status, reply.body["code"]) == (403, "42501")


def test_more_rows_than_the_limit_are_not_given(pod):
    service = pod.token(1, role="service_role")
    pod.ask("POST", REST, "/todos", [{"task": str(n)} for n in range(5)], token=service)
    reply = pod.ask("GET", REST, "/todos?limit=100", token=service)
    assert (len(reply.body), reply.headers["Content-Range"]) == (3, "0-2/*")


@pytest.mark.parametrize(
    ("method", "path", "body", "role", "status", "code"),
    [
        ("GET", "/absent", None, "anon", 404, "PGRST205"),
        ("GET", "/hidden", None, "anon", 401, "42501"),
        ("GET", "/hidden", None, "authenticated", 403, "42501"),
        ("GET", "/todos?absent=eq.1", None, "authenticated", 400, "42703"),
        ("GET", "/todos?id=gt.1", None, "authenticated", 400, "PGRST100"),
        ("GET", "/todos?limit=x", None, "authenticated", 400, "PGRST100"),
        ("POST", "/todos", {"absent": 1}, "authenticated", 400, "PGRST204"),
        ("POST", "/todos", "text", "authenticated", 400, "PGRST102"),
        ("PUT", "/todos", {}, "authenticated", 405, "PGRST117"),
        ("POST", "/rpc/absent", {}, "authenticated", 404, "PGRST202"),
        ("GET", "/rpc/whoami", None, "authenticated", 405, "PGRST101"),
        ("GET", "/a/b", None, "authenticated", 404, "PGRST125"),
        ("GET", "/todos", None, "absent", 401, "22023"),
        ("GET", "/todos", None, "postgres", 403, "42501"),
    ],
)
def test_what_rest_refuses_has_the_code_of_the_real_one(pod, method, path, body, role, status, code):
    reply = pod.ask(method, REST, path, body, token=pod.token(1, role=role))
    assert (reply.status, reply.body["code"]) == (status, code), reply.body


def test_without_a_token_it_is_the_anonymous_role(pod):
    assert pod.ask("POST", REST, "/rpc/whoami", {}).body["user"] == "anon"
    reply = pod.ask("POST", REST, "/todos", {"task": "x"})
    assert (reply.status, reply.body["code"]) == (401, "42501")


@pytest.mark.parametrize(
    ("make", "code", "message"),
    [
        (lambda pod: pod.token(exp=int(time.time()) - 31), "PGRST303", "JWT expired"),
        (lambda pod: pod.token(aud="other"), "PGRST303", "JWT not in audience"),
        (
            lambda _pod: tokens.sign({"role": "service_role"}, new_key()),
            "PGRST301",
            "JWT cryptographic operation failed",
        ),
        (lambda pod: tokens.sign({}, {**pod.keys[0], "kid": "x"}), "PGRST301", "No suitable key or wrong key type"),
        (lambda _pod: "a.b", "PGRST301", "Expected 3 parts in JWT; got 2"),
        (
            lambda _pod: f"{tokens.encode(json.dumps({'alg': 'none'}).encode())}.e30.",
            "PGRST301",
            "Wrong or unsupported",
        ),
    ],
)
def test_an_expired_or_foreign_token_is_refused(pod, make, code, message):
    reply = pod.ask("GET", REST, "/todos", token=make(pod))
    assert (reply.status, reply.body["code"]) == (401, code)
    assert reply.body["message"].startswith(message)
    assert reply.headers["WWW-Authenticate"].startswith('Bearer error="invalid_token"')


def test_a_function_knows_who_asks_and_how(pod, user):
    reply = pod.ask("POST", REST, "/rpc/whoami", {"greeting": "ho"}, token=user["access_token"], User_Agent="me")
    assert reply.body == {
        "greeting": "ho",
        "user": "authenticated",
        "sub": user["user"]["id"],
        "role": "authenticated",
        "method": "POST",
        "path": "/rpc/whoami",
        "agent": "me",
    }
    assert pod.ask("POST", REST, "/rpc/numbers", {"upto": 3}).body == [1, 2, 3]


def test_nothing_of_a_request_is_left_for_the_next_one(pod, user):
    for _ in range(4):
        assert pod.ask("POST", REST, "/rpc/whoami", {}, token=user["access_token"]).body["sub"]
        assert pod.ask("POST", REST, "/rpc/whoami", {}).body["sub"] is None


def test_what_a_role_may_read_is_described(pod):
    described = pod.ask("GET", REST, "/")
    assert (described.body["swagger"], list(described.body["paths"])) == ("2.0", ["/todos"])
    assert pod.ask("GET", REST, "/todos", Accept_Profile="auth").body["code"] == "PGRST106"


def test_a_busy_pool_answers_within_its_timeout(pod):
    id = pod.rest(3800)
    wait_until(lambda: pod.ask("GET", 3801, "/ready").status == 200, id)
    doze = ("POST", 3800, "/rpc/doze", {"seconds": SECONDS / 2})
    threads = [threading.Thread(target=pod.ask, args=doze) for _ in range(2)]
    for one in threads:
        one.start()
    try:
        await_asleep(pod, 2, id)
        reply = pod.ask("GET", 3800, "/todos")
        assert (reply.status, reply.body["code"]) == (504, "PGRST003")
        assert pod.ask("GET", 3801, "/live").status == 200
    finally:
        pod.sql(f"SELECT pg_cancel_backend(pid) {ASLEEP}")
        for one in threads:
            one.join()
    assert "pgrst_db_pool_timeouts_total 1" in pod.ask("GET", 3801, "/metrics").body


ASLEEP = "FROM pg_stat_activity WHERE wait_event = 'PgSleep'"


def await_asleep(pod, count, id):
    """Until so many sessions of the server doze."""
    wait_until(lambda: pod.sql(f"SELECT count(*) {ASLEEP}") == str(count), id)


def test_a_new_table_is_known_after_a_signal_and_not_before(pod):
    id = pod.rest(3200)
    wait_until(lambda: pod.ask("GET", 3201, "/ready").status == 200, id)
    pod.sql("CREATE TABLE later (id int); GRANT SELECT ON later TO anon; NOTIFY pgrst, 'reload schema'")
    assert pod.ask("GET", 3200, "/later").body["code"] == "PGRST205"
    podman("kill", "--signal", "USR1", id)
    wait_until(lambda: pod.ask("GET", 3200, "/later").status == 200, id)
    names = [one["name"] for one in pod.ask("GET", 3201, "/schema_cache").body["dbTables"]]
    assert "later" in names


def test_a_key_is_exchanged_by_a_signal(pod):
    next_key = {**new_key(), "kid": "next"}
    id = pod.rest(3300, PGRST_JWT_SECRET=pod.file("next-jwks", json.dumps({"keys": [pod.keys[1]]})))
    wait_until(lambda: pod.ask("GET", 3301, "/ready").status == 200, id)
    token = tokens.sign({"role": "authenticated"}, next_key)
    assert pod.ask("GET", 3300, "/todos", token=token).body["code"] == "PGRST301"
    pod.write("next-jwks", json.dumps({"keys": [pod.keys[1], tokens.public(next_key)]}))
    podman("kill", "--signal", "USR2", id)
    wait_until(lambda: pod.ask("GET", 3300, "/todos", token=token).status == 200, id)


def test_a_wrong_password_ends_it(pod):
    uri = pod.file("wrong-uri", pod.uri("rest", POSTGRESQL, password="wrong"))
    code, log = pod.try_rest(PGRST_DB_URI=uri)
    assert (code, "password authentication failed" in log) == (1, True)
    assert "wrong@" not in log


def test_named_statements_fail_behind_a_pool_that_does_not_carry_them(pod):
    uri = pod.file("no-statements", pod.uri("rest", POOLER_WITHOUT_STATEMENTS))
    id = pod.rest(3500, PGRST_DB_URI=uri, PGRST_DB_PREPARED_STATEMENTS="true", STANDIN_TRANSACTION_POOL=None)
    wait_until(lambda: pod.ask("GET", 3501, "/ready").status == 200, id)

    # Two clients on one session of the server give their first statements the same name.
    def doze(seconds):
        with contextlib.suppress(http.client.HTTPException, OSError):
            pod.ask("POST", 3500, "/rpc/doze", {"seconds": seconds})

    first = threading.Thread(target=doze, args=(5,))
    first.start()
    await_asleep(pod, 1, id)
    doze(0)
    first.join()
    code, log = ended(id)
    assert (code, 'prepared statement "_pg3_0" already exists' in log) == (1, True), log


def test_a_listener_behind_a_pool_hears_nothing(pod):
    id = pod.rest(3600, PGRST_DB_CHANNEL_ENABLED="true", STANDIN_TRANSACTION_POOL=None)
    wait_until(lambda: pod.ask("GET", 3601, "/ready").status == 200, id)
    pod.sql("CREATE TABLE unheard (id int); GRANT SELECT ON unheard TO anon; NOTIFY pgrst, 'reload schema'")
    time.sleep(1)
    assert pod.ask("GET", 3600, "/unheard").body["code"] == "PGRST205"


def test_a_listener_at_the_server_itself_hears(pod):
    uri = pod.file("direct-uri", pod.uri("rest", POSTGRESQL))
    id = pod.rest(3700, PGRST_DB_URI=uri, PGRST_DB_CHANNEL_ENABLED="true", STANDIN_TRANSACTION_POOL=None)
    wait_until(lambda: pod.ask("GET", 3701, "/ready").status == 200, id)
    pod.sql("CREATE TABLE heard (id int); GRANT SELECT ON heard TO anon; NOTIFY pgrst, 'reload schema'")
    wait_until(lambda: pod.ask("GET", 3700, "/heard").status == 200, id)


def test_without_a_pooler_rest_is_alive_and_not_ready_until_it_is_back(pod, user):
    """The last one, as it ends every connection."""
    podman("kill", pod.poolers[POOLER])
    try:
        reply = pod.ask("GET", REST, "/todos")
        assert (reply.status, reply.body["code"]) == (503, "PGRST000")
        assert [pod.ask("GET", REST + 1, path).status for path in ("/live", "/ready")] == [200, 503]
        assert pod.ask("GET", AUTH, "/health").status == 200
        asked = pod.ask("GET", AUTH, "/user", token=user["access_token"])
        assert (asked.status, asked.body["error_code"]) == (500, "unexpected_failure")
    finally:
        podman("start", pod.poolers[POOLER])
    wait_until(lambda: pod.ask("GET", REST + 1, "/ready").status == 200, pod.id)
    assert pod.ask("GET", REST, "/todos").status == 200
    assert pod.ask("GET", AUTH, "/user", token=user["access_token"]).status == 200
