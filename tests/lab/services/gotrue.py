# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of the stand-in for GoTrue: `auth [migrate|serve|version] [-c FILE] [-d DIRECTORY]`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import psycopg

from . import gotrue_api, web
from .database import Pool
from .settings import Unusable, contract, is_true, read, read_env_file

NAME = "gotrue"
MIGRATIONS: Mapping[str, str] = {
    "00": "CREATE TABLE auth.users (id uuid PRIMARY KEY, aud varchar(255), role varchar(255),"
    " email varchar(255) UNIQUE,"
    " encrypted_password varchar(255), email_confirmed_at timestamptz, last_sign_in_at timestamptz,"
    " raw_app_meta_data jsonb, raw_user_meta_data jsonb, created_at timestamptz, updated_at timestamptz);"
    " CREATE TABLE auth.refresh_tokens (id bigserial PRIMARY KEY, token varchar(255) UNIQUE, user_id varchar(255),"
    " revoked boolean, parent varchar(255), created_at timestamptz, updated_at timestamptz)",
    "20220224000811": "CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE AS"
    " $$SELECT (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid$$;"
    " CREATE FUNCTION auth.role() RETURNS text LANGUAGE sql STABLE AS"
    " $$SELECT nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role'$$;"
    " CREATE FUNCTION auth.email() RETURNS text LANGUAGE sql STABLE AS"
    " $$SELECT nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'email'$$",
    "20220811173540": "CREATE TABLE auth.sessions (id uuid PRIMARY KEY,"
    " user_id uuid REFERENCES auth.users ON DELETE CASCADE, created_at timestamptz, updated_at timestamptz);"
    " ALTER TABLE auth.refresh_tokens ADD session_id uuid REFERENCES auth.sessions ON DELETE CASCADE",
    "20240612123726": "DO $$DECLARE name text; BEGIN FOREACH name IN ARRAY"
    " ARRAY['schema_migrations', 'users', 'refresh_tokens', 'sessions'] LOOP"
    " EXECUTE format('ALTER TABLE auth.%I ENABLE ROW LEVEL SECURITY', name);"
    " EXECUTE format('GRANT SELECT ON auth.%I TO postgres WITH GRANT OPTION', name); END LOOP; END$$",
}


def main(arguments: list[str]) -> int:
    """What the real one does: `serve` for ever, `migrate` once, both without a command."""
    flags = argparse.ArgumentParser(add_help=False)
    flags.add_argument("-c", "--config", type=Path, default=argparse.SUPPRESS)
    flags.add_argument("-d", "--config-dir", type=Path, default=argparse.SUPPRESS)
    parser = argparse.ArgumentParser(prog="auth", description="A stand-in for GoTrue.", parents=[flags])
    commands = parser.add_subparsers(dest="command")
    for name in ("migrate", "serve", "version"):
        commands.add_parser(name, parents=[flags])
    told = parser.parse_args(arguments)
    file, directory = getattr(told, "config", None), getattr(told, "config_dir", None)
    if told.command == "version":
        sys.stdout.write(f"{contract(NAME)['version']} (stand-in)\n")
        return 0
    try:
        if told.command in ("migrate", None):
            _migrate(settings("migrate", file, directory if told.command else None))
        if told.command in ("serve", None):
            _serve(settings("serve", file, directory))
    except Unusable as error:
        for line in str(error).splitlines():
            web.say(NAME, f"fatal: {line}")
        return 1
    except psycopg.Error as error:
        state = f" (SQLSTATE {error.sqlstate})" if error.sqlstate else ""
        web.say(NAME, f"fatal: {' '.join(str(error).split())}{state}")
        return 1
    return 0


def settings(command: str, file: Path | None, directory: Path | None) -> dict[str, str]:
    """Of the environment, over it the file, over that the directory's files. Raises Unusable."""
    if command == "migrate" and directory is not None:
        raise Unusable(f"--config-dir {directory}: migrate does not read it; give -c")
    paths = [file] if file else []
    if directory is not None:
        try:
            paths += sorted(path for path in directory.iterdir() if path.suffix == ".env" and not path.is_dir())
        except OSError as error:
            raise Unusable(f"open {directory}: {error.strerror}") from error
    files: dict[str, str] = {}
    for path in paths:
        files |= read_env_file(path)
    prefixes = tuple(contract(NAME)["strict_prefixes"])
    foreign = [name for name in files if not name.startswith(prefixes)]
    if foreign:
        raise Unusable("\n".join(f"{name}: is not a variable of GoTrue" for name in foreign))
    return read(NAME, command, {**os.environ, **files})


def as_libpq(uri: str) -> tuple[str, bool]:
    """Without what only pgx knows, and whether it is to prepare statements under names, as it does by default."""
    parts = urlsplit(uri)
    query = dict(parse_qsl(parts.query))
    is_preparing = query.pop("statement_cache_mode", "prepare") == "prepare"
    return urlunsplit(parts._replace(query=urlencode(query))), is_preparing


def _migrate(told: Mapping[str, str]) -> None:
    """Each migration in a transaction. Raises psycopg.Error."""
    uri, _is_preparing = as_libpq(told["GOTRUE_DB_DATABASE_URL"])
    with psycopg.connect(uri, application_name="auth_migrations", autocommit=True, connect_timeout=5) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS schema_migrations (version varchar(14) PRIMARY KEY)")
        done = {row[0] for row in connection.execute("SELECT version FROM schema_migrations").fetchall()}
        count = 0
        for version, text in MIGRATIONS.items():
            if version not in done:
                with connection.transaction():
                    connection.execute(text.encode())
                    connection.execute("INSERT INTO schema_migrations VALUES (%s)", (version,))
                count += 1
    web.say(NAME, f"GoTrue migrations applied successfully, count {count}")


def _serve(told: Mapping[str, str]) -> None:
    """Until SIGTERM; then what runs is answered."""
    uri, is_preparing = as_libpq(told["GOTRUE_DB_DATABASE_URL"])
    size = int(told["GOTRUE_DB_MAX_POOL_SIZE"])
    pool = Pool(uri, size, name="gotrue", wait_seconds=10, is_preparing=is_preparing)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_signal: stop.set())
    host, port = told["GOTRUE_API_HOST"], int(told["GOTRUE_API_PORT"])
    api = gotrue_api.Api(told, pool)
    if is_true(told["GOTRUE_METRICS_ENABLED"]):
        place = (told["OTEL_EXPORTER_PROMETHEUS_HOST"], int(told["OTEL_EXPORTER_PROMETHEUS_PORT"]))
        web.serve(*place, api.metrics)
    server = web.serve(host, port, api.answer)
    web.say(NAME, f"GoTrue API started on: {host}:{port} (stand-in)")
    stop.wait()
    server.shutdown()
    api.drain(seconds=60)
