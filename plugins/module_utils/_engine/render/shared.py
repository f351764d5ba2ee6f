# SPDX-License-Identifier: BSD-2-Clause
"""What a database on a shared cluster is: two logins and a logical database that the platform owns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..databases import API_GROUPS, DATABASE_KIND, ROLE_KIND, TENANT
from ..objects import Desired
from ..project.placement import PROBE_SESSIONS, login_sessions, service_sessions, sessions_of
from ..service_keys import AUTH, REST
from .bootstrap import role_settings
from .context import Context

# The API of these objects is PostgreSQL's catalog.
POSTGRESQL_API = "postgresql"

OWNER_RIGHTS = ("CONNECT", "CREATE", "TEMPORARY")
PROBE_RIGHTS = ("CONNECT",)


def render_shared_database(context: Context) -> tuple[Desired, ...]:
    """Logins first, as the database's grants name them. A stopped project's can neither log in nor be connected to."""
    names, project = context.names, context.project
    grants = {names.owner: list(OWNER_RIGHTS), names.probe: list(PROBE_RIGHTS)}
    services: tuple[Desired, ...] = ()
    if project.tier.has_services:
        grants |= {names.rest: list(PROBE_RIGHTS), names.auth: list(PROBE_RIGHTS)}
        services = _service_logins(context)
    return (
        _role(context, names.owner, key=context.SERVER_KEY, sessions=login_sessions(project), groups=[TENANT]),
        _role(context, names.probe, key=context.PROBE_KEY, sessions=PROBE_SESSIONS),
        *services,
        _object(
            context,
            DATABASE_KIND,
            names.database,
            {
                "connectionLimit": sessions_of(project),
                "allowConnections": not project.is_stopped,
                "storageLimit": project.storage,
                "grants": grants,
            },
        ),
    )


def _service_logins(context: Context) -> tuple[Desired, ...]:
    """They are in groups only to become them."""
    names, settings = context.names, role_settings(context.names)
    rest, auth = service_sessions(context.project)
    return (
        _role(context, names.rest, key=REST, sessions=rest, becomes=API_GROUPS, settings=settings[names.rest]),
        _role(context, names.auth, key=AUTH, sessions=auth, becomes=(names.owner,), settings=settings[names.auth]),
    )


def _role(
    context: Context,
    name: str,
    *,
    key: str,
    sessions: int,
    groups: Sequence[str] = (),
    becomes: Sequence[str] = (),
    settings: Mapping[str, str] | None = None,
) -> Desired:
    # With the Secret's own uid: one that was lost is made anew with other passwords.
    verifier = {
        "namespace": context.names.namespace,
        "secret": context.CREDENTIALS,
        "key": f"{key}.verifier",
        "uid": context.secret_uid,
    }
    spec = {
        "login": not context.project.is_stopped,
        "connectionLimit": sessions,
        "memberOf": list(groups),
        **({"becomes": list(becomes)} if becomes else {}),
        **({"settings": dict(settings)} if settings else {}),
        "verifier": verifier,
    }
    return _object(context, ROLE_KIND, name, spec)


def _object(context: Context, kind: str, name: str, spec: Mapping[str, object]) -> Desired:
    meta = {"name": name, "namespace": context.placement.cluster}
    return Desired(body={"apiVersion": POSTGRESQL_API, "kind": kind, "metadata": meta, "spec": dict(spec)})
