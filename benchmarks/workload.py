# SPDX-License-Identifier: GPL-3.0-or-later
"""What is created: projects of a fixed mix, and the same objects as ready requests for the floor."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.apply import (
    generated_data,
    with_fingerprint,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.client import (
    APPLY_PATCH,
    METADATA,
    METADATA_LIST,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.kinds import (
    PROJECT_KINDS,
    collection_path,
    object_path,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.objects import Body, Desired
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Platform
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import (
    FIELD_MANAGER,
    PENDING_UID,
    PROJECT_LABEL,
    RECORD_KIND,
    new_uid,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.parse import parse
from ansible_collections.supalove.platform.plugins.module_utils._engine.render import render
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.record import render_record

TIERS: dict[str, Any] = {
    "free": {"cpu": "250m", "memory": "256Mi", "storage": "1Gi", "connections": 20},
    "pro": {"cpu": 2, "memory": "4Gi", "storage": "20Gi", "connections": 100, "clients": 1000, "priority": 1000},
}
# The mix: one of so many projects is in tier pro, the others in tier free. Placement follows from the tier.
ONE_PRO_OF = 5


def projects(count: int) -> dict[str, Any]:
    """The first `count` projects, as an inventory has them.

    >>> projects(2)
    {'t0000': {'tier': 'pro'}, 't0001': {'tier': 'free'}}
    """
    return {f"t{number:04}": {"tier": "free" if number % ONE_PRO_OF else "pro"} for number in range(count)}


def objects(wanted: dict[str, Any]) -> Iterator[Body]:
    """Every object that the engine keeps for these projects, as it writes them, with new uids and passwords."""
    parsed, platform = parse(projects=wanted, tiers=TIERS, platform={})
    for project in parsed:
        yield with_fingerprint(render_record(project, platform))
        for desired in render(project, platform, new_uid(), secrets.token_hex(16)):
            yield _whole(desired)


def changes(before: dict[str, Any], after: dict[str, Any]) -> int:
    """How many objects of these projects differ between two inventories; the same uids and passwords on both sides."""
    pairs = zip(_rendered(before), _rendered(after), strict=True)
    return sum(one != other for one, other in pairs)


def write_sends(wanted: dict[str, Any], file: Path) -> int:
    """The floor's server-side applies for these projects into a file, a line each; how many there are.

    Namespaces are a stage of their own, as the rest cannot be before them.
    """
    count = 0
    with file.open("w") as out:
        for body in objects(wanted):
            out.write(json.dumps(_send(body)) + "\n")
            count += 1
    return count


def write_lists(file: Path) -> None:
    """The floor's reads: the kinds that the engine reads, its metadata or, of a record, all of it."""
    query = f"?labelSelector={PROJECT_LABEL}"
    lists = [{"path": collection_path(kind) + query, "accept": METADATA_LIST} for kind in PROJECT_KINDS]
    records = {"path": collection_path(RECORD_KIND, Platform().namespace), "accept": "application/json"}
    file.write_text("".join(json.dumps(one) + "\n" for one in [records, *lists]))


def _rendered(wanted: dict[str, Any]) -> Iterator[Body]:
    parsed, platform = parse(projects=wanted, tiers=TIERS, platform={})
    for project in parsed:
        yield render_record(project, platform).body
        for desired in render(project, platform, PENDING_UID):
            yield desired.body


def _whole(desired: Desired) -> Body:
    written = with_fingerprint(desired)
    return {**written, "data": generated_data(desired, secrets.token_bytes)} if desired.generates else written


def _send(body: Body) -> dict[str, Any]:
    return {
        "stage": 0 if body["kind"] == "Namespace" else 1,
        "verb": "PATCH",
        "path": f"{object_path(Desired(body=body).id)}?fieldManager={FIELD_MANAGER}&force=true",
        "content": APPLY_PATCH,
        "accept": METADATA,
        "body": json.dumps(body, separators=(",", ":")),
    }
