# SPDX-License-Identifier: BSD-2-Clause
"""The way into the database: a PgBouncer of the project's own, in transaction mode."""

from __future__ import annotations

from ..authority import LEAF, LEAF_KEY
from ..credentials import USERLIST
from ..objects import Body, Desired
from ..project.model import Project
from ..project.names import cluster_namespace_of
from ..project.placement import POOLERS_AT_ONCE, auth_pool, rest_pool
from ..project.quantities import MIB, format_bytes, format_cpu
from ..service_keys import AUTH, MIGRATE, REST
from .context import CONTAINER_SECURITY, Context, empty_dir
from .files import Value, write_connection, write_ini, write_pg_hba

CONFIG_DIRECTORY = "/etc/pgbouncer"
SECRET_DIRECTORY = "/etc/supalove/pooler"
SOCKET_DIRECTORY = "/run/pgbouncer"
PROBE = "/usr/local/bin/supalove-pooler-probe"
# uid and gid of pgbouncer in the image.
USER = 998

# Clients log in to the pooler as one of these, and by turns: the other can get a new password while nobody uses it.
# PostgreSQL knows neither of them. There is one role behind both, so that all that they make has one owner.
CLIENT_LOGINS = ("owner_a", "owner_b")
# The database under the name by which the pooler's own probe reaches it, as a role of its own.
PROBE_ALIAS = "probe"

# Administrator of the pooler's console, and of nothing else: PostgreSQL does not know it.
PAUSER = "supalove_pauser"
PAUSER_KEY = "pauser"
CONSOLE = "pgbouncer"

CPU_MILLICORES = 100
BASE_MEMORY = 64 * MIB
# A connection takes 3 KiB, one with TLS 31 KiB more (measured: PgBouncer 1.26.1, OpenSSL 3.6), and both have buffers.
CLIENTS_PER_MIB, TLS_CLIENTS_PER_MIB = 64, 21
# What one takes that nobody uses, with its probes.
IDLE_CPU_MILLICORES = 10
IDLE_MEMORY = 32 * MIB
PREPARED_STATEMENTS = 200
# Connections of one Auth to the pooler.
AUTH_CLIENTS = 4
# Then the pod's container starts anew, because its one lookup may hang (see dns_max_ttl).
FIRST_SELECT_SECONDS = 120
# The Service forgets the pod first; then running transactions may end; then the kubelet kills.
FORGET_SECONDS = 5
SHUTDOWN_SECONDS = 60
# Logging in takes a few round trips, and a session of the database if the pooler has none yet.
LOGIN_SECONDS = 20
# Services take new sessions so often, so that none of theirs is left at an old pooler when that ends.
SERVICE_SESSION_SECONDS = 20


def drain_seconds(project: Project) -> int:
    """For how long an old pooler goes on, while new sessions go to the new one."""
    return FORGET_SECONDS + (SERVICE_SESSION_SECONDS if project.tier.has_services else 0)


def pooler_limits(project: Project) -> tuple[int, int]:
    """Millicores and bytes of one pooler: its clients have buffers."""
    clients_per_mib = TLS_CLIENTS_PER_MIB if project.tier.has_services else CLIENTS_PER_MIB
    return CPU_MILLICORES, BASE_MEMORY + -(-project.clients // clients_per_mib) * MIB


def pooler_requests(context: Context) -> tuple[int, int]:
    """What is kept free for one, in millicores and bytes: all of it beside a dedicated database.

    Of shared projects there are many on a node, and few of them are busy at once.
    """
    if context.placement.cluster is None:
        return pooler_limits(context.project)
    return IDLE_CPU_MILLICORES, IDLE_MEMORY


def rest_clients(project: Project) -> int:
    """Connections of one PostgREST to the pooler; there they wait for each other."""
    return 2 * rest_pool(project)


def service_clients(project: Project) -> int:
    """Connections of all services to the pooler while each has a successor, the migrations' included."""
    return 2 * (rest_clients(project) + AUTH_CLIENTS + 1) if project.tier.has_services else 0


def render_pooler(context: Context) -> tuple[Desired, ...]:
    """Configuration, Service and Deployment."""
    files = config_files(context)
    return (
        context.object("v1", "ConfigMap", context.POOLER, component=context.POOLER, data=files),
        _service(context),
        _deployment(context, files),
    )


def config_files(context: Context) -> dict[str, str]:
    """pgbouncer.ini and its access rules. The logins come from the Secret."""
    return {
        "pgbouncer.ini": write_ini({"databases": _databases(context), "pgbouncer": _settings(context.project)}),
        "pg_hba.conf": write_pg_hba(_hba_rules(context)),
    }


def _databases(context: Context) -> dict[str, Value]:
    cluster = context.placement.cluster
    namespace = context.names.namespace if cluster is None else cluster_namespace_of(cluster)
    host = f"{context.POSTGRESQL}.{namespace}.svc.{context.platform.cluster_domain}"
    target: dict[str, Value] = {"host": host, "port": context.POSTGRESQL_PORT, "dbname": context.names.database}
    roles = {context.DATABASE_ALIAS: context.names.owner, PROBE_ALIAS: context.names.probe}
    of_clients = {alias: write_connection({**target, "user": role}) for alias, role in roles.items()}
    return {**of_clients, **(_service_databases(context, target) if context.project.tier.has_services else {})}


def _service_databases(context: Context, target: dict[str, Value]) -> dict[str, Value]:
    """The same for services, each as a role of its own with few sessions, so that they leave clients theirs.

    Migrations want a session to themselves.
    """
    rest: dict[str, Value] = {"user": context.names.rest, "pool_size": rest_pool(context.project)}
    auth: dict[str, Value] = {"user": context.names.auth, "pool_size": auth_pool(context.project)}
    migrate: dict[str, Value] = {"user": context.names.auth, "pool_size": 1, "pool_mode": "session"}
    return {
        alias: write_connection({**target, **more}) for alias, more in ((REST, rest), (AUTH, auth), (MIGRATE, migrate))
    }


def _settings(project: Project) -> dict[str, Value]:
    """No auth_user and no auth_query: the pooler knows the logins of its own project and can look up no others."""
    return {
        "listen_addr": "*",
        "listen_port": Context.POOLER_PORT,
        "unix_socket_dir": SOCKET_DIRECTORY,
        "auth_type": "hba",
        "auth_hba_file": f"{CONFIG_DIRECTORY}/pg_hba.conf",
        "auth_file": f"{SECRET_DIRECTORY}/{USERLIST}",
        "pool_mode": "transaction",
        "max_client_conn": project.clients + service_clients(project),
        "default_pool_size": project.connections,
        "max_prepared_statements": PREPARED_STATEMENTS,
        "server_idle_timeout": 60,
        "admin_users": PAUSER,
        # Longer than a restart of the database may hold its clients.
        "query_wait_timeout": 90,
        # The tenant can set PostgreSQL's own timeouts as it likes.
        "transaction_timeout": project.transaction_seconds,
        "server_login_retry": 1,
        # Seconds: never again. A lookup whose answer is lost blocks PgBouncer's resolver for good
        # (pgbouncer/pgbouncer#1583), and the address of the Service does not change.
        "dns_max_ttl": 100_000_000,
        "dns_nxdomain_ttl": 1,
        **(_tls_settings() if project.tier.has_services else {}),
        "server_tls_sslmode": "disable",
        "ignore_startup_parameters": "extra_float_digits,options,search_path",
        "log_connections": 0,
        "log_disconnections": 0,
    }


def _tls_settings() -> dict[str, Value]:
    """For clients from outside, who have no other way in: the gateway leads by the name in their TLS.

    Those inside of the cluster may come without. Strangers who never log in do not keep a place for long.
    """
    return {
        "client_login_timeout": LOGIN_SECONDS,
        "client_tls_sslmode": "allow",
        # TLS 1.2 and 1.3 (PgBouncer's manual).
        "client_tls_protocols": "secure",
        "client_tls_cert_file": f"{SECRET_DIRECTORY}/{LEAF}",
        "client_tls_key_file": f"{SECRET_DIRECTORY}/{LEAF_KEY}",
    }


def _hba_rules(context: Context) -> tuple[tuple[str, ...], ...]:
    """The probe has no right but to connect, and comes only through the container's own socket.

    From outside everybody comes with TLS, and so reaches neither the console nor what is for services.
    """
    rest, auth, is_open = context.names.rest, context.names.auth, context.project.tier.has_services
    services = ((REST, rest), (AUTH, auth), (MIGRATE, auth)) if is_open else ()
    clients = tuple(("host", context.DATABASE_ALIAS, login) for login in CLIENT_LOGINS)
    inside = tuple(("hostnossl" if is_open else "host", *login) for login in ((CONSOLE, PAUSER), *services))
    remote = ((*rule, address, "scram-sha-256") for rule in (*clients, *inside) for address in ("0.0.0.0/0", "::/0"))
    return (("local", PROBE_ALIAS, context.names.probe, "trust"), *remote)


def _service(context: Context) -> Desired:
    port = {"name": "pooler", "port": context.POOLER_PORT, "protocol": "TCP", "targetPort": context.POOLER_PORT}
    spec = {"type": "ClusterIP", "selector": context.labels(context.POOLER), "ports": [port]}
    return context.object("v1", "Service", context.POOLER, component=context.POOLER, spec=spec)


def _deployment(context: Context, files: dict[str, str]) -> Desired:
    pod = {
        "terminationGracePeriodSeconds": SHUTDOWN_SECONDS + drain_seconds(context.project) - FORGET_SECONDS,
        "containers": [_container(context)],
        "volumes": [
            {"name": "config", "configMap": {"name": context.POOLER}},
            _userlist(context),
            empty_dir("run", "16Mi"),
        ],
    }
    spec = {
        "replicas": context.replicas,
        "revisionHistoryLimit": 2,
        # The pooler is not there before its database.
        "progressDeadlineSeconds": context.START_SECONDS,
        "selector": {"matchLabels": context.labels(context.POOLER)},
        # The new one first, so that there is always one.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": POOLERS_AT_ONCE - 1, "maxUnavailable": 0}},
        "template": context.pod_template(context.POOLER, config=files, user=USER, spec=pod),
    }
    return context.object("apps/v1", "Deployment", context.POOLER, component=context.POOLER, spec=spec)


def _container(context: Context) -> Body:
    """Starting ends with a SELECT through the pool; from then on it is enough that the pooler lets clients in.

    So it keeps holding them while the database restarts, instead of leaving the Service and refusing them. And a
    program that is run in the container to ask costs its node 50 ms of processor each time, a connection nothing.
    """
    sql = [PROBE, context.names.probe, PROBE_ALIAS]
    return {
        "name": context.POOLER,
        "image": context.platform.images["pgbouncer"],
        "imagePullPolicy": "IfNotPresent",
        "args": [f"{CONFIG_DIRECTORY}/pgbouncer.ini"],
        "ports": [{"name": "pooler", "containerPort": context.POOLER_PORT, "protocol": "TCP"}],
        "resources": {
            "requests": _as_resources(pooler_requests(context)),
            "limits": _as_resources(pooler_limits(context.project)),
        },
        "securityContext": dict(CONTAINER_SECURITY),
        "lifecycle": {"preStop": {"sleep": {"seconds": drain_seconds(context.project)}}},
        "startupProbe": {
            "exec": {"command": sql},
            "periodSeconds": 2,
            "timeoutSeconds": 5,
            "failureThreshold": FIRST_SELECT_SECONDS // 2,
        },
        "readinessProbe": {
            "tcpSocket": {"port": "pooler"},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 2,
        },
        "volumeMounts": [
            {"name": "config", "mountPath": CONFIG_DIRECTORY, "readOnly": True},
            {"name": "userlist", "mountPath": SECRET_DIRECTORY, "readOnly": True},
            {"name": "run", "mountPath": SOCKET_DIRECTORY},
        ],
    }


def _as_resources(amounts: tuple[int, int]) -> Body:
    cpu, memory = amounts
    return {"cpu": format_cpu(cpu), "memory": format_bytes(memory)}


def _userlist(context: Context) -> Body:
    """The logins, and what it shows to clients with TLS."""
    names = (USERLIST, *((LEAF, LEAF_KEY) if context.project.tier.has_services else ()))
    items = [{"key": name, "path": name} for name in names]
    return {"name": "userlist", "secret": {"secretName": context.CREDENTIALS, "defaultMode": 0o440, "items": items}}
