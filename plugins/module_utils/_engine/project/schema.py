# SPDX-License-Identifier: BSD-2-Clause
"""One JSON Schema of what users write, out of the vocabulary: for editors, and for the reference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from . import auth_fields, fields, vocabulary
from .fields import Field, Schema
from .model import IMAGES

DIALECT = "https://json-schema.org/draft/2020-12/schema"
REQUIRED_OF_CLUSTER = ("cpu", "memory", "storage")


def inventory_schema() -> dict[str, object]:
    """The schema of a file of inventory variables. A file of one project has that of `$defs/project`."""
    of_name = {"propertyNames": vocabulary.NAME.schema}
    return {
        "$schema": DIALECT,
        "title": "Inventory variables of supalove.platform",
        "type": "object",
        "properties": {
            vocabulary.PLATFORM_VARIABLE: {"$ref": "#/$defs/platform"},
            vocabulary.TIERS_VARIABLE: _mapping_to("tier", of_name),
            vocabulary.PROJECTS_VARIABLE: _mapping_to("project", of_name),
        },
        "$defs": {
            "platform": _platform(of_name),
            "cluster": _object(vocabulary.SHARED_CLUSTER, required=REQUIRED_OF_CLUSTER),
            "runtime_class": _object(vocabulary.RUNTIME_CLASS, required=()),
            "tier": _object(
                vocabulary.TIER, required=("storage",), more={"overrides": _object(vocabulary.LIMITS, required=())}
            ),
            "project": _object(
                vocabulary.PROJECT,
                required=("tier",),
                more={"tier": {**fields.TEXT, "description": TIER_ABOUT}, "auth": {"$ref": "#/$defs/auth"}},
            ),
            "auth": _auth(),
        },
    }


TIER_ABOUT = f"Name of a tier out of {vocabulary.TIERS_VARIABLE}."
OVERRIDES_ABOUT = "The most that a project of the tier may set itself, for each limit that it may set at all."
IMAGES_ABOUT = "Images of the platform's own programs, each with a tag other than latest or a digest."
RUNTIMES_ABOUT = "Runtimes that nodes have besides their own, by name, each made a RuntimeClass; {} for gvisor or kata."
CLUSTERS_ABOUT = "PostgreSQL clusters that projects of shared placement live on, by name."


def _platform(of_name: Schema) -> dict[str, object]:
    images = dict.fromkeys(IMAGES, fields.IMAGE.schema)
    more = {
        "images": {
            "type": "object",
            "description": IMAGES_ABOUT,
            "properties": images,
            "additionalProperties": False,
        },
        "runtime_classes": {"description": RUNTIMES_ABOUT, **_mapping_to("runtime_class", of_name)},
        "shared_clusters": {"description": CLUSTERS_ABOUT, **_mapping_to("cluster", of_name)},
    }
    return _object(vocabulary.PLATFORM, required=(), more=more)


def _auth() -> dict[str, object]:
    provider = _object(auth_fields.PROVIDER, required=("client_id",))
    providers = {"type": "object", "properties": dict.fromkeys(auth_fields.PROVIDERS, provider)}
    mail = _object(auth_fields.MAIL, required=("host", "sender"))
    more = {
        "mail": {**mail, "description": auth_fields.MAIL_ABOUT},
        "providers": {**providers, "additionalProperties": False, "description": auth_fields.PROVIDERS_ABOUT},
    }
    return {**_object(auth_fields.AUTH, required=(), more=more), "description": auth_fields.AUTH_ABOUT}


def _mapping_to(definition: str, more: Schema) -> dict[str, object]:
    return {"type": "object", **more, "additionalProperties": {"$ref": f"#/$defs/{definition}"}}


def _object(
    known: Iterable[Field], *, required: tuple[str, ...], more: Mapping[str, Schema] | None = None
) -> dict[str, object]:
    properties: dict[str, object] = {**(more or {})}
    properties |= {one.name: {**one.kind.schema, "description": one.about} for one in known}
    described: dict[str, object] = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**described, **({"required": list(required)} if required else {})}
