# SPDX-License-Identifier: GPL-3.0-or-later
"""Builders with defaults: a test names only what it is about."""

from __future__ import annotations

from typing import Any

from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.apply import (
    with_fingerprint,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.observe import live_of
from ansible_collections.supalove.platform.plugins.module_utils._engine.objects import Desired
from ansible_collections.supalove.platform.plugins.module_utils._engine.observed import (
    Live,
    Observed,
    Stamp,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import (
    Platform,
    Project,
    SharedCluster,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import Uid
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.parse import parse
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.placement import Placement
from ansible_collections.supalove.platform.plugins.module_utils._engine.render import render

UID = Uid("abcdefgh2345")
FREE = {"cpu": "250m", "memory": "256Mi", "storage": "1Gi", "connections": 20}
# What the tier of the tests lets projects set themselves.
OVERRIDES = {"cpu": 8, "memory": "64Gi", "storage": "1Ti", "connections": 1000, "clients": 10_000}
SHARED = {"placement": "shared", "storage": "500Mi"}
CLUSTER = {"cpu": 1, "memory": "1Gi", "storage": "20Gi"}
DEDICATED = Placement()
# What the platform of a_project has.
RUNTIMES = {"gvisor": {}}
# Every setting of Auth that a project can have.
WHOLE_AUTH: dict[str, Any] = {
    "site_url": "https://app.acme.example",
    "redirect_urls": ["https://app.acme.example/**", "http://localhost:3000", "example.acme.app://in"],
    "signup": False,
    "anonymous_users": True,
    "mail": {
        "host": "smtp.acme.example",
        "port": 465,
        "sender": "no-reply@acme.example",
        "sender_name": "Acme & Söhne",
        "user": "acme",
    },
    "providers": {
        "google": {"client_id": "12-a.apps.googleusercontent.com"},
        "github": {"client_id": "Iv1.abc"},
    },
    "secret": "auth-own",
}
PRO = {"cpu": 2, "memory": "4Gi", "storage": "20Gi", "connections": 100, "clients": 1000, "priority": 1000}


def a_project(ref: str = "acme", *, tier: dict[str, Any] | None = None, **spec: Any) -> Project:
    """A project in a tier with these limits."""
    tiers = {"t": {**FREE, "overrides": OVERRIDES, **(tier or {})}}
    platform = {"runtime_classes": RUNTIMES}
    (project,) = parse(projects={ref: {"tier": "t", **spec}}, tiers=tiers, platform=platform).projects
    return project


def a_shared_project(ref: str = "acme", **spec: Any) -> Project:
    """A project in a tier of shared placement."""
    (project,) = parse(projects={ref: {"tier": "t", **spec}}, tiers={"t": SHARED}, platform={}).projects
    return project


def a_served_project(ref: str = "acme", *, tier: dict[str, Any] | None = None, **spec: Any) -> Project:
    """A project with services, in a tier of shared placement unless `tier` says otherwise."""
    platform = {"domain": "example.com", "gateway_kind": "gateway"}
    found = parse(projects={ref: {"tier": "t", **spec}}, tiers={"t": tier or SHARED}, platform=platform)
    return found.projects[0]


def a_cluster(name: str = "main", **limits: Any) -> SharedCluster:
    """A shared cluster with these limits."""
    base = {"cpu": 2000, "memory": 4 * 1024**3, "storage": 100 * 1024**3, "max_databases": 100}
    more = {"max_connections": 300, "max_transaction_seconds": 300, "cordoned": False}
    return SharedCluster(name=name, **{**base, **more, **limits})


def objects_of(
    project: Project | None = None,
    *,
    platform: Platform | None = None,
    placement: Placement = DEDICATED,
    uid: Uid = UID,
) -> tuple[Desired, ...]:
    """Everything that is rendered for a project."""
    return render(project or a_project(), platform or Platform(), placement, uid)


def one(kind: str, name: str, objects: tuple[Desired, ...] | None = None) -> dict[str, Any]:
    """The body of one of the rendered objects."""
    (found,) = [each for each in objects or objects_of() if (each.id.kind, each.id.name) == (kind, name)]
    return found.body


def live(desired: Desired, *, with_body: bool = True, version: str = "1", **changes: Any) -> Live:
    """The object as the server has it right after we applied it; `changes` replace top-level keys."""
    body = {**with_fingerprint(desired), **changes}
    body["metadata"] = {**body["metadata"], "uid": f"uid-of-{desired.id}", "generation": version}
    return live_of(desired.id, body, with_body=with_body)


def observed(*lives: Live) -> Observed:
    """A cluster that holds these."""
    return Observed(objects={each.id: each for each in lives})


def stamps_of(state: Observed) -> dict[Any, Stamp]:
    """What a record certifies after a run that left this state."""
    return {id: Stamp.of(each) for id, each in state.objects.items()}
