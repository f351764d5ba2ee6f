# SPDX-License-Identifier: BSD-2-Clause
"""From the user's mappings to Projects, Tiers and a Platform, or to all that is wrong with them at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ..errors import InvalidSpec, Problem
from . import fields
from .fields import Reader, Section
from .model import IMAGES, Platform, Project, Tier
from .names import REF_LONGEST, RESERVED_REFS, Ref, is_dns_label
from .quantities import MIB, format_bytes, format_cpu

# The names under which users know the three inputs; paths of problems begin with them.
PLATFORM_VARIABLE = "supalove_platform"
TIERS_VARIABLE = "supalove_tiers"
PROJECTS_VARIABLE = "supalove_projects"

PLACEMENTS = ("dedicated",)
CLIENTS_PER_CONNECTION = 20
MEMORY_PER_CONNECTION = 16 * MIB

# What a tier fixes and a project may override. The least memory is what PostgreSQL needs with its smallest settings.
LIMITS: Mapping[str, Reader] = {
    "cpu": fields.cpu(100),
    "memory": fields.size(192 * MIB),
    "storage": fields.size(512 * MIB),
    "connections": fields.whole(5, 1000),
    "clients": fields.whole(5, 20_000),
}
FORMATS: Mapping[str, Callable[[int], object]] = {
    "cpu": format_cpu,
    "memory": format_bytes,
    "storage": format_bytes,
    "connections": int,
    "clients": int,
}
_REF_ALLOWED = f"a DNS label of at most {REF_LONGEST} characters: lower-case letters, digits and -, no - at either end"


def parse(*, projects: object, tiers: object, platform: object) -> tuple[tuple[Project, ...], Platform]:
    """All projects in the order of their refs, and the platform. Raises InvalidSpec with every problem."""
    problems: list[Problem] = []
    parsed_platform = _platform(platform, problems)
    parsed_tiers = _tiers(tiers, problems)
    parsed = [
        _project(ref, spec, parsed_tiers, problems) for ref, spec in _items(projects, PROJECTS_VARIABLE, problems)
    ]
    if problems:
        raise InvalidSpec(tuple(problems))
    complete = (project for project in parsed if project is not None)
    return tuple(sorted(complete, key=lambda project: project.ref)), parsed_platform


def parse_platform(*, tiers: object, platform: object) -> tuple[tuple[Tier, ...], Platform]:
    """All tiers in the order of their names, and the platform. Raises InvalidSpec with every problem."""
    problems: list[Problem] = []
    parsed_platform = _platform(platform, problems)
    parsed = [tier for tier in _tiers(tiers, problems).values() if tier is not None]
    if problems:
        raise InvalidSpec(tuple(problems))
    return tuple(sorted(parsed, key=lambda tier: tier.name)), parsed_platform


def _platform(value: object, problems: list[Problem]) -> Platform:
    section = Section(PLATFORM_VARIABLE, value, problems)
    base = Platform()
    given: dict[str, Any] = {
        "namespace": section.read("namespace", fields.own_namespace, base.namespace),
        "domain": section.read("domain", fields.dns_name, base.domain),
        "cluster_domain": section.read("cluster_domain", fields.dns_name, base.cluster_domain),
        "storage_class": section.read("storage_class", fields.label, base.storage_class),
        "storage_provisioner": section.read("storage_provisioner", fields.provisioner, base.storage_provisioner),
    }
    images = section.section("images")
    given["images"] = {name: images.read(name, fields.image, default) for name, default in IMAGES.items()}
    images.refuse_unknown()
    section.refuse_unknown()
    return replace(base, **given)


def _tiers(value: object, problems: list[Problem]) -> dict[str, Tier | None]:
    """Every tier by name; None for one that is itself wrong, so that its projects are not blamed too."""
    return {name: _tier(name, spec, problems) for name, spec in _items(value, TIERS_VARIABLE, problems)}


def _tier(name: str, value: object, problems: list[Problem]) -> Tier | None:
    before = len(problems)
    section = Section(f"{TIERS_VARIABLE}.{name}", value, problems)
    if not is_dns_label(name, longest=REF_LONGEST):
        section.refuse("", name, _REF_ALLOWED)
    limits: dict[str, Any] = {
        key: section.read(key, LIMITS[key], required=True) for key in ("cpu", "memory", "storage")
    }
    limits["connections"] = section.read("connections", LIMITS["connections"], _connections_for(limits["memory"]))
    default_clients = limits["connections"] * CLIENTS_PER_CONNECTION
    limits["clients"] = section.read("clients", LIMITS["clients"], default_clients)
    rest: dict[str, Any] = {
        "placement": section.read("placement", fields.choice(*PLACEMENTS), PLACEMENTS[0]),
        "runtime_class": section.read("runtime_class", fields.label),
        "priority": section.read("priority", fields.whole(0, 1_000_000), 0),
    }
    section.refuse_unknown()
    return None if len(problems) > before else Tier(name=name, **limits, **rest)


def _connections_for(memory: int | None) -> int:
    """Sessions for which the memory is enough to work with; each takes some even when idle."""
    return max(10, min(100, (memory or 0) // MEMORY_PER_CONNECTION))


def _project(ref: str, value: object, tiers: Mapping[str, Tier | None], problems: list[Problem]) -> Project | None:
    before = len(problems)
    section = Section(f"{PROJECTS_VARIABLE}.{ref}", value, problems)
    if not is_dns_label(ref, longest=REF_LONGEST):
        section.refuse("", ref, _REF_ALLOWED)
    elif ref in RESERVED_REFS:
        section.refuse(
            "", ref, "a ref that the platform does not use itself; reserved are " + ", ".join(sorted(RESERVED_REFS))
        )
    name = section.read("tier", fields.choice(*tiers), required=True)
    tier = tiers.get(str(name))
    own: dict[str, Any] = {key: section.read(key, reader) for key, reader in LIMITS.items()}
    section.refuse_unknown()
    if tier is None or len(problems) > before:
        return None
    limits = {key: getattr(tier, key) if found is None else found for key, found in own.items()}
    if own["connections"] is not None and own["clients"] is None:
        limits["clients"] = max(limits["clients"], limits["connections"])
    return Project(ref=Ref(ref), tier=tier, spec=_spec(tier, own), **limits)


def _spec(tier: Tier, own: Mapping[str, Any]) -> dict[str, object]:
    """What the record keeps of the user's words: the tier and the overrides, in one notation each."""
    written = {key: FORMATS[key](found) for key, found in own.items() if found is not None}
    return {"tier": tier.name, **written}


def _items(value: object, variable: str, problems: list[Problem]) -> list[tuple[str, object]]:
    """The entries of one of the inputs. A key that is no text (YAML reads 12: as a number) is a problem."""
    if value is None:
        return []
    if not isinstance(value, Mapping):
        problems.append(Problem(path=variable, value=value, allowed="a mapping from name to settings"))
        return []
    wrong = [key for key in value if not isinstance(key, str)]
    problems.extend(Problem(path=variable, value=key, allowed="names as text; put it in quotes") for key in wrong)
    return [(key, spec) for key, spec in value.items() if isinstance(key, str)]
