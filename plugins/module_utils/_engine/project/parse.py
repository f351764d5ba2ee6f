# SPDX-License-Identifier: BSD-2-Clause
"""From the user's mappings to Projects, Tiers and a Platform, or to all that is wrong with them at once."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from ..errors import InvalidSpec, Problem
from . import fields, vocabulary
from .auth import auth_as_written, check_auth, read_auth
from .domains import unfit
from .model import (
    IMAGES,
    KNOWN_RUNTIMES,
    Archiving,
    Auth,
    Inventory,
    Platform,
    Project,
    RuntimeClass,
    SharedCluster,
    Tier,
)
from .names import RESERVED_REFS, Ref
from .quantities import MIB, format_bytes
from .section import Section, entries
from .vocabulary import (
    ABSENT,
    ARCHIVING,
    DEDICATED,
    ENCRYPTED_BY_KMS,
    HTTP_ROUTES,
    LIMITS,
    MANAGED_BY,
    NO_GATEWAY,
    OPENSHIFT_ROUTES,
    PLATFORM_VARIABLE,
    PROJECTS_VARIABLE,
    SHARED,
    TIERS_VARIABLE,
)

CLIENTS_PER_CONNECTION = 20
MEMORY_PER_CONNECTION = 16 * MIB
SHARED_CONNECTIONS = 3
REQUESTS_PER_SECOND = 100
# PostgreSQL's own files and its WAL must fit, too.
LEAST_VOLUME = 512 * MIB
TRANSACTION_SECONDS = {SHARED: 300, DEDICATED: 86_400}

MAX_DATABASES = 200
SESSIONS_PER_DATABASE = 8
# Those of Auth and PostgREST, see placement.py.
SERVICE_SESSIONS_PER_DATABASE = 8

_KINDS = {one.name: one.kind for one in LIMITS}
_UNSAID: dict[str, object] = dict.fromkeys(one.name for one in ARCHIVING)
_UNLIMITED: dict[str, object] = dict.fromkeys((one.name for one in vocabulary.IOPS), 0)
# What a shared cluster divides among its projects and a project cannot have to itself.
_OF_ITS_OWN = ("cpu", "memory")


def parse(*, projects: object, tiers: object, platform: object) -> Inventory:
    """All three inputs. Raises InvalidSpec with every problem of every project."""
    problems: list[Problem] = []
    parsed_platform = _platform(platform, problems)
    parsed_tiers = _tiers(tiers, problems, platform=parsed_platform)
    parsed = [
        _project(ref, spec, parsed_tiers, problems) for ref, spec in entries(projects, PROJECTS_VARIABLE, problems)
    ]
    complete = [project for project in parsed if project is not None]
    _check_domains(complete, parsed_platform, problems)
    check_auth(complete, parsed_platform, problems)
    if problems:
        raise InvalidSpec(tuple(problems))
    return Inventory(
        projects=tuple(sorted(complete, key=lambda project: project.ref)),
        tiers={name: tier for name, tier in parsed_tiers.items() if tier is not None},
        platform=parsed_platform,
    )


def retired(ref: str, spec: Mapping[str, object], tiers: Mapping[str, Tier]) -> Project:
    """A project that is no longer listed, as its record knows it, to be stopped. Raises InvalidSpec."""
    problems: list[Problem] = []
    said = {key: value for key, value in spec.items() if key != MANAGED_BY}
    project = _project(ref, {**said, "state": ABSENT}, dict(tiers), problems)
    if project is None or problems:
        raise InvalidSpec(tuple(problems))
    return project


def _platform(value: object, problems: list[Problem]) -> Platform:
    section = Section(PLATFORM_VARIABLE, value, problems)
    base = Platform()
    given = section.read_all(vocabulary.PLATFORM, {one.name: getattr(base, one.name) for one in vocabulary.PLATFORM})
    images = section.section("images")
    given["images"] = {name: images.read(name, fields.IMAGE, default) for name, default in IMAGES.items()}
    images.refuse_unknown()
    _check_object_store(section, given)
    _check_gateway(section, given)
    has_services = given["gateway_kind"] != NO_GATEWAY
    read = {name: _runtime_class(name, spec, problems) for name, spec in section.entries("runtime_classes")}
    classes = {name: read[name] for name in sorted(read)}
    sessions = SESSIONS_PER_DATABASE + (SERVICE_SESSIONS_PER_DATABASE if has_services else 0)
    make = functools.partial(_cluster, problems=problems, sessions=sessions, classes=classes)
    clusters = [make(name, spec) for name, spec in section.entries("shared_clusters")]
    section.refuse_unknown()
    found = (cluster for cluster in clusters if cluster is not None)
    ordered = tuple(sorted(found, key=lambda one: one.name))
    return replace(base, **given, runtime_classes=classes, shared_clusters=ordered)


def _runtime_class(name: str, value: object, problems: list[Problem]) -> RuntimeClass:
    """What is wrong with it is noted, and its name counts all the same, so that its tiers are not blamed too."""
    section = Section(f"{PLATFORM_VARIABLE}.runtime_classes.{name}", value, problems)
    _check_name(section, name)
    known = KNOWN_RUNTIMES.get(name)
    defaults: dict[str, object] = {"cpu": 0, "memory": 0}
    if known is not None:
        defaults = {"handler": known.handler, "cpu": known.cpu, "memory": known.memory}
    given = section.read_all(vocabulary.RUNTIME_CLASS, defaults)
    section.refuse_unknown()
    return RuntimeClass(**given)


def _check_runtime(section: Section, given: Mapping[str, Any], classes: Iterable[str]) -> None:
    """A misspelt one would be found when pods do not start."""
    name = given["runtime_class"]
    if name is not None and name not in classes:
        allowed = f"a name out of {PLATFORM_VARIABLE}.runtime_classes: {', '.join(classes) or 'none is defined'}"
        section.refuse("runtime_class", name, allowed)


def _check_gateway(section: Section, given: Mapping[str, Any]) -> None:
    """Projects with services have names, and who does without a check of their keys says so."""
    kind, accepted = given["gateway_kind"], given["gateway_unchecked_keys_accepted"]
    if kind != NO_GATEWAY and given["domain"] is None:
        section.refuse("domain", None, f"the domain of projects' host names, as gateway_kind is {kind}")
    if kind == OPENSHIFT_ROUTES and not accepted:
        allowed = (
            "true, to accept that with gateway_kind route nobody checks the keys of projects: OpenShift's router lets "
            "every request through, and one without a key is the role anon"
        )
        section.refuse("gateway_unchecked_keys_accepted", accepted, allowed)
    if kind != OPENSHIFT_ROUTES and accepted:
        allowed = f"nothing, as gateway_kind is {kind}; it goes with {OPENSHIFT_ROUTES}"
        section.refuse("gateway_unchecked_keys_accepted", accepted, allowed)


def _check_object_store(section: Section, given: Mapping[str, Any]) -> None:
    """What one key says must go together with others.

    1. Network policies know addresses and no names.
    2. A key is for the encryption with a key service, and WAL-G does not have it choose one.
    3. A lock that ends before the window does protects nothing that the window's first moments need.
    """
    endpoint = given["object_store_endpoint"]
    if endpoint is not None and given["object_store_networks"] is None and address_of(endpoint) is None:
        allowed = f"the networks of the object store, as {endpoint} is a name"
        section.refuse("object_store_networks", None, allowed)
    key, encryption = given["object_store_kms_key"], given["object_store_encryption"]
    if key is None and encryption == ENCRYPTED_BY_KMS:
        allowed = f"the key to encrypt with, as object_store_encryption is {ENCRYPTED_BY_KMS}"
        section.refuse("object_store_kms_key", None, allowed)
    if key is not None and encryption != ENCRYPTED_BY_KMS:
        allowed = f"nothing, as object_store_encryption is {encryption}; it goes with {ENCRYPTED_BY_KMS}"
        section.refuse("object_store_kms_key", key, allowed)
    days, window = given["object_store_lock_days"], given["recovery_window_days"]
    if 0 < days < window:
        allowed = f"0, or at least {window} as recovery_window_days is"
        section.refuse("object_store_lock_days", days, allowed)


def address_of(endpoint: str) -> str | None:
    """The network of one address that an endpoint names; None if it names a host.

    >>> address_of("https://192.0.2.7:8333")
    '192.0.2.7/32'
    """
    try:
        return str(ipaddress.ip_network(urlsplit(endpoint).hostname or ""))
    except ValueError:
        return None


def _cluster(
    name: str, value: object, *, problems: list[Problem], sessions: int, classes: Iterable[str]
) -> SharedCluster | None:
    """`sessions`: what a project takes by default."""
    section = Section(f"{PLATFORM_VARIABLE}.shared_clusters.{name}", value, problems)
    _check_name(section, name)
    defaults: dict[str, object] = {
        "max_databases": MAX_DATABASES,
        "max_connections": None,
        "max_transaction_seconds": TRANSACTION_SECONDS[SHARED],
        "cordoned": False,
        "runtime_class": None,
        **_UNSAID,
    }
    given = section.read_all(vocabulary.SHARED_CLUSTER, defaults)
    _check_runtime(section, given, classes)
    archiving = _archiving(given)
    section.refuse_unknown()
    if not section.is_sound:
        return None
    given["max_connections"] = given["max_connections"] or given["max_databases"] * sessions
    return SharedCluster(name=name, archiving=archiving, **given)


def _archiving(given: dict[str, Any]) -> Archiving:
    """Takes what concerns the archive out of what was read."""
    said = {key: given.pop(key) for key in _UNSAID}
    return Archiving(**{key: value for key, value in said.items() if value is not None})


def _tiers(value: object, problems: list[Problem], *, platform: Platform) -> dict[str, Tier | None]:
    """Every tier by name; None for one that is itself wrong, so that its projects are not blamed too."""
    read = functools.partial(_tier, problems=problems, platform=platform)
    return {name: read(name, spec) for name, spec in entries(value, TIERS_VARIABLE, problems)}


def _tier(name: str, value: object, *, problems: list[Problem], platform: Platform) -> Tier | None:
    section = Section(f"{TIERS_VARIABLE}.{name}", value, problems)
    _check_name(section, name)
    defaults: dict[str, object] = {"placement": DEDICATED, "runtime_class": None, "priority": 0}
    defaults["requests_per_second"] = REQUESTS_PER_SECOND
    optional = dict.fromkeys(("cpu", "memory", "connections", "clients", "transaction_seconds"))
    given = section.read_all(vocabulary.TIER, {**defaults, **optional, **_UNSAID, **_UNLIMITED})
    _check_placement(section, given)
    _check_iops(section, given)
    _check_runtime(section, given, platform.runtime_classes)
    archiving = _archiving(given)
    overrides = _overrides(section.section("overrides"), given)
    section.refuse_unknown()
    if not section.is_sound:
        return None
    limits = _with_defaults(given)
    has_services = platform.gateway_kind != NO_GATEWAY
    return Tier(name=name, overrides=overrides, archiving=archiving, has_services=has_services, **limits)


def _check_name(section: Section, name: str) -> None:
    try:
        vocabulary.NAME.read(name)
    except ValueError as error:
        section.refuse("", name, str(error))


def _check_placement(section: Section, given: Mapping[str, Any]) -> None:
    """A dedicated PostgreSQL has a size; on a shared one a project has none of its own."""
    for key in _OF_ITS_OWN:
        if given["placement"] == SHARED and section.says(key):
            section.refuse(key, given[key], "nothing, as a shared cluster's PostgreSQL is sized where it is declared")
        elif given["placement"] == DEDICATED and not section.says(key):
            section.read(key, _KINDS[key], required=True)
    if given["placement"] == SHARED:
        for key in filter(section.says, _UNSAID):
            section.refuse(key, given[key], "nothing, as a shared cluster is archived as it says where it is declared")
    storage = given["storage"]
    if given["placement"] == DEDICATED and storage is not None and storage < LEAST_VOLUME:
        section.refuse("storage", format_bytes(storage), f"at least {format_bytes(LEAST_VOLUME)}")


def _check_iops(section: Section, given: Mapping[str, Any]) -> None:
    """What limits the disk is the cgroup of a container.

    1. On a shared cluster one container serves many projects, and the kernel does not know for whom a page is written.
    2. In a sandbox it is another process, in another cgroup, that reads and writes.
    """
    for key in filter(section.says, _UNLIMITED):
        if given["placement"] == SHARED:
            allowed = "nothing, as the server of a shared cluster reads and writes for all of its projects"
            section.refuse(key, given[key], allowed)
        elif given["runtime_class"] is not None:
            allowed = f"nothing, as no limit reaches what reads and writes for a pod under {given['runtime_class']}"
            section.refuse(key, given[key], allowed)


def _overrides(section: Section, given: Mapping[str, Any]) -> dict[str, int]:
    """The most that a project of the tier may set itself, for each limit that it may set at all."""
    found = {key: section.read(key, kind) for key, kind in _KINDS.items()}
    section.refuse_unknown()
    for key, most in found.items():
        least = given[key]
        if most is not None and least is not None and most < least:
            shown = str(_KINDS[key].write(least))
            section.refuse(key, _KINDS[key].write(most), f"at least {shown}, which is what the tier itself gives")
        if most is not None and given["placement"] == SHARED and key in _OF_ITS_OWN:
            section.refuse(key, _KINDS[key].write(most), "nothing for shared placement")
    return {key: most for key, most in found.items() if most is not None}


def _with_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """The limits of a tier without holes. A project on a shared cluster has 0 of what it does not have to itself."""
    limits = {**given, **{key: given[key] or 0 for key in _OF_ITS_OWN}}
    placement = given["placement"]
    limits["connections"] = given["connections"] or _connections_for(placement, limits["memory"])
    limits["clients"] = given["clients"] or limits["connections"] * CLIENTS_PER_CONNECTION
    limits["transaction_seconds"] = given["transaction_seconds"] or TRANSACTION_SECONDS[placement]
    return limits


def _connections_for(placement: str, memory: int) -> int:
    """Sessions for which the memory is enough to work with; each takes some even when idle."""
    if placement == SHARED:
        return SHARED_CONNECTIONS
    return max(10, min(100, memory // MEMORY_PER_CONNECTION))


def _project(ref: str, value: object, tiers: Mapping[str, Tier | None], problems: list[Problem]) -> Project | None:
    section = Section(f"{PROJECTS_VARIABLE}.{ref}", value, problems)
    _check_ref(section, ref)
    name = section.read("tier", fields.choice(*tiers), required=True)
    given = section.read_all(vocabulary.PROJECT, dict.fromkeys(one.name for one in vocabulary.PROJECT))
    auth = read_auth(section.section("auth"))
    section.refuse_unknown()
    tier = tiers.get(str(name))
    if tier is None:
        return None
    own = {key: given[key] for key in _KINDS if given[key] is not None}
    _check_bounds(section, tier, own)
    if not section.is_sound:
        return None
    limits = {key: own.get(key, getattr(tier, key)) for key in _KINDS}
    if "connections" in own and "clients" not in own:
        limits["clients"] = max(limits["clients"], limits["connections"])
    return Project(
        ref=Ref(ref),
        tier=tier,
        is_stopped=given["state"] == ABSENT,
        is_canary=bool(given["canary"]),
        domains=given["domains"] or (),
        auth=auth,
        spec=_spec(tier, given, auth),
        **limits,
    )


def _check_domains(projects: Iterable[Project], platform: Platform, problems: list[Problem]) -> None:
    """A name leads to one project, and to none where nobody routes by names or the platform's own names are."""
    owners: dict[str, Ref] = {}
    for project in projects:
        for domain in project.domains:
            owner = owners.setdefault(domain, project.ref)
            allowed = ""
            if platform.gateway_kind != HTTP_ROUTES:
                allowed = f"none, as gateway_kind is {platform.gateway_kind}; they go with {HTTP_ROUTES}"
            elif found := unfit(domain, platform):
                allowed = found
            elif owner != project.ref:
                allowed = f"a name that no other project has; {owner} has it"
            if allowed:
                path = f"{PROJECTS_VARIABLE}.{project.ref}.domains"
                problems.append(Problem(path=path, value=domain, allowed=allowed))


def _check_ref(section: Section, ref: str) -> None:
    _check_name(section, ref)
    if ref in RESERVED_REFS:
        allowed = "a ref that the platform does not use itself; reserved are " + ", ".join(sorted(RESERVED_REFS))
        section.refuse("", ref, allowed)


def _check_bounds(section: Section, tier: Tier, own: Mapping[str, int]) -> None:
    """What a tier does not list in its overrides is not for projects to set, and what it lists has an upper bound."""
    place = f"{TIERS_VARIABLE}.{tier.name}.overrides"
    for key, value in own.items():
        write = _KINDS[key].write
        most = tier.overrides.get(key)
        if most is None:
            section.refuse(key, write(value), f"nothing, as {place} does not name {key}")
        elif value > most:
            section.refuse(key, write(value), f"at most {write(most)} ({place}.{key})")
        elif key == "storage" and tier.placement == DEDICATED and value < LEAST_VOLUME:
            section.refuse(key, write(value), f"at least {format_bytes(LEAST_VOLUME)}")


def _spec(tier: Tier, given: Mapping[str, Any], auth: Auth) -> dict[str, object]:
    """What the record keeps of the user's words: the tier and what was said beyond it, in one notation each."""
    kinds = {one.name: one.kind for one in vocabulary.PROJECT}
    written = {key: kinds[key].write(found) for key, found in given.items() if found is not None}
    return {"tier": tier.name, **written, **({"auth": auth_as_written(auth)} if auth != Auth() else {})}
