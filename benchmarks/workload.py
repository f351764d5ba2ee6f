# SPDX-License-Identifier: GPL-3.0-or-later
"""What is created: projects of a fixed mix, and the same writes as ready requests for the floor."""

from __future__ import annotations

import datetime
import json
import secrets
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.apply import (
    with_fingerprint,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.client import (
    APPLY_PATCH,
    METADATA,
    METADATA_LIST,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.kinds import (
    KINDS,
    LISTED_KINDS,
    collection_path,
    object_path,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.records import (
    WAITING,
    Status,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.secrets import data_of
from ansible_collections.supalove.platform.plugins.module_utils._engine.generation import new_texts
from ansible_collections.supalove.platform.plugins.module_utils._engine.objects import Body, Desired, ObjectId
from ansible_collections.supalove.platform.plugins.module_utils._engine.observed import Stamp
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import (
    Inventory,
    Platform,
    Project,
    SharedCluster,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import (
    FIELD_MANAGER,
    PENDING_UID,
    PROJECT_LABEL,
    RECORD_KIND,
    Uid,
    new_uid,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.parse import parse
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.placement import (
    Placement,
    place,
    sessions_at,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.render import endpoints_of, render
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.cluster import render_cluster
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.record import render_record

# `clients` is what case 3 changes: of the pooler only, so that no PostgreSQL restarts and nobody waits for a pause.
TIERS: dict[str, Any] = {
    "free": {"placement": "shared", "storage": "500Mi", "overrides": {"clients": 1000}},
    "pro": {"cpu": 2, "memory": "4Gi", "storage": "20Gi", "connections": 100, "clients": 1000, "priority": 1000},
}
CHANGE = {"clients": 200}
# The mix: one of so many projects is in tier pro and dedicated, the others are in tier free and shared.
ONE_PRO_OF = 5
CLUSTER = {"cpu": 4, "memory": "16Gi", "storage": "200Gi", "max_databases": 200}
# Five clusters for every 1,000 projects, the least that is asked for.
CLUSTERS_PER_THOUSAND = 5
# What case 6 fills.
ONE_CLUSTER: dict[str, Any] = {"shared_clusters": {"free-00": CLUSTER}}


def projects(count: int) -> dict[str, Any]:
    """The first `count` projects, as an inventory has them.

    >>> projects(2)
    {'t0000': {'tier': 'pro'}, 't0001': {'tier': 'free'}}
    """
    return {f"t{number:04}": {"tier": "free" if number % ONE_PRO_OF else "pro"} for number in range(count)}


def free_projects(count: int) -> dict[str, Any]:
    """Projects that share a PostgreSQL, as an inventory has them."""
    return {f"t{number:04}": {"tier": "free"} for number in range(count)}


def the_cluster() -> SharedCluster:
    """The shared cluster of ONE_CLUSTER, with all that follows from its declaration."""
    (one,) = parse(projects={}, tiers=TIERS, platform=ONE_CLUSTER).platform.shared_clusters
    return one


def platform(count: int) -> dict[str, Any]:
    """What `count` projects stand on, as an inventory has it."""
    clusters = CLUSTERS_PER_THOUSAND * max(1, -(-count // 1000))
    return {"shared_clusters": {f"free-{number:02}": CLUSTER for number in range(clusters)}}


def claims(wanted: dict[str, Any]) -> Iterator[Body]:
    """The claims of all volumes, those of the shared clusters among them."""
    inventory = _inventory(wanted)
    clusters = (
        each.body for one in inventory.platform.shared_clusters for each in render_cluster(one, inventory.platform)
    )
    for body in (*clusters, *(desired.body for desired in _rendered(wanted))):
        if body["kind"] == "PersistentVolumeClaim":
            yield body


def changes(before: dict[str, Any], after: dict[str, Any]) -> int:
    """How many objects of these projects differ between two inventories; the same uids and passwords on both sides."""
    pairs = zip(_rendered(before), _rendered(after), strict=True)
    return sum(one.body != other.body for one, other in pairs)


def write_sends(wanted: dict[str, Any], file: Path, repeated: Path) -> int:
    """The floor's writes for these projects into a file, a line each, and into another what can be sent again.

    The return value is how many there are. What cannot be sent again is what is created once: Secrets.
    They are what the engine writes to the API server: every object, and at the end every record's status. Stages of
    their own are the namespaces, as the rest cannot be before them, and the statuses, as they say how the rest became.
    """
    count = 0
    with file.open("w") as out, repeated.open("w") as again:
        for send in _sends(wanted):
            line = json.dumps(send) + "\n"
            out.write(line)
            if send["verb"] != CREATE:
                again.write(line)
            count += 1
    return count


def bodies_of(file: Path) -> Iterator[Body]:
    """The objects in a file of sends, without the statuses, which are no objects of their own."""
    for line in file.read_text().splitlines():
        send = json.loads(line)
        if send["stage"] != STATUSES:
            yield json.loads(send["body"])


def write_lists(file: Path) -> None:
    """The floor's reads: the kinds that the engine reads, its metadata or, of a record, all of it."""
    query = f"?labelSelector={PROJECT_LABEL}"
    lists = [{"path": collection_path(kind) + query, "accept": METADATA_LIST} for kind in LISTED_KINDS]
    records = {"path": collection_path(RECORD_KIND, Platform().namespace), "accept": "application/json"}
    file.write_text("".join(json.dumps(one) + "\n" for one in [records, *lists]))


NAMESPACES, OBJECTS, STATUSES = range(3)
CREATE = "POST"


def _inventory(wanted: dict[str, Any]) -> Inventory:
    return parse(projects=wanted, tiers=TIERS, platform=platform(len(wanted)))


def _placed(inventory: Inventory) -> Iterator[tuple[Project, Placement]]:
    """Every project with the place that the engine gives it on a new platform."""
    places = place(inventory.projects, {}, inventory.platform)
    return ((project, places[project.ref]) for project in inventory.projects)


def _rendered(wanted: dict[str, Any]) -> Iterator[Desired]:
    """Every object, those of PostgreSQL among them."""
    inventory = _inventory(wanted)
    for project, placement in _placed(inventory):
        yield render_record(project, inventory.platform, placement, PENDING_UID)
        yield from render(project, inventory.platform, placement, PENDING_UID)


def _sends(wanted: dict[str, Any]) -> Iterator[dict[str, Any]]:
    inventory = _inventory(wanted)
    for project, placement in _placed(inventory):
        uid = new_uid()
        record = render_record(project, inventory.platform, placement, uid)
        objects = render(project, inventory.platform, placement, uid, str(uuid.uuid4()))
        for desired in (record, *(one for one in objects if one.id.kind in KINDS)):
            yield send(_whole(desired), NAMESPACES if desired.id.kind == "Namespace" else OBJECTS)
        status = _status(project, inventory.platform, placement, uid, [one.id for one in objects])
        yield send({**_named(record.body), "status": status.to_object()}, STATUSES)


def _whole(desired: Desired) -> Body:
    written = with_fingerprint(desired)
    texts = new_texts(desired.generates, secrets.token_bytes)
    return {**written, "data": data_of(texts)} if texts else written


def _named(record: Body) -> Body:
    meta = {key: record["metadata"][key] for key in ("name", "namespace")}
    return {"apiVersion": record["apiVersion"], "kind": record["kind"], "metadata": meta}


def _status(project: Project, where: Platform, placement: Placement, uid: Uid, ids: list[ObjectId]) -> Status:
    """As the engine writes it after a creation for which it did not wait; what the server chooses is made up."""
    return Status(
        uid=uid,
        phase=WAITING,
        placement=str(placement),
        sessions=sessions_at(placement, project),
        reason=WAITING,
        message="all is written; nobody waited for it to get ready",
        since=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        endpoints=endpoints_of(project, where, uid),
        inputs=secrets.token_hex(16),
        stamps={id: Stamp(uid=str(uuid.uuid4()), version=f"1.{secrets.token_hex(8)}") for id in ids},
    )


def send(body: Body, stage: int = OBJECTS) -> dict[str, Any]:
    """As the engine sends it: a Secret is created, everything else applied."""
    id = ObjectId.of(body)
    path = object_path(id) + ("/status" if stage == STATUSES else "")
    verb, path, content = "PATCH", f"{path}?fieldManager={FIELD_MANAGER}&force=true", APPLY_PATCH
    if id.kind == "Secret":
        path = f"{collection_path(id.kind, id.namespace)}?fieldManager={FIELD_MANAGER}"
        verb, content = CREATE, "application/json"
    return {
        "stage": stage,
        "verb": verb,
        "path": path,
        "content": content,
        "accept": METADATA,
        "body": json.dumps(body, separators=(",", ":")),
    }
