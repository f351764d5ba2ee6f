# SPDX-License-Identifier: BSD-2-Clause
"""From a Project to the objects that make it up. Pure: no clock, no randomness, no I/O, no secret's value."""

from __future__ import annotations

from ..objects import Desired, ObjectId
from ..project.model import Platform, Project
from ..project.names import Ref, Uid, namespace_of
from ..project.placement import Placement
from ..project.vocabulary import DEDICATED, OPENSHIFT_ROUTES
from .archive import SECRET as ARCHIVE_SECRET
from .archive import is_archived
from .arrival import render_arrival
from .context import Context, context_of
from .database import render_database
from .isolation import render_isolation
from .namespace import render_namespace
from .openshift import render_openshift_routes
from .pooler import render_pooler
from .routes import render_routes
from .services import address_of, render_services
from .shared import render_shared_database
from .sql import address_of_sql, render_certificate, render_sql_route


def render(
    project: Project, platform: Platform, placement: Placement, uid: Uid, secret_uid: str = ""
) -> tuple[Desired, ...]:
    """Every object of the project in the order in which it is applied: what others need comes first.

    `secret_uid` is the uid that the API server gave to the object of `credentials_of`, empty before there is one.
    """
    context = context_of(project, platform, placement, uid, secret_uid)
    if placement.move is not None:
        return render_arrival(context, placement.move)
    database = render_database if placement.cluster is None else render_shared_database
    routes = (
        (render_openshift_routes,) if platform.gateway_kind == OPENSHIFT_ROUTES else (render_routes, render_sql_route)
    )
    parts = (
        render_namespace,
        render_isolation,
        database,
        render_certificate,
        render_pooler,
        render_services,
        *routes,
    )
    return tuple(desired for part in parts for desired in part(context))


def namespace_object_of(ref: Ref) -> ObjectId:
    """The project's namespace, in which all the rest is."""
    return ObjectId(kind="Namespace", name=namespace_of(ref))


def credentials_of(ref: Ref) -> ObjectId:
    """The Secret with the project's generated passwords."""
    return ObjectId(kind="Secret", namespace=namespace_of(ref), name=Context.CREDENTIALS)


def secrets_of(project: Project, platform: Platform) -> tuple[ObjectId, ...]:
    """Every Secret with generated values in the project's namespace."""
    has_own = project.tier.placement == DEDICATED and is_archived(platform)
    archive = ObjectId(kind="Secret", namespace=namespace_of(project.ref), name=ARCHIVE_SECRET)
    return (credentials_of(project.ref), *((archive,) if has_own else ()))


def endpoints_of(project: Project, platform: Platform, uid: Uid) -> dict[str, str]:
    """Where clients find the project; as whom they log in says the Secret, and it changes.

    All but `url` and `sql` is for those inside of the cluster.
    """
    context = context_of(project, platform, Placement(), uid)
    outside = {"url": address_of(context), "sql": address_of_sql(context)} if project.tier.has_services else {}
    return {
        **outside,
        "host": f"pooler.{context.names.namespace}.svc.{platform.cluster_domain}",
        "port": str(context.POOLER_PORT),
        "database": context.DATABASE_ALIAS,
        "secret": f"{context.names.namespace}/{context.CREDENTIALS}",
    }


__all__ = ["Context", "credentials_of", "endpoints_of", "namespace_object_of", "render", "secrets_of"]
