# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-ins for GoTrue and PostgREST beside a PostgreSQL and PgBouncers of our images, as in one pod.

Roles, schemas and rights are made by hand, as a project's are meant to be. All containers share one network without a
way out; the tests enter it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import http.client
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fix_container import container, image_of, in_network_of, is_running, logs, podman, run_to_end

sys.path.insert(0, str(Path(__file__).parents[1]))
from lab.services import build, tokens

SECONDS = 30
POSTGRESQL, POOLER, POOLER_WITHOUT_STATEMENTS = 5432, 6432, 6433
AUTH, METRICS = 9999, 9100
ANYWHERE = "0.0.0.0"  # noqa: S104 (in a network without a way in)
DATABASE = "app"
START = """initdb -D /tmp/data -U postgres --auth-local=trust --auth-host=scram-sha-256 --no-sync >/dev/null
exec postgres -D /tmp/data -c listen_addresses=127.0.0.1 -c unix_socket_directories=/tmp -c fsync=off"""
# {auth} and {rest} are passwords. The tests' table shows a user its own rows.
BASE = """
CREATE ROLE anon NOLOGIN NOINHERIT; CREATE ROLE authenticated NOLOGIN NOINHERIT;
CREATE ROLE service_role NOLOGIN NOINHERIT BYPASSRLS;
CREATE ROLE p_rest LOGIN NOINHERIT PASSWORD '{rest}'; GRANT anon, authenticated, service_role TO p_rest;
CREATE ROLE p_auth LOGIN NOINHERIT PASSWORD '{auth}';
CREATE DATABASE app;
\\connect app
CREATE SCHEMA auth AUTHORIZATION p_auth;
ALTER ROLE p_auth IN DATABASE app SET search_path = auth;
GRANT USAGE ON SCHEMA auth, public TO anon, authenticated, service_role;
"""
TABLE = """
CREATE TABLE public.todos (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, owner uuid DEFAULT auth.uid(), task text);
ALTER TABLE public.todos ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON public.todos TO authenticated USING (owner = auth.uid()) WITH CHECK (owner = auth.uid());
CREATE POLICY none ON public.todos TO anon USING (false);
GRANT SELECT ON public.todos TO anon; GRANT ALL ON public.todos TO authenticated, service_role;
CREATE TABLE public.hidden (id int);
CREATE FUNCTION public.whoami(greeting text DEFAULT 'hi') RETURNS json LANGUAGE sql STABLE AS $$
  SELECT json_build_object('greeting', greeting, 'user', current_user, 'sub', auth.uid(), 'role', auth.role(),
    'method', current_setting('request.method'), 'path', current_setting('request.path'),
    'agent', current_setting('request.headers')::json->>'user-agent')$$;
CREATE FUNCTION public.doze(seconds float) RETURNS void LANGUAGE sql AS 'SELECT pg_sleep(seconds)';
CREATE FUNCTION public.numbers(upto int) RETURNS SETOF int LANGUAGE sql STABLE AS 'SELECT generate_series(1, upto)';
"""
POOLER_INI = """[databases]
app = host=127.0.0.1 port=5432
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = /etc/supalove/userlist.txt
pool_mode = transaction
default_pool_size = {size}
max_prepared_statements = {statements}
ignore_startup_parameters = extra_float_digits,options,search_path
"""


@dataclasses.dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: Any


@dataclasses.dataclass(frozen=True)
class Pod:
    """`keys`: the private key, and the old one that is only verified with. `directory` is mounted at /etc/supalove."""

    id: str
    pid: int
    directory: Path
    stack: contextlib.ExitStack
    passwords: Mapping[str, str]
    keys: tuple[dict[str, Any], dict[str, Any]]
    # The containers, by port.
    poolers: dict[int, str] = dataclasses.field(default_factory=dict)

    def sql(self, text: str, database: str = DATABASE) -> str:
        """What the superuser gets, over the socket."""
        words = ["psql", "-h", "/tmp", "-U", "postgres", "-d", database, "-XAqtv", "ON_ERROR_STOP=1"]
        done = subprocess.run(
            ["podman", "exec", "-i", self.id, *words], input=text, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def connect(self, port: int) -> socket.socket:
        def connect_here() -> socket.socket:
            return socket.create_connection(("127.0.0.1", port), timeout=SECONDS)

        return in_network_of(self.pid, connect_here)

    def ask(
        self, method: str, port: int, path: str, body: object = None, *, token: str | None = None, **headers: str
    ) -> Reply:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent |= {"Authorization": f"Bearer {token}"} if token is not None else {}
        sent |= {"Content-Type": "application/json"} if body is not None else {}
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        connection.sock = self.connect(port)
        with contextlib.closing(connection):
            connection.request(method, path, json.dumps(body) if body is not None else None, sent)
            answer = connection.getresponse()
            data = answer.read()
        is_json = answer.headers.get("Content-Type", "").startswith("application/json")
        return Reply(answer.status, dict(answer.headers), json.loads(data) if is_json else data.decode())

    def uri(self, login: str, port: int = POOLER, more: str = "", password: str | None = None) -> str:
        return f"postgres://p_{login}:{password or self.passwords[login]}@127.0.0.1:{port}/{DATABASE}{more}"

    def token(self, key: int = 0, **claims: object) -> str:
        now = int(time.time())
        return tokens.sign({"role": "authenticated", "iat": now, "exp": now + 600, **claims}, self.keys[key])

    def auth_settings(self, **changed: str | None) -> dict[str, str]:
        given = {
            "GOTRUE_DB_DRIVER": "postgres",
            "GOTRUE_DB_DATABASE_URL": self.uri("auth"),
            "GOTRUE_DB_MAX_POOL_SIZE": "2",
            "GOTRUE_JWT_SECRET": tokens.decode(self.keys[1]["k"]).decode(),
            "GOTRUE_JWT_KEYS": json.dumps([self.keys[0]]),
            "GOTRUE_JWT_AUD": "authenticated",
            "GOTRUE_JWT_DEFAULT_GROUP_NAME": "authenticated",
            "GOTRUE_JWT_ISSUER": "https://acme.example.com/auth/v1",
            "GOTRUE_MAILER_AUTOCONFIRM": "true",
            "API_EXTERNAL_URL": "https://acme.example.com/auth/v1",
            "GOTRUE_SITE_URL": "https://acme.example.com",
            "GOTRUE_API_HOST": ANYWHERE,
            "GOTRUE_API_PORT": str(AUTH),
            "GOTRUE_METRICS_ENABLED": "true",
            "GOTRUE_METRICS_EXPORTER": "prometheus",
            "OTEL_EXPORTER_PROMETHEUS_HOST": ANYWHERE,
            "OTEL_EXPORTER_PROMETHEUS_PORT": str(METRICS),
            **changed,
        }
        return {name: value for name, value in given.items() if value is not None}

    def rest_settings(self, port: int = 3000, **changed: str | None) -> dict[str, str]:
        self.write("jwks", json.dumps({"keys": [tokens.public(self.keys[0]), self.keys[1]]}))
        given = {
            "PGRST_DB_URI": self.file("uri", self.uri("rest")),
            "PGRST_DB_SCHEMAS": "public",
            "PGRST_DB_ANON_ROLE": "anon",
            "PGRST_DB_CONFIG": "false",
            "PGRST_DB_POOL": "2",
            "PGRST_DB_POOL_ACQUISITION_TIMEOUT": "1",
            "PGRST_DB_PREPARED_STATEMENTS": "false",
            "PGRST_DB_CHANNEL_ENABLED": "false",
            "PGRST_DB_MAX_ROWS": "3",
            "PGRST_JWT_SECRET": "@/etc/supalove/jwks",
            "PGRST_JWT_AUD": "authenticated",
            "PGRST_SERVER_PORT": str(port),
            "PGRST_ADMIN_SERVER_PORT": str(port + 1),
            "STANDIN_TRANSACTION_POOL": "true",
            **changed,
        }
        return {name: value for name, value in given.items() if value is not None}

    def write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)
        (self.directory / name).chmod(0o644)

    def file(self, name: str, text: str) -> str:
        """It and the way to name it in a setting."""
        self.write(name, text)
        return f"@/etc/supalove/{name}"

    def run(self, image: str, environment: Mapping[str, str], *words: str) -> str:
        """A container of the pod."""
        return container(self.stack, *self._mounted(environment), image, *words, network=f"container:{self.id}")

    def try_out(self, image: str, environment: Mapping[str, str], *words: str) -> tuple[int, str]:
        """One that ends by itself: exit code and log."""
        return run_to_end(*self._mounted(environment), image, *words, network=f"container:{self.id}")

    def _mounted(self, environment: Mapping[str, str]) -> list[str]:
        variables = [word for name, value in environment.items() for word in ("--env", f"{name}={value}")]
        return ["--volume", f"{self.directory}:/etc/supalove:ro", *variables]

    def auth_file(self, name: str, **changed: str | None) -> list[str]:
        """GoTrue's settings in a file, and how it is told of them."""
        self.write(name, "".join(f"{n}='{v}'\n" for n, v in self.auth_settings(**changed).items()))
        return ["-c", f"/etc/supalove/{name}"]

    def try_auth(self, *words: str, **changed: str | None) -> tuple[int, str]:
        return self.try_out(service_image("gotrue"), {}, "auth", *words, *self.auth_file("tried.env", **changed))

    def try_rest(self, **changed: str | None) -> tuple[int, str]:
        return self.try_out(service_image("postgrest"), self.rest_settings(3100, **changed))

    def rest(self, port: int, **changed: str | None) -> str:
        """Another PostgREST; its container."""
        return self.run(service_image("postgrest"), self.rest_settings(port, **changed))


def ended(id: str) -> tuple[int, str]:
    return int(podman("wait", id)), logs(id)


@functools.cache
def service_image(name: str) -> str:
    """The stand-in's image, of its sources as they are now."""
    with tempfile.TemporaryDirectory(prefix="supalove-service-") as directory:
        program = Path(directory, name)
        build.build(name, program)
        return image_of(name, "--binary", f"{name}={program}", folder="tests/lab/images")


def wait_until(holds: Callable[[], bool], id: str) -> None:
    """Or until the container has ended."""
    end = time.monotonic() + SECONDS
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if holds():
                return
        assert time.monotonic() < end, logs(id)
        assert is_running(id), logs(id)
        time.sleep(0.1)


def new_key() -> dict[str, Any]:
    private = ec.generate_private_key(ec.SECP256R1())
    numbers, d = private.public_key().public_numbers(), private.private_numbers().private_value
    parts = {name: tokens.encode(n.to_bytes(32, "big")) for name, n in (("x", numbers.x), ("y", numbers.y), ("d", d))}
    return {"kty": "EC", "crv": "P-256", "kid": "new", "alg": "ES256", "key_ops": ["sign", "verify"], **parts}


@contextlib.contextmanager
def running_pod() -> Iterator[Pod]:
    """With both stand-ins up; migrated over a direct connection."""
    with contextlib.ExitStack() as stack, tempfile.TemporaryDirectory(prefix="supalove-services-") as made:
        directory = Path(made)
        os.chmod(directory, 0o755)  # noqa: S103 (the containers have other users)
        server = container(stack, "--entrypoint", "/bin/sh", image_of("postgresql"), "-c", START)
        pod = Pod(
            id=server,
            pid=int(podman("inspect", "--format", "{{.State.Pid}}", server)),
            directory=directory,
            stack=stack,
            passwords={login: secrets.token_hex(16) for login in ("auth", "rest")},
            keys=(new_key(), {"kty": "oct", "kid": "old", "k": tokens.encode(secrets.token_hex(32).encode())}),
        )
        wait_until(lambda: pod.connect(POSTGRESQL).close() is None, server)
        pod.sql(BASE.format(**pod.passwords), "postgres")
        users = "".join(f'"p_{login}" "{password}"\n' for login, password in pod.passwords.items())
        pod.write("userlist.txt", users)
        for port, size, statements in ((POOLER, 5, 200), (POOLER_WITHOUT_STATEMENTS, 1, 0)):
            pod.write(f"{port}.ini", POOLER_INI.format(port=port, size=size, statements=statements))
            pod.poolers[port] = pod.run(image_of("pgbouncer"), {}, f"/etc/supalove/{port}.ini")
        direct = pod.uri("auth", POSTGRESQL)
        code, log = pod.try_auth("migrate", GOTRUE_DB_DATABASE_URL=direct)
        assert code == 0, log
        pod.sql(TABLE)
        auth = pod.run(service_image("gotrue"), {}, "auth", "serve", *pod.auth_file("auth.env"))
        rest = pod.rest(3000)
        wait_until(lambda: pod.ask("GET", AUTH, "/health").status == 200, auth)
        wait_until(lambda: pod.ask("GET", 3001, "/ready").status == 200, rest)
        yield pod


@pytest.fixture(scope="module")
def pod() -> Iterator[Pod]:
    with running_pod() as made:
        yield made
