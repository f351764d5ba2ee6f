# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The options of modules, and what they say, as the engine takes it."""

from __future__ import annotations

import datetime
import re
import typing as t

from ._engine.archive.documents import parse_time
from ._engine.archive.notes import NAME, NAME_RULE
from ._engine.archive.recovery import AtLsn, AtPoint, AtTime, Latest, Target
from ._engine.archive.segments import parse_lsn
from ._engine.backup import WORKERS as BACKUP_WORKERS
from ._engine.errors import InvalidSpec, Problem
from ._engine.project.model import Platform
from ._engine.project.names import UID_PATTERN, Uid
from ._engine.project.quantities import parse_bytes
from ._engine.render.gateway_pods import Arrival, FrontDoor
from ._engine.render.traefik import Limits
from ._engine.restore import Origin
from ._engine.retained import REMOVAL_LIMIT_PERCENT, Rules
from ._engine.retained import Choice as ArchiveChoice
from ._engine.rotate import What
from ._engine.settings import Drift, Settings
from ._engine.verification import Choice

TIME_EXAMPLE = "a time in ISO 8601 with an offset, such as 2026-11-25T14:03:59+00:00"

ARCHIVE = re.compile(f"p-{UID_PATTERN}|s-[a-z]([-a-z0-9]{{0,61}}[a-z0-9])?")

# What a dump in pg_dump's custom format begins with (pg_backup_archiver.h).
DUMP_MARK = b"PGDMP"

T = t.TypeVar("T")
Spec = dict[str, dict[str, t.Any]]


def vault_spec() -> Spec:
    """The options of the fragment connection.engine_vault."""
    return {"vault_ca_file": {"type": "path"}, "vault_credentials_file": {"type": "path"}}


def object_store_spec() -> Spec:
    """The option of the fragment connection.engine_object_store."""
    return {"object_store_credentials_file": {"type": "path"}}


def connection_spec() -> Spec:
    """The options of the fragment connection."""
    return {
        "kubeconfig": {"type": "path"},
        "context": {"type": "str"},
        "timeout": {"type": "int", "default": round(Settings().timeout_seconds)},
        "progress_file": {"type": "path"},
    }


def inventory_spec() -> Spec:
    """The options of the vocabulary's fragments, and of where projects are listed."""
    return {
        "projects": {"type": "dict", "default": {}},
        "directory": {"type": "path"},
        "tiers": {"type": "dict", "required": True},
        "platform": {"type": "dict", "default": {}},
    }


def projects_spec() -> Spec:
    """The options of the module projects."""
    return {
        **connection_spec(),
        **vault_spec(),
        **object_store_spec(),
        **inventory_spec(),
        "projects_only": {"type": "list", "elements": "str"},
        "prune": {"type": "bool", "default": Settings().prune},
        "prune_limit": {"type": "int", "default": Settings().prune_limit},
        "data_lost": {"type": "list", "elements": "str", "default": []},
        "purge": {"type": "dict", "default": {}},
        "purge_without_final_backup": {"type": "list", "elements": "str", "default": []},
        "check_capacity": {"type": "bool", "default": Settings().check_capacity},
        "wave_size": {"type": "int", "default": Settings().wave_size},
        "wave_failures": {"type": "int", "default": Settings().wave_failures},
        "drift": {"type": "str", "choices": [one.value for one in Drift], "default": Settings().drift.value},
        "wait": {"type": "bool", "default": Settings().wait},
        "workers": {"type": "int", "default": Settings().workers},
    }


def platform_spec() -> Spec:
    """The options of the module platform."""
    return {
        **connection_spec(),
        **vault_spec(),
        **object_store_spec(),
        "tiers": {"type": "dict", "required": True},
        "platform": {"type": "dict", "default": {}},
        "wait": {"type": "bool", "default": Settings().wait},
    }


def gateway_spec() -> Spec:
    """The options of the module gateway."""
    return {
        **connection_spec(),
        "platform": {"type": "dict", "default": {}},
        "definitions": {"type": "list", "elements": "path", "required": True},
        "certificate": {"type": "path", "required": True},
        "private_key": {"type": "path", "required": True},
        "arrival": {"type": "str", "choices": [one.value for one in Arrival], "default": Arrival.HOST_PORT.value},
        "load_balancer_class": {"type": "str"},
        "address": {"type": "str"},
        "service_annotations": {"type": "dict", "default": {}},
        "replicas": {"type": "int", "default": FrontDoor(certificate="").replicas},
        "memory_mib": {"type": "int", "default": FrontDoor(certificate="").memory_mib},
        "body_mib": {"type": "int", "default": Limits().body_bytes // 1024**2},
        "header_kib": {"type": "int", "default": Limits().header_bytes // 1024},
        "read_timeout": {"type": "int", "default": Limits().read_seconds},
        "idle_timeout": {"type": "int", "default": Limits().idle_seconds},
        "trusted_networks": {"type": "list", "elements": "str", "default": []},
        "wait": {"type": "bool", "default": Settings().wait},
    }


def restore_spec() -> Spec:
    """The options of the module restore."""
    return {
        **connection_spec(),
        **vault_spec(),
        **object_store_spec(),
        "ref": {"type": "str"},
        "cluster": {"type": "str"},
        "source_ref": {"type": "str"},
        "source_uid": {"type": "str"},
        "source_archive": {"type": "str"},
        "point": {"type": "str"},
        "target_time": {"type": "str"},
        "target_lsn": {"type": "str"},
        "target_incarnation": {"type": "str"},
        "latest": {"type": "bool", "default": False},
        **inventory_spec(),
    }


def cluster_from(params: t.Mapping[str, t.Any]) -> str | None:
    """Which shared cluster is restored, out of the arguments of the module restore; None for a project.

    Raises InvalidSpec unless it is just one of both, and with a cluster for what makes sense of a project only.
    """
    ref, cluster = params["ref"] or None, params["cluster"] or None
    if (ref is None) == (cluster is None):
        raise InvalidSpec((Problem(path="ref", value=ref, allowed="one of ref, cluster"),))
    wrong = [name for name in ("source_ref", "source_uid", "source_archive", "point") if params[name]]
    if cluster is not None and wrong:
        allowed = "none with cluster, which goes back as a whole: it is of one project"
        raise InvalidSpec(tuple(Problem(path=name, value=params[name], allowed=allowed) for name in wrong))
    return cluster


def origin_from(params: t.Mapping[str, t.Any]) -> Origin:
    """Whose past is meant, out of the arguments of the module restore. Raises InvalidSpec."""
    ref, uid, archive = (params[f"source_{name}"] for name in ("ref", "uid", "archive"))
    problems = []
    if ref and uid:
        problems.append(Problem(path="source_uid", value=uid, allowed="one of source_ref, source_uid"))
    if uid and not re.fullmatch(UID_PATTERN, uid):
        problems.append(Problem(path="source_uid", value=uid, allowed="12 letters and digits, such as abcdefgh2345"))
    if archive and not uid:
        allowed = "none without source_uid: it says in which archive that one was"
        problems.append(Problem(path="source_archive", value=archive, allowed=allowed))
    if archive and not ARCHIVE.fullmatch(archive):
        allowed = "the name of an archive, such as s-free-1 or p-abcdefgh2345"
        problems.append(Problem(path="source_archive", value=archive, allowed=allowed))
    if problems:
        raise InvalidSpec(tuple(problems))
    return Origin(ref=ref, uid=Uid(uid) if uid else None, archive=archive)


def move_spec() -> Spec:
    """The options of the module move."""
    return {
        **connection_spec(),
        **vault_spec(),
        **object_store_spec(),
        "ref": {"type": "str", "required": True},
        "max_size": {"type": "str", "default": "10Gi"},
        **inventory_spec(),
    }


def size_from(params: t.Mapping[str, t.Any], name: str) -> int:
    """Bytes out of one of the module's arguments. Raises InvalidSpec."""
    try:
        return parse_bytes(params[name])
    except ValueError as error:
        allowed = "bytes with a unit, such as 500Mi"
        raise InvalidSpec((Problem(path=name, value=params[name], allowed=allowed),)) from error


def restore_point_spec() -> Spec:
    """The options of the module restore_point."""
    return {
        **connection_spec(),
        "name": {"type": "str", "required": True},
        "refs": {"type": "list", "elements": "str", "required": True},
        "platform": {"type": "dict", "default": {}},
        "workers": {"type": "int", "default": Settings().workers},
    }


def point_name_from(path: str, name: str) -> str:
    """The name of a restore point. Raises InvalidSpec for what cannot be one."""
    if not NAME.fullmatch(name):
        raise InvalidSpec((Problem(path=path, value=name, allowed=f"{NAME_RULE}, such as before-v2"),))
    return name


def rotate_spec() -> Spec:
    """The options of the module rotate."""
    return {
        **connection_spec(),
        **vault_spec(),
        "what": {"type": "str", "choices": [one.value for one in What], "default": What.LOGIN.value},
        "refs": {"type": "list", "elements": "str"},
        "platform": {"type": "dict", "default": {}},
        "end_previous": {"type": "bool", "default": False},
        "settle_seconds": {"type": "int"},
        "wave_size": {"type": "int", "default": Settings().wave_size},
        "wave_failures": {"type": "int", "default": Settings().wave_failures},
        "workers": {"type": "int", "default": Settings().workers},
    }


def backup_spec() -> Spec:
    """The options of the module backup."""
    return {
        **connection_spec(),
        "refs": {"type": "list", "elements": "str"},
        "clusters": {"type": "list", "elements": "str"},
        "full": {"type": "bool", "default": False},
        "platform": {"type": "dict", "default": {}},
        "wait": {"type": "bool", "default": Settings().wait},
        "workers": {"type": "int", "default": BACKUP_WORKERS},
    }


def drill_spec() -> Spec:
    """The options of the module drill."""
    return {
        **connection_spec(),
        **object_store_spec(),
        "refs": {"type": "list", "elements": "str"},
        "clusters": {"type": "list", "elements": "str"},
        "most": {"type": "int"},
        **inventory_spec(),
    }


def export_spec() -> Spec:
    """The options of the module export."""
    return {
        **connection_spec(),
        **object_store_spec(),
        "refs": {"type": "list", "elements": "str"},
        "keep_days": {"type": "int", "default": 30},
        **inventory_spec(),
    }


def import_dump_spec() -> Spec:
    """The options of the module import_dump."""
    return {
        **connection_spec(),
        **vault_spec(),
        **object_store_spec(),
        "ref": {"type": "str", "required": True},
        "file": {"type": "path"},
        "key": {"type": "str", "no_log": False},
        "with_grants": {"type": "bool", "default": False},
        **inventory_spec(),
    }


def dump_from(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Which dump is meant, out of the module's arguments. Raises InvalidSpec unless it is one, and can be read."""
    file, key = params["file"], params["key"]
    if bool(file) == bool(key):
        said = file and f"file={file}, key={key}"
        raise InvalidSpec((Problem(path="file", value=said or None, allowed="one of file, key"),))
    if file:
        try:
            with open(file, "rb") as opened:
                is_dump = opened.read(len(DUMP_MARK)) == DUMP_MARK
        except OSError as error:
            raise InvalidSpec((Problem(path="file", value=file, allowed=f"a file ({error.strerror})"),)) from error
        if not is_dump:
            allowed = "a dump in the custom format (pg_dump --format=custom)"
            raise InvalidSpec((Problem(path="file", value=file, allowed=allowed),))
    return {"file": file, "key": key, "with_grants": params["with_grants"]}


def retention_spec() -> Spec:
    """The options of the module retention."""
    return {
        **connection_spec(),
        **object_store_spec(),
        "platform": {"type": "dict", "default": {}},
        "refs": {"type": "list", "elements": "str"},
        "clusters": {"type": "list", "elements": "str"},
        "removal_limit_percent": {"type": "int", "default": REMOVAL_LIMIT_PERCENT},
        "workers": {"type": "int", "default": Settings().workers},
    }


def archive_choice_from(params: t.Mapping[str, t.Any]) -> ArchiveChoice:
    """Whose archives are meant, out of the module's arguments."""
    refs, clusters = params["refs"], params["clusters"]
    return ArchiveChoice(
        refs=None if refs is None else tuple(refs), clusters=None if clusters is None else tuple(clusters)
    )


def rules_from(params: t.Mapping[str, t.Any], platform: Platform) -> Rules:
    """What is kept, out of the module's arguments and the platform."""
    window = datetime.timedelta(days=platform.recovery_window_days)
    return Rules(window=window, removal_limit_percent=params["removal_limit_percent"])


def project_info_spec() -> Spec:
    """The options of the module project_info."""
    return {
        **connection_spec(),
        "refs": {"type": "list", "elements": "str"},
        "archive": {"type": "bool", "default": False},
        "platform": {"type": "dict", "default": {}},
    }


def verify_isolation_spec() -> Spec:
    """The options of the module verify_isolation."""
    base = Choice()
    return {
        **connection_spec(),
        "refs": {"type": "list", "elements": "str"},
        "nodes": {"type": "list", "elements": "str"},
        "node_ports": {"type": "list", "elements": "int", "default": list(base.node_ports)},
        "metadata": {"type": "list", "elements": "str", "default": list(base.metadata)},
        "outside": {"type": "list", "elements": "str", "default": list(base.outside)},
        "settle_seconds": {"type": "int", "default": round(base.settle_seconds)},
        "platform": {"type": "dict", "default": {}},
    }


def choice_from(params: t.Mapping[str, t.Any]) -> Choice:
    """What to verify, out of the module's arguments."""
    refs, nodes = params["refs"], params["nodes"]
    return Choice(
        refs=None if refs is None else tuple(refs),
        nodes=None if nodes is None else tuple(nodes),
        node_ports=tuple(params["node_ports"]),
        metadata=tuple(params["metadata"]),
        outside=tuple(params["outside"]),
        settle_seconds=float(params["settle_seconds"]),
    )


def target_from(params: t.Mapping[str, t.Any]) -> Target:
    """What to restore to, out of the module's arguments. Raises InvalidSpec unless just one is said, and rightly."""
    said = [name for name in ("point", "target_time", "target_lsn", "latest") if params[name]]
    if len(said) != 1:
        allowed = "one of point, target_time, target_lsn, latest"
        raise InvalidSpec((Problem(path="target", value=", ".join(said) or None, allowed=allowed),))
    if params["point"]:
        return AtPoint(name=point_name_from("point", params["point"]), incarnation=params["target_incarnation"])
    if params["target_time"]:
        return AtTime(
            time=_read("target_time", params["target_time"], lambda text: parse_time(text, "it"), TIME_EXAMPLE)
        )
    if params["target_lsn"]:
        lsn = _read("target_lsn", params["target_lsn"], parse_lsn, "a position such as 0/3000060")
        return AtLsn(lsn=lsn, incarnation=params["target_incarnation"])
    return Latest()


def _read(name: str, text: str, read: t.Callable[[str], T], allowed: str) -> T:
    try:
        return read(text)
    except ValueError as error:
        raise InvalidSpec((Problem(path=name, value=text, allowed=allowed),)) from error
