# SPDX-License-Identifier: BSD-2-Clause
"""What a project's developer talks to: Auth (GoTrue) and PostgREST, each a Deployment behind a Service.

What is no secret is in the environment, all else in files of Secrets. Both go through the pooler, as roles of their
own. Ports and settings: GoTrue's internal/conf/configuration.go, PostgREST's docs/references/configuration.rst.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..databases import ANONYMOUS, API_GROUPS, AUTHENTICATED, SERVICE
from ..objects import Body, Desired
from ..project.quantities import MIB, format_bytes, format_cpu
from ..project.vocabulary import OPENSHIFT_ROUTES
from ..service_keys import (
    AUTH,
    AUTH_FILE,
    KEY_HEADER,
    MIGRATE,
    MIGRATE_FILE,
    MIGRATE_SERVICE,
    REST,
    REST_KEYS,
    REST_URI,
)
from .auth import OWN_DIRECTORY, OWN_FILE, SETTINGS_DIRECTORY, own_command, own_settings, own_volumes
from .context import CONTAINER_SECURITY, Context, empty_dir
from .pooler import AUTH_CLIENTS, SERVICE_SESSION_SECONDS, rest_clients

SECRET_DIRECTORY = "/etc/supalove/service"
PREPARE_DIRECTORY = "/etc/supalove/prepare"
PREPARE_FILE = "prepare.sql"
# As which user the images run themselves.
USER = 1000
REST_PORT, REST_ADMIN_PORT = 3000, 3001
AUTH_PORT, AUTH_METRICS_PORT = 9999, 9100
# Millicores and bytes of one: what it takes when nobody uses it, and what it may take.
IDLE_CPU, IDLE_MEMORY = 10, 48 * MIB
MOST_CPU, MOST_MEMORY = 500, 256 * MIB
SCHEMAS = ("public", "graphql_public")
TOKEN_SECONDS = 3600
PREPARE_TRIES = 60
MAX_ROWS = 1000
# A Service forgets a pod first; then what it was asked is answered.
DRAIN_SECONDS = 5
SHUTDOWN_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class _Service:
    """One of them: its ports by name, the first of which is the one for all, and what its container is told."""

    name: str
    ports: Mapping[str, int]
    files: tuple[str, ...]
    environment: Mapping[str, str]
    probes: Mapping[str, Body]
    command: list[str] | None = None
    before: list[Body] = field(default_factory=list)
    volumes: list[Body] = field(default_factory=list)
    config: Mapping[str, str] = field(default_factory=dict)
    mounts: list[Body] = field(default_factory=list)


def render_services(context: Context) -> tuple[Desired, ...]:
    """Nothing for a project without a gateway to them."""
    if not context.project.tier.has_services:
        return ()
    config = {PREPARE_FILE: prepare_sql()}
    return (
        context.object("v1", "ConfigMap", AUTH, component=AUTH, data=config),
        *_workload(context, _auth(context, config)),
        *_workload(context, _rest(context)),
    )


def address_of(context: Context) -> str:
    """Where the project is reached from outside."""
    return f"https://{context.host}"


def prepare_sql() -> str:
    """What both need in a project's database, made once by the tenant's own role.

    What the tenant has changed since stays: schema auth, made last, says that it was done.
    """
    groups = ", ".join(API_GROUPS)
    return "\n".join(
        (
            "\\set ON_ERROR_STOP on",
            "SELECT pg_catalog.to_regnamespace('auth') IS NULL AS is_first \\gset",
            "\\if :is_first",
            "BEGIN;",
            "CREATE SCHEMA IF NOT EXISTS extensions;",
            "CREATE SCHEMA IF NOT EXISTS graphql_public;",
            'CREATE EXTENSION IF NOT EXISTS "uuid-ossp" WITH SCHEMA extensions;',
            "CREATE EXTENSION IF NOT EXISTS pgcrypto WITH SCHEMA extensions;",
            "CREATE SCHEMA auth;",
            # On a shared cluster public is the platform's, and they have it already.
            *(f"GRANT USAGE ON SCHEMA {name} TO {groups};" for name in ("public", "extensions", "graphql_public")),
            f"GRANT USAGE ON SCHEMA auth TO {groups};",
            *(
                f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON {kind} TO {groups};"
                for kind in ("TABLES", "SEQUENCES", "FUNCTIONS")
            ),
            "COMMIT;",
            "\\endif",
            "",
        )
    )


def _rest(context: Context) -> _Service:
    environment = {
        "PGRST_DB_URI": f"@{SECRET_DIRECTORY}/{REST_URI}",
        "PGRST_DB_SCHEMAS": ",".join(SCHEMAS),
        "PGRST_DB_EXTRA_SEARCH_PATH": "public,extensions",
        "PGRST_DB_ANON_ROLE": ANONYMOUS,
        "PGRST_DB_MAX_ROWS": str(MAX_ROWS),
        "PGRST_DB_POOL": str(rest_clients(context.project)),
        "PGRST_DB_POOL_ACQUISITION_TIMEOUT": "10",
        "PGRST_DB_POOL_MAX_LIFETIME": str(SERVICE_SESSION_SECONDS),
        "PGRST_DB_POOL_MAX_IDLETIME": str(SERVICE_SESSION_SECONDS),
        # The pooler takes turns with its sessions: no statement is prepared in one, and nobody listens on one.
        "PGRST_DB_PREPARED_STATEMENTS": "false",
        "PGRST_DB_CHANNEL_ENABLED": "false",
        # Settings of roles in the catalog would be taken for its own, and on a shared cluster all tenants share groups.
        "PGRST_DB_CONFIG": "false",
        "PGRST_JWT_SECRET": f"@{SECRET_DIRECTORY}/{REST_KEYS}",
        "PGRST_SERVER_HOST": "*",
        "PGRST_SERVER_PORT": str(REST_PORT),
        "PGRST_ADMIN_SERVER_HOST": "*",
        "PGRST_ADMIN_SERVER_PORT": str(REST_ADMIN_PORT),
        "PGRST_OPENAPI_SERVER_PROXY_URI": f"{address_of(context)}/rest/v1",
    }
    return _Service(
        name=REST,
        ports={"http": REST_PORT, "admin": REST_ADMIN_PORT},
        files=(REST_URI, REST_KEYS),
        environment=environment,
        probes={
            "startupProbe": _probe("/ready", "admin", period=2, failures=60),
            "readinessProbe": _probe("/ready", "admin", period=10, failures=2),
            # Not /ready: while the database restarts, PostgREST does better to wait than to begin anew.
            "livenessProbe": _probe("/live", "admin", period=20, failures=3),
        },
    )


def _auth(context: Context, config: Mapping[str, str]) -> _Service:
    address, own = address_of(context), context.project.auth
    environment = _auth_environment(address, _client_address(context)) | own_settings(own, address)
    file = f"{SECRET_DIRECTORY}/{AUTH_FILE}"
    adding = _adding(context, own_command(own, file))
    return _Service(
        name=AUTH,
        ports={"http": AUTH_PORT, "metrics": AUTH_METRICS_PORT},
        files=(AUTH_FILE, MIGRATE_FILE, MIGRATE_SERVICE),
        environment=environment,
        command=["auth", "serve", "-c", OWN_FILE if adding else file],
        # It says that it is well whatever becomes of its database; that this answers, the containers before it say.
        probes={
            "startupProbe": _probe("/health", "http", period=2, failures=60),
            "readinessProbe": _probe("/health", "http", period=10, failures=2),
            "livenessProbe": _probe("/health", "http", period=20, failures=3),
        },
        before=[*_preparing(context, environment), *adding],
        volumes=[{"name": "prepare", "configMap": {"name": AUTH}}, *own_volumes(own)],
        mounts=[{"name": "settings", "mountPath": SETTINGS_DIRECTORY, "readOnly": True}] if adding else [],
        config=config,
    )


def _client_address(context: Context) -> str:
    """The header that the front door sets, whatever a client says."""
    return "X-Forwarded-For" if context.platform.gateway_kind == OPENSHIFT_ROUTES else "X-Real-Ip"


def _auth_environment(address: str, client_address: str) -> dict[str, str]:
    """Without a mail server nobody can confirm an address, so it is taken as confirmed."""
    mails = ("INVITE", "CONFIRMATION", "RECOVERY", "EMAIL_CHANGE")
    return {
        "GOTRUE_DB_DRIVER": "postgres",
        "GOTRUE_DB_MAX_POOL_SIZE": str(AUTH_CLIENTS),
        "GOTRUE_DB_MAX_IDLE_POOL_SIZE": "1",
        "GOTRUE_DB_CONN_MAX_LIFETIME": f"{SERVICE_SESSION_SECONDS}s",
        "GOTRUE_DB_CONN_MAX_IDLE_TIME": f"{SERVICE_SESSION_SECONDS}s",
        "GOTRUE_DB_CLEANUP_ENABLED": "true",
        "GOTRUE_API_HOST": "0.0.0.0",  # noqa: S104 (of a pod, whose policy says who comes in)
        "GOTRUE_API_PORT": str(AUTH_PORT),
        "API_EXTERNAL_URL": address,
        "GOTRUE_SITE_URL": address,
        "GOTRUE_JWT_ADMIN_ROLES": SERVICE,
        "GOTRUE_JWT_AUD": AUTHENTICATED,
        "GOTRUE_JWT_DEFAULT_GROUP_NAME": AUTHENTICATED,
        "GOTRUE_JWT_EXP": str(TOKEN_SECONDS),
        "GOTRUE_JWT_ISSUER": f"{address}/auth/v1",
        "GOTRUE_DISABLE_SIGNUP": "false",
        "GOTRUE_EXTERNAL_EMAIL_ENABLED": "true",
        "GOTRUE_EXTERNAL_PHONE_ENABLED": "false",
        "GOTRUE_EXTERNAL_ANONYMOUS_USERS_ENABLED": "false",
        "GOTRUE_MAILER_AUTOCONFIRM": "true",
        **{f"GOTRUE_MAILER_URLPATHS_{mail}": "/auth/v1/verify" for mail in mails},
        # Its own list lacks what every client of the gateway sends (auth: internal/api/api.go, cors.Options).
        "GOTRUE_CORS_ALLOWED_HEADERS": KEY_HEADER,
        "GOTRUE_RATE_LIMIT_HEADER": client_address,
        "GOTRUE_METRICS_ENABLED": "true",
        "GOTRUE_METRICS_EXPORTER": "prometheus",
        "OTEL_EXPORTER_PROMETHEUS_HOST": "0.0.0.0",  # noqa: S104 (the same)
        "OTEL_EXPORTER_PROMETHEUS_PORT": str(AUTH_METRICS_PORT),
    }


def _preparing(context: Context, environment: Mapping[str, str]) -> list[Body]:
    """Before Auth begins: our part of the database, then its own. A new pod does it, whatever database it finds."""
    prepare = {"PGSERVICEFILE": f"{SECRET_DIRECTORY}/{MIGRATE_SERVICE}", "PGSERVICE": MIGRATE}
    # A new project's database comes up meanwhile, and the pause after a container that failed grows to minutes.
    psql = f"psql -qX -f {PREPARE_DIRECTORY}/{PREPARE_FILE}"
    insist = ["sh", "-c", f"for i in $(seq {PREPARE_TRIES}); do {psql} && exit; sleep 2; done; exit 1"]
    migrate = ["auth", "migrate", "-c", f"{SECRET_DIRECTORY}/{MIGRATE_FILE}"]
    mount: Body = {"name": "prepare", "mountPath": PREPARE_DIRECTORY, "readOnly": True}
    return [
        _container(context, "prepare", "pgbouncer", command=insist, environment=prepare, mounts=[mount]),
        _container(context, "migrate", AUTH, command=migrate, environment=environment),
    ]


def _adding(context: Context, command: list[str]) -> list[Body]:
    """Adds what the user keeps secret to Auth's settings. What it says when something is missing is for the user."""
    if not command:
        return []
    mounts: list[Body] = [
        {"name": "own", "mountPath": OWN_DIRECTORY, "readOnly": True},
        {"name": "settings", "mountPath": SETTINGS_DIRECTORY},
    ]
    made = _container(context, "own", "pgbouncer", command=command, environment={}, mounts=mounts)
    return [{**made, "terminationMessagePolicy": "FallbackToLogsOnError"}]


def _workload(context: Context, service: _Service) -> tuple[Desired, Desired]:
    first, *_others = service.ports
    port = {"name": first, "port": service.ports[first], "protocol": "TCP", "targetPort": first}
    spec = {"type": "ClusterIP", "selector": context.labels(service.name), "ports": [port]}
    return (
        context.object("v1", "Service", service.name, component=service.name, spec=spec),
        _deployment(context, service),
    )


def _deployment(context: Context, service: _Service) -> Desired:
    container = {
        **_container(
            context,
            service.name,
            service.name,
            command=service.command,
            environment=service.environment,
            mounts=service.mounts,
        ),
        "ports": [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in service.ports.items()],
        "lifecycle": {"preStop": {"sleep": {"seconds": DRAIN_SECONDS}}},
        **service.probes,
    }
    pod = {
        "terminationGracePeriodSeconds": SHUTDOWN_SECONDS,
        **({"initContainers": service.before} if service.before else {}),
        "containers": [container],
        "volumes": [_secret(context, service.files), *service.volumes, empty_dir("tmp", "16Mi")],
    }
    config = {**service.config, "life": str(context.placement.life or "")}
    spec = {
        "replicas": context.replicas,
        "revisionHistoryLimit": 2,
        "progressDeadlineSeconds": context.START_SECONDS,
        "selector": {"matchLabels": context.labels(service.name)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": context.pod_template(service.name, config=config, user=USER, spec=pod),
    }
    return context.object("apps/v1", "Deployment", service.name, component=service.name, spec=spec)


def _container(
    context: Context,
    name: str,
    image: str,
    *,
    command: list[str] | None,
    environment: Mapping[str, str],
    mounts: list[Body] | None = None,
) -> Body:
    return {
        "name": name,
        "image": context.platform.images[image],
        "imagePullPolicy": "IfNotPresent",
        **({"command": command} if command else {}),
        **({"env": [{"name": key, "value": value} for key, value in environment.items()]} if environment else {}),
        "resources": {
            "requests": {"cpu": format_cpu(IDLE_CPU), "memory": format_bytes(IDLE_MEMORY)},
            "limits": {"cpu": format_cpu(MOST_CPU), "memory": format_bytes(MOST_MEMORY)},
        },
        "securityContext": dict(CONTAINER_SECURITY),
        "volumeMounts": [
            {"name": "secret", "mountPath": SECRET_DIRECTORY, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
            *(mounts or []),
        ],
    }


def _secret(context: Context, files: tuple[str, ...]) -> Body:
    """Of the project's Secret what this service reads, and nothing of the others."""
    items = [{"key": name, "path": name} for name in files]
    return {"name": "secret", "secret": {"secretName": context.CREDENTIALS, "defaultMode": 0o440, "items": items}}


def _probe(path: str, port: str, *, period: int, failures: int) -> Body:
    asked = {"path": path, "port": port}
    return {"httpGet": asked, "periodSeconds": period, "timeoutSeconds": 5, "failureThreshold": failures}
