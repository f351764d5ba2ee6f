# SPDX-License-Identifier: BSD-2-Clause
"""How a PostgreSQL begins a life from an archive: before the server, a program fetches the base backup.

The server then recovers to the target, as the files say that the program leaves for it, and is promoted only there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..objects import Body, Desired, canonical_json
from ..project.life import LATEST, LSN, NAME, TIME, Life
from ..project.model import Platform
from .archive import NAME as ARCHIVER
from .archive import is_archived
from .files import write_postgresql_conf
from .postgresql import Make

CONFIG = "restore"
DIRECTORY = "/etc/supalove/restore"
_SETTINGS = {
    TIME: "recovery_target_time",
    LSN: "recovery_target_lsn",
    NAME: "recovery_target_name",
}


def render_restore(make: Make, platform: Platform, life: Life | None) -> tuple[Desired, ...]:
    """What the program is told; nothing where a life began with nothing, nor where there is no archive any more."""
    if life is None or not life.is_restored or not is_archived(platform):
        return ()
    parent = {
        "archive": life.archive,
        "incarnation": life.incarnation,
        "engine": life.engine,
        "backup": life.backup,
        "target": life.target,
        "value": life.value,
    }
    files = {"restore.json": canonical_json(parent), "recovery.conf": _recovery_conf(life)}
    if life.target == TIME:
        # Only if recovery has come that far; so it says in its first line.
        files["end.conf"] = f"# after {life.last_segment}\n{_recovery_conf(replace(life, target=LATEST, value=''))}"
    return (make("v1", "ConfigMap", CONFIG, component=CONFIG, data=files),)


def _recovery_conf(life: Life) -> str:
    """With a target the server stops with an error if the archive ends before it; it is never promoted early.

    Without one it is told the last segment: whatever is missing up to that is an error. The history of one incarnation
    is one timeline, that of its backups.
    """
    said = {} if life.target == LATEST else {_SETTINGS[life.target]: life.value}
    words = ("/usr/local/bin/supalove-wanted", "%f", "%p", life.last_segment)
    return write_postgresql_conf(
        {
            "restore_command": " ".join(words).rstrip(),
            "recovery_target_timeline": "current",
            "recovery_target_action": "promote",
            **said,
        }
    )


def with_restore(pod: Body, life: Life | None) -> Body:
    """The pod of a PostgreSQL in a life that began with a restore; as it is where it is not archived."""
    if life is None or not life.is_restored or "initContainers" not in pod:
        return pod
    (archiver,) = (one for one in pod["initContainers"] if one["name"] == ARCHIVER)
    return {
        **pod,
        "initContainers": [_container(archiver), *pod["initContainers"]],
        "volumes": [*pod["volumes"], {"name": CONFIG, "configMap": {"name": CONFIG}}],
    }


def _container(archiver: Body) -> Body:
    """As the archiver, and it ends."""
    base: dict[str, Any] = {key: value for key, value in archiver.items() if key != "restartPolicy"}
    mount = {"name": CONFIG, "mountPath": DIRECTORY, "readOnly": True}
    return {**base, "name": CONFIG, "args": [CONFIG], "volumeMounts": [*archiver["volumeMounts"], mount]}
