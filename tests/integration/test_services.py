# SPDX-License-Identifier: GPL-3.0-or-later
"""What services do to a project's database: real PostgreSQL, the real pooler, and files and commands of the pods."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.service_keys import signed
from fix_container import logs, podman
from fix_postgresql import Server, Shared
from fix_proxy import Proxy
from fix_served import Served, served

AUTH_PORT, REST_PORT = 9999, 3000
GROUPS = ("anon", "authenticated", "service_role")


@pytest.fixture(scope="module")
def cluster(postgresql: Server) -> Iterator[Shared]:
    proxy = Proxy(postgresql.connect_inside)
    yield Shared(server=postgresql, proxy=proxy, secrets={})
    proxy.close()


@pytest.fixture(scope="module")
def project(cluster: Shared) -> Iterator[Served]:
    with served(cluster) as made:
        made.start("pooler")
        yield made


def through(project: Served, alias: str, login: str) -> psycopg.Connection:
    """A session of a service's, by its login to the pooler."""
    user, password = (project.texts[f"{login}.{what}"] for what in ("user", "password"))
    proxy = Proxy(lambda: project.shared.server.connect_inside(6432))
    project.stack.callback(proxy.close)
    return psycopg.connect(
        host="127.0.0.1",
        port=proxy.port,
        user=user,
        password=password,
        dbname=alias,
        sslmode="disable",
        autocommit=True,
    )


def prepared(project: Served) -> None:
    id = project.first_of("auth")
    assert podman("wait", id) == "0", logs(id)


def test_a_second_run_changes_no_login_of_services(project: Served) -> None:
    roles = tuple(one for one in project.objects if one.id.kind in ("DatabaseRole", "Database"))
    assert project.shared.bring(roles) == []


def test_a_setting_or_a_group_that_somebody_gave_to_a_login_of_services_is_taken_back(project: Served) -> None:
    roles = tuple(one for one in project.objects if one.id.kind in ("DatabaseRole", "Database"))
    for text in ('ALTER ROLE "{}" SET statement_timeout = 0', 'GRANT "{}" TO "{}"'):
        project.shared.server.sql(text.format(f"{project.database}_rest", f"{project.database}_owner"))
    assert {one.id.name for one in project.shared.bring(roles)} >= {f"{project.database}_rest"}
    assert project.shared.bring(roles) == []


def test_what_is_prepared_belongs_to_the_tenant_and_a_second_time_changes_nothing(project: Served) -> None:
    prepared(project)
    owner = f"{project.database}_owner"
    with through(project, "migrate", "auth") as session:
        assert session.execute("SELECT current_user, session_user").fetchone() == (owner, f"{project.database}_auth")
        assert session.execute("SHOW search_path").fetchone() == ("auth",)
        names = "SELECT nspname FROM pg_namespace WHERE pg_get_userbyid(nspowner) = current_user ORDER BY 1"
        assert [name for (name,) in session.execute(names)] == ["auth", "extensions", "graphql_public"]
        session.execute("REVOKE USAGE ON SCHEMA extensions FROM anon")
    prepared(project)
    with through(project, "migrate", "auth") as session:
        assert session.execute("SELECT has_schema_privilege('anon', 'extensions', 'USAGE')").fetchone() == (False,)
        session.execute("GRANT USAGE ON SCHEMA extensions TO anon")


def test_rest_becomes_one_of_three_groups_and_nobody_else(project: Served) -> None:
    prepared(project)
    with through(project, "auth", "auth") as session:
        session.execute("CREATE TABLE IF NOT EXISTS public.seen (id int)")
    with through(project, "rest", "rest") as session:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("SELECT count(*) FROM public.seen")
        for group in GROUPS:
            with session.transaction():
                session.execute(f"SET LOCAL ROLE {group}")  # type: ignore[arg-type]
                assert session.execute("SELECT count(*) FROM public.seen").fetchone() == (0,)
        for other in (f"{project.database}_owner", f"{project.database}_auth", "supalove", "postgres"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), session.transaction():
                session.execute(f'SET LOCAL ROLE "{other}"')  # type: ignore[arg-type]


def test_a_login_of_services_gets_into_no_database_but_its_own_alias(project: Served) -> None:
    for alias, login in (("postgres", "rest"), ("auth", "rest"), ("rest", "auth"), ("pgbouncer", "auth")):
        with pytest.raises(psycopg.OperationalError):
            through(project, alias, login)


@pytest.fixture(scope="module")
def running(project: Served) -> Served:
    """Auth, after what comes before it, and PostgREST."""
    for name, port, path in (("auth", AUTH_PORT, "/health"), ("rest", REST_PORT, "/")):
        project.start(name)
        project.await_(lambda port=port, path=path: project.ask(port, "GET", path).status, f"{name} does not answer")
    return project


def test_a_user_who_signed_up_sees_rows_of_its_own_and_the_anonymous_key_sees_none(running: Served) -> None:
    """As a developer has it: a table made through SQL, a user made through Auth, rows through PostgREST."""
    with through(running, "auth", "auth") as session:
        session.execute(
            "CREATE TABLE public.notes (id int PRIMARY KEY, owner uuid DEFAULT auth.uid(), text text);"
            "ALTER TABLE public.notes ENABLE ROW LEVEL SECURITY;"
            "CREATE POLICY own ON public.notes TO authenticated USING (owner = auth.uid());"
        )
    podman("kill", "--signal", "USR1", running.running["rest"])
    made = running.ask(AUTH_PORT, "POST", "/signup", {"email": "a@example.com", "password": "correct horse"})
    assert made.status == 200, made.body
    user, anonymous, server = made.body["access_token"], running.texts["anon.key"], running.texts["service_role.key"]
    note = {"id": 1, "text": "mine"}
    running.await_(lambda: running.ask(REST_PORT, "GET", "/notes", token=user).status == 200, "the table is not known")
    assert running.ask(REST_PORT, "POST", "/notes", note, token=user).status == 201
    seen = {name: running.ask(REST_PORT, "GET", "/notes", token=token).body for name, token in
            (("user", user), ("anonymous", anonymous), ("server", server))}  # fmt: skip
    assert [row["text"] for row in seen["user"]] == ["mine"]
    assert seen["anonymous"] == []
    assert [row["text"] for row in seen["server"]] == ["mine"]


def test_tokens_that_another_project_signed_are_refused(running: Served) -> None:
    foreign = signed({"role": "service_role", "exp": 4_000_000_000}, "another project's secret of 32 bytes")
    assert running.ask(REST_PORT, "GET", "/notes", token=foreign).status == 401


def test_what_services_made_belongs_to_the_tenant(running: Served) -> None:
    with through(running, "auth", "auth") as session:
        owners = session.execute("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'auth'").fetchall()
    assert owners == [(f"{running.database}_owner",)]
