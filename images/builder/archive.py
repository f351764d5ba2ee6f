# SPDX-License-Identifier: GPL-3.0-or-later
"""Packs a tree as an image: a docker-archive (what `ctr images import` and `podman load` read), or into podman."""

from __future__ import annotations

import datetime
import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from .recipe import Config

READ_BYTES = 1 << 20


def pack(root: Path, target: Path) -> None:
    """Write the tree below `root` as one uncompressed layer; owners by number, extended attributes kept."""
    options = ("--sort=name", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--one-file-system")
    subprocess.run(["tar", "-C", str(root), *options, "-cf", str(target), "."], check=True)


def config_json(config: Config, *, diff_id: str, architecture: str, created: datetime.datetime) -> dict[str, Any]:
    """The image configuration of the OCI image specification (config.md); empty settings are left out."""
    settings = {
        "Entrypoint": list(config.entrypoint),
        "Cmd": list(config.cmd),
        "Env": [f"{name}={value}" for name, value in config.env],
        "User": config.user,
        "WorkingDir": config.workdir,
        "StopSignal": config.stopsignal,
    }
    return {
        "architecture": architecture,
        "os": "linux",
        "created": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "config": {key: value for key, value in settings.items() if value},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created_by": "images/build.py"}],
    }


def write_docker_archive(layer: Path, target: Path, config: Config, reference: str, architecture: str) -> None:
    """One layer, its configuration and the manifest that names them, compressed with zstd if the name ends so."""
    digest = _sha256(layer)
    now = datetime.datetime.now(tz=datetime.UTC)
    image = config_json(config, diff_id=f"sha256:{digest}", architecture=architecture, created=now)
    image_bytes = json.dumps(image, sort_keys=True).encode()
    config_name = f"{hashlib.sha256(image_bytes).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [reference], "Layers": [f"{digest}.tar"]}]
    plain = layer.with_name("image.tar")
    with tarfile.open(plain, "w") as archive:
        _add(archive, config_name, image_bytes)
        archive.add(layer, arcname=f"{digest}.tar", filter=_anonymous)
        _add(archive, "manifest.json", json.dumps(manifest).encode())
    layer.unlink()
    subprocess.run(["zstd", "-q", "--rm", "-T0", "-6", str(plain), "-o", str(target)], check=True)


def import_into_podman(layer: Path, reference: str, config: Config) -> None:
    """`podman import` under `reference`; the image is complete or absent."""
    changes = []
    if config.entrypoint:
        changes.append(f"ENTRYPOINT {json.dumps(config.entrypoint)}")
    if config.cmd:
        changes.append(f"CMD {json.dumps(config.cmd)}")
    changes += [f"ENV {name}={value}" for name, value in config.env]
    if config.stopsignal:
        changes.append(f"STOPSIGNAL {config.stopsignal}")
    arguments = [argument for change in changes for argument in ("--change", change)]
    command = ["podman", "import", "--quiet", *arguments, str(layer), reference]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def in_podman(reference: str) -> bool:
    """Whether podman's storage holds the image."""
    return subprocess.run(["podman", "image", "exists", reference], check=False).returncode == 0


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = 0o644
    archive.addfile(entry, io.BytesIO(content))


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
