# SPDX-License-Identifier: BSD-2-Clause
"""The record: one SupaloveProject per project, its definition for the API server, and what a run writes into it."""

from __future__ import annotations

from collections.abc import Mapping

from ..objects import Body, Desired
from ..project import auth_fields
from ..project.fields import TEXT, Field
from ..project.model import Platform, Project
from ..project.names import (
    GROUP,
    LIFE_ANNOTATION,
    MOVE_ANNOTATION,
    PAST_ANNOTATION,
    PLACEMENT_ANNOTATION,
    PLATFORM_LABEL,
    PROJECT_LABEL,
    RECORD_KIND,
    RECORD_PLURAL,
    SESSIONS_ANNOTATION,
    UID_LABEL,
    UID_PATTERN,
    VERSION,
    Uid,
)
from ..project.placement import Placement, past_as_text, sessions_at
from ..project.vocabulary import MANAGED_BY, MANAGERS, PROJECT

_COUNT: Mapping[str, object] = {"type": "integer", "format": "int64"}


def render_record(project: Project, platform: Platform, placement: Placement, uid: Uid) -> Desired:
    """What the user wrote, in the platform's namespace under the project's ref, with what was chosen for it."""
    meta = {
        "name": project.ref,
        "namespace": platform.namespace,
        "labels": {PROJECT_LABEL: project.ref, UID_LABEL: uid},
        "annotations": {
            PLACEMENT_ANNOTATION: str(placement),
            SESSIONS_ANNOTATION: str(sessions_at(placement, project)),
            **({LIFE_ANNOTATION: str(placement.life)} if placement.life else {}),
            **({MOVE_ANNOTATION: str(placement.move)} if placement.move else {}),
            **({PAST_ANNOTATION: past_as_text(placement.past)} if placement.past else {}),
        },
    }
    spec = {**project.spec, MANAGED_BY: MANAGERS[0]}
    return Desired(body={"apiVersion": f"{GROUP}/{VERSION}", "kind": RECORD_KIND, "metadata": meta, "spec": spec})


def render_record_definition(platform: Platform) -> Desired:
    """The CustomResourceDefinition. A uid, once set, can neither change nor go."""
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _schema()},
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            {"name": "Tier", "type": "string", "jsonPath": ".spec.tier"},
            {"name": "Placement", "type": "string", "jsonPath": ".status.placement"},
            {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
            {"name": "Uid", "type": "string", "jsonPath": ".status.uid"},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        ],
    }
    names = {
        "kind": RECORD_KIND,
        "listKind": f"{RECORD_KIND}List",
        "plural": RECORD_PLURAL,
        "singular": RECORD_KIND.lower(),
        "shortNames": ["slp"],
    }
    return Desired(
        body={
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{RECORD_PLURAL}.{GROUP}", "labels": {PLATFORM_LABEL: platform.namespace}},
            "spec": {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]},
        }
    )


def _schema() -> Body:
    spec = {
        "tier": TEXT,
        **_stored(PROJECT),
        "auth": _auth(),
        MANAGED_BY: {**TEXT, "enum": list(MANAGERS)},
    }
    words = dict.fromkeys(("type", "status", "reason", "message", "lastTransitionTime"), TEXT)
    condition = _object(words, required=["type", "status"])
    status = {
        "uid": {**TEXT, "pattern": f"^{UID_PATTERN}$"},
        "phase": TEXT,
        "placement": TEXT,
        # What it may open on its shared cluster; counted for projects, too, that a run is not asked for.
        "sessions": _COUNT,
        "conditions": {
            "type": "array",
            "items": condition,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
        # Atomic: always written whole.
        "endpoints": {"type": "object", "additionalProperties": TEXT, "x-kubernetes-map-type": "atomic"},
        # Public, and here because whoever shows a project to its developer may read nothing else of it.
        "authority": TEXT,
        # By name when it was proven to be the project's. Of another field manager than all else, which writes it whole.
        "domains": {"type": "object", "additionalProperties": TEXT, "x-kubernetes-map-type": "atomic"},
        "inputs": TEXT,
        # JSON in a text: for the server to look into it costs more than all the rest of a record.
        "stamps": TEXT,
    }
    parts = {"spec": _object(spec, required=["tier", MANAGED_BY]), "status": _object(status)}
    # On the root, as a rule on a field is not asked when the field goes.
    rule = "!has(oldSelf.status) || !has(oldSelf.status.uid) || "
    rule += "(has(self.status) && has(self.status.uid) && self.status.uid == oldSelf.status.uid)"
    validations = [{"rule": rule, "message": "a uid never changes"}]
    return {**_object(parts, required=["spec"]), "x-kubernetes-validations": validations}


def _auth() -> Body:
    mail = {**_object(_stored(auth_fields.MAIL)), "description": auth_fields.MAIL_ABOUT}
    provider = _object(_stored(auth_fields.PROVIDER))
    providers = {"type": "object", "additionalProperties": provider, "description": auth_fields.PROVIDERS_ABOUT}
    known = {**_stored(auth_fields.AUTH), "mail": mail, "providers": providers}
    return {**_object(known), "description": auth_fields.AUTH_ABOUT}


def _stored(known: tuple[Field, ...]) -> Body:
    return {one.name: {**one.kind.stored, "description": one.about} for one in known}


def _object(properties: Mapping[str, object], *, required: list[str] | None = None) -> Body:
    return {"type": "object", "properties": dict(properties), **({"required": required} if required else {})}
